package target

import (
	"errors"
	"fmt"
	"time"
)

// Class is what a failure means for what happens next.
type Class string

// The classes of failure.
const (
	// Transient: try again later with backoff (5xx, reset, timeout).
	Transient Class = "transient"
	// RateLimited: try again when RetryAfter has passed (429).
	RateLimited Class = "rate-limited"
	// NeedsParent: something it refers to is not at the target yet.
	NeedsParent Class = "needs-parent"
	// Conflict: the target has another object of that name that is not ours.
	Conflict Class = "conflict"
	// Gone: the target no longer has the object.
	Gone Class = "gone"
	// Permanent: the same request can never succeed (4xx). Dead letter.
	Permanent Class = "permanent"
	// Down: the target as a whole cannot be reached or does not let us in.
	Down Class = "target-down"
	// Disabled: the target asked to be sent nothing more. It is paused until an
	// operator resumes it.
	Disabled Class = "disabled"
)

// Error is how a connector fails.
type Error struct {
	Class Class
	// Op is what was attempted: "create group", "patch user".
	Op string
	// Status is the HTTP status, or the protocol's own result code; 0 for none.
	Status int
	// Detail is the target's own words, cut to a length fit for a log, with no
	// secret in it.
	Detail string
	// RetryAfter is how long the target asked to be left alone, 0 for no word.
	RetryAfter time.Duration
	// UnknownOutcome means that the request may have been carried out: the
	// answer was lost.
	UnknownOutcome bool
	// Content says that a Permanent refusal is for what this object says, and
	// speaks for no other. Attributes are those that may be at fault and that the
	// target can do without, in the connector's words: one, if the target names it.
	Content    bool
	Attributes []string
	// Holder is our name for the object of ours that has what a Conflict is
	// about; empty if it is not ours, or not known.
	Holder string
	Err    error
}

// Error reads "create group: transient: status 503: try later".
func (e *Error) Error() string {
	text := e.Op + ": " + string(e.Class)
	if e.Status != 0 {
		text += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of a connector's error. An error without one is
// Transient: trying again is the answer that loses nothing.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Transient
}
