package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/coordinationtest"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

// everything uses each part of the port once.
func everything(t *testing.T, c *redis.Coordinator, nonce string) {
	t.Helper()
	ctx := t.Context()
	_, err := c.Once(ctx, nonce, "a signature", time.Minute, func() (coordination.Answer, bool) {
		return coordination.Answer{Code: "000000", Body: []byte("{}")}, true
	})
	require.NoError(t, err)
	lease, err := c.Acquire(ctx, "scope", 0)
	require.NoError(t, err)
	waiting, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = c.Acquire(waiting, "scope", 0)
	require.Error(t, err)
	lease.Release()
	_, _, err = c.Take(ctx, "t", coordination.Rate{}, 1, time.Second)
	require.NoError(t, err)
	require.NoError(t, c.Shrink(ctx, "t", coordination.Rate{}, time.Second))
	require.NoError(t, c.Trip(ctx, "t", "down", time.Second))
	require.NoError(t, c.Publish(ctx, "t"))
	require.NoError(t, c.Ping(ctx))
	serving, stop := context.WithCancel(ctx)
	done, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- c.Serve(serving, "t", 1, func(context.Context, string) { done <- struct{}{} }) }()
	require.NoError(t, c.Enqueue(ctx, coordination.Task{Queue: "t", Key: "scope"}))
	await(t, done, "the task")
	stop()
	require.NoError(t, await(t, ended, "the end of serve"))
}

// keys lists what a server keeps.
func keys(t *testing.T, server *redisserver.Server) (all []string, client *goredis.Client) {
	t.Helper()
	client = goredis.NewClient(&goredis.Options{Network: "unix", Addr: server.Socket})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	all, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all, client
}

// TestNothingIsKeptForEver: what nobody comes back for is forgotten. What
// asynq keeps of its own is bounded by the number of queues.
func TestNothingIsKeptForEver(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	everything(t, open(t, server.URL, redis.Options{}), "n")
	all, client := keys(t, server)
	for _, key := range all {
		if strings.HasPrefix(key, "asynq:") {
			continue
		}
		require.True(t, strings.HasPrefix(key, "orgsync:"), key)
		left, err := client.PTTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.Positive(t, left, key)
		require.LessOrEqual(t, left, 24*time.Hour+2*time.Minute, key)
	}
}

// TestNeitherNonceNorSignatureIsKept: both are kept as digests.
func TestNeitherNonceNorSignatureIsKept(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	everything(t, open(t, server.URL, redis.Options{}), "a-telling-nonce")
	all, client := keys(t, server)
	for _, key := range all {
		require.NotContains(t, key, "telling")
		dump, err := client.Dump(t.Context(), key).Result()
		require.NoError(t, err)
		require.NotContains(t, dump, "telling", key)
		require.NotContains(t, dump, "a signature", key)
	}
}

// TestPrefixesKeepDeploymentsApart: two connectors may share a server.
func TestPrefixesKeepDeploymentsApart(t *testing.T) {
	t.Parallel()
	url := redisserver.URL(t)
	one, other := open(t, url, redis.Options{Prefix: prefix(t)}), open(t, url, redis.Options{Prefix: prefix(t)})
	ctx := t.Context()
	lease, err := one.Acquire(ctx, "scope", 0)
	require.NoError(t, err)
	defer lease.Release()
	foreign, err := other.Acquire(ctx, "scope", 0)
	require.NoError(t, err)
	foreign.Release()
	require.NoError(t, one.Trip(ctx, "t", "down", time.Hour))
	passage, err := other.Enter(ctx, "t")
	require.NoError(t, err)
	require.Equal(t, coordination.BreakerClosed, passage.State)

	serving, stop := context.WithCancel(ctx)
	done, ended := make(chan string, 4), make(chan error, 1)
	go func() {
		ended <- other.Serve(serving, "t", 1, func(_ context.Context, key string) { done <- key })
	}()
	require.NoError(t, one.Enqueue(ctx, coordination.Task{Queue: "t", Key: "of one"}))
	require.NoError(t, other.Enqueue(ctx, coordination.Task{Queue: "t", Key: "of other"}))
	require.Equal(t, "of other", await(t, done, "its own task"))
	stop()
	require.NoError(t, await(t, ended, "the end of serve"))
	require.Empty(t, done)
}

// TestKeysOfAnotherProgramAreNoPanic: a prefix that is taken is an error.
func TestKeysOfAnotherProgramAreNoPanic(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	for _, key := range []string{"bucket:{t}", "breaker:{t}", "lock:{k}", "task:{q k}"} {
		do(t, server, "SET", "orgsync:"+key, "not ours")
	}
	ctx := t.Context()
	_, _, err := c.Take(ctx, "t", coordination.Rate{}, 1, 0)
	require.ErrorIs(t, err, coordination.ErrUnavailable)
	_, err = c.Enter(ctx, "t")
	require.ErrorIs(t, err, coordination.ErrUnavailable)
	_, err = c.Acquire(ctx, "k", 0)
	require.ErrorIs(t, err, coordination.ErrUnavailable)
	require.ErrorContains(t, err, "lock_acquire", "which call it was")
	require.ErrorIs(t, c.Enqueue(ctx, coordination.Task{Queue: "q", Key: "k"}), coordination.ErrUnavailable)
}

