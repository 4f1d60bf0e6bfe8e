package redis

import (
	"context"
	"sync"
	"time"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/local"
)

// silentWaiter is how long somebody who waits for a lock may not be heard of
// before others pass: some polls.
const silentWaiter = 10 * pollTo

// locks keeps the writers of all replicas apart. Within a replica they wait
// their turn in memory, so that each replica waits for a key only once; the
// replicas are served in the order in which they came.
type locks struct {
	*client
	hub   *wakeups
	turns *local.Locks
}

// Acquire implements coordination.Locks.
func (l *locks) Acquire(ctx context.Context, key string, after int64) (coordination.Lease, error) {
	turn, err := l.turns.Acquire(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	a := &acquisition{locks: l, name: key, owner: l.holder()}
	token, err := a.acquire(ctx, after)
	if err != nil {
		turn.Release()
		// It may have been given all the same, or a place in the queue.
		if l.life.Err() == nil {
			l.background.Go(func() { a.giveBack(ctx) })
		}
		return nil, err
	}
	held, cancel := context.WithCancelCause(turn.Context())
	stop := l.hold(func(ctx context.Context) (bool, error) {
		held, err := l.evalInt(ctx, lockRenew, a.keys()[:1], a.owner, micros(l.options.Lease), token)
		return held == 1, err
	}, true, func() { cancel(coordination.ErrLockLost) })
	return &lease{token: token, ctx: held, release: sync.OnceFunc(func() {
		cancel(context.Canceled)
		stop()
		a.giveBack(ctx)
		turn.Release()
	})}, nil
}

// acquisition is one wish to hold a lock.
type acquisition struct {
	*locks
	name, owner string
}

func (a *acquisition) keys() []string {
	return []string{a.key("lock", a.name), a.key("lock-queue", a.name), a.key("lock-seen", a.name)}
}

func (a *acquisition) topic() string { return "lock/" + a.name }

func (a *acquisition) acquire(ctx context.Context, after int64) (int64, error) {
	var woken <-chan struct{}
	for {
		token, wait, err := a.try(ctx, after)
		if err != nil || token > 0 {
			return token, err
		}
		if woken == nil {
			var stop func()
			woken, stop = a.hub.Subscribe(a.topic())
			defer stop()
			continue
		}
		if err := pause(ctx, woken, wait); err != nil {
			return 0, err
		}
	}
}

// try takes the lock if it is this one's turn, or says how long it is held.
func (a *acquisition) try(ctx context.Context, after int64) (token int64, wait time.Duration, err error) {
	list, err := a.evalList(ctx, lockAcquire, 2, a.keys(), a.owner, micros(a.options.Lease), after, micros(silentWaiter))
	if err != nil {
		return 0, 0, err
	}
	n, err := fromText(list[1])
	if err != nil {
		return 0, 0, lockAcquire.odd(list)
	}
	if list[0] == int64(1) {
		return n, 0, nil
	}
	return 0, time.Duration(n) * time.Microsecond, nil
}

// giveBack returns the lock or the place in the queue. If it fails, the lease
// runs out.
func (a *acquisition) giveBack(ctx context.Context) {
	_, err := a.eval(context.WithoutCancel(ctx), lockRelease, a.keys(), a.owner, a.channel(), a.hub.message("", a.topic()))
	if err != nil {
		a.options.Logger.Warn("a lock could not be given back; it runs out", "lock", a.name, "lease", a.options.Lease, "error", err)
	}
}

type lease struct {
	token   int64
	ctx     context.Context
	release func()
}

func (l *lease) Token() int64             { return l.token }
func (l *lease) Context() context.Context { return l.ctx }
func (l *lease) Release()                 { l.release() }
