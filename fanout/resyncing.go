package fanout

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout/resync"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// listTries bounds how often a request of a list is made.
	listTries = 6
	// correctTries bounds how often a scope is asked for that a round has: longer
	// by far than a round takes.
	correctTries = 600
)

// compared is a runner's side of a resync: it implements resync.Ours.
type compared struct {
	*runner
	capabilities target.Capabilities
	lister       target.Lister
	report       *storage.Resync
}

var _ resync.Ours = (*compared)(nil)

// Objects implements resync.Ours: it renders them as a round would. What the
// target has of a scope that it wants no more is as good as a stranger's.
func (c *compared) Objects(ctx context.Context, kind storage.SlotKind, scope directory.Scope, keys []string) (map[string]resync.Object, error) {
	if !c.wants(scope) {
		return nil, nil
	}
	work := &round{runner: c.runner, scope: scope, capabilities: c.capabilities}
	tasks, err := work.lookup(ctx, kind, keys)
	if err != nil {
		return nil, err
	}
	all := make([]storage.Task, 0, len(tasks))
	for _, t := range tasks {
		all = append(all, t)
	}
	objects := make(map[string]resync.Object, len(all))
	if kind == storage.SlotDepartment {
		parents, err := work.parents(ctx, living(all))
		for _, t := range all {
			objects[t.Key] = c.department(work, t, parents)
		}
		return objects, err
	}
	if work.standing, err = c.standingOf(ctx, scope); err != nil {
		return nil, err
	}
	surroundings, err := work.surroundings(ctx, living(all))
	for _, t := range all {
		objects[t.Key] = c.user(work, t, surroundings)
	}
	return objects, err
}

// living are the tasks whose entity the store has.
func living(tasks []storage.Task) []storage.Task {
	there := make([]storage.Task, 0, len(tasks))
	for _, t := range tasks {
		if t.Department != nil || t.User != nil {
			there = append(there, t)
		}
	}
	return there
}

func (c *compared) department(work *round, t storage.Task, parents map[string]storage.Slot) resync.Object {
	object := resync.Object{Slot: t.Slot}
	if t.Department == nil || t.Department.Deleted {
		object.Fate, object.Settled = resync.Absent, t.RemoteID == ""
		return object
	}
	parentID := ""
	if c.capabilities.NativeParent {
		parentID = parents[t.Department.AttachedTo()].RemoteID
	}
	want, err := c.RenderDepartment(work.scope, t.Department, parentID)
	if err != nil {
		return object // it is due, and fails
	}
	want.Omit = omittedOf(t.Slot)
	object.Settled = upToDate(t.Slot, omittedHash(digestDepartment(want), want.Omit))
	want.Object = objectOf(work.scope, t)
	object.Compare = func(found target.Found) target.Comparison { return c.lister.CompareDepartment(found, want) }
	return object
}

func (c *compared) user(work *round, t storage.Task, s surroundings) resync.Object {
	object := resync.Object{Slot: t.Slot}
	what, active := work.decideUser(t.User, known(t))
	switch {
	case what == fateAbsent:
		object.Fate = resync.Absent // and due
		return object
	case what == fateLeave && !known(t) && work.unwanted(t.User) == Delete:
		object.Fate, object.Settled = resync.Absent, true
		return object
	case what == fateLeave:
		object.Fate, object.Settled = resync.Left, true
		return object
	}
	want, err := c.RenderUser(work.scope, t.User, s.tenant, s.departments[t.User.OrgCode].Department, active)
	if err != nil {
		return object // it is due, and fails
	}
	want.Omit = omittedOf(t.Slot)
	object.Settled = hasUser(t.Slot, omittedHash(digestUser(want), want.Omit), active)
	want.Object = objectOf(work.scope, t)
	object.Compare = func(found target.Found) target.Comparison { return c.lister.CompareUser(found, want) }
	return object
}

// unwanted is the policy for an account that is not to sign in.
func (r *round) unwanted(u *directory.User) Policy {
	switch {
	case u == nil || u.Deleted:
		return r.OnDelete
	case !u.Granted():
		return r.OnRevoke
	default:
		return r.onStanding(r.standing)
	}
}

// Slots implements resync.Ours.
func (c *compared) Slots(ctx context.Context) iter.Seq2[[]storage.Slot, error] {
	return func(yield func([]storage.Slot, error) bool) {
		page := storage.Page{}
		for {
			slots, cursor, err := c.store.Deliveries(ctx, storage.DeliveryFilter{Target: c.Name}, page)
			if err != nil {
				yield(nil, fmt.Errorf("read slots of %s: %w", c.Name, err))
				return
			}
			if !yield(slots, nil) || cursor == "" {
				return
			}
			page.Cursor = cursor
		}
	}
}

// Places implements resync.Ours.
func (c *compared) Places(slot storage.Slot) (member string, in []resync.Place) {
	p := parsePlaces(slot.Hash)
	for _, one := range p.In {
		in = append(in, resync.Place{Code: one.Code, Group: one.Group})
	}
	return p.Member, in
}

