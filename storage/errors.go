package storage

import "errors"

// ErrNotFound means that there is no such record.
var ErrNotFound = errors.New("not found")

// ErrAlreadyExists means that a record of that key is there already.
var ErrAlreadyExists = errors.New("already exists")

// ErrConflict means that the record changed since it was read, so that the
// caller's decision no longer holds: a hold that was decided or replaced.
var ErrConflict = errors.New("changed meanwhile")

// ErrBadCursor means that a page's cursor was not made by this store.
var ErrBadCursor = errors.New("cursor: not one of ours; start again without it")

// ErrClosed means that the store is closed.
var ErrClosed = errors.New("store is closed")
