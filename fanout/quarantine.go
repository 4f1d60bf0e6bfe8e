package fanout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

const (
	// defaultQuarantineAfter is how many objects in a row a target may refuse
	// before it, and not they, is taken to be at fault.
	defaultQuarantineAfter = 20
	// trialFirst and trialMost bound the wait before a quarantined target is
	// tried again; it doubles with each trial.
	trialFirst = time.Minute
	trialMost  = time.Hour
	// takenLately is how long a target that takes one tenant's objects is not
	// to blame for refusing another's.
	takenLately = 10 * time.Minute
)

// refusals counts the objects that a target has refused since it took one, and
// remembers of which tenants. Only the gate touches it.
type refusals struct {
	inARow int
	scope  directory.Scope // of the first; many: there are others
	many   bool
	// taken is when the target last took something, of the tenant it did last,
	// and of the one before that.
	taken [2]taking
}

type taking struct {
	scope directory.Scope
	at    time.Time
}

func (r *refusals) took(scope directory.Scope, now time.Time) {
	if r.taken[0].scope != scope {
		r.taken[1] = r.taken[0]
	}
	r.taken[0] = taking{scope, now}
	r.inARow, r.many = 0, false
}

// refused counts one more, and reports whether the target is at fault: it has
// refused so many in a row, and not of a single tenant while it took another's.
func (r *refusals) refused(scope directory.Scope, now time.Time, most int) bool {
	if r.inARow == 0 {
		r.scope = scope
	}
	r.inARow++
	r.many = r.many || r.scope != scope
	if r.inARow < most {
		return false
	}
	for _, t := range r.taken {
		if !r.many && !t.at.IsZero() && t.scope != r.scope && now.Before(t.at.Add(takenLately)) {
			return false
		}
	}
	return true
}

// refused notes that the target refused an object. atFault says that the target
// is to blame, quarantine that it is to be quarantined for it now.
func (g *gate) refused(scope directory.Scope, most int) (atFault, quarantine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	quarantined := g.stop != nil && g.stop.State == storage.StopQuarantined
	tripped := g.refusals.refused(scope, g.now(), most)
	g.trial = false
	if tripped && g.stop == nil && !g.tripping {
		g.tripping = true
		return true, true
	}
	return tripped || quarantined, false
}

// took notes that the target took an object, and reports whether that ends its
// quarantine.
func (g *gate) took(scope directory.Scope) (healed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusals.took(scope, g.now())
	return g.stop != nil && g.stop.State == storage.StopQuarantined
}

// trialDue reports whether a quarantined target is to be tried.
func (g *gate) trialDue() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stop != nil && g.stop.State == storage.StopQuarantined && !g.trial && !g.now().Before(g.stop.NextTrial)
}

// try lets a quarantined target be probed, and sent to until it fails.
func (g *gate) try() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trial, g.state, g.nextProbe = true, Down, time.Time{}
}

// failedTrial ends a trial.
func (g *gate) failedTrial() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trial = false
}

// onTrial reports that a quarantined target is being tried here.
func (g *gate) onTrial() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trial
}

// refused notes that the target refused an object of a kind, and reports whether
// the target is at fault rather than the object. A trial goes on with what is of
// another kind: what was refused says nothing of that.
func (r *round) refused(kind storage.SlotKind, cause error) bool {
	switch {
	case r.removing:
		return false
	case r.gate.onTrial():
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refusedKinds == nil {
			r.refusedKinds = make(map[storage.SlotKind]bool)
		}
		r.refusedKinds[kind] = true
		return true
	}
	atFault, quarantine := r.gate.refused(r.scope, r.QuarantineAfter)
	if quarantine {
		r.quarantine(cause)
	}
	if atFault {
		r.halt()
	}
	return atFault
}

// skips reports whether the target has refused one of a kind in this trial.
func (r *round) skips(kind storage.SlotKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusedKinds[kind]
}

// endTrial ends a trial in which something was refused and nothing was taken.
func (r *round) endTrial() {
	r.mu.Lock()
	refused := len(r.refusedKinds) > 0
	r.mu.Unlock()
	if refused {
		r.gate.failedTrial()
	}
}

// takesRemovals reports whether deactivations and deletions may be sent to the target
// though it is in quarantine: nobody keeps an access for the sake of what the
// target refuses of others.
func (g *gate) takesRemovals() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	return g.stop != nil && g.stop.State == storage.StopQuarantined && !g.trial && !g.tripping && g.state == Up &&
		!now.Before(g.nextProbe) && !now.Before(g.notBefore)
}

