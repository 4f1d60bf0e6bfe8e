package storage

import (
	"time"

	"github.com/openkoo/connector/directory"
)

// Phase is how far a journaled push has come.
type Phase string

// The phases. A push found Received at start-up was interrupted: it is
// finished before the door opens.
const (
	PhaseReceived Phase = "received"
	PhaseApplied  Phase = "applied"
)

// Record is a push in the journal.
type Record struct {
	ID         string               `json:"id"`
	Scope      directory.Scope      `json:"scope"`
	Kind       directory.PushKind   `json:"kind"`
	Flag       directory.Flag       `json:"flag"`
	SourceTime directory.SourceTime `json:"sourceTime"`
	ReceivedAt time.Time            `json:"receivedAt"`
	// AppliedAt is zero until the push is applied.
	AppliedAt time.Time        `json:"appliedAt,omitzero"`
	Phase     Phase            `json:"phase"`
	Result    directory.Result `json:"result,omitempty"`
	Counts    directory.Counts `json:"counts,omitempty"`
	// Note says who decided a hold, when and how, and who made a push that is no
	// call of the marketplace.
	Note string `json:"note,omitempty"`
	// DecidedAt is when a hold was approved or rejected.
	DecidedAt time.Time `json:"decidedAt,omitzero"`
	// Size is the body's length in bytes.
	Size int `json:"size"`
}

// Restamp gives a push whose body was read again what is not its body's to
// say. Its time is the record's: the door may have corrected it.
func (r *Record) Restamp(push *directory.Push) {
	push.ID, push.ReceivedAt, push.SourceTime = r.ID, r.ReceivedAt, r.SourceTime
}

// RecordOf is the journal's record of a push that has just arrived.
func RecordOf(push *directory.Push) Record {
	return Record{
		ID: push.ID, Scope: push.Scope, Kind: push.Kind(), Flag: push.Flag,
		SourceTime: push.SourceTime, ReceivedAt: push.ReceivedAt,
		Phase: PhaseReceived, Note: push.Note, Size: len(push.Raw),
	}
}
