package admin

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/storage"
)

// readyMemory is how long an answer of the store counts: anybody may ask
// whether the connector is ready, and each time the store has to write.
const readyMemory = time.Second

// readiness remembers what the store last answered.
type readiness struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// ask asks the store, unless it was asked just now. Who comes meanwhile waits
// for the same answer.
func (r *readiness) ask(ctx context.Context, now func() time.Time, ping func(context.Context) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := now().Sub(r.at); age >= 0 && age < readyMemory {
		return r.err
	}
	// Others may be waiting for it: the one who asks does not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	r.err = ping(ctx)
	r.at = now()
	return r.err
}

func (a *API) ready(c *gin.Context) {
	if err := a.readiness.ask(c.Request.Context(), a.Now, a.Health.Ping); err != nil {
		a.Logger.Error("not ready", "error", err)
		reason := "the store does not answer"
		if errors.Is(err, storage.ErrDamaged) {
			reason = storage.ErrDamaged.Error()
		}
		writeProblem(c, http.StatusServiceUnavailable, reason)
		return
	}
	if a.Coordination != nil {
		if health := a.Coordination(); health.Degraded {
			// Still ready: pushes are accepted and delivered, only more slowly.
			// Why is in the log: anybody may ask here.
			c.JSON(http.StatusOK, gin.H{"status": "degraded", "coordination": "away", "since": health.Since})
			return
		}
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}
