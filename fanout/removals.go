package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// RemovalLimit bounds the deletions and deactivations at a target within an
// hour. What would exceed both bounds waits for a decision.
type RemovalLimit struct {
	// PerHour may always be removed within an hour, however few the target has.
	PerHour int
	// Percent is the share of what the target has that may be removed within
	// an hour; with 100 nothing is ever held.
	Percent int
}

// DefaultRemovals is the limit of a target that names none.
var DefaultRemovals = RemovalLimit{PerHour: 20, Percent: 5}

// none reports that nothing is ever held.
func (l RemovalLimit) none() bool { return l.Percent >= 100 }

func (l RemovalLimit) check(name string) error {
	if l.PerHour < 0 || l.Percent < 0 || l.Percent > 100 {
		return fmt.Errorf("target %q: removals: %d an hour and %d %%: want 0 or more, and 0 to 100 %%", name, l.PerHour, l.Percent)
	}
	return nil
}

const (
	// countedBy is how finely removals are counted: an hour is the last
	// slicesInHour of such slices.
	countedBy    = 5 * time.Minute
	slicesInHour = int64(time.Hour / countedBy)
	// countShare bounds what counting the target's objects may cost: a count
	// that took long is not repeated before this many times as long.
	countShare = 20
)

// ErrNothingHeld means that no removal waits for a decision.
var ErrNothingHeld = errors.New("nothing is held")

// errOver means that removals exceed the limit.
var errOver = errors.New("over the limit")

// objects is how many departments and accounts the target has: the most that
// was counted within the last hour, so that a share of it does not shrink with
// every removal.
type objects struct {
	most    int
	counted time.Time // when most was
	next    time.Time // when counting again is worth its cost
}

// inactiveMark ends the hash of an account that is deactivated at the target.
const inactiveMark = "-"

// removal reports whether bringing a task to the target takes something away
// from there: a department, an account, or an account's right to sign in.
func (r *round) removal(t storage.Task) bool {
	switch {
	case !known(t):
		return false
	case t.Kind == storage.SlotDepartment:
		return !r.capabilities.NoDepartments && (t.Department == nil || t.Department.Deleted)
	case t.Kind != storage.SlotUser:
		return false
	}
	switch what, active := r.decideUser(t.User, true); {
	case what == fateAbsent:
		return true
	case what == fateLeave, active, strings.HasSuffix(t.Hash, inactiveMark):
		return false
	}
	// Barring the accounts of a frozen instance is an order, and is taken back
	// with the freeze.
	what, active := r.Target.decideUser(t.User, true, directory.GoodStanding)
	return what != fatePut || !active
}

// stays reports whether an object that is to be removed stays for now, or for
// good.
func stays(slot storage.Slot) bool {
	return slot.State == storage.SlotHeld || slot.Kept != 0 && slot.Kept == slot.Desired
}

// guard takes out of a batch the removals that are not to be made: those that
// were rejected, and those over the limit, which are held.
func (r *round) guard(ctx context.Context, b *batch) error {
	asking := 0
	for _, tasks := range []([]storage.Task){b.users, b.deleteDepartments} {
		for _, t := range tasks {
			if r.removal(t) && !stays(t.Slot) && t.Cleared != t.Desired {
				asking++
			}
		}
	}
	cleared := true
	if asking > 0 {
		var err error
		if cleared, err = r.clear(ctx, asking); err != nil {
			return err
		}
	}
	b.users = r.guarded(b.users, cleared)
	b.deleteDepartments = r.guarded(b.deleteDepartments, cleared)
	if !cleared { // before anybody can see that something is held
		if err := r.holding(ctx, true); err != nil {
			return err
		}
	}
	// Their places in groups are decided by what is on disk.
	if err := r.flush(ctx); err != nil || cleared {
		return err
	}
	return r.noteHeld(ctx) // the loop may have found nothing held in between
}

// guarded settles the removals that are not to be made, marks those that are,
// and returns all others and them.
func (r *round) guarded(tasks []storage.Task, cleared bool) []storage.Task {
	if !slices.ContainsFunc(tasks, r.removal) {
		return tasks
	}
	left := tasks[:0:0]
	for _, t := range tasks {
		switch {
		case !r.removal(t):
		case stays(t.Slot):
			r.stay(t.Slot, t.Slot)
			continue
		case t.Cleared == t.Desired:
		case cleared:
			// Noted also if it is not sent after all: it counts once.
			t.Cleared = t.Desired
			slot := t.Slot
			r.mu.Lock()
			r.open[nameOf(&slot)] = &slot
			r.mu.Unlock()
		default:
			held := t.Slot
			held.State = storage.SlotHeld
			r.stay(held, held)
			continue
		}
		left = append(left, t)
	}
	return left
}

// stay settles a slot, which is an object's own or that of its place in a
// group, as the object's: held or kept.
func (r *round) stay(slot, object storage.Slot) {
	slot.State = storage.SlotKept
	if object.State == storage.SlotHeld {
		slot.State = storage.SlotHeld
	}
	slot.Attempts, slot.ErrorClass, slot.LastError = 0, "", ""
	r.settle(slot)
}

