package coordination

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Health says whether the replicas work together.
type Health struct {
	// Degraded means that the shared state is away and this replica goes on
	// alone: all is correct, some things take longer or are done twice.
	Degraded bool      `json:"degraded"`
	Since    time.Time `json:"since"` // when Degraded became what it is
	Reason   string    `json:"reason,omitempty"`
}

// FallbackOptions shape a Fallback; the zero value serves.
type FallbackOptions struct {
	// Probe is how often the shared state is looked after, default 1 s.
	Probe  time.Duration
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
}

// Fallback is shared coordination that this replica does without while it is
// away. The first call that finds it away takes as long as such a call may;
// from then on calls go to the replica's own, until a probe succeeds. Nothing
// has to be repaired then: both know what this replica remembers, and the
// store knows what is left to do.
type Fallback struct {
	shared, alone Port
	options       FallbackOptions

	away atomic.Bool
	// highest is the greatest token this replica has seen: tokens keep
	// ascending when the lock changes over.
	highest atomic.Int64

	mu     sync.Mutex
	health Health

	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup
}

var _ Port = (*Fallback)(nil)

// NewFallback makes a fallback and starts looking after the shared state. It
// owns both: Close closes them.
func NewFallback(shared, alone Port, options FallbackOptions) *Fallback {
	if options.Probe <= 0 {
		options.Probe = time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	life, end := context.WithCancel(context.Background())
	f := &Fallback{shared: shared, alone: alone, options: options, life: life, end: end}
	f.health.Since = options.Now()
	f.running.Go(f.watch)
	return f
}

// Health says how it stands.
func (f *Fallback) Health() Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health
}

// Ping never fails: there is always the replica's own. Ask Health.
func (f *Fallback) Ping(ctx context.Context) error { return f.alone.Ping(ctx) }

// Close ends what runs and closes both implementations.
func (f *Fallback) Close() error {
	f.end()
	f.running.Wait()
	return errors.Join(f.shared.Close(), f.alone.Close())
}

// watch probes the shared state until Close.
func (f *Fallback) watch() {
	ticker := time.NewTicker(f.options.Probe)
	defer ticker.Stop()
	for {
		err := f.shared.Ping(f.life)
		if f.life.Err() != nil {
			return
		}
		f.note(err)
		select {
		case <-f.life.Done():
			return
		case <-ticker.C:
		}
	}
}

// note takes in whether the shared state is there.
func (f *Fallback) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	degraded := err != nil
	if degraded {
		f.health.Reason = err.Error()
	}
	if f.health.Degraded == degraded {
		return
	}
	f.away.Store(degraded)
	f.health.Degraded, f.health.Since = degraded, f.options.Now()
	if degraded {
		f.options.Logger.Warn("coordination is degraded: this replica goes on alone until the shared state is back", "error", err)
		return
	}
	f.health.Reason = ""
	f.options.Logger.Info("coordination is shared again")
}

// try makes a call of the shared state if it is there, and reports whether
// its answer counts; otherwise it is the replica's own that does.
func (f *Fallback) try(call func() error) (answered bool, err error) {
	if f.away.Load() {
		return false, nil
	}
	if err = call(); errors.Is(err, ErrUnavailable) {
		f.note(err)
		return false, nil
	}
	return true, err
}

// Once implements Nonces. What was served here is in this replica's own memory
// too.
func (f *Fallback) Once(ctx context.Context, nonce, signature string, ttl time.Duration, serve func() (Answer, bool)) (Answer, error) {
	var failed error
	answer, err := f.alone.Once(ctx, nonce, signature, ttl, func() (answer Answer, keep bool) {
		served := false
		once := func() (Answer, bool) {
			served = true
			answer, keep = serve()
			return answer, keep
		}
		var shared Answer
		answered, err := f.try(func() (err error) {
			shared, err = f.shared.Once(ctx, nonce, signature, ttl, once)
			return err
		})
		switch {
		case err != nil:
			failed = err
			return Answer{}, false
		case served:
			return answer, keep
		case answered: // its time has begun elsewhere, and is told there
			return shared, false
		default:
			return serve()
		}
	})
	if failed != nil {
		return Answer{}, failed
	}
	return answer, err
}

// Acquire implements Locks. The replica's own lock comes first, so that its
// writers stay apart when the shared one goes or returns.
func (f *Fallback) Acquire(ctx context.Context, key string, after int64) (Lease, error) {
	own, err := f.alone.Acquire(ctx, key, max(after, f.highest.Load()))
	if err != nil {
		return nil, err
	}
	var shared Lease
	answered, err := f.try(func() (err error) {
		shared, err = f.shared.Acquire(own.Context(), key, max(after, f.highest.Load()))
		return err
	})
	switch {
	case err != nil:
		own.Release()
		return nil, err
	case !answered:
		f.saw(own.Token())
		return own, nil
	default:
		f.saw(shared.Token())
		return &bothLeases{Lease: shared, own: own}, nil
	}
}