func TestScriptsAreLoadedAgainWhenTheServerForgotThem(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	everything(t, c, "n-1")
	do(t, server, "SCRIPT", "FLUSH")
	everything(t, c, "n-2")
}

// TestLawTokensAscend: whatever is done in whatever order by whichever
// replica, with the store's token shown or not, tokens of a key ascend. A wipe
// forgets the last one, so the clock must not be set back over it.
func TestLawTokensAscend(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	clock := coordinationtest.NewClock()
	replicas := []*redis.Coordinator{
		open(t, server.URL, redis.Options{Now: clock.Now}), open(t, server.URL, redis.Options{Now: clock.Now}),
	}
	wiper := goredis.NewClient(&goredis.Options{Network: "unix", Addr: server.Socket})
	t.Cleanup(func() { require.NoError(t, wiper.Close()) })
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		key := fmt.Sprintf("law-%d", runs)
		highest, back, remembered := int64(0), time.Duration(0), false
		for range rapid.IntRange(1, 15).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"acquire", "acquire", "after", "on", "back", "wipe"}).Draw(r, "what") {
			case "on":
				clock.Advance(time.Duration(rapid.IntRange(1, 5_000_000).Draw(r, "on")) * time.Microsecond)
			case "back":
				if !remembered {
					continue
				}
				step := time.Duration(rapid.IntRange(1, 60).Draw(r, "back")) * time.Second
				clock.Advance(-step)
				back += step
			case "wipe":
				clock.Advance(back + time.Second) // as far as it has been at least
				back = 0
				if highest < clock.Now().UnixMicro() {
					remembered = false
					require.NoError(r, wiper.FlushAll(t.Context()).Err())
				}
			default:
				after := int64(0)
				if rapid.Bool().Draw(r, "shown") {
					after = highest + rapid.Int64Range(0, 1_000_000).Draw(r, "ahead")
				}
				lease, err := rapid.SampledFrom(replicas).Draw(r, "replica").Acquire(t.Context(), key, after)
				require.NoError(r, err)
				require.Greater(r, lease.Token(), max(highest, after))
				highest, remembered = lease.Token(), true
				lease.Release()
			}
		}
	})
}

// TestTasksSurviveWipesWithoutRunningTwice: through wipes at any moment, what
// is asked for until it is done gets done, and with the leases intact no key
// is worked on twice at a time.
func TestTasksSurviveWipesWithoutRunningTwice(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	const tasks = 40
	var done sync.Map
	var serving sync.WaitGroup
	var replicas []*redis.Coordinator
	for range 3 {
		c := open(t, server.URL, redis.Options{})
		replicas = append(replicas, c)
		serving.Go(func() {
			err := c.Serve(ctx, "t", 4, func(_ context.Context, key string) { done.Store(key, true) })
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	for i := range tasks {
		key := fmt.Sprintf("k-%02d", i)
		if i%10 == 5 {
			do(t, server, "FLUSHALL")
		}
		require.NoError(t, replicas[i%3].Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}))
	}
	require.Eventually(t, func() bool {
		open := 0
		for i := range tasks {
			key := fmt.Sprintf("k-%02d", i)
			if _, ok := done.Load(key); !ok {
				open++
				require.NoError(t, replicas[i%3].Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}))
			}
		}
		return open == 0
	}, time.Minute, 20*time.Millisecond)
	cancel()
	serving.Wait()
}

// TestOneTaskManyReplicas: asked for from everywhere all the time, it is done
// by one at a time.
func TestOneTaskManyReplicas(t *testing.T) {
	t.Parallel()
	url, name := redisserver.URL(t), prefix(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running, times atomic.Int32
	var serving sync.WaitGroup
	var replicas []*redis.Coordinator
	enough := make(chan struct{})
	for range 3 {
		c := open(t, url, redis.Options{Prefix: name})
		replicas = append(replicas, c)
		serving.Go(func() {
			_ = c.Serve(ctx, "t", 4, func(context.Context, string) {
				if running.Add(1) > 1 {
					t.Error("done twice at a time")
				}
				if times.Add(1) == 20 {
					close(enough)
				}
				running.Add(-1)
			})
		})
	}
	var asking sync.WaitGroup
	for _, c := range replicas {
		asking.Go(func() {
			for {
				select {
				case <-enough:
					return
				default:
				}
				if err := c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "k"}); err != nil {
					t.Errorf("enqueue: %v", err)
					return
				}
			}
		})
	}
	await(t, enough, "twenty times")
	asking.Wait()
	cancel()
	serving.Wait()
}
