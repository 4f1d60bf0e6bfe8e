package fanout

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// conflictTries is how often a name may be found taken, or a place refused,
	// before a person must look: whoever has it may give it up in the very push
	// that wants it.
	conflictTries = 2
	// revivedTries bounds how often a dead letter is tried again for a name or a
	// place that may be free: renames are many.
	revivedTries = 10
	// revivedMost bounds the dead letters that are gone through for those whose
	// name may be free now.
	revivedMost = 5000
)

// mayPass reports a refusal that is over when another object of ours gives up
// its name or its place.
func mayPass(kind storage.SlotKind, class target.Class) bool {
	return class == target.Conflict || class == target.Permanent && kind == storage.SlotPlacement
}

// freed notes that an object has gone from the target, and left its name.
func (r *round) freed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
}

// changed notes that an object at the target may have another name or place now,
// and left the one it had.
func (r *round) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved = true
}

// revive has the scope's dead letters tried again that were refused for the sake
// of another's name or place, when some have become free. One that is refused
// still is a dead letter again.
func (r *round) revive(ctx context.Context) error {
	if !r.gone && !r.moved {
		return nil
	}
	filter := heldIn(r.Name, r.scope)
	filter.State = storage.SlotDead
	for page, seen := (storage.Page{}), 0; seen < revivedMost; {
		dead, next, err := r.store.Deliveries(ctx, filter, page)
		if err != nil {
			return fmt.Errorf("look for names that were taken in %s: %w", r.scope, err)
		}
		for _, slot := range dead {
			if !mayPass(slot.Kind, target.Class(slot.ErrorClass)) || !r.gone && slot.Attempts >= revivedTries {
				continue
			}
			slot.State, slot.DueAt = storage.SlotPending, r.options.Now()
			slot.ErrorClass, slot.LastError = "", ""
			r.settle(slot)
		}
		if seen, page.Cursor = seen+len(dead), next; next == "" {
			break
		}
	}
	return nil
}
