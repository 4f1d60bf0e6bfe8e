package admin

import (
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// toldEvery is how often wrong tokens are told of: who guesses them makes
// thousands of calls.
const toldEvery = time.Minute

// strangers counts the calls without the admin token.
type strangers struct {
	refused prometheus.Counter

	mu     sync.Mutex
	toldAt time.Time
	since  int // refused since then, not told of yet
}

func newStrangers() strangers {
	return strangers{refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "orgsync_admin_refused_total", Help: "Calls of the API without the admin token, or with a wrong one.",
	})}
}

// due counts a refusal, and returns how many there are to tell of, 0 before it
// is time again.
func (s *strangers) due(now time.Time) (refused int) {
	s.refused.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if age := now.Sub(s.toldAt); age >= 0 && age < toldEvery { // less: the clock was set
		return 0
	}
	refused, s.since, s.toldAt = s.since, 0, now
	return refused
}

// refuseStranger counts and tells of a call without the token; never what it
// brought instead, which may be the token of tomorrow or of something else.
func (a *API) refuseStranger(c *gin.Context) {
	if n := a.strangers.due(a.Now()); n > 0 {
		a.Logger.Warn("calls of the API without the admin token are refused", "count", n, "remote", c.ClientIP(), "path", c.FullPath())
	}
}
