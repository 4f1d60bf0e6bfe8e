package admin

import (
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// warnEvery is how often the log has a line on wrong tokens: who guesses them
// makes thousands of calls.
const warnEvery = time.Minute

// strangers counts the calls without the admin token.
type strangers struct {
	refused prometheus.Counter

	mu       sync.Mutex
	warnedAt time.Time
	since    int // refused since then
}

func newStrangers() strangers {
	return strangers{refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "orgsync_admin_refused_total", Help: "Calls of the API without the admin token, or with a wrong one.",
	})}
}

// due counts a refusal, and returns how many there were since the last warning, 0
// before it is time for the next.
func (s *strangers) due(now time.Time) (refused int) {
	s.refused.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if age := now.Sub(s.warnedAt); age >= 0 && age < warnEvery { // less: the clock was set
		return 0
	}
	refused, s.since, s.warnedAt = s.since, 0, now
	return refused
}

// refuseStranger counts a call, and warns of those, without the token; never what it
// brought instead, which may be the token of tomorrow or of something else.
func (a *API) refuseStranger(c *gin.Context) {
	if n := a.strangers.due(a.Now()); n > 0 {
		a.Logger.Warn("calls of the API without the admin token are refused", "count", n, "remote", c.ClientIP(), "path", c.FullPath())
	}
}
