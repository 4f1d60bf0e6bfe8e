package fanout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openkoo/connector/storage"
)

const (
	// recordKeeps is how long what was read of a target's record is good where
	// other replicas may change it.
	recordKeeps = 2 * time.Second
	// maxReason bounds what a stop keeps of its reason, in bytes.
	maxReason = 1000
)

// errUnchanged ends an update of a record that needs none.
var errUnchanged = errors.New("nothing to change")

// refresh reads the target's record where another replica may have changed it,
// and follows it.
func (r *runner) refresh(ctx context.Context) error {
	now := r.options.Now()
	if !r.readAt.IsZero() && (r.options.Poll <= 0 || now.Before(r.readAt.Add(recordKeeps))) {
		return nil
	}
	record, err := r.store.Target(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("read what is kept of the target: %w", err)
	}
	r.readAt = now
	r.adopt(record)
	return r.locate(ctx)
}

// moved is who stops a target whose address is another than before: no operator's
// name.
const moved = "orgsync, for its address"

func isMoved(stop *storage.Stop) bool {
	return stop != nil && stop.State == storage.StopPaused && stop.By == moved
}

// elsewhere stops a target whose objects have the ids that are kept of them at
// another address.
func (r *runner) elsewhere(before string) *storage.Stop {
	reason := fmt.Sprintf("its address was %s and is %s now. If that is the same directory, resume it. If it is another one, "+
		"give the target another name: the ids that are kept of its objects may be others' there", before, r.Address)
	return &storage.Stop{State: storage.StopPaused, By: moved, Since: r.options.Now().UTC(), Reason: cut(reason, maxReason)}
}

// locate stops, at start, a target whose address is another than the one where
// its objects have the ids that are kept of them. One that is back is freed.
func (r *runner) locate(ctx context.Context) error {
	if r.located || r.Address == "" {
		return nil
	}
	if known := r.kept(); known.Address == r.Address && !isMoved(known.Stop) {
		r.located = true
		return nil
	}
	has, err := r.store.Objects(ctx, r.Name)
	if err != nil {
		return fmt.Errorf("count what the target has: %w", err)
	}
	err = r.update(ctx, func(record *storage.TargetRecord) error {
		stopped := isMoved(record.Stop)
		switch {
		case record.Address == "" || record.Address == r.Address || has == 0:
			record.Address = r.Address
			if stopped {
				record.Stop = nil
			}
		case record.Stop != nil && record.Stop.State != storage.StopQuarantined && !stopped:
			return errUnchanged // until that stop is ended
		default:
			record.Stop = r.elsewhere(record.Address)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.located = true
	if stop := r.kept().Stop; isMoved(stop) {
		r.logger.Error("target is paused", "reason", stop.Reason)
	}
	return nil
}

// update changes the target's record and follows it. That nothing changed is
// no error.
func (r *runner) update(ctx context.Context, change func(*storage.TargetRecord) error) error {
	record, err := r.store.UpdateTarget(ctx, r.Name, change)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep the state of target %s: %w", r.Name, err)
	}
	r.adopt(record)
	return nil
}

// adopt takes a record over unless a newer one is known.
func (r *runner) adopt(record storage.TargetRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if record.Revision < r.record.Revision {
		return
	}
	stopped := !sameStop(r.record.Stop, record.Stop)
	r.record = record
	held := 0.0
	if !record.HeldSince.IsZero() {
		held = 1
	}
	r.metrics.held.WithLabelValues(r.Name).Set(held)
	if stopped {
		r.gate.follow(record.Stop)
	}
}

func sameStop(a, b *storage.Stop) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.State == b.State && a.By == b.By && a.Reason == b.Reason && a.Since.Equal(b.Since) && a.NextTrial.Equal(b.NextTrial)
}

// kept is the target's record as far as this replica knows.
func (r *runner) kept() storage.TargetRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record
}

// status is how the target is doing.
func (r *runner) status() Status {
	s, record := r.gate.status(), r.kept()
	s.HeldSince, s.LastDecision = record.HeldSince, record.Decision
	return s
}

// halted stops the target on all replicas.
func (r *runner) halted(ctx context.Context, stop storage.Stop) error {
	stop.Since, stop.Reason = r.options.Now().UTC(), cut(stop.Reason, maxReason)
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		record.Stop = &stop
		return nil
	})
	if err != nil {
		return err
	}
	r.tell(ctx)
	return nil
}

// resumed ends whatever stops the target, on all replicas, and lets this one
// forget what it was left alone for.
func (r *runner) resumed(ctx context.Context) error {
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		if record.Stop == nil {
			return errUnchanged
		}
		if r.Address != "" && record.Address != "" && record.Address != r.Address && !isMoved(record.Stop) {
			record.Stop = r.elsewhere(record.Address) // it was stopped for something else, and nobody was told
			return nil
		}
		record.Stop = nil
		if r.Address != "" {
			record.Address = r.Address
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.gate.resume()
	r.tell(ctx)
	return nil
}

// disabled stops the target for good: it asked to be sent nothing more.
func (r *runner) disabled(cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	stop := storage.Stop{State: storage.StopDisabled, Reason: cut(cause.Error(), maxReason), Since: r.options.Now().UTC()}
	already := false // by a request under way at the same time
	err := r.update(ctx, func(record *storage.TargetRecord) error {
		if already = record.Stop != nil && record.Stop.State != storage.StopQuarantined; already {
			return errUnchanged
		}
		record.Stop = &stop
		return nil
	})
	if already {
		return
	}
	r.logger.Warn("target asked to be sent nothing more; nothing is sent until somebody resumes it", "error", cause)
	if err != nil {
		r.logger.Error("that the target asked to be sent nothing more is forgotten by a restart", "error", err)
		r.gate.follow(&stop)
	}
	r.tell(ctx)
}

// tell has the other replicas read the target's record.
func (r *runner) tell(ctx context.Context) {
	if err := r.shared.Publish(ctx, r.topic()); err != nil {
		r.logger.Warn("the other replicas learn of the target's state a little later", "error", err)
	}
}
