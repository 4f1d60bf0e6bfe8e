package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/coordinationtest"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	url := redisserver.URL(t)
	coordinationtest.Run(t, func(t *testing.T, now func() time.Time) func() coordination.Port {
		name := prefix(t)
		return func() coordination.Port {
			return open(t, url, redis.Options{Prefix: name, Now: now, ProbeLease: coordinationtest.ProbeLease})
		}
	})
}

func TestOpenSaysWhatToDoWithoutTheSecret(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "http://x", "redis://user:s3cret@host:port", "redis://:s3cret@[::1", "localhost:6379", "redis://:s3cret@h/notanumber"} {
		_, err := redis.Open(url, redis.Options{})
		require.ErrorContains(t, err, "redis://user:password@host:6379", url)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func TestEveryCallFailsTypedAndInTimeWithoutServer(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	require.NoError(t, c.Ping(t.Context()))
	server.Kill()
	everyCallFails(t, c)
}

func TestEveryCallFailsTypedAndInTimeWhenSlow(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redisserver.Start(t))
	c := open(t, p.url, redis.Options{OpTimeout: 200 * time.Millisecond})
	require.Eventually(t, func() bool { return c.Ping(t.Context()) == nil }, time.Minute, time.Millisecond, "connected")
	p.delay.Store(int64(time.Hour))
	everyCallFails(t, c)
}

func TestEveryCallFailsTypedWhenReadOnly(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{Prefix: prefix(t)})
	require.NoError(t, c.Ping(t.Context()))
	do(t, server, "REPLICAOF", "127.0.0.1", "1")
	everyCallFails(t, c)
	do(t, server, "REPLICAOF", "NO", "ONE")
	require.NoError(t, c.Ping(t.Context()), "and all is well again")
}

func TestEveryCallFailsTypedWhenFull(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	do(t, server, "CONFIG", "SET", "maxmemory", "1")
	everyCallFails(t, c)
}

// everyCallFails makes each call of the port that writes.
func everyCallFails(t *testing.T, c coordination.Port) {
	t.Helper()
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Ping": func() error { return c.Ping(ctx) },
		"Once": func() error {
			_, err := c.Once(ctx, "n", "s", time.Minute, func() (coordination.Answer, bool) {
				t.Error("served without being the first for sure")
				return coordination.Answer{}, false
			})
			return err
		},
		"Acquire": func() error { _, err := c.Acquire(ctx, "k", 0); return err },
		"Take":    func() error { _, _, err := c.Take(ctx, "t", coordination.Rate{}, 1, time.Second); return err },
		"Shrink":  func() error { return c.Shrink(ctx, "t", coordination.Rate{}, time.Second) },
		"Trip":    func() error { return c.Trip(ctx, "t", "down", time.Second) },
		"Enqueue": func() error { return c.Enqueue(ctx, coordination.Task{Queue: "q", Key: "k"}) },
	} {
		began := time.Now()
		err := call()
		require.ErrorIs(t, err, coordination.ErrUnavailable, name)
		require.Less(t, time.Since(began), 10*time.Second, name)
	}
}

