package resync

import (
	"context"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// changes are the differences found in one scope, with what is to be done.
type changes struct {
	scope       directory.Scope
	drifts      []storage.Drift
	corrections []Correction
}

func newChanges(scope directory.Scope) *changes { return &changes{scope: scope} }

// add notes a difference that making the slot due repairs.
func (c *changes) add(drift storage.Drift, correction Correction, slot storage.Slot) {
	correction.Kind, correction.Key, correction.Marks = slot.Kind, slot.Key, slot.Marks
	c.drifts = append(c.drifts, drift)
	c.corrections = append(c.corrections, correction)
}

// apply makes what differs due, unless this is a dry run, and records it.
func (r *run) apply(ctx context.Context, c *changes) error {
	if len(c.drifts) == 0 {
		return nil
	}
	var send []Correction
	var of []int // the drift of each
	for i := range c.drifts {
		drift := &c.drifts[i]
		drift.Unkept = r.notKept(drift)
		if drift.Unkept {
			r.report.Unkept++
		}
		if !r.report.DryRun && (!drift.Unkept || !r.Lenient) {
			send, of = append(send, c.corrections[i]), append(of, i)
		}
	}
	if len(send) > 0 {
		done, err := r.ours.Correct(ctx, c.scope, send)
		if err != nil {
			return err
		}
		for i, ok := range done {
			c.drifts[of[i]].Repaired = ok
			if ok {
				r.report.Repaired++
			}
		}
	}
	for _, drift := range c.drifts {
		r.record(drift)
	}
	return nil
}

// record counts a difference and keeps it if there is room.
func (r *run) record(drift storage.Drift) {
	r.report.Counts[drift.Finding]++
	r.keep(drift)
}

func (r *run) keep(drift storage.Drift) {
	if len(r.report.Drifts) >= r.MaxDrifts {
		r.report.Left++
		return
	}
	r.report.Drifts = append(r.report.Drifts, drift)
}

// notKept reports whether the very same was sent before and is as it was. Where
// the report of then had no room for all it is enough that the target had these
// attributes right of nobody.
func (r *run) notKept(drift *storage.Drift) bool {
	if sent, ok := r.before[nameOf(*drift)]; ok && drift.Print != "" && sent.Print == drift.Print {
		return true
	}
	if drift.Finding != storage.FindingChanged || r.Previous == nil || r.Previous.Left == 0 || len(drift.Attributes) == 0 {
		return false
	}
	return !slices.ContainsFunc(drift.Attributes, func(name string) bool {
		t := r.Previous.Attributes[name]
		return t.Same > 0 || t.Differ == 0
	})
}
