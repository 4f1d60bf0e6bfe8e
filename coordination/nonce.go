package coordination

import (
	"context"
	"errors"
	"time"
)

// ErrNonceReused means that a nonce came again with another signature
// (spec/marketplace.md §1.5).
var ErrNonceReused = errors.New("nonce was used before for another request")

// ErrNonceMemoryFull means that no nonce can be taken in now without
// forgetting one that is still within its window. The caller may try again.
var ErrNonceMemoryFull = errors.New("nonce memory is full")

// Answer is a remembered answer of the door: its result code
// (spec/marketplace.md §2), and its body with the code in it.
type Answer struct {
	Code string
	Body []byte
}

// Nonces remembers the first answer to each nonce (spec/marketplace.md §1.5).
type Nonces interface {
	// Once runs serve for the first request of a nonce and remembers its
	// answer for ttl. The same nonce with the same signature gets that answer
	// without serve being run; while serve is running it waits for it. Another
	// signature gets ErrNonceReused. If serve returns keep false, its answer
	// is returned but not remembered: the next request is the first again, and
	// so it is when serve panics, which goes on to the caller. Once returns
	// ctx's error when ctx ends while it waits.
	Once(ctx context.Context, nonce, signature string, ttl time.Duration, serve func() (answer Answer, keep bool)) (Answer, error)
}
