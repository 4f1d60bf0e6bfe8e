package instance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/instance"
)

// targets hears what the targets are told.
type targets struct {
	told []directory.Standing
	// first runs in the middle of telling, once.
	first func() error
	b     *bundle
}

func (s *targets) Spread(ctx context.Context, dataset directory.Dataset, id string) error {
	i, err := s.b.store.Instance(ctx, dataset, id)
	if err != nil {
		return err
	}
	s.told = append(s.told, i.Standing())
	if first := s.first; first != nil {
		s.first = nil
		return first()
	}
	return nil
}

// spreading is a bundle with an instance whose standing is spread to targets.
func spreading(t *testing.T) (*bundle, *targets) {
	b := newBundle(t, static(t, templates))
	s := &targets{b: b}
	b.service = instance.New(b.store, static(t, templates), b.box, instance.Options{
		Now: b.clock.now, Logger: slog.New(slog.DiscardHandler), Jitter: func(time.Duration) time.Duration { return 0 }, Spreader: s,
	})
	b.serve(b.buy("o", "b-1"))
	b.due()
	require.Empty(t, s.told, "a new instance is in good standing")
	return b, s
}

func (b *bundle) freezes(freeze bool) {
	b.Helper()
	b.clock.advance(time.Second)
	call := b.call(directory.UpdateInstanceStatus)
	call.Freeze = freeze
	b.serve(call)
}

func TestTheTargetsAreToldOfEachStandingOnce(t *testing.T) {
	t.Parallel()
	b, s := spreading(t)
	b.freezes(true)
	b.freezes(true)
	require.Empty(t, s.told, "not by the call itself: there may be a hundred thousand accounts")
	b.due()
	b.due()
	b.freezes(false)
	b.due()
	b.serve(b.call(directory.ReleaseInstance))
	b.due()
	require.Equal(t, []directory.Standing{directory.StandingFrozen, directory.GoodStanding, directory.StandingReleased}, s.told)
}

// What failed is tried again soon, what a crash cut off when the lease is over.
func TestTellingTheTargetsIsNotForgotten(t *testing.T) {
	t.Parallel()
	b, s := spreading(t)
	s.first = func() error { return errors.New("the store is away") }
	b.freezes(true)
	_, err := b.service.DeliverDue(b.ctx)
	require.ErrorContains(t, err, "tell the targets of instance b-1: the store is away")
	b.due()
	require.Len(t, s.told, 1, "not at once")
	b.clock.advance(time.Second)
	b.due()
	require.Len(t, s.told, 2)

	ctx, kill := context.WithCancel(b.ctx)
	s.first = func() error {
		kill() // what is done after is not written
		return nil
	}
	b.freezes(false)
	_, err = b.service.DeliverDue(ctx)
	require.ErrorIs(t, err, context.Canceled)
	b.due()
	require.Len(t, s.told, 3)
	b.clock.advance(time.Minute)
	b.due()
	require.Len(t, s.told, 4)
	b.clock.advance(time.Hour)
	b.due()
	require.Len(t, s.told, 4)
}

// A standing that changes while the targets are told of the one before is told
// after it.
func TestAStandingThatChangesMeanwhileIsToldToo(t *testing.T) {
	t.Parallel()
	b, s := spreading(t)
	s.first = func() error {
		b.freezes(false)
		return nil
	}
	b.freezes(true)
	b.due()
	require.Equal(t, []directory.Standing{directory.StandingFrozen, directory.GoodStanding}, s.told)
}

// heard passes on whose standing the targets are told.
type heard chan string

func (h heard) Spread(ctx context.Context, _ directory.Dataset, id string) error {
	select {
	case h <- id:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// However many calls hang at the seller's server, a freeze locks the accounts out.
func TestAFreezeDoesNotWaitForASellerThatHangs(t *testing.T) {
	t.Parallel()
	const waiting = 6 // more than are told at once
	s := newSeller(t, http.StatusInternalServerError, "")
	told := make(heard)
	b := newBundle(t, s.provisioner(nil))
	b.service = instance.New(b.store, s.provisioner(nil), b.box, instance.Options{
		Now: b.clock.now, Logger: slog.New(slog.DiscardHandler), Jitter: func(time.Duration) time.Duration { return 0 }, Spreader: told,
	})
	for n := range waiting {
		b.serve(b.buy(fmt.Sprint("o-", n), fmt.Sprint("b-", n)))
		<-s.came
	}
	s.mu.Lock()
	s.hold = make(chan struct{})
	s.mu.Unlock()
	b.clock.advance(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.service.Run(ctx) }()
	for range 4 {
		<-s.came // and hangs
	}
	b.freezes(true)
	require.Equal(t, "b-1", <-told)
	cancel()
	require.NoError(t, <-ended)
}
