package fanout

import (
	"sync"
	"time"
)

// gate says whether a target may be sent to: up, down until the next probe, or
// paused by an operator. One failure that shows the target as a whole is down
// closes it for all slots, which keep their attempts.
type gate struct {
	name, kind string
	now        func() time.Time
	metrics    *metrics

	mu        sync.Mutex
	state     State
	since     time.Time
	lastError string
	failures  int
	nextProbe time.Time
	notBefore time.Time // the target asked to be left alone until then
	changed   chan struct{}
}

func newGate(t Target, now func() time.Time, m *metrics) *gate {
	g := &gate{name: t.Name, kind: t.Type, now: now, metrics: m, state: Up, since: now(), changed: make(chan struct{}, 1)}
	m.up.WithLabelValues(t.Name).Set(1)
	return g
}

func (g *gate) status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{Name: g.name, Type: g.kind, State: g.state, Since: g.since, LastError: g.lastError}
	if g.state == Down {
		s.NextProbe = g.nextProbe
	}
	return s
}

// open reports whether the target may be sent to now; if not, wait is how long
// until it is worth asking again (0: until somebody resumes it) and probe says
// that the target has to be probed first.
func (g *gate) open() (ok, probe bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	switch {
	case g.state == Paused:
		return false, false, 0
	case g.state == Down && now.Before(g.nextProbe):
		return false, false, g.nextProbe.Sub(now)
	case g.state == Down:
		return false, true, 0
	case now.Before(g.notBefore):
		return false, false, g.notBefore.Sub(now)
	default:
		return true, false, 0
	}
}

func (g *gate) pause() { g.set(Paused, g.lastErrorText()) }

func (g *gate) resume() {
	g.mu.Lock()
	g.nextProbe, g.notBefore, g.failures = time.Time{}, time.Time{}, 0
	paused := g.state == Paused
	g.mu.Unlock()
	if paused {
		g.set(Up, g.lastErrorText())
		return
	}
	g.signal()
}

// down closes the gate until a probe succeeds; wait draws the time to it.
func (g *gate) down(err error, wait func(failures int) time.Duration) {
	g.mu.Lock()
	if g.state == Paused {
		g.lastError = err.Error()
		g.mu.Unlock()
		return
	}
	g.failures++
	g.nextProbe = g.now().Add(wait(g.failures))
	g.mu.Unlock()
	g.set(Down, err.Error())
}

// up opens the gate after a probe.
func (g *gate) up() {
	g.mu.Lock()
	g.failures = 0
	if g.state != Down {
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	g.set(Up, "")
}

// restUntil keeps the gate closed until t without calling the target down.
func (g *gate) restUntil(t time.Time) {
	g.mu.Lock()
	if t.After(g.notBefore) {
		g.notBefore = t
	}
	g.mu.Unlock()
}

func (g *gate) lastErrorText() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastError
}

func (g *gate) set(state State, lastError string) {
	g.mu.Lock()
	if g.state != state {
		g.state, g.since = state, g.now()
	}
	g.lastError = lastError
	g.mu.Unlock()
	value := 0.0
	if state == Up {
		value = 1
	}
	g.metrics.up.WithLabelValues(g.name).Set(value)
	g.signal()
}

func (g *gate) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}
