package local

import (
	"context"
	"time"

	"github.com/openkoo/connector/coordination"
)

// Options shape a Coordinator; the zero value serves.
type Options struct {
	Now        func() time.Time // default time.Now
	MaxNonces  int              // default DefaultMaxNonces
	ProbeLease time.Duration    // how long a probe may take, default 30 s
}

// Coordinator is the whole port for one process.
type Coordinator struct {
	*Nonces
	*Locks
	*Buckets
	*Breakers
	*Wakeups
	*Dispatcher
}

var _ coordination.Port = (*Coordinator)(nil)

// New makes a coordinator.
func New(options Options) *Coordinator {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Coordinator{
		Nonces:     NewNonces(options.MaxNonces, options.Now),
		Locks:      NewLocks(options.Now),
		Buckets:    NewBuckets(options.Now),
		Breakers:   NewBreakers(options.ProbeLease, options.Now),
		Wakeups:    NewWakeups(),
		Dispatcher: NewDispatcher(),
	}
}

// Ping implements coordination.Port: memory is always there.
func (c *Coordinator) Ping(context.Context) error { return nil }

// Close ends every Serve and waits for it.
func (c *Coordinator) Close() error {
	c.endServes()
	return nil
}
