package coordinationtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
)

var lockTests = map[string]func(*bundle){
	"one holder at a time, tokens ascend":           lockExclusive,
	"keys do not wait for each other":               lockKeysApart,
	"the token is greater than the one asked past":  lockTokenAfter,
	"tokens ascend when the clock goes back":        lockClockBack,
	"who waits stops with its context":              lockWaitEnds,
	"who gave up does not stand in the way":         lockGaveUp,
	"a context that has ended takes nothing":        lockEndedContext,
	"a lease ends with release and with its parent": lockContext,
	"release twice is harmless":                     lockReleaseTwice,
	"the greedy keep nobody out":                    lockFair,
}

func lockExclusive(b *bundle) {
	const writers, rounds = 6, 5
	var group sync.WaitGroup
	var last int64 // guarded by the lock alone
	for i := range writers {
		replica := []coordination.Port{b.a, b.b}[i%2]
		group.Go(func() {
			for range rounds {
				lease, err := replica.Acquire(b.ctx, "scope", 0)
				if err != nil {
					b.Errorf("acquire: %v", err)
					return
				}
				if lease.Token() <= last || lease.Token() >= 1<<53 {
					b.Errorf("token %d after %d", lease.Token(), last)
				}
				last = lease.Token()
				lease.Release()
			}
		})
	}
	group.Wait()
}

func (b *bundle) acquire(replica coordination.Port, key string) coordination.Lease {
	b.Helper()
	lease, err := replica.Acquire(b.ctx, key, 0)
	require.NoError(b, err)
	b.Cleanup(lease.Release)
	return lease
}

func lockKeysApart(b *bundle) {
	for i, key := range []string{"prod/i/a", "prod/i/b", "prod/ia", "test/i/a"} {
		b.acquire([]coordination.Port{b.a, b.b}[i%2], key)
	}
}

func lockTokenAfter(b *bundle) {
	lease := b.acquire(b.a, "scope")
	ahead := lease.Token() + int64(time.Hour/time.Microsecond)
	lease.Release()
	lease, err := b.b.Acquire(b.ctx, "scope", ahead)
	require.NoError(b, err)
	require.Greater(b, lease.Token(), ahead)
	lease.Release()
	next := b.acquire(b.a, "scope")
	require.Greater(b, next.Token(), lease.Token(), "and stays so")
}

func lockClockBack(b *bundle) {
	lease := b.acquire(b.a, "scope")
	lease.Release()
	b.clock.Advance(-time.Hour)
	require.Greater(b, b.acquire(b.b, "scope").Token(), lease.Token())
}

func lockWaitEnds(b *bundle) {
	b.acquire(b.a, "scope")
	for _, replica := range []coordination.Port{b.a, b.b} {
		ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
		_, err := replica.Acquire(ctx, "scope", 0)
		cancel()
		require.ErrorIs(b, err, context.DeadlineExceeded)
	}
}

func lockGaveUp(b *bundle) {
	held := b.acquire(b.a, "scope")
	ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
	defer cancel()
	_, err := b.b.Acquire(ctx, "scope", 0)
	require.Error(b, err)
	held.Release()
	b.acquire(b.a, "scope")
}

func lockEndedContext(b *bundle) {
	ctx, cancel := context.WithCancelCause(b.ctx)
	cancel(errors.New("shutting down"))
	_, err := b.a.Acquire(ctx, "scope", 0)
	require.ErrorContains(b, err, "shutting down")
	b.acquire(b.b, "scope")
}

func lockContext(b *bundle) {
	type mark struct{}
	parent, cancel := context.WithCancel(context.WithValue(b.ctx, mark{}, "m"))
	lease, err := b.a.Acquire(parent, "one", 0)
	require.NoError(b, err)
	require.Equal(b, "m", lease.Context().Value(mark{}))
	require.NoError(b, lease.Context().Err())
	lease.Release()
	require.Error(b, lease.Context().Err())

	lease, err = b.a.Acquire(parent, "two", 0)
	require.NoError(b, err)
	cancel()
	require.Error(b, lease.Context().Err())
	lease.Release() // also now it gives the lock back
	b.acquire(b.b, "two")
}

func lockReleaseTwice(b *bundle) {
	first := b.acquire(b.a, "scope")
	first.Release()
	second := b.acquire(b.b, "scope")
	first.Release()
	ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
	defer cancel()
	_, err := b.a.Acquire(ctx, "scope", 0)
	require.Error(b, err, "the second still holds it")
	require.NoError(b, second.Context().Err())
}

// lockFair: replicas that take the lock again and again do not keep another
// one out.
func lockFair(b *bundle) {
	done := make(chan struct{})
	var greedy sync.WaitGroup
	for range 3 {
		greedy.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				lease, err := b.a.Acquire(b.ctx, "scope", 0)
				if err != nil {
					b.Errorf("acquire: %v", err)
					return
				}
				lease.Release()
			}
		})
	}
	for range 3 {
		b.acquire(b.b, "scope").Release()
	}
	close(done)
	greedy.Wait()
}
