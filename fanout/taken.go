package fanout

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// conflictTries is how often a name may be found taken before a person must
	// look: whoever has it may give it up in the very push that wants it.
	conflictTries = 2
	// revivedMost bounds the dead letters that are gone through for those whose
	// name may be free now.
	revivedMost = 5000
)

// freed notes that an object has gone from the target, and its name is free.
func (r *round) freed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = true
}

// revive has the scope's dead letters tried again whose name was taken, when
// names have become free. One that is taken still is a dead letter again.
func (r *round) revive(ctx context.Context) error {
	if !r.names {
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
			if slot.ErrorClass != string(target.Conflict) {
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
