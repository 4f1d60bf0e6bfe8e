package storage

import (
	"context"
	"time"
)

// StopState says why a target is sent nothing, on whatever replica.
type StopState string

// The reasons. A target that merely does not answer is none of them: each
// replica finds that out, and its end, by itself.
const (
	StopPaused      StopState = "paused"      // by an operator
	StopDisabled    StopState = "disabled"    // by the target's own word
	StopQuarantined StopState = "quarantined" // by too many failures; tried now and then
)

// Stop is that a target is sent nothing until it is resumed.
type Stop struct {
	State  StopState `json:"state"`
	By     string    `json:"by,omitempty"` // the operator
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	// Trials counts the tries a quarantined target has had, NextTrial is when
	// it has the next.
	Trials    int       `json:"trials,omitempty"`
	NextTrial time.Time `json:"nextTrial,omitzero"`
}

// RemovalCount counts the removals at a target within one slice of time.
type RemovalCount struct {
	Slice int64 `json:"slice"` // Unix time by the length of a slice
	Count int   `json:"count"`
}

// HeldDecision is what somebody decided about removals that were held.
type HeldDecision struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
	Removals int       `json:"removals"`
}

// TargetRecord is what is kept of a target as a whole. It outlives restarts,
// and all replicas see the same.
type TargetRecord struct {
	Name string `json:"name"`
	// Revision counts the updates; the store sets it.
	Revision int64 `json:"revision"`
	Stop     *Stop `json:"stop,omitempty"`
	// Address is where what slots know of the target's objects is true.
	Address string `json:"address,omitempty"`
	// Removals counts the latest removals, oldest slice first.
	Removals []RemovalCount `json:"removals,omitempty"`
	// HeldSince is when removals began to be held, zero when none are.
	HeldSince time.Time     `json:"heldSince,omitzero"`
	Decision  *HeldDecision `json:"decision,omitempty"` // the latest
}

// Targets is what is kept of targets as a whole.
type Targets interface {
	// Target reads a target's record; one never written is empty but for its
	// name.
	Target(ctx context.Context, targetName string) (TargetRecord, error)

	// UpdateTarget changes a target's record, no other update in between, and
	// returns what it is then. change does no I/O and may be called again; its
	// error is returned as it is, and nothing is written.
	UpdateTarget(ctx context.Context, targetName string, change func(*TargetRecord) error) (TargetRecord, error)

	// Objects counts the departments and accounts that a target has of us.
	Objects(ctx context.Context, targetName string) (int, error)

	// Holds reports whether any slot that matches is held. It costs a look-up,
	// however many slots there are.
	Holds(ctx context.Context, filter DeliveryFilter) (bool, error)

	// DecideHeld ends the hold of the held slots that match, whatever State the
	// filter names: approved ones become pending and Cleared for their Desired
	// version, rejected ones become kept, Kept for it. It returns how many
	// removals that were: slots of departments and users.
	DecideHeld(ctx context.Context, filter DeliveryFilter, approve bool) (removals int, err error)
}
