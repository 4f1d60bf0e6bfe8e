package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

const (
	// maxBases bounds how many full pushes are tried to begin from.
	maxBases = 3
	// slack is how much earlier than a full push that was applied before it a
	// push may have come: the journal is listed by arrival, and a long push
	// lets others pass.
	slack = time.Hour
)

// history is what the journal has about the departments of a scope, in the
// order in which it was applied.
type history struct {
	records []storage.Record
	// whole says that nothing older is in the journal.
	whole bool
}

// byApplication is the order in which pushes were applied.
func byApplication(a, b storage.Record) int {
	return cmp.Or(a.AppliedAt.Compare(b.AppliedAt), cmp.Compare(a.ID, b.ID))
}

// past makes the departments again that stood after a push, and finds the
// newest word there is about the scope.
func (s *Service) past(ctx context.Context, to storage.Record) ([]directory.DepartmentItem, directory.SourceTime, error) {
	h, bases, err := s.recent(ctx, to)
	if err != nil {
		return nil, 0, err
	}
	var reasons []error
	for _, base := range bases {
		replay, err := s.replay(ctx, h, &base, &to)
		if err == nil {
			return replay.List(), h.newest(), nil
		}
		if !errors.Is(err, directory.ErrReplay) {
			return nil, 0, err
		}
		reasons = append(reasons, fmt.Errorf("from push %s: %w", base.ID, err))
	}
	if !h.whole {
		if h, err = s.read(ctx, to.Scope, time.Time{}); err != nil {
			return nil, 0, err
		}
	}
	items, err := s.fromNothing(ctx, h, to)
	if errors.Is(err, directory.ErrReplay) {
		return nil, 0, fmt.Errorf("%w: the journal does not reach far enough back before push %s to know what stood then: %w",
			ErrRefused, to.ID, errors.Join(append(reasons, err)...))
	}
	return items, h.newest(), err
}

// recent reads the journal back to the full pushes to begin from, newest first.
func (s *Service) recent(ctx context.Context, to storage.Record) (history, []storage.Record, error) {
	var bases []storage.Record
	var from time.Time
	err := s.pages(ctx, to.Scope, directory.AllOrgSync, func(r storage.Record) bool {
		if r.Phase == storage.PhaseApplied && byApplication(r, to) <= 0 && told(r).Whole() {
			bases, from = append(bases, r), r.ReceivedAt.Add(-slack)
		}
		return len(bases) < maxBases
	})
	if err != nil {
		return history{}, nil, err
	}
	slices.SortFunc(bases, func(a, b storage.Record) int { return byApplication(b, a) })
	h, err := s.read(ctx, to.Scope, from)
	return h, bases, err
}

// read reads what arrived since a time, zero for all there is.
func (s *Service) read(ctx context.Context, scope directory.Scope, from time.Time) (history, error) {
	h := history{whole: true}
	for _, kind := range []directory.PushKind{directory.AllOrgSync, directory.SingleOrgSync} {
		err := s.pages(ctx, scope, kind, func(r storage.Record) bool {
			if r.ReceivedAt.Before(from) {
				h.whole = false
				return false
			}
			if r.Phase == storage.PhaseApplied {
				h.records = append(h.records, r)
			}
			return true
		})
		if err != nil {
			return h, err
		}
	}
	slices.SortFunc(h.records, byApplication)
	return h, nil
}

// pages lists a scope's pushes of one kind, newest first, while next says so.
func (s *Service) pages(ctx context.Context, scope directory.Scope, kind directory.PushKind, next func(storage.Record) bool) error {
	filter := storage.PushFilter{Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID, Kind: kind}
	page := storage.Page{Limit: 1000}
	for {
		records, cursor, err := s.journal.Pushes(ctx, filter, page)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !next(r) {
				return nil
			}
		}
		if cursor == "" {
			return nil
		}
		page.Cursor = cursor
	}
}

func told(r storage.Record) directory.Told { return directory.Told{Result: r.Result, Counts: r.Counts} }

// newest is the newest word in the history.
func (h history) newest() (at directory.SourceTime) {
	for _, r := range h.records {
		at = max(at, r.SourceTime)
	}
	return at
}

