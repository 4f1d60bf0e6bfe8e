package mongo

import (
	"context"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
)

// Locker queues the writers of a scope over all replicas. The store stays
// correct without it: it only spares replicas from asking again and again
// whether a scope is free.
type Locker interface {
	// Lock waits until the name is free or ctx ends. A failure other than the
	// end of ctx means that there is no queue now: the writer goes on without.
	Lock(ctx context.Context, name string) (release func(), err error)
}

// Notifier carries news of a change to the other replicas, which otherwise
// find it within PollInterval. Nothing depends on its arrival.
type Notifier interface {
	// Notify tells the others. It must not block for long.
	Notify(ctx context.Context)
	// Notified delivers a value after others have told of changes.
	Notified() <-chan struct{}
}

// Options shape a store; the zero value serves.
type Options struct {
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
	// Owner names this replica in leases and messages; default a random name.
	// No two replicas may share one.
	Owner string
	// Timeout bounds a small push, and each operation of all else. Default 5 s.
	Timeout time.Duration
	// TurnTime is how long a replica that died keeps a scope from the others.
	// Default 10 s; not below Timeout.
	TurnTime time.Duration
	// PollInterval is how often the store looks for changes by other replicas
	// and for turns left open. Default 1 s.
	PollInterval time.Duration
	Locker       Locker   // default none
	Notifier     Notifier // default none
	// Monitor sees every command, for counting them.
	Monitor *event.CommandMonitor
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Owner == "" {
		o.Owner = newID()
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.TurnTime <= 0 {
		o.TurnTime = 10 * time.Second
	}
	o.TurnTime = max(o.TurnTime, o.Timeout)
	if o.PollInterval <= 0 {
		o.PollInterval = time.Second
	}
	return o
}
