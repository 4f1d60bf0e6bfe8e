package fanout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// maxInternalErrors is how often a target may answer 500 to one object before
// it is taken for a refusal, if it takes others meanwhile. By then the retries
// are an hour apart.
const maxInternalErrors = 20

// maxLastError bounds what a slot keeps of an error, in bytes.
const maxLastError = 500

// call sends one request when the target has room for it and counts it.
func (r *round) call(ctx context.Context, op string, send func(context.Context) error) error {
	if r.capabilities.Gathers == 0 { // else the connector bounds its requests
		select {
		case r.requests <- struct{}{}:
			defer func() { <-r.requests }()
		case <-ctx.Done():
			return errNotSent
		}
	}
	if !r.passes() || r.stopped() || !r.admitted(ctx) {
		r.halt()
		return errNotSent
	}
	began := time.Now()
	err := send(ctx)
	outcome := "ok"
	if err != nil {
		outcome = string(target.ClassOf(err))
	}
	if err == nil && !r.reading && !r.removing {
		r.taken(ctx)
	}
	r.metrics.deliveries.WithLabelValues(r.Name, op, outcome).Inc()
	r.metrics.seconds.WithLabelValues(r.Name, op).Observe(time.Since(began).Seconds())
	if ctx.Err() == nil && !r.reading && r.gate.answered(r.scope, err) {
		r.closeGate(fmt.Errorf("%d failures in a row: %w", breakAfter, err))
		r.halt()
	}
	return err
}

// passes reports whether the target may be sent what the round has.
func (r *round) passes() bool {
	if r.removing {
		return r.gate.takesRemovals()
	}
	ok, _, _ := r.gate.open()
	return ok
}

// errNotSent means that a request was not begun: its slot stays as it was.
var errNotSent = errors.New("not sent")

// done is a slot the target has the desired version of.
func (r *round) done(slot storage.Slot, hash string) storage.Slot {
	slot.State = storage.SlotDelivered
	slot.Delivered = slot.Desired
	slot.Hash = hash
	slot.Uncertain = false
	slot.Attempts = 0
	slot.ErrorClass, slot.LastError = "", ""
	slot.DeliveredAt = r.options.Now()
	return slot
}

// delivered settles a slot as done.
func (r *round) delivered(slot storage.Slot, hash string) { r.settle(r.done(slot, hash)) }

// waiting settles a slot that needs a department that is not there yet.
func (r *round) waiting(slot storage.Slot, code, reason string) {
	slot.State = storage.SlotWaiting
	slot.Group = code
	slot.ErrorClass, slot.LastError = string(target.NeedsParent), reason
	r.settle(slot)
}

// failed settles a slot by the class of its failure. A failure of the target
// as a whole ends the round and uses up none of the slot's attempts.
func (r *round) failed(ctx context.Context, slot storage.Slot, err error) {
	if errors.Is(err, errNotSent) {
		return // stays open, is released as it was
	}
	if ctx.Err() != nil {
		r.forget(slot)
		return
	}
	details, _ := errors.AsType[*target.Error](err)
	if details == nil || details.UnknownOutcome {
		slot.Uncertain = true
	}
	class := target.ClassOf(err)
	if details != nil && r.refusedInTruth(details, slot.Attempts+1) {
		class = target.Permanent
		err = fmt.Errorf("given up after %d attempts, for the target takes other objects: %w", slot.Attempts+1, err)
	}
	slot.ErrorClass, slot.LastError = string(class), cut(err.Error(), maxLastError)
	now := r.options.Now()
	switch class {
	case target.Down, target.Disabled:
		if class == target.Down && r.gate.alone(slot.SlotKey) {
			slot.Attempts++
			slot.State, slot.DueAt = storage.SlotRetrying, now.Add(r.backoff(slot.Attempts))
			break
		}
		r.closeGate(err)
		r.halt()
		slot.DueAt = now
	case target.RateLimited:
		slot.State, slot.DueAt = storage.SlotRetrying, r.limited(ctx, err)
		r.halt()
	case target.Permanent, target.Conflict:
		passes, own := mayPass(slot.Kind, class), details != nil && details.Content
		if class == target.Permanent && !own && !(passes && slot.Attempts+1 < conflictTries) && r.refused(slot.Kind, err) {
			// Those that were not tried yet come before it.
			slot.Attempts++
			slot.State, slot.DueAt = storage.SlotRetrying, now
			break
		}
		slot.Attempts++
		if r.removing || passes && slot.Attempts < conflictTries {
			slot.State, slot.DueAt = storage.SlotRetrying, now.Add(r.backoff(slot.Attempts))
			break
		}
		slot.State = storage.SlotDead
		r.note(&r.dead, slot, err)
	default: // transient, needs-parent, gone
		if class == target.Transient && r.gate.onTrial() {
			r.gate.failedTrial()
			r.halt()
		}
		slot.Attempts++
		slot.State, slot.DueAt = storage.SlotRetrying, now.Add(r.backoff(slot.Attempts))
	}
	r.settle(slot)
}

// tally counts what is told of a round in one line, with its first case.
type tally struct {
	count int
	slot  storage.SlotKey
	err   error
}

func (r *round) note(t *tally, slot storage.Slot, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.count++; t.count == 1 {
		t.slot, t.err = slot.SlotKey, err
	}
}

// logTallies logs what a person must know of a round.
func (r *round) logTallies() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.dead; d.count > 0 {
		r.logger.Warn("dead letters", "scope", r.scope.String(), "count", d.count, "kind", d.slot.Kind.String(), "key", d.slot.Key, "error", d.err)
	}
	if d := r.incomplete; d.count > 0 {
		r.logger.Warn("delivered without attributes that the target refuses", "scope", r.scope.String(), "count", d.count,
			"kind", d.slot.Kind.String(), "key", d.slot.Key, "error", d.err)
	}
	r.dead, r.incomplete = tally{}, tally{}
}

// refusedInTruth reports whether a target calls an internal error of its own
// what is a refusal of this object: some answer 500 to whatever they do not
// take. One that is ill would not take others.
func (r *round) refusedInTruth(details *target.Error, attempts int) bool {
	return details.Class == target.Transient && details.Status == http.StatusInternalServerError &&
		attempts >= maxInternalErrors && r.gate.takes(r.Backoff.Max)
}

// retryAfter is how long the target asked to be left alone, 0 for no word.
func retryAfter(err error) time.Duration {
	if details, ok := errors.AsType[*target.Error](err); ok {
		return details.RetryAfter
	}
	return 0
}

// cut shortens text to at most n bytes, whole runes.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:n]
}
