package coordination

import (
	"context"
	"errors"
)

// ErrUnavailable means that the shared state cannot be reached, or not be
// written, within the time allowed. Nothing is known of what became of the
// call; every call may be repeated, or made of another implementation.
var ErrUnavailable = errors.New("coordination is unavailable")

// Port is the whole of coordination; each consumer takes the part it needs.
// Once Close has returned, nothing of it runs any more.
type Port interface {
	Nonces
	Locks
	Buckets
	Breakers
	Wakeups
	Dispatcher
	// Ping tries to write. It fails with ErrUnavailable.
	Ping(ctx context.Context) error
	Close() error
}
