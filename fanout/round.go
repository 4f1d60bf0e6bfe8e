package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// settleTimeout bounds writing outcomes down after the round was told to end.
const settleTimeout = 10 * time.Second

// round works the slots of one claim off in phases. Each phase's outcomes are
// on disk before the next begins, because the next looks up there what is at
// the target.
type round struct {
	*runner
	scope        directory.Scope
	lease        storage.Lease
	capabilities target.Capabilities
	standing     directory.Standing // of the scope's instance
	reading      bool               // of a list: what comes of it says nothing about deliveries
	removing     bool               // of removals alone: the target is in quarantine

	mu       sync.Mutex
	open     map[slotName]*storage.Slot // claimed, no outcome yet
	outcomes []storage.Slot             // to be written
	spare    []storage.Slot             // room for the next ones
	stop     bool                       // nothing more may be sent
	gone     bool                       // an object is, and its name free
	moved    bool                       // an object may be, and its name free
	refusals []refusal                  // of departments, for the sake of others
	// What is told of the round in one line each.
	dead, incomplete tally
	// refusedKinds are the kinds of which the target has refused one in this trial.
	refusedKinds map[storage.SlotKind]bool
}

// slotName tells the slots of one round apart.
type slotName struct {
	kind storage.SlotKind
	key  string
}

func nameOf(slot *storage.Slot) slotName { return slotName{slot.Kind, slot.Key} }

// round delivers what is due in a scope, a claim's worth, unless another
// replica does (storage.ErrBusy). It reports nothing when the target became
// unfit to be sent to: the gate knows.
func (r *runner) round(ctx context.Context, scope directory.Scope, capabilities target.Capabilities) error {
	lease, err := r.store.Lease(ctx, r.Name, scope, r.owner, leaseFor)
	if err != nil {
		return fmt.Errorf("lease %s: %w", scope, err)
	}
	held, stop := r.keepLease(ctx, lease)
	err = r.leased(held, lease, capabilities)
	stop()
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return errors.Join(err, r.store.Release(ended, lease))
}

// keepLease extends a lease until stop is called; the context it returns ends
// when the lease is lost.
func (r *runner) keepLease(ctx context.Context, lease storage.Lease) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-held.Done():
				return
			case <-time.After(leaseFor / 3):
				if _, err := r.store.Extend(held, lease, leaseFor); errors.Is(err, storage.ErrLeaseLost) {
					cancel(err)
				}
			}
		}
	})
	return held, func() {
		cancel(nil)
		done.Wait()
	}
}