func TestTheCallersOwnEndIsNotUnavailability(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redisserver.Start(t))
	c := open(t, p.url, redis.Options{})
	require.NoError(t, c.Ping(t.Context()))
	p.delay.Store(int64(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := c.Ping(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, coordination.ErrUnavailable)
}

func TestARestartedServerIsFoundAgainAtOnce(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	for range 5 { // some pooled connections, all from before
		require.NoError(t, c.Trip(t.Context(), "t", "down", time.Hour))
	}
	server.Kill()
	require.Error(t, c.Ping(t.Context()))
	server.Restart()
	require.NoError(t, c.Ping(t.Context()))
	passage, err := c.Enter(t.Context(), "t")
	require.NoError(t, err, "scripts are loaded again")
	require.Equal(t, coordination.BreakerClosed, passage.State, "what was known is forgotten")
}

func TestNonceOfADeadReplicaIsFreeAfterItsLease(t *testing.T) {
	t.Parallel()
	server, name := redisserver.Start(t), prefix(t)
	p := newProxy(t, server)
	const lease = 300 * time.Millisecond
	dying := open(t, p.url, redis.Options{Prefix: name, Lease: lease})
	living := open(t, server.URL, redis.Options{Prefix: name})
	began, over := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := dying.Once(context.Background(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
			close(began)
			<-over
			return coordination.Answer{Code: "000000", Body: []byte("dead")}, true
		})
		ended <- err
	}()
	<-began
	p.cut()
	answer, err := living.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		return coordination.Answer{Code: "000000", Body: []byte("alive")}, true
	})
	require.NoError(t, err)
	require.Equal(t, "alive", string(answer.Body))
	close(over)
	require.NoError(t, <-ended, "whoever was served gets the answer, remembered or not")
	answer, err = living.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		t.Error("served again")
		return coordination.Answer{}, false
	})
	require.NoError(t, err)
	require.Equal(t, "alive", string(answer.Body))
}

func TestNonceStaysTakenForAsLongAsItIsServed(t *testing.T) {
	t.Parallel()
	url, name := redisserver.URL(t), prefix(t)
	const lease = 4 * time.Second // a machine that stalls for as long as it is renewed loses it
	a := open(t, url, redis.Options{Prefix: name, Lease: lease})
	b := open(t, url, redis.Options{Prefix: name, Lease: lease})
	began := make(chan struct{})
	first := make(chan error, 1)
	over := time.NewTimer(3 * lease / 2)
	defer over.Stop()
	go func() {
		_, err := a.Once(context.Background(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
			close(began)
			<-over.C
			return coordination.Answer{Code: "000000", Body: []byte("slow")}, true
		})
		first <- err
	}()
	<-began
	answer, err := b.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		t.Error("served twice")
		return coordination.Answer{}, false
	})
	require.NoError(t, err)
	require.Equal(t, "slow", string(answer.Body))
	require.NoError(t, <-first)
}

func TestAnswerSurvivesAWipeWhileServing(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	a, b := open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})
	_, err := a.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		do(t, server, "FLUSHALL")
		return coordination.Answer{Code: "000000", Body: []byte("one")}, true
	})
	require.NoError(t, err)
	answer, err := b.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
		t.Error("served again")
		return coordination.Answer{}, false
	})
	require.NoError(t, err)
	require.Equal(t, "one", string(answer.Body))
}

func TestAnswerTooLongIsNotRemembered(t *testing.T) {
	t.Parallel()
	c := open(t, redisserver.URL(t), redis.Options{Prefix: prefix(t)})
	served := 0
	for range 2 {
		answer, err := c.Once(t.Context(), "n", "s", time.Minute, func() (coordination.Answer, bool) {
			served++
			return coordination.Answer{Code: "000000", Body: make([]byte, 65<<10)}, true
		})
		require.NoError(t, err)
		require.Len(t, answer.Body, 65<<10)
	}
	require.Equal(t, 2, served)
}

func TestLockOfADeadReplicaIsFreeAfterItsLease(t *testing.T) {
	t.Parallel()
	server, name := redisserver.Start(t), prefix(t)
	p := newProxy(t, server)
	const lease = 300 * time.Millisecond
	dying := open(t, p.url, redis.Options{Prefix: name, Lease: lease})
	living := open(t, server.URL, redis.Options{Prefix: name})
	held, err := dying.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	defer held.Release()
	p.cut()
	next, err := living.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	defer next.Release()
	require.Greater(t, next.Token(), held.Token())
	<-held.Context().Done()
	require.ErrorIs(t, context.Cause(held.Context()), coordination.ErrLockLost)
	require.NoError(t, next.Context().Err())
}

func TestLockIsHeldPastItsFirstLease(t *testing.T) {
	t.Parallel()
	url, name := redisserver.URL(t), prefix(t)
	const lease = 4 * time.Second // a machine that stalls for as long as it is renewed loses it
	a := open(t, url, redis.Options{Prefix: name, Lease: lease})
	b := open(t, url, redis.Options{Prefix: name, Lease: lease})
	held, err := a.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*lease/2)
	defer cancel()
	_, err = b.Acquire(ctx, "scope", 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, held.Context().Err())
	held.Release()
	next, err := b.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	next.Release()
}

