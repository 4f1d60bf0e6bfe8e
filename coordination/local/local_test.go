package local_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/coordinationtest"
	"github.com/openkoo/connector/coordination/local"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	coordinationtest.Run(t, func(t *testing.T, now func() time.Time) func() coordination.Port {
		c := local.New(local.Options{Now: now, ProbeLease: coordinationtest.ProbeLease})
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return func() coordination.Port { return c }
	})
}

func TestCloseEndsServe(t *testing.T) {
	t.Parallel()
	c := local.New(local.Options{})
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.Serve(context.Background(), "t", 1, func(ctx context.Context, _ string) {
			close(began)
			<-ctx.Done()
		})
	}()
	require.NoError(t, c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "k"}))
	<-began
	require.NoError(t, c.Close())
	require.NoError(t, <-ended)
	require.Error(t, c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "k"}))
	require.Error(t, c.Serve(t.Context(), "t", 1, nil))
	require.NoError(t, c.Close(), "closing twice is harmless")
}

// TestLocksAreFirstComeFirstServed starts each waiter when the one before it
// stands in the queue.
func TestLocksAreFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	locks := local.NewLocks(nil)
	held, err := locks.Acquire(t.Context(), "k", 0)
	require.NoError(t, err)
	const waiters = 5
	order := make(chan int, waiters)
	for i := range waiters {
		go func() {
			lease, err := locks.Acquire(context.Background(), "k", 0)
			if err == nil {
				order <- i
				lease.Release()
			}
		}()
		require.Eventually(t, func() bool { return locks.Waiting("k") == i+1 }, 5*time.Second, time.Millisecond)
	}
	held.Release()
	for i := range waiters {
		require.Equal(t, i, <-order)
	}
	require.Zero(t, locks.Waiting("k"), "nothing is kept of a key nobody wants")
}

func BenchmarkTake(b *testing.B) {
	buckets := local.NewBuckets(nil)
	for b.Loop() {
		if _, _, err := buckets.Take(b.Context(), "t", coordination.Rate{}, 1, 0); err != nil {
			b.Fatal(err)
		}
	}
}
