package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

// BenchmarkCalls measures each call against a bare SET on the same server in
// the same run.
func BenchmarkCalls(b *testing.B) {
	server := redisserver.Start(b)
	c, err := redis.Open(server.URL, redis.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer func() { require.NoError(b, c.Close()) }()
	bare := goredis.NewClient(&goredis.Options{Network: "unix", Addr: server.Socket})
	defer func() { require.NoError(b, bare.Close()) }()

	const calls = 2000
	measure := func(call func(ctx context.Context, i int) error) time.Duration {
		began := time.Now()
		for i := range calls {
			require.NoError(b, call(b.Context(), i))
		}
		return time.Since(began) / calls
	}
	for _, bench := range []struct {
		name string
		call func(ctx context.Context, i int) error
	}{
		{"once", func(ctx context.Context, i int) error {
			_, err := c.Once(ctx, fmt.Sprint(i, b.N, time.Now().UnixNano()), "s", time.Minute, func() (coordination.Answer, bool) {
				return coordination.Answer{Code: "000000", Body: []byte(`{"resultCode": "000000"}`)}, true
			})
			return err
		}},
		{"lock", func(ctx context.Context, _ int) error {
			lease, err := c.Acquire(ctx, "scope", 0)
			if err == nil {
				lease.Release()
			}
			return err
		}},
		{"take", func(ctx context.Context, _ int) error {
			_, _, err := c.Take(ctx, "t", coordination.Rate{}, 1, time.Second)
			return err
		}},
		{"enter", func(ctx context.Context, _ int) error { _, err := c.Enter(ctx, "t"); return err }},
		{"enqueue", func(ctx context.Context, i int) error {
			return c.Enqueue(ctx, coordination.Task{Queue: "t", Key: fmt.Sprint(i)})
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				floor := measure(func(ctx context.Context, i int) error { return bare.Set(ctx, "floor", i, time.Minute).Err() })
				took := measure(bench.call)
				b.ReportMetric(float64(took.Microseconds()), "µs/call")
				b.ReportMetric(float64(took)/float64(floor), "xfloor")
			}
		})
	}
}
