package fanout

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// breakAfter is how many deliveries in a row may fail before the target as a
// whole is taken to be down.
const breakAfter = 10

// gate says whether a target may be sent to: up, down until the next probe, or
// stopped on all replicas (storage.Stop). One failure that shows the target as
// a whole is down closes it for all slots, which keep their attempts.
type gate struct {
	name, kind string
	now        func() time.Time
	metrics    *metrics
	trip       func(reason string, wait time.Duration) // tells the replicas' breaker

	mu        sync.Mutex
	stop      *storage.Stop // nil: not stopped
	trial     bool          // a quarantined target is being tried
	state     State         // Up or Down
	since     time.Time
	lastError string
	lastOK    time.Time // a delivery succeeded
	// lastShared is the failure counted last: many deliveries may have gone in
	// one request.
	lastShared *target.Error
	refusals   refusals
	inARow     int                     // deliveries that failed since one got an answer
	tripping   bool                    // it is about to be closed: nothing more passes
	blame      blame                   // whose they were
	suspects   map[storage.SlotKey]int // how often objects have closed the gate
	closings   int                     // of the gate since a delivery succeeded
	limits     int                     // answers "too many" since a delivery succeeded
	nextProbe  time.Time               // nothing is sent before, once the gate closes
	notBefore  time.Time               // the target asked to be left alone until then
	resumed    bool                    // since the loop looked last
	changed    chan struct{}
}

func newGate(t Target, now func() time.Time, m *metrics) *gate {
	g := &gate{name: t.Name, kind: t.Type, now: now, metrics: m, state: Up, since: now(), changed: make(chan struct{}, 1)}
	g.show()
	return g
}

func (g *gate) status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{Name: g.name, Type: g.kind, State: g.shown(), Since: g.since, LastError: g.lastError}
	switch {
	case g.stop != nil:
		s.Since, s.By, s.Reason, s.NextProbe = g.stop.Since, g.stop.By, g.stop.Reason, g.stop.NextTrial
	case g.state == Down:
		s.NextProbe = g.nextProbe
	}
	return s
}

// shown is the state that counts.
func (g *gate) shown() State {
	if g.stop != nil {
		return State(g.stop.State)
	}
	return g.state
}

// show puts the state into the metrics.
func (g *gate) show() {
	shown := g.shown()
	for _, state := range States() {
		value := 0.0
		if state == shown {
			value = 1
		}
		g.metrics.state.WithLabelValues(g.name, string(state)).Set(value)
		if state == Up {
			g.metrics.up.WithLabelValues(g.name).Set(value)
		}
	}
}

// open reports whether the target may be sent to now; if not, until is when it
// is worth asking again (zero: when somebody resumes it) and probe says that
// the target has to be probed first.
func (g *gate) open() (ok, probe bool, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	switch {
	case g.tripping:
		return false, false, time.Time{}
	case g.stop != nil && !g.trial:
		return false, false, g.stop.NextTrial
	case now.Before(g.nextProbe):
		return false, false, g.nextProbe
	case g.state == Down:
		return false, true, time.Time{}
	case now.Before(g.notBefore):
		return false, false, g.notBefore
	default:
		return true, false, time.Time{}
	}
}

// follow stops or frees the target as the store has it.
func (g *gate) follow(stop *storage.Stop) {
	g.mu.Lock()
	if stop == nil && g.stop != nil && g.state == Up {
		g.since = g.now()
	}
	g.stop = stop
	g.trial = g.trial && stop != nil && stop.State == storage.StopQuarantined
	g.show()
	g.mu.Unlock()
	g.signal()
}

// closed ends the moment in which the gate is about to be closed.
func (g *gate) closed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tripping = false
}

// resume forgets what the target was left alone for.
func (g *gate) resume() {
	g.mu.Lock()
	g.nextProbe, g.notBefore = time.Time{}, time.Time{}
	g.inARow, g.closings, g.limits = 0, 0, 0
	g.refusals.inARow, g.trial = 0, false
	g.resumed = true
	g.mu.Unlock()
	g.signal()
}

