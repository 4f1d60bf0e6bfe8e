package coordination_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/coordinationtest"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

func TestMain(m *testing.M) {
	// go-redis looks for a server that is away once a second, and only then
	// finds out that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var deployments atomic.Int64

// replica starts a replica that falls back on itself, closed when the test ends.
func replica(t *testing.T, url string, options redis.Options) *coordination.Fallback {
	t.Helper()
	options.Logger = slog.New(slog.DiscardHandler)
	if options.OpTimeout == 0 { // the machine may be busy with other tests
		options.OpTimeout = 20 * time.Second
	}
	options.TaskPoll = 10 * time.Millisecond
	shared, err := redis.Open(url, options)
	require.NoError(t, err)
	alone := local.New(local.Options{Now: options.Now, ProbeLease: options.ProbeLease})
	f := coordination.NewFallback(shared, alone, coordination.FallbackOptions{Probe: 20 * time.Millisecond, Logger: options.Logger})
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// until waits for the replica to notice what became of the server.
func until(t *testing.T, f *coordination.Fallback, degraded bool) {
	t.Helper()
	require.Eventually(t, func() bool { return f.Health().Degraded == degraded }, time.Minute, 5*time.Millisecond)
}

// TestFallbackConformance: with the shared state there, it is what counts.
func TestFallbackConformance(t *testing.T) {
	t.Parallel()
	url := redisserver.URL(t)
	coordinationtest.Run(t, func(t *testing.T, now func() time.Time) func() coordination.Port {
		prefix := fmt.Sprintf("fallback-%d-%d", os.Getpid(), deployments.Add(1))
		return func() coordination.Port {
			return replica(t, url, redis.Options{Prefix: prefix, Now: now, ProbeLease: coordinationtest.ProbeLease})
		}
	})
}

// TestFallbackConformanceAlone: without it, a replica goes on alone, as one
// process would.
func TestFallbackConformanceAlone(t *testing.T) {
	t.Parallel()
	coordinationtest.Run(t, func(t *testing.T, now func() time.Time) func() coordination.Port {
		f := replica(t, "unix:///nonexistent/socket", redis.Options{Now: now, ProbeLease: coordinationtest.ProbeLease})
		until(t, f, true)
		return func() coordination.Port { return f }
	})
}

func TestFallbackTellsItsHealth(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	f := replica(t, s.URL, redis.Options{})
	require.False(t, f.Health().Degraded)
	before := time.Now()
	s.Kill()
	until(t, f, true)
	health := f.Health()
	require.Contains(t, health.Reason, "coordination is unavailable")
	require.True(t, health.Since.After(before))
	require.NoError(t, f.Ping(t.Context()), "it works all the same")
	s.Restart()
	until(t, f, false)
	require.Empty(t, f.Health().Reason)
}

// TestFallbackCallsGoOnWhileTheServerComesAndGoes: no call fails, whatever
// happens to the server in between.
func TestFallbackCallsGoOnWhileTheServerComesAndGoes(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	f := replica(t, s.URL, redis.Options{DialTimeout: 100 * time.Millisecond, OpTimeout: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan string, 16)
	served := make(chan error, 1)
	go func() {
		served <- f.Serve(ctx, "t", 2, func(_ context.Context, key string) { done <- key })
	}()
	last := int64(0)
	for round, change := range []func(){
		func() {}, s.Kill, func() {}, s.Restart, func() { until(t, f, false) }, s.Kill, s.Restart,
	} {
		change()
		key := fmt.Sprintf("k-%d", round)
		answer, err := f.Once(t.Context(), key, "s", time.Minute, func() (coordination.Answer, bool) {
			return coordination.Answer{Code: "000000", Body: []byte(key)}, true
		})
		require.NoError(t, err)
		require.Equal(t, key, string(answer.Body))
		lease, err := f.Acquire(t.Context(), "scope", 0)
		require.NoError(t, err)
		require.Greater(t, lease.Token(), last, "tokens ascend over every change")
		last = lease.Token()
		lease.Release()
		_, taken, err := f.Take(t.Context(), "t", coordination.Rate{}, 1, time.Minute)
		require.NoError(t, err)
		require.True(t, taken)
		require.NoError(t, f.Shrink(t.Context(), "t", coordination.Rate{}, 0))
		require.NoError(t, f.Trip(t.Context(), "t", "down", time.Hour))
		require.NoError(t, f.Reset(t.Context(), "t"))
		woken, stop := f.Subscribe("t")
		require.NoError(t, f.Publish(t.Context(), "t"))
		await(t, woken, "the wake-up")
		stop()
		// A task that was queued in a server that died is asked for again, as
		// the fan-out does.
		require.Eventually(t, func() bool {
			return f.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}) == nil && len(done) > 0
		}, time.Minute, 20*time.Millisecond)
		for len(done) > 0 {
			<-done
		}
	}
	cancel()
	require.NoError(t, await(t, served, "the end of serve"))
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		require.FailNow(t, "never came: "+what)
		panic("unreachable")
	}
}

