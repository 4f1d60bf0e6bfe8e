package fanout

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// refusal is a department that was refused for the sake of others: its parent
// is not there, or another of ours has its name. Those may yet be moved, renamed
// or removed by the very push that wants it.
type refusal struct {
	task   storage.Task
	err    error
	holder string // external id of the one that has its name
}

// putOff keeps a department for the end of its phase if the refusal may be over
// by then.
func (r *round) putOff(t storage.Task, err error) bool {
	details, ok := errors.AsType[*target.Error](err)
	if !ok || details.Class != target.NeedsParent && (details.Class != target.Conflict || details.Holder == "") {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusals = append(r.refusals, refusal{t, err, details.Holder})
	return true
}

func (r *round) takeRefusals() []refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.refusals
	r.refusals = nil
	slices.SortFunc(taken, func(a, b refusal) int { return strings.Compare(a.task.Key, b.task.Key) })
	return taken
}

// putAgain puts the departments that were put off, again and again for as long
// as one of them gets on. Of those that wait for each other one steps aside.
func (r *round) putAgain(ctx context.Context) error {
	aside := make(map[string]bool)
	for refused := r.takeRefusals(); len(refused) > 0; {
		tasks := make([]storage.Task, len(refused))
		for i := range refused {
			tasks[i] = refused[i].task
		}
		parents, err := r.parents(ctx, tasks)
		if err != nil {
			return err
		}
		err = r.each(ctx, tasks, func(ctx context.Context, t storage.Task) { r.putDepartment(ctx, t, parents) })
		if err != nil || r.stopped() {
			return err // what is not settled is released
		}
		if err := r.flush(ctx); err != nil {
			return err
		}
		before := len(refused)
		refused = r.takeRefusals()
		if len(refused) == before && !r.stepAside(ctx, refused, aside) {
			return r.giveUp(ctx, refused)
		}
	}
	return nil
}

// stepAside gives one department another name for now that has what another of
// them waits for, and cannot leave it because its own next name is taken too.
func (r *round) stepAside(ctx context.Context, refused []refusal, aside map[string]bool) bool {
	waiting := make(map[string]*storage.Task, len(refused))
	for i := range refused {
		waiting[r.scope.ExternalID(refused[i].task.Key)] = &refused[i].task
	}
	for _, one := range refused {
		holder := waiting[one.holder]
		if holder == nil || aside[one.holder] || holder.Key == one.task.Key {
			continue
		}
		aside[one.holder] = true
		want, err := r.RenderDepartment(r.scope, holder.Department, "")
		if err != nil {
			continue
		}
		want.Object, want.Name = objectOf(r.scope, *holder), target.Beside(want.Name, one.holder)
		// From now on the target may have what is not noted of it.
		holder.Hash = ""
		r.mu.Lock()
		r.open[nameOf(&holder.Slot)].Hash = ""
		r.mu.Unlock()
		err = r.call(ctx, "put department aside", func(ctx context.Context) error {
			_, err := r.Connector.PutDepartment(ctx, want)
			return err
		})
		if err == nil {
			return true
		}
		r.logger.InfoContext(ctx, "a department that has another's name could not step aside", "scope", r.scope.String(), "key", holder.Key, "error", err)
	}
	return false
}

// giveUp settles what is refused still. A parent that the target turned out not
// to have is sent again. Of two that came in different passes and wait for each
// other's names, both are due in the next one.
func (r *round) giveUp(ctx context.Context, refused []refusal) error {
	waiting, err := r.waitingHolders(ctx, refused)
	if err != nil {
		return err
	}
	var parents []string
	for _, one := range refused {
		slot := one.task.Slot
		if holder, ok := waiting[one.holder]; ok && slot.Attempts < revivedTries {
			for _, both := range []storage.Slot{slot, holder} {
				both.State, both.DueAt = storage.SlotRetrying, r.options.Now()
				both.Attempts++
				both.ErrorClass, both.LastError = string(target.ClassOf(one.err)), cut(one.err.Error(), maxLastError)
				r.settle(both)
			}
			continue
		}
		if target.ClassOf(one.err) == target.NeedsParent {
			parents = append(parents, one.task.Department.AttachedTo())
		}
		r.failed(ctx, slot, one.err)
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	return r.sendAgain(ctx, storage.SlotDepartment, parents)
}

// waitingHolders are those of other passes that have a name that is wanted here,
// and wait for another's themselves, by external id.
func (r *round) waitingHolders(ctx context.Context, refused []refusal) (map[string]storage.Slot, error) {
	here := make(map[string]bool, len(refused))
	for _, one := range refused {
		here[one.task.Key] = true
	}
	var keys []string
	for _, one := range refused {
		scope, key, err := directory.ParseExternalID(one.holder)
		if err == nil && scope == r.scope && !here[key] {
			keys = append(keys, key)
		}
	}
	slots, err := r.slots(ctx, storage.SlotDepartment, keys)
	if err != nil {
		return nil, err
	}
	waiting := make(map[string]storage.Slot)
	for key, slot := range slots {
		if open := slot.State == storage.SlotRetrying || slot.State == storage.SlotDead; open && slot.ErrorClass == string(target.Conflict) {
			waiting[r.scope.ExternalID(key)] = slot
		}
	}
	return waiting, nil
}

// sendAgain makes objects due that the target turned out not to have. Sent again
// even though unchanged, they are made anew.
func (r *round) sendAgain(ctx context.Context, kind storage.SlotKind, keys []string) error {
	found, err := r.slots(ctx, kind, keys)
	if err != nil {
		return err
	}
	for _, slot := range found {
		if stays(slot) {
			continue // not to be sent before it is decided
		}
		slot.Hash, slot.State, slot.DueAt = "", storage.SlotRetrying, r.options.Now()
		r.settle(slot)
	}
	return nil
}
