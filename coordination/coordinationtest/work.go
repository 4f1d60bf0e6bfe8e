package coordinationtest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
)

var wakeupTests = map[string]func(*bundle){
	"every replica is woken":   wakeAll,
	"many are one":             wakeCoalesced,
	"topics do not meet":       wakeApart,
	"who stopped is not woken": wakeStopped,
	"a topic may be any text":  wakeNames,
}

// subscribe waits until the subscription hears other replicas.
func (b *bundle) subscribe(replica coordination.Port, topic string) <-chan struct{} {
	b.Helper()
	woken, stop := replica.Subscribe(topic)
	b.Cleanup(stop)
	other := b.a
	if replica == b.a {
		other = b.b
	}
	b.connect(other, topic, woken)
	b.connect(replica, topic, woken)
	return woken
}

// connect publishes until it is heard: a wake-up sent before the replica is
// connected is lost, as it may be. Then it drains what came late.
func (b *bundle) connect(from coordination.Port, topic string, woken <-chan struct{}) {
	b.Helper()
	for {
		require.NoError(b, from.Publish(b.ctx, topic))
		select {
		case <-woken:
			return
		case <-time.After(20 * time.Millisecond):
			require.NoError(b, b.ctx.Err(), "never woken")
		}
	}
}

func wakeAll(b *bundle) {
	a, other := b.subscribe(b.a, "t"), b.subscribe(b.b, "t")
	require.NoError(b, b.a.Publish(b.ctx, "t"))
	receive(b, a, "the wake-up here")
	receive(b, other, "the wake-up there")
}

func wakeCoalesced(b *bundle) {
	woken, stop := b.a.Subscribe("t")
	defer stop()
	for range 100 {
		require.NoError(b, b.a.Publish(b.ctx, "t"))
	}
	receive(b, woken, "the wake-up")
	require.Equal(b, 1, cap(woken), "no more than one can wait")
}

// wakeApart: connecting wakes all, and one who listens to more than one place
// may hear of it late; but it does so once, not with each of another topic's.
func wakeApart(b *bundle) {
	const times = 20
	woken, stop := b.a.Subscribe("t")
	defer stop()
	other := b.subscribe(b.a, "other")
	strays := 0
	for range times {
		for len(woken) > 0 {
			<-woken
			strays++
		}
		require.NoError(b, b.a.Publish(b.ctx, "other"))
		receive(b, other, "the wake-up")
	}
	require.Less(b, strays, times/2, "another topic's wake-ups")
}

func wakeStopped(b *bundle) {
	woken, stop := b.a.Subscribe("t")
	still := b.subscribe(b.a, "t")
	stop()
	for len(woken) > 0 {
		<-woken
	}
	for len(still) > 0 {
		<-still
	}
	require.NoError(b, b.a.Publish(b.ctx, "t"))
	receive(b, still, "the wake-up")
	nothing(b, woken, "a wake-up after the end")
	stop()
}

func wakeNames(b *bundle) {
	for _, topic := range []string{"目标", "a b c", "", "target/x:y{z}"} {
		b.subscribe(b.a, topic)
	}
}

var dispatchTests = map[string]func(*bundle){
	"a task is done by some replica":              dispatchDone,
	"asked for many times it waits once":          dispatchUnique,
	"asked for while being done it is done again": dispatchAgain,
	"it is not done twice at a time":              dispatchAlone,
	"a queue is done so many at once":             dispatchAtOnce,
	"queues do not hold each other up":            dispatchQueuesApart,
	"a task asked for before anybody serves":      dispatchEarly,
	"a task cut off is done by another":           dispatchCutOff,
	"serve returns when all is at its end":        dispatchWaits,
	"all of many tasks are done":                  dispatchMany,
}

// serve serves a queue until the returned function is called or the test ends.
func (b *bundle) serve(replica coordination.Port, queue string, atOnce int, handle func(ctx context.Context, key string)) (stop func()) {
	ctx, cancel := context.WithCancel(b.ctx)
	var served sync.WaitGroup
	served.Go(func() {
		if err := replica.Serve(ctx, queue, atOnce, handle); err != nil {
			b.Errorf("serve: %v", err)
		}
	})
	stop = func() {
		cancel()
		served.Wait()
	}
	b.Cleanup(stop)
	return stop
}

func (b *bundle) enqueue(replica coordination.Port, queue, key string) {
	b.Helper()
	require.NoError(b, replica.Enqueue(b.ctx, coordination.Task{Queue: queue, Key: key}))
}

func dispatchDone(b *bundle) {
	done := make(chan string, 8)
	b.serve(b.b, "t", 2, func(_ context.Context, key string) { done <- key })
	b.enqueue(b.a, "t", "prod/i-1/租户")
	require.Equal(b, "prod/i-1/租户", receive(b, done, "the task"))
	b.enqueue(b.a, "t", "prod/i-1/租户")
	receive(b, done, "the task, asked for again")
}