// step is a push or the approval of one, in the order of the history.
type step struct {
	storage.Record
	approval bool
}

// steps are what was applied after one push and up to another; nil bounds
// nothing. An approval comes after the pushes of its moment.
func (h history) steps(after, upTo *storage.Record) ([]step, error) {
	var steps []step
	within := func(at storage.Record) bool {
		return (after == nil || byApplication(at, *after) > 0) && (upTo == nil || byApplication(at, *upTo) <= 0)
	}
	for _, r := range h.records {
		if within(r) {
			steps = append(steps, step{Record: r})
		}
		if r.Result != directory.ResultApproved || !within(r) {
			continue // what is held before the beginning is not known there
		}
		if r.DecidedAt.IsZero() {
			return nil, fmt.Errorf("%w: when push %s was approved is not in the journal", directory.ErrReplay, r.ID)
		}
		if upTo == nil || r.DecidedAt.Before(upTo.AppliedAt) {
			steps = append(steps, step{Record: r, approval: true})
		}
	}
	at := func(s step) time.Time {
		if s.approval {
			return s.DecidedAt
		}
		return s.AppliedAt
	}
	slices.SortStableFunc(steps, func(a, b step) int {
		if a.approval == b.approval {
			return cmp.Or(at(a).Compare(at(b)), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(at(a).Compare(at(b)), cmp.Compare(order(a), order(b)))
	})
	return steps, nil
}

func order(s step) int {
	if s.approval {
		return 1
	}
	return 0
}

// replay makes the departments as they stood after a push, from a full push
// on; from nil it begins with nothing, to nil it goes on to the end.
func (s *Service) replay(ctx context.Context, h history, from, to *storage.Record) (*directory.Replay, error) {
	steps, err := h.steps(from, to)
	if err != nil {
		return nil, err
	}
	replay := directory.NewReplay()
	if from != nil {
		push, err := s.load(ctx, *from)
		if err != nil {
			return nil, err
		}
		if err := replay.Begin(ctx, push); err != nil {
			return nil, err
		}
	}
	return replay, s.walk(ctx, replay, steps)
}

func (s *Service) walk(ctx context.Context, replay *directory.Replay, steps []step) error {
	for _, step := range steps {
		if step.approval {
			if err := replay.Approve(ctx, step.ID); err != nil {
				return err
			}
			continue
		}
		if step.Result == directory.ResultStale {
			continue // changed nothing, and need not be read
		}
		push, err := s.load(ctx, step.Record)
		if err != nil {
			return err
		}
		if err := replay.Push(ctx, push, told(step.Record)); err != nil {
			return fmt.Errorf("push %s: %w", step.ID, err)
		}
	}
	return nil
}

// load reads a journaled push again.
func (s *Service) load(ctx context.Context, r storage.Record) (*directory.Push, error) {
	body, err := s.journal.Body(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	push, err := s.codec.Decode(r.Kind, body)
	if err != nil {
		return nil, fmt.Errorf("%w: the body of push %s cannot be read again: %w", directory.ErrReplay, r.ID, err)
	}
	r.Restamp(push)
	return push, nil
}

// fromNothing makes the departments again of a scope whose journal has no full
// push to begin from. That holds only if the journal is all that ever was: then
// it leads on to what is stored now, change by change.
func (s *Service) fromNothing(ctx context.Context, h history, to storage.Record) ([]directory.DepartmentItem, error) {
	replay, err := s.replay(ctx, h, nil, &to)
	if err != nil {
		return nil, err
	}
	items := replay.List()
	now, err := s.replay(ctx, h, nil, nil)
	if err != nil {
		return nil, err
	}
	same := false
	_, err = s.store.Preview(ctx, to.Scope, func(ctx context.Context, view storage.View) (_ *directory.Plan, err error) {
		same, err = now.Same(view.Departments(ctx))
		return &directory.Plan{}, err
	})
	if err == nil && !same {
		err = fmt.Errorf("%w: from its beginning on it does not lead to what is stored now", directory.ErrReplay)
	}
	return items, err
}
