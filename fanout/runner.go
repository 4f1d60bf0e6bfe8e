package fanout

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

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
	// settleBatch is how many outcomes are held back before they are written,
	// beside one write that is under way: what a crash at the worst moment makes
	// the connector look up again.
	settleBatch = 256
	// scopesAtOnce bounds the tenants a target is sent at once, by one replica.
	scopesAtOnce = 8
	// scopesAhead bounds the tenants for which a round is asked and not over.
	scopesAhead = 2 * scopesAtOnce
	// askAgain is when a round that was asked for and not heard of is asked for
	// again: its replica may have died, or the queue been lost.
	askAgain = 5 * time.Second
	// leaseFor is how long a replica that died keeps a tenant from the others.
	leaseFor = 30 * time.Second
	// busyRetry is how long to wait for a tenant another replica delivers.
	busyRetry = time.Second
	// deleteRest is how long deletions are put off while there is more to
	// create and change.
	deleteRest = time.Second
	// storeRetry is how long a runner rests when the store fails.
	storeRetry = time.Second
	// maxRetryAfter bounds what a target may ask for.
	maxRetryAfter = 24 * time.Hour
)

// runner keeps one target up to date. Its loop relays changes and asks for a
// round of each scope that is due. Rounds run beside it and each other, here
// or on another replica.
type runner struct {
	Target
	store   Store
	shared  Coordination
	options Options
	logger  *slog.Logger
	metrics *metrics
	gate    *gate
	meter   meter
	owner   string // of the leases

	// requests bounds the requests under way at once, over all scopes.
	requests chan struct{}
	// ended tells the loop which rounds are over.
	ended chan roundEnd
	// serving waits for the rounds of this replica.
	serving sync.WaitGroup
	// capabilities are read before the first delivery.
	capabilities atomic.Pointer[target.Capabilities]
	// omittedLast is the attribute that was left out last of an object that the
	// target refused without naming one.
	omittedLast atomic.Pointer[string]

	// resyncs takes on a resync that was accepted.
	resyncs chan *resyncJob
	// tidied is closed when what an earlier run left of resyncs is put right.
	tidied  chan struct{}
	mu      sync.Mutex
	running map[directory.Scope]int // rounds of this replica whose end the loop has not seen

	// record is what the store keeps of the target, by r.mu.
	record  storage.TargetRecord
	objects objects // at the target, counted lately

	// The loop's own.
	readAt   time.Time                     // the record was read then
	located  bool                          // the address is known to be the one before
	rendered bool                          // what is stored is due that renders differently now
	selected *string                       // what the relay was told to let through
	latest   directory.Scope               // the scope asked for last
	asked    map[directory.Scope]time.Time // for a round; ask again then
	busy     map[directory.Scope]time.Time // delivered by another replica; ask again then
	leavers  []directory.Scope             // to be looked through for removals while in quarantine
	// leaversAt is when all due scopes are looked through again.
	leaversAt time.Time
}

// roundEnd is the end of a scope's round; the error is the store's.
type roundEnd struct {
	scope directory.Scope
	err   error
}

func newRunner(store Store, t Target, options Options, m *metrics) *runner {
	r := &runner{
		Target:   t,
		store:    store,
		shared:   options.Coordination,
		options:  options,
		logger:   options.Logger.With("target", t.Name),
		metrics:  m,
		gate:     newGate(t, options.Now, m),
		owner:    uuid.NewString(),
		requests: make(chan struct{}, t.Concurrency),
		ended:    make(chan roundEnd, scopesAtOnce),
		running:  make(map[directory.Scope]int, scopesAtOnce),
		asked:    make(map[directory.Scope]time.Time, scopesAhead),
		busy:     make(map[directory.Scope]time.Time),
	}
	r.gate.trip = r.trip
	r.resyncs, r.tidied = make(chan *resyncJob), make(chan struct{})
	return r
}

// run relays and delivers until ctx ends, and then waits for its rounds.
func (r *runner) run(ctx context.Context) error {
	defer r.serving.Wait()
	r.serving.Go(func() { r.serveResyncs(ctx) })
	woken, stop := r.shared.Subscribe(r.topic())
	defer stop()
	for ctx.Err() == nil {
		// Taken before reading, so that a change in between is not missed.
		changed := r.store.Changed()
		more, until, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.rest(ctx, err)
		case !more:
			r.pausing(changed, until)
			r.sleep(ctx, changed, woken, until)
		}
	}
	return nil
}

// pausing tells who listens that the loop waits.
func (r *runner) pausing(changed <-chan struct{}, until time.Time) {
	if r.options.resting != nil {
		r.options.resting(r.Name, pause{len(r.asked), changed, until})
	}
}

// rest waits a little after the store failed, whatever changes.
func (r *runner) rest(ctx context.Context, err error) {
	r.logger.Error("fan-out cannot use the store; trying again", "error", err)
	until := r.options.Now().Add(storeRetry)
	r.pausing(nil, until)
	select {
	case <-ctx.Done():
	case <-r.options.At(until):
	}
}

