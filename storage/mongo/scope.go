package mongo

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

// scopeDoc is a scope in the collection directory, of kind 0.
type scopeDoc struct {
	ID    string `bson:"_id"` // directory.Scope.String
	Scope string `bson:"s"`
	Place `bson:",inline"`
	Kind  int32 `bson:"k"`
	// Turn numbers the newest turn. Open names the push that has it, empty when
	// nobody has; Owner and Until say who, and how long.
	Turn  int64  `bson:"turn"`
	Open  string `bson:"open"`
	Owner string `bson:"owner"`
	Until int64  `bson:"until"`
	// Top is the largest Seq of the scope's entities, set by the feed.
	Top int64 `bson:"top"`
	// At is when the newest change was made; it never goes back.
	At int64 `bson:"at"`
	// Seen tells scopes a push was applied to from those that only ever had
	// one refused: the latter are not known to anybody.
	Seen  bool     `bson:"seen"`
	State stateDoc `bson:"state"`
}

// stateDoc is what pushes change of a scope as a whole. The journal keeps it as
// an after-image, so that writing it twice does no harm.
type stateDoc struct {
	FullTime        int64  `bson:"full"`
	Digest          []byte `bson:"digest,omitempty"`
	Departments     int    `bson:"departments"`
	ParentMissing   int    `bson:"missing"`
	Users           int    `bson:"users"`
	Applications    int    `bson:"applications"`
	Hold            []byte `bson:"hold,omitempty"` // packed: it may name many departments
	LastFull        string `bson:"lastFull,omitempty"`
	LastIncremental string `bson:"lastIncremental,omitempty"`
}

// state is the scope as the port shows it. It leaves out what it cannot read and
// returns why: no push of the scope would
// be taken any more, though the next one may write it anew.
func (d *scopeDoc) state() (s directory.State, unreadable error) {
	s = directory.State{
		Scope: d.scope(), FullTime: directory.SourceTime(d.State.FullTime), FullDigest: d.State.Digest, Seq: d.Top,
		Departments: d.State.Departments, ParentMissing: d.State.ParentMissing, Users: d.State.Users, Applications: d.State.Applications,
	}
	s.Hold, unreadable = d.State.hold()
	for _, part := range []struct {
		text string
		into **directory.PushMark
	}{{d.State.LastFull, &s.LastFull}, {d.State.LastIncremental, &s.LastIncremental}} {
		if part.text == "" {
			continue
		}
		mark := new(directory.PushMark)
		if err := json.Unmarshal([]byte(part.text), &mark); err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		*part.into = mark
	}
	return s, unreadable
}

// hold is the hold, nil for none.
func (d *stateDoc) hold() (*directory.Hold, error) {
	text, err := blob.Unpack(d.Hold)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	var hold directory.Hold
	if err := json.Unmarshal(text, &hold); err != nil {
		return nil, fmt.Errorf("hold: %w", err)
	}
	return &hold, nil
}

// effect is what a plan changes of another push's record: a hold that was
// decided or replaced.
type effect struct {
	ID     string `bson:"id"`
	Result string `bson:"result"`
	Note   string `bson:"note,omitempty"`
	// DecidedAt is when the hold was decided.
	DecidedAt int64 `bson:"decided,omitempty"`
	// IfHeld changes the record only while it holds deletions.
	IfHeld bool `bson:"ifHeld,omitempty"`
}

// after is the scope's state once a plan is applied, and what that does to
// other records.
func (d *scopeDoc) after(plan *directory.Plan, at time.Time) (stateDoc, []effect, error) {
	next := d.State
	next.Departments += plan.Delta.Departments
	next.ParentMissing += plan.Delta.ParentMissing
	next.Users += plan.Delta.Users
	next.Applications += plan.Delta.Applications
	next.FullTime = max(next.FullTime, int64(plan.FullTime))
	if plan.FullTime != 0 || len(plan.Departments) > 0 {
		next.Digest = plan.FullDigest
	}
	if !plan.HoldSet {
		return next, nil, nil
	}
	var effects []effect
	old, _ := d.State.hold() // none, if it cannot be read
	if old != nil && (plan.Hold == nil || plan.Hold.PushID != old.PushID) {
		effects = append(effects, effect{ID: old.PushID, Result: string(directory.ResultReplaced), IfHeld: true})
	}
	next.Hold = nil
	if plan.Hold != nil {
		plan.Hold.Since = at
		text, err := json.Marshal(plan.Hold)
		if err != nil {
			return next, nil, fmt.Errorf("encode hold: %w", err)
		}
		next.Hold = blob.Pack(text)
	}
	return next, effects, nil
}

// mark notes a push as the scope's newest of its sort.
func (d *stateDoc) mark(record *storage.Record, result directory.Result) error {
	text, err := json.Marshal(directory.PushMark{
		ID: record.ID, Kind: record.Kind, Result: result, SourceTime: record.SourceTime, ReceivedAt: record.ReceivedAt,
	})
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	if record.Kind == directory.AllOrgSync {
		d.LastFull = string(text)
	} else {
		d.LastIncremental = string(text)
	}
	return nil
}

// remark changes the result in the mark of the last full push, if it is this one.
func (d *stateDoc) remark(pushID string, result directory.Result) error {
	if d.LastFull == "" {
		return nil
	}
	var mark directory.PushMark
	if err := json.Unmarshal([]byte(d.LastFull), &mark); err != nil {
		return fmt.Errorf("stored mark: %w", err)
	}
	if mark.ID != pushID {
		return nil
	}
	mark.Result = result
	text, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	d.LastFull = string(text)
	return nil
}
