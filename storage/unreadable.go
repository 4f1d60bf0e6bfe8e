package storage

import (
	"errors"
	"fmt"
)

// UnreadableError comes with a page from which rows are left out because what
// the store keeps of them cannot be read. The rest of the page is good: one row
// harms nobody but itself. A push that sets the same thing writes it anew.
type UnreadableError struct {
	Rows []string // what is left out
	err  error    // why the first is
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%d of the page cannot be read and are left out, %s first: %v; push it again", len(e.Rows), e.Rows[0], e.err)
}

func (e *UnreadableError) Unwrap() error { return e.err }

// Unreadable gathers the rows that are left out of a page.
type Unreadable struct{ found UnreadableError }

// Add notes a row.
func (u *Unreadable) Add(row string, err error) {
	u.found.Rows = append(u.found.Rows, row)
	if u.found.err == nil {
		u.found.err = err
	}
}

// Err is an *UnreadableError if a row was left out.
func (u *Unreadable) Err() error {
	if len(u.found.Rows) == 0 {
		return nil
	}
	return &u.found
}

// Whole splits an error of a page: rows that were left out are no failure.
func Whole(err error) (leftOut *UnreadableError, failure error) {
	if leftOut, ok := errors.AsType[*UnreadableError](err); ok {
		return leftOut, nil
	}
	return nil, err
}

// ErrorClassUnreadable is the error class of a delivery whose entity cannot be read.
const ErrorClassUnreadable = "unreadable"

// UnreadableEntity is the last error of such a delivery.
const UnreadableEntity = "what the store keeps of it cannot be read; push it again"