func TestFallbackRemembersItsAnswersWithoutTheServer(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	f := replica(t, s.URL, redis.Options{})
	first, err := f.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		return coordination.Answer{Code: "000000", Body: []byte("one")}, true
	})
	require.NoError(t, err)
	s.Kill()
	again, err := f.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		t.Error("served again")
		return coordination.Answer{}, false
	})
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = f.Once(t.Context(), "n", "other", time.Minute, func() (coordination.Answer, bool) {
		t.Error("served with another signature")
		return coordination.Answer{}, false
	})
	require.ErrorIs(t, err, coordination.ErrNonceReused)
}

// TestFallbackLockSpansTheChangeover: whoever took the lock alone keeps this
// replica's others out when the server is back.
func TestFallbackLockSpansTheChangeover(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	s.Kill()
	f := replica(t, s.URL, redis.Options{})
	until(t, f, true)
	held, err := f.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	s.Restart()
	until(t, f, false)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = f.Acquire(ctx, "scope", 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	held.Release()
	next, err := f.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	require.Greater(t, next.Token(), held.Token())
	next.Release()
}

// refusing is a shared state whose calls fail with an error that is not
// unavailability.
type refusing struct{ *local.Coordinator }

var errRefused = errors.New("refused")

func (refusing) Enqueue(context.Context, coordination.Task) error { return errRefused }
func (refusing) Acquire(context.Context, string, int64) (coordination.Lease, error) {
	return nil, errRefused
}

// TestFallbackHidesOnlyUnavailability: an error that is the shared state's
// answer is the answer, and frees what was taken on the way.
func TestFallbackHidesOnlyUnavailability(t *testing.T) {
	t.Parallel()
	alone := local.New(local.Options{})
	f := coordination.NewFallback(refusing{local.New(local.Options{})}, alone, coordination.FallbackOptions{})
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	require.ErrorIs(t, f.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "k"}), errRefused)
	_, err := f.Acquire(t.Context(), "scope", 0)
	require.ErrorIs(t, err, errRefused)
	require.False(t, f.Health().Degraded)
	lease, err := alone.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	lease.Release()
}

// TestFallbackAwayCostsNothing: only the first call that finds the server away
// waits for it.
func TestFallbackAwayCostsNothing(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	f := replica(t, "redis://"+listener.Addr().String(), redis.Options{DialTimeout: timeout, OpTimeout: timeout})
	until(t, f, true)
	began := time.Now()
	for i := range 1000 {
		_, err := f.Once(t.Context(), fmt.Sprint(i), "s", time.Minute, func() (coordination.Answer, bool) {
			return coordination.Answer{Code: "000000"}, true
		})
		require.NoError(t, err)
		lease, err := f.Acquire(t.Context(), "scope", 0)
		require.NoError(t, err)
		lease.Release()
	}
	require.Less(t, time.Since(began), 1000*timeout/10)
}

// TestFallbackBoundsTasksOverBothQueues: what was queued alone and what is
// queued in the shared state share the room of this replica, and one key is
// done once at a time.
func TestFallbackBoundsTasksOverBothQueues(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	s.Kill()
	f := replica(t, s.URL, redis.Options{})
	until(t, f, true)
	for _, key := range []string{"a", "b", "same"} {
		require.NoError(t, f.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}))
	}
	s.Restart()
	until(t, f, false)
	for _, key := range []string{"c", "d", "same"} {
		require.NoError(t, f.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running, same atomic.Int32
	began, over, served := make(chan string, 8), make(chan struct{}), make(chan error, 1)
	go func() {
		served <- f.Serve(ctx, "t", 2, func(_ context.Context, key string) {
			if running.Add(1) > 2 {
				t.Error("more at once than may be")
			}
			if key == "same" && same.Add(1) > 1 {
				t.Error("one key twice at a time")
			}
			began <- key
			<-over
			if key == "same" {
				same.Add(-1)
			}
			running.Add(-1)
		})
	}()
	await(t, began, "one")
	await(t, began, "two")
	close(over)
	for range 4 {
		await(t, began, "the rest")
	}
	cancel()
	require.NoError(t, await(t, served, "the end of serve"))
}

// TestFallbackTellsBothOfATargetThatIsDown: when the server goes, what this
// replica found out itself still holds.
func TestFallbackTellsBothOfATargetThatIsDown(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t)
	f := replica(t, s.URL, redis.Options{})
	require.NoError(t, f.Trip(t.Context(), "t", "refused", time.Hour))
	require.NoError(t, f.Shrink(t.Context(), "t", coordination.Rate{}, time.Hour))
	s.Kill()
	passage, err := f.Enter(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, coordination.BreakerOpen, passage.State)
	require.Equal(t, "refused", passage.Reason)
	wait, taken, err := f.Take(t.Context(), "t", coordination.Rate{}, 1, time.Second)
	require.NoError(t, err)
	require.False(t, taken)
	require.InDelta(t, time.Hour.Seconds(), wait.Seconds(), 60)
}

// TestFallbackCloseEndsSubscriptions that nobody stopped; goleak sees to it.
func TestFallbackCloseEndsSubscriptions(t *testing.T) {
	t.Parallel()
	f := replica(t, "unix:///nonexistent/socket", redis.Options{})
	_, stop := f.Subscribe("t")
	_ = stop
}