func TestTokensAscendThroughAWipe(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	last := int64(0)
	for range 20 {
		lease, err := c.Acquire(t.Context(), "scope", 0)
		require.NoError(t, err)
		require.Greater(t, lease.Token(), last)
		last = lease.Token()
		lease.Release()
		do(t, server, "FLUSHALL")
	}
	server.Kill()
	server.Restart()
	lease, err := c.Acquire(t.Context(), "scope", 0)
	require.NoError(t, err)
	require.Greater(t, lease.Token(), last)
	lease.Release()
}

// TestAWipedLockIsLostOnlyToAnother: it comes back with the next renewal,
// unless somebody took it in between.
func TestAWipedLockIsLostOnlyToAnother(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	const lease = 6 * time.Second // a third of it to take what was wiped
	a, b := open(t, server.URL, redis.Options{Lease: lease}), open(t, server.URL, redis.Options{Lease: lease})
	kept, err := a.Acquire(t.Context(), "kept", 0)
	require.NoError(t, err)
	defer kept.Release()
	lost, err := a.Acquire(t.Context(), "lost", 0)
	require.NoError(t, err)
	defer lost.Release()
	do(t, server, "FLUSHALL")
	taken, err := b.Acquire(t.Context(), "lost", 0)
	require.NoError(t, err)
	defer taken.Release()
	<-lost.Context().Done()
	require.ErrorIs(t, context.Cause(lost.Context()), coordination.ErrLockLost)

	require.Eventually(t, func() bool { return exists(t, server, "orgsync:lock:{kept}") }, time.Minute, 5*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*lease/4)
	defer cancel()
	_, err = b.Acquire(ctx, "kept", 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, kept.Context().Err())
	require.NoError(t, taken.Context().Err())
}

func TestWakeupsComeAfterAReconnect(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	a, b := open(t, server.URL, redis.Options{}), open(t, server.URL, redis.Options{})
	woken, stop := b.Subscribe("t")
	defer stop()
	await(t, woken, "the first connection wakes all")
	server.Kill()
	server.Restart()
	await(t, woken, "so does a new one: something may be missed")
	require.NoError(t, a.Publish(t.Context(), "t"))
	await(t, woken, "and it hears again")
}

func TestPublishWakesThisReplicaWithoutServer(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	server.Kill()
	woken, stop := c.Subscribe("t")
	defer stop()
	require.ErrorIs(t, c.Publish(t.Context(), "t"), coordination.ErrUnavailable)
	await(t, woken, "the wake-up")
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

func TestTasksGoOnAfterARestartAndAWipe(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c := open(t, server.URL, redis.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done, served := make(chan string, 16), make(chan error, 1)
	go func() {
		served <- c.Serve(ctx, "t", 2, func(_ context.Context, key string) { done <- key })
	}()
	enqueue := func(key string) {
		require.NoError(t, c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: key}))
		require.Equal(t, key, await(t, done, key))
	}
	enqueue("before")
	do(t, server, "FLUSHALL")
	enqueue("after the wipe")
	server.Kill()
	require.ErrorIs(t, c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "lost"}), coordination.ErrUnavailable)
	server.Restart()
	enqueue("after the restart")
	cancel()
	require.NoError(t, await(t, served, "the end"))
}