// clear asks whether n more removals are within the limit, and counts them if
// so. A scope that has removals held has all further ones held too: a mass
// deletion that comes in parts is one.
func (r *round) clear(ctx context.Context, n int) (bool, error) {
	if !r.kept().HeldSince.IsZero() && !r.Removals.none() {
		holds, err := r.store.Holds(ctx, heldIn(r.Name, r.scope))
		if err != nil {
			return false, fmt.Errorf("look for held removals of %s: %w", r.scope, err)
		}
		if holds {
			r.overLimit(n, 0, 0)
			return false, nil
		}
	}
	has := r.objectsKnown()
	used, limit, err := r.count(ctx, n, has)
	if errors.Is(err, errOver) { // by what is known, and the target may have grown
		now, failed := r.countObjects(ctx)
		if failed != nil {
			return false, failed
		}
		if now > has {
			used, limit, err = r.count(ctx, n, now)
		}
	}
	if errors.Is(err, errOver) {
		r.overLimit(n, used, limit)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("count removals of %s: %w", r.scope, err)
	}
	r.metrics.removals.WithLabelValues(r.Name, "cleared").Add(float64(n))
	return true, nil
}

// overLimit tells of removals that are held.
func (r *round) overLimit(n, used, limit int) {
	r.metrics.removals.WithLabelValues(r.Name, "held").Add(float64(n))
	r.logger.Warn("deletions and deactivations are held until somebody approves or rejects them: orgsync holds",
		"scope", r.scope.String(), "removals", n, "lastHour", used, "limit", limit)
}

// count adds n removals to those of the last hour, unless they are over the
// limit. has is how many objects the target has, as far as is known.
func (r *round) count(ctx context.Context, n, has int) (used, limit int, err error) {
	slice := r.options.Now().Unix() / int64(countedBy/time.Second)
	record, err := r.store.UpdateTarget(ctx, r.Name, func(record *storage.TargetRecord) error {
		var recent []storage.RemovalCount
		used = 0
		for _, c := range record.Removals {
			// What is counted in a time to come was counted before the clock was set.
			if c.Slice > slice-slicesInHour && c.Slice < slice+slicesInHour {
				recent, used = append(recent, c), used+c.Count
			}
		}
		limit = max(r.Removals.PerHour, has*r.Removals.Percent/100)
		switch {
		case used+n > limit && !r.Removals.none():
			return errOver
		case len(recent) > 0 && recent[len(recent)-1].Slice == slice:
			recent[len(recent)-1].Count += n
		default:
			recent = append(recent, storage.RemovalCount{Slice: slice, Count: n})
		}
		record.Removals = recent
		return nil
	})
	if err == nil {
		r.adopt(record)
	}
	return used, limit, err
}

// objectsKnown is how many objects the target has, as far as was counted
// within the last hour.
func (r *runner) objectsKnown() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.options.Now().Sub(r.objects.counted) >= time.Hour {
		r.objects.most = 0
	}
	return r.objects.most
}

// countObjects counts the target's objects, unless that was done just now, and
// returns what is known then.
func (r *runner) countObjects(ctx context.Context) (int, error) {
	began := time.Now()
	r.mu.Lock()
	known, next := r.objects.most, r.objects.next
	r.mu.Unlock()
	if began.Before(next) {
		return known, nil
	}
	n, err := r.store.Objects(ctx, r.Name)
	if err != nil {
		return 0, fmt.Errorf("count what the target has: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects.next = time.Now().Add(countShare * time.Since(began))
	if n >= r.objects.most {
		r.objects.most, r.objects.counted = n, r.options.Now()
	}
	return r.objects.most, nil
}

// noteHeld notes since when something is held, and whether anything still is.
func (r *runner) noteHeld(ctx context.Context) error {
	holds, err := r.store.Holds(ctx, storage.DeliveryFilter{Target: r.Name})
	if err != nil {
		return fmt.Errorf("look for held removals: %w", err)
	}
	return r.holding(ctx, holds)
}

// holding notes that something is held, or that nothing is.
func (r *runner) holding(ctx context.Context, holds bool) error {
	if holds != r.kept().HeldSince.IsZero() {
		return nil
	}
	return r.update(ctx, func(record *storage.TargetRecord) error {
		switch {
		case !holds:
			record.HeldSince = time.Time{}
		case record.HeldSince.IsZero():
			record.HeldSince = r.options.Now().UTC()
		}
		return nil
	})
}

// heldIn selects the held slots of a scope.
func heldIn(targetName string, scope directory.Scope) storage.DeliveryFilter {
	return storage.DeliveryFilter{Target: targetName, Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID}
}

// Decide ends the hold of deletions and deactivations at a target that match.
// Approved ones go out; rejected ones are not made, and what they were to
// remove stays at the target as it is. Either way it is about what is held
// now: what comes later is counted anew. ErrNothingHeld if none matches.
func (f *Fanout) Decide(ctx context.Context, filter storage.DeliveryFilter, decision storage.HeldDecision) (removals int, err error) {
	r, err := f.target(filter.Target)
	if err != nil {
		return 0, err
	}
	return r.decide(ctx, filter, decision)
}

func (r *runner) decide(ctx context.Context, filter storage.DeliveryFilter, decision storage.HeldDecision) (removals int, err error) {
	if removals, err = r.store.DecideHeld(ctx, filter, decision.Approved); err != nil {
		return removals, err
	}
	if removals == 0 {
		return 0, fmt.Errorf("target %s: %w", r.Name, ErrNothingHeld)
	}
	decision.At, decision.Removals, decision.Reason = r.options.Now().UTC(), removals, cut(decision.Reason, maxReason)
	err = r.update(ctx, func(record *storage.TargetRecord) error {
		record.Decision = &decision
		return nil
	})
	if err == nil {
		err = r.noteHeld(ctx)
	}
	if err != nil {
		return removals, fmt.Errorf("%d removals are decided, and who did it is not kept: %w", removals, err)
	}
	r.logger.Info("held deletions and deactivations are decided",
		"approved", decision.Approved, "removals", removals, "by", decision.By, "reason", decision.Reason)
	r.tell(ctx)
	return removals, nil
}