// answered notes how a delivery of a scope ended and reports whether the gate is
// to be closed: breakAfter deliveries in a row got no proper answer. A refusal
// of one object shows that the target is well; one for lack of rights does not.
func (g *gate) answered(scope directory.Scope, err error) (tripped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	details, _ := errors.AsType[*target.Error](err)
	if details != nil && details == g.lastShared {
		return false // of the same request as the one before
	}
	g.lastShared = details
	switch class := target.ClassOf(err); {
	case err == nil:
		g.inARow, g.closings, g.limits = 0, 0, 0
		g.lastOK = g.now()
		g.blame.well(scope, g.lastOK)
	case class == target.Transient, details != nil && details.Status == http.StatusForbidden:
		g.inARow++
		g.blame.failed(scope, g.inARow)
	case class != target.Down && class != target.RateLimited:
		g.inARow = 0
	}
	if g.inARow < breakAfter || g.blame.oneTenants(g.now()) {
		return false
	}
	g.inARow = 0
	g.tripping = g.state == Up
	return g.tripping
}

// takes reports whether the target took a delivery within the last while.
func (g *gate) takes(within time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.lastOK.IsZero() && g.now().Sub(g.lastOK) <= within
}

// tookResume reports, once, that an operator resumed the target.
func (g *gate) tookResume() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	resumed := g.resumed
	g.resumed = false
	return resumed
}

// down closes the gate until a probe succeeds: after asked, if the target said
// so, or after a wait that grows with each closing since the last success.
// Requests that were under way when it closed fail too and count no further.
func (g *gate) down(err error, asked time.Duration, backoff func(n int) time.Duration) {
	g.mu.Lock()
	now := g.now()
	g.tripping = false
	if (g.stop != nil && !g.trial) || now.Before(g.nextProbe) {
		g.lastError = err.Error()
		g.mu.Unlock()
		return
	}
	g.trial = false
	g.closings++
	wait := backoff(g.closings)
	if asked > 0 {
		wait = asked
	}
	g.nextProbe = now.Add(wait)
	g.mu.Unlock()
	// The breaker first: a gate that is down while the breaker is not has been
	// reset by another replica.
	if g.trip != nil {
		g.trip(err.Error(), wait)
	}
	g.set(Down, err.Error())
}

// heed closes the gate, or keeps it closed, because the replicas' breaker is
// open for as long as wait.
func (g *gate) heed(reason string, wait time.Duration) {
	g.mu.Lock()
	g.nextProbe = g.now().Add(wait)
	up := g.state == Up
	g.mu.Unlock()
	if up {
		g.set(Down, reason)
	}
}

// probing makes a probe due: the breaker chose this replica for it.
func (g *gate) probing() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nextProbe = g.now()
}

// up opens the gate after a probe, and reports whether it was closed.
func (g *gate) up() bool {
	g.mu.Lock()
	down := g.state == Down
	g.nextProbe = time.Time{}
	g.mu.Unlock()
	if down {
		g.set(Up, "")
	}
	return down
}

// pace keeps the gate closed until the replicas' pace has a turn again.
func (g *gate) pace(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := g.now().Add(wait); until.After(g.notBefore) {
		g.notBefore = until
	}
}

// limited keeps the gate closed for as long as the target asked, or a while
// that grows, without calling it down. It returns until when.
func (g *gate) limited(asked time.Duration, backoff func(n int) time.Duration) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if asked <= 0 && now.Before(g.notBefore) {
		return g.notBefore // one of several under way; the first has counted
	}
	if asked <= 0 {
		g.limits++
		asked = backoff(g.limits)
	}
	if until := now.Add(asked); until.After(g.notBefore) {
		g.notBefore = until
	}
	return g.notBefore
}

func (g *gate) set(state State, lastError string) {
	g.mu.Lock()
	if g.state != state {
		g.state, g.since = state, g.now()
	}
	g.lastError = lastError
	g.show()
	g.mu.Unlock()
	g.signal()
}

func (g *gate) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}
