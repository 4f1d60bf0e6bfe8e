package coordination

import (
	"context"
	"errors"
)

// ErrLockLost is the cause of a lease's context when somebody else may hold
// the lock.
var ErrLockLost = errors.New("lock was lost")

// Locks gives a key to one holder at a time, in about the order of asking.
//
// The lock keeps two writers apart as long as all goes well. What keeps them
// apart always is the token, which the store compares: it remembers the highest
// token it has seen for the key and refuses a lower one. A holder that was
// paused past its lease writes with a token that has been overtaken.
//
// Tokens of one key ascend over all holders on all replicas, also after the
// shared state was wiped: they are drawn from the clock (microseconds since
// 1970) and never repeat one that is remembered. Two things can break that: a
// wipe together with a clock set back, and replicas that go on alone, each by
// its own clock. In both the store refuses the low token, and the holder asks
// again with the token that the store knows as after.
type Locks interface {
	// Acquire waits for the key until ctx ends. The lease's token is greater
	// than after; pass 0, or the token by which the store refused the last one.
	Acquire(ctx context.Context, key string, after int64) (Lease, error)
}

// Lease is a lock that is held. It is renewed until Release.
type Lease interface {
	// Token is positive and below 2^53.
	Token() int64
	// Context descends from the one given to Acquire. It ends with ErrLockLost
	// as its cause when the lock may be held by another, and on Release.
	Context() context.Context
	// Release gives the lock back. It does not fail: a lock that cannot be
	// given back runs out. Calling it twice is harmless.
	Release()
}
