package intake_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/storage"
)

// overdue is a context whose deadline passes when the test says so.
type overdue struct {
	context.Context
	passed chan struct{}
}

func (o overdue) Done() <-chan struct{} { return o.passed }

func (o overdue) Err() error {
	select {
	case <-o.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// heldStore applies a journaled push when it is let.
type heldStore struct {
	storage.Intake
	planned, goOn chan struct{}
	before        bool // held before it is planned
	err           error
}

func (s heldStore) ApplyAccepted(ctx context.Context, id string, plan storage.PlanFunc) (*directory.Plan, error) {
	return s.Intake.ApplyAccepted(ctx, id, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		if s.before {
			close(s.planned)
			<-s.goOn
		}
		planned, err := plan(ctx, view)
		if !s.before {
			close(s.planned)
			<-s.goOn
		}
		return planned, errors.Join(err, s.err)
	})
}

// The marketplace waits for 20 seconds. A full push that is journaled and right
// can only be finished by then, and the answer says so.
func TestAFullPush_IsAnsweredInTime(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"checked": false, "not checked yet": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			held := heldStore{Intake: b.store, planned: make(chan struct{}), goOn: make(chan struct{}), before: before}
			service := intake.New(held, b.planners, nil, intake.Options{Logger: slog.New(slog.DiscardHandler)})
			late := overdue{t.Context(), make(chan struct{})}
			go func() { <-held.planned; close(late.passed) }()
			result, err := service.Receive(late, full(t, 5, "a", "b"))
			if before {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				require.NoError(t, err)
				require.Equal(t, directory.ResultAccepted, result)
			}
			close(held.goOn)
			service.Wait(t.Context())
			require.Len(t, read(t, b.store, scope).Departments, 2, "it is applied all the same")
		})
	}
}