// sleep waits for a change here or told of by another replica, the gate, a
// round's end, a time (zero: none), or the end.
func (r *runner) sleep(ctx context.Context, changed, woken <-chan struct{}, until time.Time) {
	if r.options.Poll > 0 {
		until = earliest(until, r.options.Now().Add(r.options.Poll))
	}
	var timer <-chan time.Time
	if !until.IsZero() {
		timer = r.options.At(until)
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-woken:
		r.readAt = time.Time{} // it may be stopped, or no more
	case <-r.gate.changed:
	case end := <-r.ended:
		if err := r.collect(end); err != nil && ctx.Err() == nil {
			r.rest(ctx, err)
		}
	case <-timer:
	}
}

// collect takes note of a round's end and returns the store's error, if any.
// That another replica has the scope is none.
func (r *runner) collect(end roundEnd) error {
	r.mu.Lock()
	if r.running[end.scope]--; r.running[end.scope] <= 0 {
		delete(r.running, end.scope)
		delete(r.asked, end.scope)
	}
	r.mu.Unlock()
	if errors.Is(end.err, storage.ErrBusy) || errors.Is(end.err, storage.ErrLeaseLost) {
		r.busy[end.scope] = r.options.Now().Add(busyRetry)
		return nil
	}
	return end.err
}

// step does what can be done now. It reports whether there is more at once,
// and if not, when there is (zero: when something happens).
func (r *runner) step(ctx context.Context) (more bool, until time.Time, err error) {
	open, probe, until, err := r.mayGo(ctx)
	if err != nil {
		return false, time.Time{}, err
	}
	if probe || (open && r.capabilities.Load() == nil) {
		if !r.probe(ctx) {
			return true, time.Time{}, nil // the gate says how long
		}
		open = true
	}
	if !open {
		// Changes wait in the feed; nothing is lost by not relaying them.
		return r.sendLeavers(ctx, until)
	}
	if err := r.rerender(ctx); err != nil {
		return false, time.Time{}, err
	}
	read, err := r.relay(ctx)
	if err != nil {
		return false, time.Time{}, err
	}
	due, next, err := r.store.DueScopes(ctx, r.Name, r.options.Now())
	if err != nil {
		return false, time.Time{}, err
	}
	due = slices.DeleteFunc(due, func(scope directory.Scope) bool { return !r.wants(scope) })
	if read == 0 && len(due) == 0 && r.idle() && r.gate.onTrial() {
		if err := r.heal(ctx); err != nil { // nothing to try it with
			return false, time.Time{}, err
		}
	}
	if r.idle() && !r.kept().HeldSince.IsZero() { // what was held may have come back
		if err := r.noteHeld(ctx); err != nil {
			return false, time.Time{}, err
		}
	}
	next, err = r.ask(ctx, due, next)
	return read > 0, next, err
}

// rerender has everything looked at again, once, if the target's objects are
// rendered, or decided on, in another way than last time: only what comes out differently is sent.
func (r *runner) rerender(ctx context.Context) error {
	if r.rendered {
		return nil
	}
	n, err := r.store.Rerender(ctx, r.Name, r.fingerprint())
	if err != nil {
		return err
	}
	if n > 0 {
		r.logger.Info("the mapping, the sign-in names or the policies changed: looking at everything again, sending what differs", "objects", n)
	}
	r.rendered = true
	return nil
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
	first := r.capabilities.Swap(&capabilities) == nil
	r.openGate(ctx)
	if first {
		r.serving.Go(func() { r.serve(ctx) })
	}
	return true
}

// errStopped ends a round early: the gate closed.
var errStopped = errors.New("target is not to be sent to now")

// wants reports whether the target is to be sent a scope.
func (t *Target) wants(scope directory.Scope) bool { return t.Match == nil || t.Match(scope) }

// relay makes slots of the next changes, from the beginning if others than
// before are wanted. Of replicas that want others the one begun last counts.
func (r *runner) relay(ctx context.Context) (read int, err error) {
	options := r.relayOptions()
	if r.selected == nil || *r.selected != options.Selection {
		again, err := r.store.Select(ctx, r.Name, options.Selection)
		if err != nil {
			return 0, err
		}
		if again {
			r.logger.Info("other tenants, or other parts of them, are wanted than before: looking at everything again, sending what is missing")
		}
		r.selected = &options.Selection
	}
	read, _, err = r.store.Relay(ctx, r.Name, options, relayBatch)
	return read, err
}

// relayOptions follow from the configuration and from what the target can do.
func (r *runner) relayOptions() storage.RelayOptions {
	capabilities := r.capabilities.Load()
	o := storage.RelayOptions{
		Match: r.Match, Selection: r.Selection,
		Placements: capabilities.ParentByMembership && capabilities.Memberships,
	}
	if o.Placements {
		o.Selection += "+placements"
	}
	return o
}

// earliest is the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