// leaversRest is how often a target in quarantine is sent removals that failed
// there, though nothing else has changed.
const leaversRest = time.Minute

// sendLeavers goes on with the removals at a target in quarantine: of all scopes
// after a change, and now and then.
func (r *runner) sendLeavers(ctx context.Context, until time.Time) (more bool, next time.Time, err error) {
	if !r.gate.takesRemovals() || r.capabilities.Load() == nil && !r.probe(ctx) {
		return false, until, nil
	}
	read, err := r.relay(ctx)
	if err != nil || read > 0 {
		r.leaversAt = time.Time{}
		return read > 0, time.Time{}, err
	}
	now := r.options.Now()
	due, _, err := r.store.DueScopes(ctx, r.Name, now)
	if err != nil {
		return false, time.Time{}, err
	}
	due = slices.DeleteFunc(due, func(scope directory.Scope) bool { return !r.wants(scope) })
	if !now.Before(r.leaversAt) {
		r.leavers, r.leaversAt = due, now.Add(leaversRest)
	}
	before := maps.Clone(r.asked) // a round under way has claimed what it found
	if next, err = r.askFor(ctx, due, r.leavers, time.Time{}); err != nil {
		return false, time.Time{}, err
	}
	r.leavers = slices.DeleteFunc(r.leavers, func(scope directory.Scope) bool {
		_, was := before[scope]
		_, is := r.asked[scope]
		return is && !was
	})
	if len(due) > 0 {
		next = earliest(next, r.leaversAt)
	}
	return false, earliest(until, next), nil
}

// quarantine stops the target on all replicas until a trial succeeds.
func (r *runner) quarantine(cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	now := r.options.Now().UTC()
	stop := storage.Stop{
		State: storage.StopQuarantined, Since: now, NextTrial: now.Add(trialFirst),
		Reason: cut(fmt.Sprintf("%d objects in a row refused: %v", r.QuarantineAfter, cause), maxReason),
	}
	r.logger.Error("target is quarantined: it refuses whatever it is sent; it is tried now and then", "nextTrial", stop.NextTrial, "error", cause)
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		if record.Stop != nil {
			return errUnchanged
		}
		record.Stop = &stop
		return nil
	})
	if err != nil {
		r.logger.Error("the quarantine is forgotten by a restart", "error", err)
		r.gate.follow(&stop)
	}
	r.gate.closed()
	r.tell(ctx)
}

// tryQuarantined takes the next trial of a quarantined target for this replica,
// if no other one has.
func (r *runner) tryQuarantined(ctx context.Context) error {
	if !r.gate.trialDue() {
		return nil
	}
	now, taken := r.options.Now().UTC(), false
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		stop := record.Stop
		taken = stop != nil && stop.State == storage.StopQuarantined && !now.Before(stop.NextTrial)
		if !taken {
			return errUnchanged
		}
		next := *stop
		next.Trials++
		next.NextTrial = now.Add(min(trialMost, trialFirst<<min(next.Trials, 10)))
		record.Stop = &next
		return nil
	})
	if err != nil {
		return err
	}
	if !taken {
		r.readAt = time.Time{} // another replica was first
		return nil
	}
	r.logger.Debug("quarantined target is tried")
	r.gate.try()
	return nil
}

// accountsFirst reports that a quarantined target is tried with accounts first:
// at every other trial, from the first on. A trial ends at a refusal, and where
// a target takes no departments, no leaver would ever be barred.
func (r *runner) accountsFirst() bool {
	stop := r.kept().Stop
	return r.gate.onTrial() && stop != nil && stop.Trials%2 == 1
}

// heal ends a quarantine: the target took something, or nothing waits for it
// and it answers.
func (r *runner) heal(ctx context.Context) error {
	healed := false
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		healed = record.Stop != nil && record.Stop.State == storage.StopQuarantined
		if !healed {
			return errUnchanged
		}
		record.Stop = nil
		return nil
	})
	if err != nil || !healed {
		return err
	}
	r.logger.Info("target leaves its quarantine; what it refused before is to be replayed: POST /api/v1/deliveries/replay")
	r.tell(ctx)
	return nil
}

// taken notes that the target took an object.
func (r *round) taken(ctx context.Context) {
	if !r.gate.took(r.scope) {
		return
	}
	if err := r.heal(ctx); err != nil && !errors.Is(err, context.Canceled) {
		r.logger.Warn("the target works, and its quarantine could not be ended; it is tried again", "error", err)
	}
}