// TestTaskOfADeadReplicaIsFreeAfterItsLease: asked for again, as the fan-out
// does, another replica takes it up.
func TestTaskOfADeadReplicaIsFreeAfterItsLease(t *testing.T) {
	t.Parallel()
	server, name := redisserver.Start(t), prefix(t)
	p := newProxy(t, server)
	const lease = 300 * time.Millisecond
	dying := open(t, p.url, redis.Options{Prefix: name, Lease: lease})
	living := open(t, server.URL, redis.Options{Prefix: name})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began, done := make(chan struct{}, 100), make(chan string, 100)
	ended := make(chan error, 2)
	go func() {
		ended <- dying.Serve(ctx, "t", 1, func(ctx context.Context, _ string) {
			began <- struct{}{} // more than once, if it stalls for longer than a lease
			<-ctx.Done()
		})
	}()
	task := coordination.Task{Queue: "t", Key: "k"}
	require.NoError(t, living.Enqueue(t.Context(), task))
	await(t, began, "the task")
	p.cut()
	go func() {
		ended <- living.Serve(ctx, "t", 1, func(_ context.Context, key string) { done <- key })
	}()
	require.Eventually(t, func() bool {
		return living.Enqueue(t.Context(), task) == nil && len(done) > 0
	}, time.Minute, 50*time.Millisecond)
	cancel()
	require.NoError(t, await(t, ended, "an end"))
	require.NoError(t, await(t, ended, "the other end"))
}

// TestATaskTakenOverEndsWhereItWas: a replica that comes back into a task that
// another has taken over is told to stop.
func TestATaskTakenOverEndsWhereItWas(t *testing.T) {
	t.Parallel()
	server, name := redisserver.Start(t), prefix(t)
	p := newProxy(t, server)
	const lease = 300 * time.Millisecond
	slow := open(t, p.url, redis.Options{Prefix: name, Lease: lease})
	quick := open(t, server.URL, redis.Options{Prefix: name})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began, told, taken := make(chan struct{}, 100), make(chan struct{}, 100), make(chan struct{}, 100)
	ended := make(chan error, 2)
	go func() {
		ended <- slow.Serve(ctx, "t", 1, func(task context.Context, _ string) {
			began <- struct{}{}
			<-task.Done()
			if ctx.Err() == nil {
				told <- struct{}{}
			}
		})
	}()
	task := coordination.Task{Queue: "t", Key: "k"}
	require.NoError(t, quick.Enqueue(t.Context(), task))
	await(t, began, "the task")
	p.cut()
	go func() {
		ended <- quick.Serve(ctx, "t", 1, func(task context.Context, _ string) {
			taken <- struct{}{}
			<-task.Done()
		})
	}()
	require.Eventually(t, func() bool {
		return quick.Enqueue(t.Context(), task) == nil && len(taken) > 0
	}, time.Minute, 50*time.Millisecond)
	p.mend()
	await(t, told, "the end of the first")
	require.Len(t, taken, 1, "the second goes on")
	cancel()
	require.NoError(t, await(t, ended, "an end"))
	require.NoError(t, await(t, ended, "the other end"))
}

func TestAPanicInATaskLeavesItFree(t *testing.T) {
	t.Parallel()
	c := open(t, redisserver.URL(t), redis.Options{Prefix: prefix(t)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began, ended := make(chan int, 4), make(chan error, 1)
	times := 0
	go func() {
		ended <- c.Serve(ctx, "t", 1, func(context.Context, string) {
			times++
			began <- times
			if times == 1 {
				panic(errors.New("boom"))
			}
		})
	}()
	task := coordination.Task{Queue: "t", Key: "k"}
	require.NoError(t, c.Enqueue(t.Context(), task))
	await(t, began, "the first time")
	require.Eventually(t, func() bool {
		return c.Enqueue(t.Context(), task) == nil && len(began) > 0
	}, time.Minute, 20*time.Millisecond)
	cancel()
	require.NoError(t, await(t, ended, "the end"))
}

func TestCloseEndsServe(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	c, err := redis.Open(server.URL, redis.Options{})
	require.NoError(t, err)
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.Serve(context.Background(), "t", 1, func(ctx context.Context, _ string) {
			close(began)
			<-ctx.Done()
		})
	}()
	require.NoError(t, c.Enqueue(t.Context(), coordination.Task{Queue: "t", Key: "k"}))
	await(t, began, "the task")
	require.NoError(t, c.Close())
	require.NoError(t, <-ended)
	require.Error(t, c.Serve(t.Context(), "t", 1, nil))
}
