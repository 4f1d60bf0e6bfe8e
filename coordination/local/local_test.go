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

func BenchmarkTake(b *testing.B) {
	buckets := local.NewBuckets(nil)
	for b.Loop() {
		if _, _, err := buckets.Take(b.Context(), "t", coordination.Rate{}, 1, 0); err != nil {
			b.Fatal(err)
		}
	}
}
