package fanout

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
)

// topic is what the replicas wake each other by when the target is worth a look.
func (r *runner) topic() string { return "target/" + r.Name }

// ask asks for a round of each due scope that has none, for some scopes at a
// time, going on after the one asked for last. It returns the earlier of next
// and when a scope that another replica has may be free.
func (r *runner) ask(ctx context.Context, due []directory.Scope, next time.Time) (time.Time, error) {
	return r.askFor(ctx, due, due, next)
}

// askFor is ask for some of those that are due.
func (r *runner) askFor(ctx context.Context, all, due []directory.Scope, next time.Time) (time.Time, error) {
	now := r.options.Now()
	r.forgetAsked(all, now)
	maps.DeleteFunc(r.busy, func(_ directory.Scope, until time.Time) bool { return !now.Before(until) })
	from := max(0, slices.IndexFunc(due, func(s directory.Scope) bool { return s.String() > r.latest.String() }))
	for i := range due {
		scope := due[(from+i)%len(due)]
		if len(r.asked) >= scopesAhead {
			break
		}
		_, asked := r.asked[scope]
		if _, busy := r.busy[scope]; asked || busy {
			continue
		}
		if err := r.shared.Enqueue(ctx, coordination.Task{Queue: r.Name, Key: scope.String()}); err != nil {
			return time.Time{}, err
		}
		r.asked[scope] = now.Add(askAgain)
		r.latest = scope
	}
	for _, until := range r.busy {
		next = earliest(next, until)
	}
	return next, nil
}

// forgetAsked forgets the rounds asked for that are not under way here and
// that another replica has done, or was given long enough to do. One is under
// way until the loop has seen its end: were it asked for again before, its end
// would be taken for that of the next.
func (r *runner) forgetAsked(due []directory.Scope, now time.Time) {
	if len(r.asked) == 0 {
		return
	}
	still := make(map[directory.Scope]struct{}, len(due))
	for _, scope := range due {
		still[scope] = struct{}{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for scope, until := range r.asked {
		_, running := r.running[scope]
		if _, due := still[scope]; running {
			r.asked[scope] = now.Add(askAgain)
		} else if !due || !now.Before(until) {
			delete(r.asked, scope)
		}
	}
}

// serve works rounds off that this replica or another asked for.
func (r *runner) serve(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.shared.Serve(ctx, r.Name, scopesAtOnce, r.deliver)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.logger.Error("this replica takes no work on now; trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-r.options.At(r.options.Now().Add(storeRetry)):
		}
	}
}

// idle reports that no round is under way here.
func (r *runner) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running) == 0
}

// deliver is the round of a scope.
func (r *runner) deliver(ctx context.Context, key string) {
	scope, err := directory.ParseScope(key)
	if err != nil {
		r.logger.Error("a task is not one of the fan-out's; do other programs use its queue?", "error", err)
		return
	}
	r.mu.Lock()
	r.running[scope]++
	r.mu.Unlock()
	if r.wants(scope) { // else a replica of another configuration asked
		err = r.round(ctx, scope, *r.capabilities.Load())
	}
	select {
	case r.ended <- roundEnd{scope, err}:
	case <-ctx.Done():
	}
}

// mayGo is the gate's and the breaker's word: whether the target may be sent
// to, or is to be probed, or when to ask again. What an operator or the target
// itself asked of this replica goes first.
func (r *runner) mayGo(ctx context.Context) (open, probe bool, until time.Time, err error) {
	if err := r.refresh(ctx); err != nil {
		return false, false, time.Time{}, err
	}
	if err := r.tryQuarantined(ctx); err != nil {
		return false, false, time.Time{}, err
	}
	if r.gate.tookResume() {
		r.resetBreaker(ctx)
	}
	open, probe, until = r.gate.open()
	if !open && !probe && r.gate.status().State != Down {
		return false, false, until, nil
	}
	passage, err := r.shared.Enter(ctx, r.Name)
	if err != nil {
		return false, false, time.Time{}, err
	}
	switch passage.State {
	case coordination.BreakerOpen:
		r.gate.heed(passage.Reason, passage.Wait)
		return false, false, r.options.Now().Add(passage.Wait), nil
	case coordination.BreakerProbing: // down until this replica has probed
		r.gate.heed(passage.Reason, 0)
		return false, true, time.Time{}, nil
	default: // a gate that is closed opens once this replica has probed too
		if !open {
			r.gate.probing()
		}
		return open, !open, time.Time{}, nil
	}
}