// leased works off a claim of a scope that is ours for now. Of a target in
// quarantine it is what takes something away there: that waits for nobody.
func (r *runner) leased(ctx context.Context, lease storage.Lease, capabilities target.Capabilities) error {
	work := &round{runner: r, scope: lease.Scope, lease: lease, capabilities: capabilities, removing: r.gate.takesRemovals()}
	var wanted func(storage.Task) bool
	if work.removing {
		var err error
		if work.standing, err = r.standingOf(ctx, lease.Scope); err != nil {
			return err
		}
		wanted = work.removal
	}
	tasks, err := r.store.Claim(ctx, lease, r.options.Now(), claimBatch, wanted)
	if err != nil {
		return fmt.Errorf("claim slots of %s: %w", lease.Scope, err)
	}
	if ofUsers(tasks) { // read behind the claim: a later change makes them due anew
		if work.standing, err = r.standingOf(ctx, lease.Scope); err != nil {
			return err
		}
	}
	work.open = make(map[slotName]*storage.Slot, len(tasks))
	for i := range tasks {
		work.open[nameOf(&tasks[i].Slot)] = &tasks[i].Slot
	}
	r.noteLost(ctx, lease.Scope, tasks)
	b := sortOut(tasks)
	if len(tasks) == claimBatch {
		work.deferDeletes(&b)
	}
	if err = work.guard(ctx, &b); err != nil {
		return errors.Join(err, work.release(ctx))
	}
	if err := work.phases(ctx, b); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// noteLost logs the slots of which an earlier attempt's answer never came: what
// the target is sent of them it may be sent for the second time.
func (r *runner) noteLost(ctx context.Context, scope directory.Scope, tasks []storage.Task) {
	lost := 0
	for _, t := range tasks {
		if t.Uncertain {
			lost++
			r.logger.DebugContext(ctx, "lost answer", "scope", scope.String(), "kind", t.Kind.String(), "key", t.Key)
		}
	}
	if lost > 0 {
		r.logger.InfoContext(ctx, "attempts whose answers were lost are made again", "scope", scope.String(), "slots", lost)
	}
}

// deferDeletes keeps deletions back while there is more to create and change
// than one claim holds: a department goes after its members have moved on.
func (r *round) deferDeletes(b *batch) {
	if len(b.putDepartments)+len(b.users)+len(b.members) == 0 {
		return
	}
	for _, t := range b.deleteDepartments {
		slot := t.Slot
		slot.DueAt = r.options.Now().Add(deleteRest)
		r.settle(slot)
	}
	b.deleteDepartments = nil
}

// batch is a round's tasks by phase.
type batch struct {
	putDepartments, deleteDepartments, users, members []storage.Task
}

func sortOut(tasks []storage.Task) batch {
	var b batch
	place := func(t *storage.Task) *[]storage.Task {
		switch {
		case t.Kind == storage.SlotUser:
			return &b.users
		case t.Kind != storage.SlotDepartment:
			return &b.members
		case t.Department == nil || t.Department.Deleted:
			return &b.deleteDepartments
		default:
			return &b.putDepartments
		}
	}
	// Claimed in order of kind, tasks of one phase mostly stand together: such a
	// stretch is not copied unless another follows.
	for from := 0; from < len(tasks); {
		into, to := place(&tasks[from]), from+1
		for to < len(tasks) && place(&tasks[to]) == into {
			to++
		}
		if *into == nil {
			*into = tasks[from:to:to]
		} else {
			*into = append(*into, tasks[from:to]...)
		}
		from = to
	}
	return b
}

// phases goes through the phases of the package comment, in order.
func (r *round) phases(ctx context.Context, b batch) error {
	var absent []storage.Task // accounts the target is not to have
	puts := []func() error{
		func() error { return r.putDepartments(ctx, b.putDepartments) },
		func() (err error) {
			absent, err = r.putUsers(ctx, b.users)
			return err
		},
	}
	if r.accountsFirst() {
		slices.Reverse(puts)
	}
	err := r.phase(ctx, puts[0])
	if err == nil {
		err = r.phase(ctx, puts[1])
	}
	if err == nil {
		err = r.phase(ctx, func() error {
			members, err := r.withLeaving(ctx, b, absent)
			if err != nil {
				return err
			}
			return r.changeMembers(ctx, members)
		})
	}
	if err == nil {
		err = r.phase(ctx, func() error { return r.deleteUsers(ctx, absent) })
	}
	if err == nil {
		err = r.phase(ctx, func() error { return r.deleteDepartments(ctx, b.deleteDepartments) })
	}
	r.logTallies()
	r.endTrial()
	err = errors.Join(err, r.revive(ctx))
	return errors.Join(err, r.release(ctx))
}

// phase runs one phase and writes its outcomes down, whatever became of it.
func (r *round) phase(ctx context.Context, run func() error) error {
	err := run()
	if flushErr := r.flush(ctx); flushErr != nil {
		return errors.Join(err, flushErr)
	}
	if err == nil && r.stopped() {
		return errStopped
	}
	return err
}

// each runs do for every task, as many at once as the target allows, and ends
// early when nothing more may be sent. Outcomes are written down meanwhile: no
// request waits for the disk.
func (r *round) each(ctx context.Context, tasks []storage.Task, do func(context.Context, storage.Task)) error {
	var writing errgroup.Group
	writing.SetLimit(1)
	forEach(ctx, r.limit(), tasks, func(ctx context.Context, t storage.Task) {
		if r.stopped() || r.skips(t.Kind) {
			return
		}
		do(ctx, t) // settles its task
		if r.enough() {
			writing.TryGo(func() error { return r.flush(ctx) })
		}
	})
	if err := writing.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// settle notes a slot's outcome; flush writes it down.
func (r *round) settle(slot storage.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, nameOf(&slot))
	r.outcomes = append(r.outcomes, slot)
}

// forget leaves a slot as Claim has marked it on disk: its attempt was cut
// off, so whether it was carried out is not known.
func (r *round) forget(slot storage.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, nameOf(&slot))
}

// release gives slots that were claimed and not tried back as they were.
func (r *round) release(ctx context.Context) error {
	r.mu.Lock()
	for _, slot := range r.open {
		r.outcomes = append(r.outcomes, *slot)
	}
	clear(r.open)
	r.mu.Unlock()
	return r.flush(ctx)
}

// enough reports whether there are outcomes worth a write.
func (r *round) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.outcomes) >= settleBatch
}

// flush writes the outcomes down, even when ctx has ended: they did happen. A
// failure ends the round.
func (r *round) flush(ctx context.Context) error {
	r.mu.Lock()
	outcomes := r.outcomes
	r.outcomes, r.spare = r.spare, nil
	r.mu.Unlock()
	if len(outcomes) == 0 {
		return nil
	}
	defer func() {
		r.mu.Lock()
		r.spare = outcomes[:0]
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.store.Settle(ctx, r.lease, outcomes); err != nil {
		r.halt() // what is sent must be written down
		return fmt.Errorf("settle %d slots of %s: %w", len(outcomes), r.scope, err)
	}
	return nil
}

func (r *round) stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop
}

func (r *round) halt() {
	r.mu.Lock()
	r.stop = true
	r.mu.Unlock()
}

// limit is how much of the target's concurrency one scope may use: some is
// left to the others, should this one's requests hang.
func (r *round) limit() int {
	if r.capabilities.Gathers > 0 {
		return r.capabilities.Gathers
	}
	return max(1, r.Concurrency-r.Concurrency/4)
}

// forEach runs do for every item, at most limit at once, and begins none after
// ctx ended. do reports through its item. Few goroutines do all: growing a new
// one's stack for each request costs as much as writing its outcome down.
func forEach[T any](ctx context.Context, limit int, items []T, do func(context.Context, T)) {
	var begun atomic.Int64
	var workers sync.WaitGroup
	for range min(limit, len(items)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(begun.Add(1)) - 1
				if i >= len(items) {
					return
				}
				do(ctx, items[i])
			}
		})
	}
	workers.Wait()
}
