package instance

import (
	"context"
	"errors"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// freshest bounds the instances whose targets are told out of turn.
const freshest = 256

// spreadSoon has the targets told of an instance's standing at once. Where that
// cannot be, or comes to nothing, the instance is due like any other.
func (s *Service) spreadSoon(i directory.Instance) {
	select {
	case s.fresh <- i:
	default:
		s.wakeUp()
	}
}

// spreadFresh tells the targets of what has just changed until ctx ends.
func (s *Service) spreadFresh(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case i := <-s.fresh:
			if err := s.spread(ctx, i); err != nil && ctx.Err() == nil {
				s.options.Logger.Error("cannot tell the targets what has become of an instance; trying again", "instance", i.ID, "error", err)
				s.wakeUp()
			}
		}
	}
}

// spread tells the targets of an instance's standing, if that is due. That they
// are told is noted after: what a crash cuts off is done again.
func (s *Service) spread(ctx context.Context, i directory.Instance) error {
	if !hasCome(i.SpreadAt, s.options.Now()) {
		return nil
	}
	taken := false
	leased, err := s.store.ChangeInstance(ctx, i.Dataset, i.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		now := s.options.Now()
		if taken = hasCome(i.SpreadAt, now); taken {
			i.SpreadAt = now.Add(s.options.Lease)
		}
		return taken, nil
	})
	if err != nil || !taken {
		return err
	}
	if s.options.Spreader != nil {
		if err := s.options.Spreader.Spread(ctx, i.Dataset, i.ID); err != nil {
			return errors.Join(fmt.Errorf("tell the targets of instance %s: %w", i.ID, err), s.spreadLater(ctx, &leased))
		}
	}
	stored, err := s.store.ChangeInstance(ctx, i.Dataset, i.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		return i.Spread(leased.Standings), nil
	})
	if err == nil && stored.Standings == leased.Standings {
		s.options.Logger.Info("the targets are told how an instance stands", "instance", i.ID, "dataset", string(i.Dataset), "state", string(stored.State(s.options.Now())))
	}
	return err
}

// spreadLater gives a lease up that came to nothing, for another try soon.
func (s *Service) spreadLater(ctx context.Context, leased *directory.Instance) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Patience)
	defer cancel()
	_, err := s.store.ChangeInstance(ctx, leased.Dataset, leased.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		if i.SpreadAt.IsZero() || i.Standings != leased.Standings {
			return false, nil
		}
		i.SpreadAt = s.options.Now().Add(s.backoff(1))
		return true, nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}