func dispatchUnique(b *bundle) {
	for range 10 {
		b.enqueue(b.a, "t", "k")
		b.enqueue(b.b, "t", "k")
	}
	b.enqueue(b.a, "t", "last")
	done := make(chan string, 32)
	b.serve(b.a, "t", 1, func(_ context.Context, key string) { done <- key })
	require.Equal(b, "k", receive(b, done, "the task"))
	require.Equal(b, "last", receive(b, done, "the one behind it"))
}

func dispatchAgain(b *bundle) {
	began, finish := make(chan int, 8), make(chan struct{})
	var times atomic.Int32
	handle := func(context.Context, string) {
		began <- int(times.Add(1))
		receive(b, finish, "the end of the task")
	}
	b.serve(b.a, "t", 2, handle)
	b.enqueue(b.a, "t", "k")
	receive(b, began, "the first time")
	for range 5 {
		b.enqueue(b.b, "t", "k")
	}
	nothing(b, began, "a second time beside the first")
	finish <- struct{}{}
	receive(b, began, "the second time")
	finish <- struct{}{}
	b.enqueue(b.a, "t", "other")
	receive(b, began, "another task")
	finish <- struct{}{}
	require.EqualValues(b, 3, times.Load(), "five wishes are one")
}

func dispatchAlone(b *bundle) {
	var running, times atomic.Int32
	done := make(chan struct{}, 256)
	handle := func(context.Context, string) {
		if running.Add(1) > 1 {
			b.Error("done twice at a time")
		}
		times.Add(1)
		running.Add(-1)
		done <- struct{}{}
	}
	b.serve(b.a, "t", 4, handle)
	b.serve(b.b, "t", 4, handle)
	var group sync.WaitGroup
	for _, replica := range []coordination.Port{b.a, b.b} {
		group.Go(func() {
			for range 20 {
				if err := replica.Enqueue(b.ctx, coordination.Task{Queue: "t", Key: "k"}); err != nil {
					b.Errorf("enqueue: %v", err)
				}
			}
		})
	}
	group.Wait()
	receive(b, done, "the task")
	require.LessOrEqual(b, times.Load(), int32(40))
}

func dispatchAtOnce(b *bundle) {
	const atOnce, all = 3, 9
	var running atomic.Int32
	began, finish := make(chan struct{}, all), make(chan struct{})
	for _, key := range ids(all) {
		b.enqueue(b.a, "t", key)
	}
	b.serve(b.a, "t", atOnce, func(context.Context, string) {
		if running.Add(1) > atOnce {
			b.Error("too many at once")
		}
		began <- struct{}{}
		receive(b, finish, "the end of the task")
		running.Add(-1)
	})
	for range atOnce {
		receive(b, began, "as many as may be")
	}
	nothing(b, began, "one more than may be")
	for range all {
		finish <- struct{}{}
	}
	for range all - atOnce {
		receive(b, began, "the rest")
	}
}

func dispatchQueuesApart(b *bundle) {
	stuck := make(chan struct{})
	b.serve(b.a, "dead", 1, func(ctx context.Context, _ string) {
		close(stuck)
		<-ctx.Done()
	})
	done := make(chan string, 1)
	b.serve(b.a, "live", 1, func(_ context.Context, key string) { done <- key })
	b.enqueue(b.a, "dead", "k")
	receive(b, stuck, "the stuck task")
	b.enqueue(b.a, "dead", "behind")
	b.enqueue(b.a, "live", "k")
	receive(b, done, "the task of the other queue")
}

func dispatchEarly(b *bundle) {
	for _, key := range ids(3) {
		b.enqueue(b.a, "t", key)
	}
	done := make(chan string, 3)
	b.serve(b.b, "t", 1, func(_ context.Context, key string) { done <- key })
	got := []string{receive(b, done, "one"), receive(b, done, "two"), receive(b, done, "three")}
	require.ElementsMatch(b, ids(3), got)
}

func dispatchCutOff(b *bundle) {
	began := make(chan struct{})
	stop := b.serve(b.a, "t", 1, func(ctx context.Context, _ string) {
		close(began)
		<-ctx.Done()
	})
	b.enqueue(b.a, "t", "k")
	receive(b, began, "the task")
	stop()
	done := make(chan string, 1)
	b.serve(b.b, "t", 1, func(_ context.Context, key string) { done <- key })
	require.Equal(b, "k", receive(b, done, "the task on the other replica"))
}

func dispatchWaits(b *bundle) {
	began, ended := make(chan struct{}), make(chan struct{})
	stop := b.serve(b.a, "t", 1, func(ctx context.Context, _ string) {
		close(began)
		<-ctx.Done()
		close(ended)
	})
	b.enqueue(b.a, "t", "k")
	receive(b, began, "the task")
	stop()
	select {
	case <-ended:
	default:
		b.Error("serve returned before its handler")
	}
}

func dispatchMany(b *bundle) {
	const all = 60
	done := make(chan string, all)
	handle := func(_ context.Context, key string) { done <- key }
	b.serve(b.a, "t", 4, handle)
	b.serve(b.b, "t", 4, handle)
	for _, key := range ids(all) {
		b.enqueue(b.a, "t", key)
	}
	got := make(map[string]bool, all)
	for len(got) < all {
		got[receive(b, done, "a task")] = true
	}
}
