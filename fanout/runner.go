package fanout

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// relayBatch bounds the changes turned into slots in one write, so that
	// pushes get their turn in between.
	relayBatch = 500
	// claimBatch bounds a round: what one scope is sent before others that are
	// due have their turn, and before deletions have theirs.
	claimBatch = 2000
	// settleBatch bounds the outcomes held back before they are written: what
	// a crash at the worst moment makes the connector look up again.
	settleBatch = 256
	// scopesAtOnce bounds the tenants a target is sent at once.
	scopesAtOnce = 8
	// deleteRest is how long deletions are put off while there is more to
	// create and change.
	deleteRest = time.Second
	// storeRetry is how long a runner rests when the store fails.
	storeRetry = time.Second
	// maxRetryAfter bounds what a target may ask for.
	maxRetryAfter = 24 * time.Hour
)

// runner keeps one target up to date. Its loop relays changes and starts a
// round for each scope that is due; rounds run beside it and each other.
type runner struct {
	Target
	store   Store
	options Options
	logger  *slog.Logger
	metrics *metrics
	gate    *gate

	// requests bounds the requests under way at once, over all scopes.
	requests chan struct{}
	// ended tells the loop which rounds are over.
	ended chan roundEnd

	// The loop's own.
	capabilities *target.Capabilities // read before the first delivery
	active       map[directory.Scope]struct{}
	latest       directory.Scope // the scope started last
}

// roundEnd is the end of a scope's round; the error is the store's.
type roundEnd struct {
	scope directory.Scope
	err   error
}

func newRunner(store Store, t Target, options Options, m *metrics) *runner {
	return &runner{
		Target:   t,
		store:    store,
		options:  options,
		logger:   options.Logger.With("target", t.Name),
		metrics:  m,
		gate:     newGate(t, options.Now, m),
		requests: make(chan struct{}, t.Concurrency),
		ended:    make(chan roundEnd, scopesAtOnce),
		active:   make(map[directory.Scope]struct{}, scopesAtOnce),
	}
}

// run relays and delivers until ctx ends, and then waits for its rounds.
func (r *runner) run(ctx context.Context) error {
	for ctx.Err() == nil {
		// Taken before reading, so that a change in between is not missed.
		changed := r.store.Changed()
		more, until, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.rest(ctx, err)
		case !more:
			if r.options.resting != nil {
				r.options.resting(r.Name, pause{len(r.active), changed, until})
			}
			r.sleep(ctx, changed, until)
		}
	}
	for len(r.active) > 0 {
		r.collect(<-r.ended)
	}
	return nil
}

// rest waits a little after the store failed.
func (r *runner) rest(ctx context.Context, err error) {
	r.logger.Error("fan-out cannot use the store; trying again", "error", err)
	select {
	case <-ctx.Done():
	case <-r.options.At(r.options.Now().Add(storeRetry)):
	}
}

// sleep waits for a change, the gate, a round's end, a time (zero: none), or
// the end.
func (r *runner) sleep(ctx context.Context, changed <-chan struct{}, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		timer = r.options.At(until)
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-r.gate.changed:
	case end := <-r.ended:
		r.collect(end)
		if end.err != nil && ctx.Err() == nil {
			r.rest(ctx, end.err)
		}
	case <-timer:
	}
}

func (r *runner) collect(end roundEnd) { delete(r.active, end.scope) }

// step does what can be done now. It reports whether there is more at once,
// and if not, when there is (zero: when something happens).
func (r *runner) step(ctx context.Context) (more bool, until time.Time, err error) {
	open, probe, until := r.gate.open()
	if probe || (open && r.capabilities == nil) {
		if !r.probe(ctx) {
			return true, time.Time{}, nil // the gate says how long
		}
		open = true
	}
	if !open {
		// Changes wait in the feed; nothing is lost by not relaying them.
		return false, until, nil
	}
	read, _, err := r.store.Relay(ctx, r.Name, r.relayOptions(), relayBatch)
	if err != nil {
		return false, time.Time{}, err
	}
	due, next, err := r.store.DueScopes(ctx, r.Name, r.options.Now())
	if err != nil {
		return false, time.Time{}, err
	}
	r.start(ctx, due)
	return read > 0, next, nil
}

// start begins a round for each due scope that has none, as many as may run at
// once, going on after the scope that was started last.
func (r *runner) start(ctx context.Context, due []directory.Scope) {
	from := max(0, slices.IndexFunc(due, func(s directory.Scope) bool { return s.String() > r.latest.String() }))
	for i := range due {
		scope := due[(from+i)%len(due)]
		if len(r.active) == scopesAtOnce {
			return
		}
		if _, busy := r.active[scope]; busy {
			continue
		}
		r.active[scope] = struct{}{}
		r.latest = scope
		capabilities := *r.capabilities
		go func() { r.ended <- roundEnd{scope, r.round(ctx, scope, capabilities)} }()
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
	r.gate.down(err, min(retryAfter(err), maxRetryAfter), r.options.backoff)
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
