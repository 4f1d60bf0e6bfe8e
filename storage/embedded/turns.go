package embedded

import (
	"sync"

	"github.com/openkoo/connector/directory"
)

// turns gives each scope its order. Small pushes share a scope's turn, because
// the writer runs them one after the other; a long push takes it alone, because
// it plans outside the writer.
type turns struct {
	mu   sync.Mutex
	held map[directory.Scope]*turn
}

type turn struct {
	sync.RWMutex
	users int
}

func (t *turns) share(scope directory.Scope) (release func()) {
	turn := t.enter(scope)
	turn.RLock()
	return func() {
		turn.RUnlock()
		t.leave(scope, turn)
	}
}

// tryShare is share for work that can wait for another day: it does not wait
// for a long push.
func (t *turns) tryShare(scope directory.Scope) (release func(), ok bool) {
	turn := t.enter(scope)
	if !turn.TryRLock() {
		t.leave(scope, turn)
		return nil, false
	}
	return func() {
		turn.RUnlock()
		t.leave(scope, turn)
	}, true
}

func (t *turns) take(scope directory.Scope) (release func()) {
	turn := t.enter(scope)
	turn.Lock()
	return func() {
		turn.Unlock()
		t.leave(scope, turn)
	}
}

func (t *turns) enter(scope directory.Scope) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = make(map[directory.Scope]*turn)
	}
	held, ok := t.held[scope]
	if !ok {
		held = &turn{}
		t.held[scope] = held
	}
	held.users++
	return held
}

func (t *turns) leave(scope directory.Scope, held *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held.users--; held.users == 0 {
		delete(t.held, scope)
	}
}