// closeGate takes the target out of service, on all replicas, until a probe
// succeeds.
func (r *runner) closeGate(err error) {
	if target.ClassOf(err) == target.Disabled {
		r.disabled(err)
		return
	}
	level := slog.LevelDebug // of one that was down before
	if r.gate.status().State == Up {
		level = slog.LevelWarn
	}
	r.logger.Log(context.Background(), level, "target is down; its changes wait until a probe succeeds", "error", err)
	r.gate.down(err, min(retryAfter(err), maxRetryAfter), r.backoff)
}

// trip tells the other replicas that the target is down. It does so also when
// this one is told to end: calls are bounded in time.
func (r *runner) trip(reason string, wait time.Duration) {
	if err := r.shared.Trip(context.Background(), r.Name, cut(reason, maxLastError), wait); err != nil {
		r.logger.Warn("the other replicas do not know yet that the target is down", "error", err)
	}
}

// openGate takes the target into service again, on all replicas.
func (r *runner) openGate(ctx context.Context) {
	if r.gate.up() {
		r.resetBreaker(ctx)
	}
}

func (r *runner) resetBreaker(ctx context.Context) {
	err := r.shared.Reset(ctx, r.Name)
	if err == nil {
		err = r.shared.Publish(ctx, r.topic())
	}
	if err != nil {
		r.logger.Warn("the other replicas do not know yet that the target is up", "error", err)
	}
}

// limited rests after the target refused a request for coming too fast, and
// makes all replicas go slower. It returns until when.
func (r *runner) limited(ctx context.Context, refusal error) time.Time {
	until := r.gate.limited(min(retryAfter(refusal), maxRetryAfter), r.backoff)
	r.meter.empty()
	if err := r.shared.Shrink(ctx, r.Name, r.Rate, until.Sub(r.options.Now())); err != nil {
		r.logger.Warn("the other replicas do not know yet that the target refused a request", "error", err)
	}
	return until
}

const (
	// paceWait bounds how long a request waits for its turn at the target's
	// pace; beyond, the round ends and others have theirs.
	paceWait = 2 * time.Second
	// meterMost bounds the turns taken ahead, so that a fast target does not
	// cost a question for each request; meterKeeps how long they are good.
	meterMost  = 32
	meterKeeps = time.Second
)

// meter holds turns that were taken of the shared bucket ahead of their use:
// more and more as long as there is no waiting for them, else just one.
type meter struct {
	mu     sync.Mutex
	turns  int
	lapse  time.Time
	amount int
}

// use uses a turn taken ahead, or says how many to take.
func (m *meter) use(now time.Time) (used bool, amount int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turns > 0 && now.Before(m.lapse) {
		m.turns--
		return true, 0
	}
	return false, max(1, m.amount)
}

// took notes that so many turns were taken, of which one is used at once.
func (m *meter) took(now time.Time, amount int, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns, m.lapse = amount-1, now.Add(wait+meterKeeps)
	if wait > 0 {
		m.amount = 1
	} else {
		m.amount = min(2*amount, meterMost)
	}
}

// empty gives up what was taken ahead.
func (m *meter) empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns, m.amount = 0, 1
}

// admitted waits for a request's turn at the pace that all replicas keep
// together. False means that the turn is too far off, and the gate knows.
func (r *runner) admitted(ctx context.Context) bool {
	used, amount := r.meter.use(r.options.Now())
	if used {
		return true
	}
	wait, taken, err := r.shared.Take(ctx, r.Name, r.Rate, amount, paceWait)
	if err == nil && !taken && amount > 1 {
		amount = 1
		wait, taken, err = r.shared.Take(ctx, r.Name, r.Rate, amount, paceWait)
	}
	switch {
	case err != nil:
		return ctx.Err() == nil // the target says itself when it is too much
	case !taken:
		r.meter.empty()
		r.gate.pace(wait)
		return false
	}
	now := r.options.Now()
	r.meter.took(now, amount, wait)
	if wait <= 0 {
		return true
	}
	select {
	case <-r.options.At(now.Add(wait)):
		return true
	case <-ctx.Done():
		return false
	}
}
