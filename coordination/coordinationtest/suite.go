// Package coordinationtest holds every implementation of coordination.Port to
// the same promises: one suite, run against each.
package coordinationtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/openkoo/connector/coordination"
)

// ProbeLease is what the suite wants a probe's lease to be, by the clock it is
// given.
const ProbeLease = 30 * time.Second

// Factory makes a deployment without any state that goes by the clock given,
// and returns how to start a replica of it. Where one process is all there can
// be, it returns the same replica each time. Replicas are closed by the
// factory when the test ends.
type Factory func(t *testing.T, now func() time.Time) (replica func() coordination.Port)

// Run runs the whole suite.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests map[string]func(*bundle)
	}{
		{"locks", lockTests}, {"buckets", bucketTests},
		{"breakers", breakerTests}, {"wakeups", wakeupTests}, {"dispatch", dispatchTests},
	} {
		for name, test := range part.tests {
			t.Run(part.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(newBundle(t, factory))
			})
		}
	}
	t.Run("nonces", func(t *testing.T) {
		t.Parallel()
		RunNonces(t, func(t *testing.T) NonceMemory {
			clock := NewClock()
			replica := factory(t, clock.Now)
			return NonceMemory{Replicas: []coordination.Nonces{replica(), replica()}, TTL: time.Minute, Advance: clock.Advance}
		})
	})
	t.Run("laws", func(t *testing.T) {
		t.Parallel()
		bucketLaw(t, factory)
		breakerLaw(t, factory)
	})
}

// Clock is a time that only moves when told to.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock starts a clock at a whole second.
func NewClock() *Clock { return &Clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// bundle is two replicas of a deployment with what tests need beside them.
type bundle struct {
	*testing.T
	ctx   context.Context
	clock *Clock
	a, b  coordination.Port
}

// testTimeout bounds a test: one that waits for what never comes fails.
const testTimeout = 2 * time.Minute

func newBundle(t *testing.T, factory Factory) *bundle {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	b := &bundle{T: t, ctx: ctx, clock: NewClock()}
	replica := factory(t, b.clock.Now)
	b.a, b.b = replica(), replica()
	return b
}

// receive waits for a value. It may be called by any goroutine.
func receive[T any](b *bundle, from <-chan T, what string) T {
	b.Helper()
	var v T
	select {
	case v = <-from:
	case <-b.ctx.Done():
		b.Error("never came: " + what)
	}
	return v
}

// nothing fails if a value is there already.
func nothing[T any](b *bundle, from <-chan T, what string) {
	b.Helper()
	select {
	case <-from:
		b.Error("came too early: " + what)
	default:
	}
}

func ids(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("k-%03d", i)
	}
	return all
}
