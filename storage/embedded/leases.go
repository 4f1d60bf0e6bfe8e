package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// leases are who delivers what. They live in memory: the lock file keeps other
// processes out, so whoever held one before a restart is gone.
type leases struct {
	mu    sync.Mutex
	fence int64
	held  map[leaseKey]storage.Lease
}

type leaseKey struct {
	target string
	scope  directory.Scope
}

func keyOf(l storage.Lease) leaseKey { return leaseKey{l.Target, l.Scope} }

// take gives the lease to its owner if nobody else has it at now.
func (l *leases) take(lease storage.Lease, now time.Time) (storage.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, ok := l.held[keyOf(lease)]
	if ok && held.Owner != lease.Owner && held.Until.After(now) {
		return storage.Lease{}, fmt.Errorf("%s at %s is delivered by %s until %s: %w",
			lease.Scope, lease.Target, held.Owner, held.Until.Format(time.RFC3339), storage.ErrBusy)
	}
	if l.held == nil {
		l.held = make(map[leaseKey]storage.Lease)
		// Larger than any that a lease of an earlier run had.
		l.fence = time.Now().UnixNano()
	}
	l.fence++
	lease.Fence = l.fence
	l.held[keyOf(lease)] = lease
	return lease, nil
}

// check reports a lease that is not the newest or has ended at now.
func (l *leases) check(lease storage.Lease, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLocked(lease, now)
}

func (l *leases) checkLocked(lease storage.Lease, now time.Time) error {
	held, ok := l.held[keyOf(lease)]
	if !ok || held.Fence != lease.Fence || !held.Until.After(now) {
		return fmt.Errorf("%s at %s: %w", lease.Scope, lease.Target, storage.ErrLeaseLost)
	}
	return nil
}

func (l *leases) extend(lease storage.Lease, until, now time.Time) (storage.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.checkLocked(lease, now); err != nil {
		return storage.Lease{}, err
	}
	lease.Until = until
	l.held[keyOf(lease)] = lease
	return lease, nil
}

func (l *leases) release(lease storage.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[keyOf(lease)].Fence == lease.Fence {
		delete(l.held, keyOf(lease))
	}
}

// Lease implements storage.Fanout.
func (s *Store) Lease(ctx context.Context, targetName string, scope directory.Scope, owner string, ttl time.Duration) (storage.Lease, error) {
	if err := ctx.Err(); err != nil {
		return storage.Lease{}, err
	}
	now := s.options.Now()
	return s.leases.take(storage.Lease{Target: targetName, Scope: scope, Owner: owner, Until: now.Add(ttl)}, now)
}

// Extend implements storage.Fanout.
func (s *Store) Extend(ctx context.Context, lease storage.Lease, ttl time.Duration) (storage.Lease, error) {
	if err := ctx.Err(); err != nil {
		return storage.Lease{}, err
	}
	now := s.options.Now()
	return s.leases.extend(lease, now.Add(ttl), now)
}

// Release implements storage.Fanout.
func (s *Store) Release(_ context.Context, lease storage.Lease) error {
	s.leases.release(lease)
	return nil
}
