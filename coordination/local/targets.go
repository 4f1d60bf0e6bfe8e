package local

import (
	"context"
	"sync"
	"time"

	"github.com/openkoo/connector/coordination"
)

// DefaultProbeLease is how long a probe of a target may take.
const DefaultProbeLease = 30 * time.Second

// Buckets keeps a token bucket for each key ever used, which are the targets
// of the configuration.
type Buckets struct {
	now func() time.Time
	mu  sync.Mutex
	all map[string]*coordination.Bucket
}

// Breakers keeps a breaker for each key ever used, which are the targets of
// the configuration.
type Breakers struct {
	now   func() time.Time
	lease time.Duration
	mu    sync.Mutex
	all   map[string]*coordination.Breaker
}

var (
	_ coordination.Buckets  = (*Buckets)(nil)
	_ coordination.Breakers = (*Breakers)(nil)
)

// NewBuckets makes buckets that go by now (default time.Now).
func NewBuckets(now func() time.Time) *Buckets {
	if now == nil {
		now = time.Now
	}
	return &Buckets{now: now, all: make(map[string]*coordination.Bucket)}
}

// Take implements coordination.Buckets.
func (b *Buckets) Take(_ context.Context, key string, rate coordination.Rate, n int, patience time.Duration) (time.Duration, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait, taken := entryOf(b.all, key).Take(b.now(), rate, n, patience)
	return wait, taken, nil
}

// Shrink implements coordination.Buckets.
func (b *Buckets) Shrink(_ context.Context, key string, rate coordination.Rate, rest time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	entryOf(b.all, key).Shrink(b.now(), rate, rest)
	return nil
}

// NewBreakers makes breakers that go by now (default time.Now). A probe may
// take as long as lease (0: DefaultProbeLease).
func NewBreakers(lease time.Duration, now func() time.Time) *Breakers {
	if now == nil {
		now = time.Now
	}
	if lease <= 0 {
		lease = DefaultProbeLease
	}
	return &Breakers{now: now, lease: lease, all: make(map[string]*coordination.Breaker)}
}

// Enter implements coordination.Breakers.
func (b *Breakers) Enter(_ context.Context, key string) (coordination.Passage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return entryOf(b.all, key).Enter(b.now(), b.lease), nil
}

// Trip implements coordination.Breakers.
func (b *Breakers) Trip(_ context.Context, key, reason string, wait time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	entryOf(b.all, key).Trip(b.now(), reason, wait)
	return nil
}

// Reset implements coordination.Breakers.
func (b *Breakers) Reset(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	entryOf(b.all, key).Reset()
	return nil
}

func entryOf[T any](all map[string]*T, key string) *T {
	e, ok := all[key]
	if !ok {
		e = new(T)
		all[key] = e
	}
	return e
}
