// Package restore undoes: it brings a tenant's departments back to how they
// stood after an earlier push.
//
// How they stood is not kept anywhere. It is made again from the journal: from
// the newest full push before that left no other department standing, and the
// pushes and decisions after it (directory.Replay). The outcome goes in as a
// full push of its own, on the way that every push takes: it is journaled,
// guarded, and carried to the targets, and a later push goes on from there.
package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// ErrRefused means that there is no going back to a push. The error says why.
var ErrRefused = errors.New("cannot restore")

// Journal is what is read of the journal.
type Journal interface {
	Push(ctx context.Context, id string) (storage.Record, []directory.Decision, error)
	Pushes(ctx context.Context, filter storage.PushFilter, page storage.Page) ([]storage.Record, string, error)
	Body(ctx context.Context, id string) ([]byte, error)
}

// Intake takes the restoring push in.
type Intake interface {
	Receive(ctx context.Context, push *directory.Push) (directory.Result, error)
	Preview(ctx context.Context, push *directory.Push) (*directory.Plan, error)
}

// Store looks at a scope as it stands.
type Store interface {
	Preview(ctx context.Context, scope directory.Scope, plan storage.PlanFunc) (*directory.Plan, error)
}

// Codec reads and writes the bodies that the journal keeps.
type Codec struct {
	Decode func(kind directory.PushKind, body []byte) (*directory.Push, error)
	Encode func(scope directory.Scope, flag directory.Flag, at directory.SourceTime, payload directory.Payload) ([]byte, error)
}

// Options shape a Service; the zero value serves.
type Options struct {
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
}

// Service restores.
type Service struct {
	journal Journal
	store   Store
	intake  Intake
	codec   Codec
	options Options
}

// New makes a service.
func New(journal Journal, store Store, intake Intake, codec Codec, options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Service{journal: journal, store: store, intake: intake, codec: codec, options: options}
}

// Request asks for one restore.
type Request struct {
	// PushID is the push to go back to: the departments as they stood when it
	// had just been applied. What it held was not deleted then.
	PushID string
	// By and Reason are kept in the journal.
	By, Reason string
	// DryRun plans and changes nothing.
	DryRun bool
}

// Outcome is what a restore did, or would do.
type Outcome struct {
	// PushID is the restoring push, empty for a dry run. If its result is
	// directory.ResultHeld, its deletions wait to be approved under that ID.
	PushID string `json:"push,omitempty"`
	// Restored and AsOf are the push gone back to and when it was applied.
	Restored string    `json:"restored"`
	AsOf     time.Time `json:"asOf"`
	// Departments is how many there were then.
	Departments int              `json:"departments"`
	Result      directory.Result `json:"result"`
	Counts      directory.Counts `json:"counts"`
	// Decisions are those of a dry run; the journal has the others.
	Decisions []directory.Decision `json:"decisions,omitempty"`
}

// Restore brings the departments of a push's scope back to how they stood
// after it. ErrRefused if that cannot be known, storage.ErrNotFound if the
// journal has no such push.
func (s *Service) Restore(ctx context.Context, request Request) (Outcome, error) {
	to, _, err := s.journal.Push(ctx, request.PushID)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case to.Scope.Dataset != directory.Prod:
		return Outcome{}, fmt.Errorf("%w: push %s is of test data, which expires by itself and is not journaled when it does", ErrRefused, to.ID)
	case to.Phase != storage.PhaseApplied:
		return Outcome{}, fmt.Errorf("%w: push %s is not applied yet", ErrRefused, to.ID)
	}
	past, newest, err := s.past(ctx, to)
	if err != nil {
		return Outcome{}, err
	}
	push, err := s.push(to, past, newest, request)
	if err != nil {
		return Outcome{}, err
	}
	outcome := Outcome{Restored: to.ID, AsOf: to.AppliedAt, Departments: len(past)}
	if request.DryRun {
		plan, err := s.intake.Preview(ctx, push)
		if err != nil {
			return Outcome{}, err
		}
		outcome.Result, outcome.Counts, outcome.Decisions = plan.Result, plan.Counts, plan.Decisions
		return outcome, nil
	}
	if outcome.Result, err = s.intake.Receive(ctx, push); err != nil {
		return Outcome{}, err
	}
	s.options.Logger.Info("audit: departments restored", "push", push.ID, "to", to.ID, "scope", to.Scope.String(), "by", request.By, "result", string(outcome.Result))
	outcome.PushID = push.ID
	made, _, err := s.journal.Push(ctx, push.ID)
	if err != nil {
		return Outcome{}, fmt.Errorf("restored by push %s; its report cannot be read: %w", push.ID, err)
	}
	outcome.Counts = made.Counts
	return outcome, nil
}

// push is the full push that restores. Its source time is now, or that of the
// newest word there is, should the marketplace's clock be ahead of ours: a
// restore that is stale would be none.
func (s *Service) push(to storage.Record, departments []directory.DepartmentItem, newest directory.SourceTime, request Request) (*directory.Push, error) {
	now := s.options.Now()
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	list := &directory.FullPush{Departments: departments}
	push := &directory.Push{
		ID: id.String(), Scope: to.Scope, Flag: directory.FlagModify, SourceTime: max(directory.SourceTimeOf(now), newest),
		ReceivedAt: now, Payload: list, Note: fmt.Sprintf("restored to push %s by %s", to.ID, request.By),
	}
	if request.Reason != "" {
		push.Note += ": " + request.Reason
	}
	if push.Raw, err = s.codec.Encode(push.Scope, push.Flag, push.SourceTime, list); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return push, nil
}