// saw raises the greatest token seen.
func (f *Fallback) saw(token int64) {
	for {
		highest := f.highest.Load()
		if token <= highest || f.highest.CompareAndSwap(highest, token) {
			return
		}
	}
}

// bothLeases is a shared lease that was taken under the replica's own.
type bothLeases struct {
	Lease // the shared one
	own   Lease
}

func (l *bothLeases) Release() {
	l.Lease.Release()
	l.own.Release()
}

// Take implements Buckets.
func (f *Fallback) Take(ctx context.Context, key string, rate Rate, n int, patience time.Duration) (wait time.Duration, taken bool, err error) {
	answered, err := f.try(func() (err error) {
		wait, taken, err = f.shared.Take(ctx, key, rate, n, patience)
		return err
	})
	if answered {
		return wait, taken, err
	}
	return f.alone.Take(ctx, key, rate, n, patience)
}

// Shrink implements Buckets. Both shrink.
func (f *Fallback) Shrink(ctx context.Context, key string, rate Rate, rest time.Duration) error {
	_, err := f.try(func() error { return f.shared.Shrink(ctx, key, rate, rest) })
	return errors.Join(err, f.alone.Shrink(ctx, key, rate, rest))
}

// Enter implements Breakers.
func (f *Fallback) Enter(ctx context.Context, key string) (passage Passage, err error) {
	answered, err := f.try(func() (err error) {
		passage, err = f.shared.Enter(ctx, key)
		return err
	})
	if answered {
		return passage, err
	}
	return f.alone.Enter(ctx, key)
}

// Trip implements Breakers. Both trip.
func (f *Fallback) Trip(ctx context.Context, key, reason string, wait time.Duration) error {
	_, err := f.try(func() error { return f.shared.Trip(ctx, key, reason, wait) })
	return errors.Join(err, f.alone.Trip(ctx, key, reason, wait))
}

// Reset implements Breakers. Both close.
func (f *Fallback) Reset(ctx context.Context, key string) error {
	_, err := f.try(func() error { return f.shared.Reset(ctx, key) })
	return errors.Join(err, f.alone.Reset(ctx, key))
}

// Publish implements Wakeups.
func (f *Fallback) Publish(ctx context.Context, topic string) error {
	answered, err := f.try(func() error { return f.shared.Publish(ctx, topic) })
	if answered {
		return err
	}
	return f.alone.Publish(ctx, topic)
}

// Subscribe implements Wakeups: it hears both, until stop or Close.
func (f *Fallback) Subscribe(topic string) (woken <-chan struct{}, stop func()) {
	shared, stopShared := f.shared.Subscribe(topic)
	own, stopOwn := f.alone.Subscribe(topic)
	both, ended := make(chan struct{}, 1), make(chan struct{})
	life, end := context.WithCancel(f.life)
	f.running.Go(func() {
		defer close(ended)
		for {
			select {
			case <-shared:
			case <-own:
			case <-life.Done():
				return
			}
			select {
			case both <- struct{}{}:
			default: // it has one already
			}
		}
	})
	return both, sync.OnceFunc(func() {
		end()
		<-ended
		stopShared()
		stopOwn()
	})
}

// Enqueue implements Dispatcher.
func (f *Fallback) Enqueue(ctx context.Context, task Task) error {
	answered, err := f.try(func() error { return f.shared.Enqueue(ctx, task) })
	if answered {
		return err
	}
	return f.alone.Enqueue(ctx, task)
}

// Serve implements Dispatcher. It serves both queues, at most atOnce tasks in
// all. A task taken from both is done one time after the other.
func (f *Fallback) Serve(ctx context.Context, queue string, atOnce int, handle func(ctx context.Context, key string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := make(chan struct{}, max(1, atOnce))
	bounded := func(ctx context.Context, key string) {
		own, err := f.alone.Acquire(ctx, "task "+queue+" "+key, 0)
		if err != nil {
			return // ctx has ended
		}
		defer own.Release()
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			handle(ctx, key)
		case <-ctx.Done():
		}
	}
	errs := make(chan error, 2)
	for name, port := range map[string]Port{"shared": f.shared, "own": f.alone} {
		go func() {
			defer cancel()
			err := port.Serve(ctx, queue, atOnce, bounded)
			if err != nil {
				err = fmt.Errorf("%s tasks: %w", name, err)
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
}
