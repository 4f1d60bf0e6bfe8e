package local

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/openkoo/connector/coordination"
)

// Locks keeps the writers of one process apart, first come, first served.
type Locks struct {
	now func() time.Time

	mu   sync.Mutex
	held map[string]*queue
	last int64 // the highest token given, over all keys
}

// queue is who waits for a key that is held, in order.
type queue struct{ waiting []chan struct{} }

var _ coordination.Locks = (*Locks)(nil)

// NewLocks makes locks whose tokens come from now (default time.Now).
func NewLocks(now func() time.Time) *Locks {
	if now == nil {
		now = time.Now
	}
	return &Locks{now: now, held: make(map[string]*queue)}
}

// Acquire implements coordination.Locks.
func (l *Locks) Acquire(ctx context.Context, key string, after int64) (coordination.Lease, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if turn := l.enter(key); turn != nil {
		select {
		case <-turn:
		case <-ctx.Done():
			l.giveUp(key, turn)
			return nil, context.Cause(ctx)
		}
	}
	held, cancel := context.WithCancel(ctx)
	return &lease{token: l.token(after), ctx: held, release: sync.OnceFunc(func() {
		cancel()
		l.pass(key)
	})}, nil
}

// enter takes the key, or returns what is closed when it is the caller's turn.
func (l *Locks) enter(key string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, held := l.held[key]
	if !held {
		l.held[key] = &queue{}
		return nil
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	return turn
}

// pass hands the key to the next who waits.
func (l *Locks) pass(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.held[key]
	if len(q.waiting) == 0 {
		delete(l.held, key)
		return
	}
	close(q.waiting[0])
	q.waiting = slices.Delete(q.waiting, 0, 1)
}

// giveUp stops waiting; a turn that came just now is handed on.
func (l *Locks) giveUp(key string, turn chan struct{}) {
	l.mu.Lock()
	q := l.held[key]
	at := slices.Index(q.waiting, turn)
	if at >= 0 {
		q.waiting = slices.Delete(q.waiting, at, at+1)
	}
	l.mu.Unlock()
	if at < 0 {
		l.pass(key)
	}
}

func (l *Locks) token(after int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = max(l.last+1, after+1, l.now().UnixMicro())
	return l.last
}

type lease struct {
	token   int64
	ctx     context.Context
	release func()
}

func (l *lease) Token() int64             { return l.token }
func (l *lease) Context() context.Context { return l.ctx }
func (l *lease) Release()                 { l.release() }
