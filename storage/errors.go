package storage

import "errors"

// ErrNotFound means that there is no such record.
var ErrNotFound = errors.New("not found")

// ErrAlreadyExists means that a record of that key is there already.
var ErrAlreadyExists = errors.New("already exists")

// ErrConflict means that the record changed since it was read, so that the
// caller's decision no longer holds: a hold that was decided or replaced.
var ErrConflict = errors.New("changed meanwhile")

// ErrLater in the error of a PlanFunc means that the push is not at fault: it
// stays in the journal, to be planned another time.
var ErrLater = errors.New("cannot be planned now")

// ErrBadCursor means that a page's cursor was not made by this store.
var ErrBadCursor = errors.New("cursor: not one of ours; start again without it")

// ErrBusy means that another owner holds the lease: try again later.
var ErrBusy = errors.New("leased to another")

// ErrLeaseLost means that the lease has ended or another owner has it now:
// what it covered must stop, and its outcomes are no longer taken.
var ErrLeaseLost = errors.New("lease is lost")

// ErrDamaged means that the store's file is damaged: a part of it, or more,
// cannot be read, and only a backup brings it back.
var ErrDamaged = errors.New("the database file is damaged: stop the connector and restore the data directory from a backup (docs/operations.md, backup and restore)")

// ErrClosed means that the store is closed.
var ErrClosed = errors.New("store is closed")
