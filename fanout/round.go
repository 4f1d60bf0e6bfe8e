package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// settleTimeout bounds writing outcomes down after the round was told to end.
const settleTimeout = 10 * time.Second

// round works one scope's due slots off in phases, until none is due. Each
// phase's outcomes are on disk before the next begins, because the next looks
// up there what is at the target.
type round struct {
	*runner
	scope directory.Scope
	lease storage.Lease

	mu       sync.Mutex
	open     map[storage.SlotKey]storage.Slot // claimed, no outcome yet
	outcomes []storage.Slot                   // to be written
	stop     bool                             // nothing more may be sent
}

// round delivers what is due in a scope, unless another replica does.
func (r *runner) round(ctx context.Context, scope directory.Scope) error {
	lease, err := r.store.Lease(ctx, r.Name, scope, r.owner, leaseFor)
	if err != nil {
		return fmt.Errorf("lease %s: %w", scope, err)
	}
	held, stop := r.keepLease(ctx, lease)
	err = r.rounds(held, lease)
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

// rounds works a leased scope off until none of it is due.
func (r *runner) rounds(ctx context.Context, lease storage.Lease) error {
	scope := lease.Scope
	for {
		tasks, err := r.store.Claim(ctx, lease, r.options.Now(), claimBatch)
		if err != nil {
			return fmt.Errorf("claim slots of %s: %w", scope, err)
		}
		if len(tasks) == 0 {
			return nil
		}
		work := &round{runner: r, scope: scope, lease: lease, open: make(map[storage.SlotKey]storage.Slot, len(tasks))}
		for _, t := range tasks {
			work.open[t.SlotKey] = t.Slot
		}
		if err := work.phases(ctx, sortOut(tasks)); err != nil {
			return err
		}
	}
}

// batch is a round's tasks by phase.
type batch struct {
	putDepartments, deleteDepartments, users, members []storage.Task
}

func sortOut(tasks []storage.Task) batch {
	var b batch
	for _, t := range tasks {
		switch {
		case t.Kind == storage.SlotUser:
			b.users = append(b.users, t)
		case t.Kind != storage.SlotDepartment:
			b.members = append(b.members, t)
		case t.Department == nil || t.Department.Deleted:
			b.deleteDepartments = append(b.deleteDepartments, t)
		default:
			b.putDepartments = append(b.putDepartments, t)
		}
	}
	return b
}

// phases goes through the phases of the package comment, in order.
func (r *round) phases(ctx context.Context, b batch) error {
	var renewed []storage.SlotKey // objects that got a new remote id
	var absent []storage.Task     // accounts the target is not to have
	err := r.phase(ctx, func() (err error) {
		renewed, err = r.putDepartments(ctx, b.putDepartments)
		return err
	})
	if err == nil {
		err = r.phase(ctx, func() error {
			keys, gone, err := r.putUsers(ctx, b.users)
			renewed, absent = append(renewed, keys...), gone
			return err
		})
	}
	if err == nil {
		err = r.phase(ctx, func() error { return r.changeMembers(ctx, b.members, renewed) })
	}
	if err == nil {
		err = r.phase(ctx, func() error { return r.deleteUsers(ctx, absent) })
	}
	if err == nil {
		err = r.phase(ctx, func() error { return r.deleteDepartments(ctx, b.deleteDepartments) })
	}
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
// early when nothing more may be sent.
func (r *round) each(ctx context.Context, tasks []storage.Task, do func(context.Context, storage.Task)) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(r.Concurrency)
	for _, task := range tasks {
		if r.stopped() || running.Err() != nil {
			break
		}
		group.Go(func() error {
			do(running, task)
			return r.flushSome(running)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// settle notes a slot's outcome; flush writes it down.
func (r *round) settle(slot storage.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, slot.SlotKey)
	r.outcomes = append(r.outcomes, slot)
}

// forget leaves a slot as Claim has marked it on disk: its attempt was cut
// off, so whether it was carried out is not known.
func (r *round) forget(key storage.SlotKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, key)
}

// release gives slots that were claimed and not tried back as they were.
func (r *round) release(ctx context.Context) error {
	r.mu.Lock()
	for _, slot := range r.open {
		r.outcomes = append(r.outcomes, slot)
	}
	clear(r.open)
	r.mu.Unlock()
	return r.flush(ctx)
}

func (r *round) flushSome(ctx context.Context) error {
	r.mu.Lock()
	enough := len(r.outcomes) >= settleBatch
	r.mu.Unlock()
	if !enough {
		return nil
	}
	return r.flush(ctx)
}

// flush writes the outcomes down, even when ctx has ended: they did happen.
func (r *round) flush(ctx context.Context) error {
	r.mu.Lock()
	outcomes := r.outcomes
	r.outcomes = nil
	r.mu.Unlock()
	if len(outcomes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.store.Settle(ctx, r.lease, outcomes); err != nil {
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

// forEach runs do for every item, at most limit at once.
func forEach[T any](ctx context.Context, limit int, items []T, do func(context.Context, T)) error {
	var group errgroup.Group
	group.SetLimit(limit)
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			do(ctx, item)
			return nil
		})
	}
	return group.Wait()
}
