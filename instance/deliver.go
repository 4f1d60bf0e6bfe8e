package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

const (
	dueBatch    = 50               // instances read at once
	deliverers  = 4                // instances told of at once
	longestWait = 30 * time.Second // until what another replica left behind is seen
)

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// Run tells the seller's server and the targets what waits until ctx ends. What
// the targets have to know does not wait for a seller's server that hangs.
func (s *Service) Run(ctx context.Context) error {
	var spreading sync.WaitGroup
	defer spreading.Wait()
	for range deliverers {
		spreading.Go(func() { s.spreadFresh(ctx) })
	}
	for {
		wait, err := s.DeliverDue(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.options.Logger.Error("cannot tell what has become of instances; trying again", "error", err)
			wait = s.options.BackoffBase
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// DeliverDue tells the seller's server and the targets what is due and says how
// long nothing more will be.
func (s *Service) DeliverDue(ctx context.Context) (wait time.Duration, err error) {
	due, next, err := s.store.DueInstances(ctx, s.options.Now(), dueBatch)
	if err != nil {
		return 0, err
	}
	err = errors.Join(eachOf(due, func(i directory.Instance) error { return s.spread(ctx, i) }),
		eachOf(due, func(i directory.Instance) error { return s.tell(ctx, i) }))
	if err != nil {
		return 0, err
	}
	if len(due) > 0 {
		return 0, nil // what these left behind may be due already
	}
	if next.IsZero() {
		return longestWait, nil
	}
	return min(longestWait, max(0, next.Sub(s.options.Now()))), nil
}

// eachOf does something for each instance, a few at once: what fails for one
// stops no other.
func eachOf(instances []directory.Instance, do func(directory.Instance) error) error {
	var group errgroup.Group
	group.SetLimit(deliverers)
	for _, i := range instances {
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

// tell makes an attempt for the instance's first event, if that is due.
func (s *Service) tell(ctx context.Context, i directory.Instance) error {
	leased, err := s.lease(ctx, i)
	if err != nil || leased == nil {
		return err
	}
	_, err = s.deliver(ctx, *leased)
	return err
}

func hasCome(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// lease takes the instance's first event for one attempt, nil if another has.
func (s *Service) lease(ctx context.Context, i directory.Instance) (*directory.Instance, error) {
	if !hasCome(i.DueAt, s.options.Now()) {
		return nil, nil
	}
	taken := false
	leased, err := s.store.ChangeInstance(ctx, i.Dataset, i.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		now := s.options.Now()
		if taken = hasCome(i.DueAt, now); !taken {
			return false, nil
		}
		i.DueAt = now.Add(s.options.Lease)
		if len(i.Pending) == 0 {
			i.DueAt, taken = time.Time{}, false
		}
		return true, nil
	})
	if err != nil || !taken {
		return nil, err
	}
	return &leased, nil
}

// askNow tells the first event of an instance leased to this call, as long as
// the marketplace has patience. Whatever fails is tried again later.
func (s *Service) askNow(ctx context.Context, i directory.Instance) directory.Instance {
	ctx, cancel := context.WithTimeout(ctx, s.options.Patience)
	defer cancel()
	stored, err := s.deliver(ctx, i)
	if err != nil {
		s.options.Logger.Error("cannot keep what the seller's server said; trying again", "instance", i.ID, "error", err)
		return i
	}
	return stored
}

// deliver makes one attempt for the first event of a leased instance and keeps
// what came of it.
func (s *Service) deliver(ctx context.Context, i directory.Instance) (directory.Instance, error) {
	event := i.Pending[0]
	contact, err := s.contactOf(&i)
	var outcome Outcome
	if err == nil {
		outcome, err = s.provisioner.Tell(ctx, &i, &event, contact)
	}
	s.told.WithLabelValues(string(event.Type), outcome.measure(err)).Inc()
	// What the server said is kept also when the caller's patience has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Patience)
	defer cancel()
	stored, keepErr := s.store.ChangeInstance(ctx, i.Dataset, i.ID, "", func(i *directory.Instance, _ bool) (bool, error) {
		return s.keep(i, &event, outcome, err), nil
	})
	if errors.Is(keepErr, storage.ErrNotFound) {
		return i, nil
	}
	if keepErr == nil && len(stored.Pending) > 0 && stored.Pending[0].ID != event.ID {
		s.wakeUp()
	}
	if err != nil {
		s.options.Logger.Warn("the seller's server was not told; trying again", "instance", i.ID, "event", string(event.Type), "attempt", stored.Attempts, "error", err)
	}
	return stored, keepErr
}

// keep notes an attempt: its outcome, or when the next is due.
func (s *Service) keep(i *directory.Instance, event *directory.InstanceEvent, outcome Outcome, err error) bool {
	if len(i.Pending) == 0 || i.Pending[0].ID != event.ID {
		return false // told by another attempt, or no longer wanted
	}
	if err == nil && outcome.NoResource {
		i.NoResource = i.NoResource || event.Type == directory.EventCreated
		err = errors.New("the seller has no resource left")
	}
	if err == nil {
		err = s.settle(i, event, outcome)
	}
	if err == nil {
		return true
	}
	i.Attempts++
	i.LastError = err.Error()
	i.DueAt = s.options.Now().Add(s.backoff(i.Attempts))
	return true
}

// backoff grows with each failed attempt; half of it is left to chance, so
// that instances do not all come back at once.
func (s *Service) backoff(attempts int) time.Duration {
	wait := s.options.BackoffMax
	if attempts <= 30 {
		wait = min(wait, s.options.BackoffBase<<(attempts-1))
	}
	return wait/2 + s.options.Jitter(wait/2+1)
}

func (s *Service) contactOf(i *directory.Instance) (map[string]string, error) {
	if len(i.SealedContact) == 0 {
		return nil, nil
	}
	text, err := s.sealer.Open(i.SealedContact, contactPurpose)
	if err != nil {
		return nil, fmt.Errorf("contact of instance %s: %w", i.ID, err)
	}
	var contact map[string]string
	if err := json.Unmarshal(text, &contact); err != nil {
		return nil, fmt.Errorf("contact of instance %s: %w", i.ID, err)
	}
	return contact, nil
}
