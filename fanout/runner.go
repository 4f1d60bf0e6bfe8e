package fanout

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// relayBatch bounds the changes turned into slots in one write, so that
	// pushes get their turn in between.
	relayBatch = 500
	// claimBatch bounds a round: what is sent before deletions have their turn.
	claimBatch = 2000
	// settleBatch bounds the outcomes held back before they are written: what
	// a crash at the worst moment makes the connector look up again.
	settleBatch = 256
	// scopesAtOnce bounds the tenants a target is sent at once.
	scopesAtOnce = 4
	// leaseFor is how long a replica that died keeps a tenant from the others.
	leaseFor = 30 * time.Second
	// busyRetry is how long to wait for a tenant another replica delivers.
	busyRetry = time.Second
	// storeRetry is how long a runner rests when the store fails.
	storeRetry = time.Second
)

// runner keeps one target up to date.
type runner struct {
	Target
	store   Store
	options Options
	logger  *slog.Logger
	metrics *metrics
	gate    *gate
	owner   string // of the leases

	// slots bounds the requests under way at once, over all scopes.
	slots chan struct{}
	// capabilities are read by Describe before the first delivery.
	capabilities *target.Capabilities
}

func newRunner(store Store, t Target, options Options, m *metrics) *runner {
	return &runner{
		Target:  t,
		store:   store,
		options: options,
		logger:  options.Logger.With("target", t.Name),
		metrics: m,
		gate:    newGate(t, options.Now, m),
		owner:   uuid.NewString(),
		slots:   make(chan struct{}, t.Concurrency),
	}
}

// run relays and delivers until ctx ends.
func (r *runner) run(ctx context.Context) error {
	for ctx.Err() == nil {
		// Taken before reading, so that a change in between is not missed.
		changed := r.store.Changed()
		wait, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.logger.Error("fan-out cannot use the store; trying again", "error", err)
			wait, changed = storeRetry, nil
		case wait < 0:
			continue
		}
		r.sleep(ctx, changed, wait)
	}
	return nil
}

// sleep waits for a change, for the gate, for wait to pass (0: for ever) or
// for the end.
func (r *runner) sleep(ctx context.Context, changed <-chan struct{}, wait time.Duration) {
	var timer <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-r.gate.changed:
	case <-timer:
	}
}

// step does what can be done now and returns how long to wait for more: less
// than zero when there is more at once, zero when only a change brings more.
func (r *runner) step(ctx context.Context) (time.Duration, error) {
	open, probe, wait := r.gate.open()
	if probe || (open && r.capabilities == nil) {
		if !r.probe(ctx) {
			return -1, nil // the gate says how long
		}
		open = true
	}
	if !open {
		// Changes wait in the feed; nothing is lost by not relaying them.
		return wait, nil
	}
	options := r.relayOptions()
	read, _, err := r.store.Relay(ctx, r.Name, options, relayBatch)
	if err != nil {
		return 0, err
	}
	due, next, err := r.store.DueScopes(ctx, r.Name, r.options.Now())
	if err != nil {
		return 0, err
	}
	busy, err := r.deliver(ctx, due)
	if err != nil {
		return 0, err
	}
	switch {
	case read > 0 || len(due) > busy:
		return -1, nil
	case busy > 0:
		return busyRetry, nil
	case next.IsZero():
		return 0, nil
	default:
		return max(next.Sub(r.options.Now()), time.Millisecond), nil
	}
}

// probe asks the target what it can do; a failure closes the gate.
func (r *runner) probe(ctx context.Context) bool {
	capabilities, err := r.Connector.Describe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.closeGate(err)
		}
		return false
	}
	r.capabilities = &capabilities
	r.gate.up()
	return true
}

// closeGate takes the target out of service until a probe succeeds.
func (r *runner) closeGate(err error) {
	r.logger.Warn("target is down; its changes wait until a probe succeeds", "error", err)
	r.gate.down(err, r.options.backoff)
}

// deliver works scopes off, some at once, each in rounds until nothing of it
// is due. It returns how many another replica is delivering.
func (r *runner) deliver(ctx context.Context, scopes []directory.Scope) (busy int, err error) {
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(scopesAtOnce)
	for _, scope := range scopes {
		group.Go(func() error {
			err := r.round(ctx, scope)
			switch {
			case errors.Is(err, storage.ErrBusy), errors.Is(err, storage.ErrLeaseLost):
				taken.Add(1)
				return nil
			case errors.Is(err, errStopped):
				return nil
			}
			return err
		})
	}
	err = group.Wait()
	return int(taken.Load()), err
}

// errStopped ends a round early: the gate closed.
var errStopped = errors.New("target is not to be sent to now")

// relayOptions follow from what the target can do.
func (r *runner) relayOptions() storage.RelayOptions {
	return storage.RelayOptions{
		Match:      r.Match,
		Placements: r.capabilities.ParentByMembership && r.capabilities.Memberships,
	}
}
