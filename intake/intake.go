// Package intake is the one way a push takes into the store: journal, plan,
// apply, answer; and, after a crash, finishing what was interrupted.
package intake

import (
	"context"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Planner decides what the pushes of one interface change.
type Planner interface {
	// Prepare does what needs no view and is slow or may refuse the push:
	// checking a list, opening a secret. It runs before the push is journaled
	// and again when an interrupted push is finished; it may complete the
	// payload in place.
	Prepare(ctx context.Context, push *directory.Push) error
	// Plan decides from the scope's view. It may be called again.
	Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error)
}