// Correct implements resync.Ours. It takes the scope's turn, so that no round
// has the slots meanwhile; what is made due is then delivered like any change.
func (c *compared) Correct(ctx context.Context, scope directory.Scope, corrections []resync.Correction) (done []bool, err error) {
	lease, err := c.takeTurn(ctx, scope)
	if err != nil {
		return nil, err
	}
	defer func() {
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
		err = errors.Join(err, c.store.Release(ended, lease))
	}()
	slots, err := c.slotsOf(ctx, scope, corrections)
	if err != nil {
		return nil, err
	}
	done = make([]bool, len(corrections))
	now := c.options.Now()
	var due []storage.Slot
	for i, one := range corrections {
		slot, ok := slots[storage.SlotKey{Target: c.Name, Scope: scope, Kind: one.Kind, Key: one.Key}]
		if !ok || slot.Marks != one.Marks || slot.State != storage.SlotDelivered || slot.Uncertain {
			continue
		}
		done[i] = true
		correct(slot, one)
		if i+1 < len(corrections) && corrections[i+1].Kind == one.Kind && corrections[i+1].Key == one.Key {
			continue
		}
		slot.State, slot.DueAt, slot.Attempts = storage.SlotPending, now, 0
		due = append(due, *slot)
	}
	if len(due) == 0 {
		return done, nil
	}
	if err := c.store.Settle(ctx, lease, due); err != nil {
		return nil, fmt.Errorf("make %d slots of %s due: %w", len(due), scope, err)
	}
	return done, nil
}

// takeTurn leases a scope, once the round that has it is over.
func (c *compared) takeTurn(ctx context.Context, scope directory.Scope) (storage.Lease, error) {
	for try := 1; ; try++ {
		lease, err := c.store.Lease(ctx, c.Name, scope, c.owner+resyncOwner, leaseFor)
		if err == nil || !errors.Is(err, storage.ErrBusy) || try == correctTries {
			return lease, err
		}
		select {
		case <-ctx.Done():
			return storage.Lease{}, ctx.Err()
		case <-c.options.At(c.options.Now().Add(busyRetry)):
		}
	}
}

func (c *compared) slotsOf(ctx context.Context, scope directory.Scope, corrections []resync.Correction) (map[storage.SlotKey]*storage.Slot, error) {
	keys := make(map[storage.SlotKind][]string)
	for _, one := range corrections {
		keys[one.Kind] = append(keys[one.Kind], one.Key)
	}
	slots := make(map[storage.SlotKey]*storage.Slot, len(corrections))
	work := &round{runner: c.runner, scope: scope}
	for kind, names := range keys {
		found, err := work.slots(ctx, kind, names)
		if err != nil {
			return nil, err
		}
		for _, slot := range found {
			slots[slot.SlotKey] = &slot
		}
	}
	return slots, nil
}

// correct notes in a slot what the target was found to have.
func correct(slot *storage.Slot, c resync.Correction) {
	in := parsePlaces(slot.Hash).In
	where := place{c.Place.Code, c.Place.Group}
	switch c.Do {
	case resync.Resend:
		slot.Hash = ""
	case resync.Recreate:
		// The list may have missed it: it is looked for before it is made.
		slot.RemoteID, slot.Hash, slot.Uncertain = "", "", true
	case resync.Relocate:
		slot.RemoteID, slot.Hash = c.RemoteID, ""
		slot.Cleared = 0 // another object: its removal counts anew
	case resync.AddPlace:
		slot.Hash = encodePlaces(c.RemoteID, placed(in, where))
	case resync.DropPlace:
		var rest []place
		for _, p := range in {
			if p != where {
				rest = append(rest, p)
			}
		}
		slot.Hash = encodePlaces(parsePlaces(slot.Hash).Member, rest)
	}
}

// through makes one request of the list, when the target may be sent to.
func (c *compared) through(ctx context.Context, op string, request func(context.Context) error) error {
	for try := 1; ; try++ {
		work := &round{runner: c.runner, reading: true}
		err := work.call(ctx, op, request)
		if err == nil {
			c.report.Requests++
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		until, again := c.again(ctx, err, try)
		if (!again || try == listTries) && errors.Is(err, errNotSent) {
			return &target.Error{Class: target.Down, Op: op, Detail: "the target may not be sent to now"}
		}
		if !again || try == listTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.options.At(until):
		}
	}
}

// again says whether and when a request of the list is to be made again.
func (c *compared) again(ctx context.Context, err error, try int) (until time.Time, again bool) {
	if errors.Is(err, errNotSent) {
		open, probe, until := c.gate.open()
		return until, open || (!probe && !until.IsZero() && c.gate.status().State == Up)
	}
	switch target.ClassOf(err) {
	case target.RateLimited:
		return c.limited(ctx, err), true
	case target.Transient:
		return c.options.Now().Add(c.backoff(try)), true
	case target.Down, target.Disabled:
		c.closeGate(err)
		return time.Time{}, false
	default:
		return time.Time{}, false
	}
}
