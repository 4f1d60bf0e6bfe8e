package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// spreadBatch bounds the accounts made due in one write, so that pushes get
// their turn in between.
const spreadBatch = 2000

// onStanding is the policy for the accounts of an instance that stands so.
func (t *Target) onStanding(standing directory.Standing) Policy {
	switch standing {
	case directory.StandingFrozen:
		return t.OnFreeze
	case directory.StandingReleased:
		return t.OnRelease
	default:
		return Nothing
	}
}

// minds reports whether it makes a difference to the target how an instance stands.
func (t *Target) minds() bool { return t.OnFreeze != Nothing || t.OnRelease != Nothing }

// decideUser is the target's decision as the scope's instance stands.
func (r *round) decideUser(u *directory.User, known bool) (what fate, active bool) {
	return r.Target.decideUser(u, known, r.standing)
}

// ofUsers reports whether some tasks are accounts' or their memberships'.
func ofUsers(tasks []storage.Task) bool {
	return slices.ContainsFunc(tasks, func(t storage.Task) bool { return t.Kind.Entity() == directory.KindUser })
}

// standingOf is how a scope's instance stands, where that matters to accounts.
func (r *runner) standingOf(ctx context.Context, scope directory.Scope) (directory.Standing, error) {
	if scope.InstanceID == "" || !r.minds() {
		return directory.GoodStanding, nil
	}
	i, err := r.store.Instance(ctx, scope.Dataset, scope.InstanceID)
	if errors.Is(err, storage.ErrNotFound) {
		return directory.GoodStanding, nil
	}
	if err != nil {
		return directory.GoodStanding, fmt.Errorf("read instance of %s: %w", scope, err)
	}
	return i.Standing(), nil
}

// Spread makes the accounts of an instance due at every target to which it
// matters how the instance stands. It costs a few writes for each thousand
// accounts; the runners do the rest.
func (f *Fanout) Spread(ctx context.Context, dataset directory.Dataset, instanceID string) error {
	for page := (storage.Page{}); ; {
		states, next, err := f.store.States(ctx, storage.EntityFilter{Dataset: dataset, InstanceID: &instanceID}, page)
		if _, err = storage.Whole(err); err != nil {
			return fmt.Errorf("list the tenants of instance %s: %w", instanceID, err)
		}
		for i := range states {
			for _, r := range f.runners {
				if err := r.spread(ctx, states[i].Scope); err != nil {
					return err
				}
			}
		}
		if page.Cursor = next; next == "" {
			return nil
		}
	}
}

func (r *runner) spread(ctx context.Context, scope directory.Scope) error {
	if !r.minds() || !r.wants(scope) {
		return nil
	}
	for after := ""; ; {
		last, err := r.store.MarkUsers(ctx, r.Name, scope, after, spreadBatch)
		if err != nil || last == "" {
			return err
		}
		after = last
	}
}
