package intake

import (
	"context"
	"sync"

	"github.com/openkoo/connector/directory"
)

// gate bounds the full pushes that are planned at once: each takes a processor,
// and many times its size in memory. A tenant's pushes come one after the other
// anyway, and so only one of them takes a place that others could have.
type gate struct {
	places chan struct{}

	mu     sync.Mutex
	scopes map[directory.Scope]*queue
}

// queue is the pushes of a scope; one of them has what is in turn.
type queue struct {
	turn  chan struct{}
	users int
}

func newGate(places int) *gate {
	return &gate{places: make(chan struct{}, places), scopes: make(map[directory.Scope]*queue)}
}

// enter waits for the scope's turn, then for a place.
func (g *gate) enter(ctx context.Context, scope directory.Scope) (leave func(), err error) {
	q := g.join(scope)
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		g.part(scope, q)
		return nil, ctx.Err()
	}
	endTurn := func() {
		<-q.turn
		g.part(scope, q)
	}
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		endTurn()
		return nil, ctx.Err()
	}
	return func() {
		<-g.places
		endTurn()
	}, nil
}

func (g *gate) join(scope directory.Scope) *queue {
	g.mu.Lock()
	defer g.mu.Unlock()
	q, ok := g.scopes[scope]
	if !ok {
		q = &queue{turn: make(chan struct{}, 1)}
		g.scopes[scope] = q
	}
	q.users++
	return q
}

func (g *gate) part(scope directory.Scope, q *queue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(g.scopes, scope)
	}
}
