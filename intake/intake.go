// Package intake is the one way a push takes into the store: journal, plan,
// apply, answer; and, after a crash, finishing what was interrupted.
package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage"
)

// Planner decides what the pushes of one interface change.
type Planner interface {
	// Prepare does what needs no view and is slow or may refuse the push:
	// checking a list, opening a secret. It runs before the push is journaled
	// and again when an interrupted push is finished; it may complete the
	// payload in place.
	Prepare(ctx context.Context, push *directory.Push) error
	// Plan decides from the scope's view. It may be called again.
	Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error)
}

// Planners gives each interface its planner.
func Planners(orgs *orgsync.Planner, auths *authsync.Planner) map[directory.PushKind]Planner {
	return map[directory.PushKind]Planner{
		directory.TenantSync:      orgPlanner{orgs},
		directory.SingleOrgSync:   orgPlanner{orgs},
		directory.AllOrgSync:      orgPlanner{orgs},
		directory.ApplicationSync: authPlanner{auths},
		directory.AuthSync:        authPlanner{auths},
	}
}

// orgPlanner and authPlanner narrow the store's view to what each one declares.
type orgPlanner struct{ *orgsync.Planner }

func (p orgPlanner) Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error) {
	return p.Planner.Plan(ctx, view, push)
}

type authPlanner struct{ *authsync.Planner }

func (p authPlanner) Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error) {
	return p.Planner.Plan(ctx, view, push)
}

// Decode reads a journaled body again.
type Decode func(kind directory.PushKind, body []byte) (*directory.Push, error)

// Options shape a Service; the zero value serves.
type Options struct {
	Now        func() time.Time      // default time.Now
	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // default: metrics are not registered
}

// applyLimit bounds how long a journaled push may plan and write.
const applyLimit = 10 * time.Minute

// Service takes pushes in.
type Service struct {
	store    storage.Intake
	planners map[directory.PushKind]Planner
	decode   Decode
	options  Options
	results  *prometheus.CounterVec
	full     *gate // of full pushes
	applying sync.WaitGroup
}

// New makes a service.
func New(store storage.Intake, planners map[directory.PushKind]Planner, decode Decode, options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orgsync_plans_total",
		Help: "Pushes by interface and what they came to; refused are those at fault themselves, failed those we failed.",
	}, []string{"kind", "result"})
	if options.Registerer != nil {
		options.Registerer.MustRegister(results)
	}
	return &Service{store: store, planners: planners, decode: decode, options: options, results: results, full: newGate(runtime.GOMAXPROCS(0))}
}

// Receive journals, plans and applies a push. When it returns without an error
// all of it is on disk. A *directory.InvalidError or one of the directory's
// sentinels says that the push itself is at fault: nothing of it stays. After
// any other error nothing of it is applied, but a full push that was journaled
// may yet be by Recover; sending it again meanwhile comes to the same.
func (s *Service) Receive(ctx context.Context, push *directory.Push) (directory.Result, error) {
	planner, ok := s.planners[push.Kind()]
	if !ok {
		return "", fmt.Errorf("intake: no planner for %s", push.Kind())
	}
	plan, err := s.take(ctx, planner, push)
	if err != nil {
		s.count(push.Kind(), failure(err))
		return "", err
	}
	if plan.Result != directory.ResultAccepted { // else it is told when it is applied
		s.report(push, plan)
	}
	return plan.Result, nil
}

// Preview plans what Receive would do with a push now, and writes nothing.
func (s *Service) Preview(ctx context.Context, push *directory.Push) (*directory.Plan, error) {
	planner, ok := s.planners[push.Kind()]
	if !ok {
		return nil, fmt.Errorf("intake: no planner for %s", push.Kind())
	}
	if err := planner.Prepare(ctx, push); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return s.store.Preview(ctx, push.Scope, planWith(planner, push))
}

func (s *Service) take(ctx context.Context, planner Planner, push *directory.Push) (*directory.Plan, error) {
	if push.Kind() == directory.AllOrgSync {
		leave, err := s.full.enter(ctx, push.Scope)
		if err != nil {
			return nil, fmt.Errorf("wait for other full pushes: %w", err)
		}
		return s.takeFull(ctx, planner, push, leave)
	}
	if err := planner.Prepare(ctx, push); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return s.store.ApplyAtOnce(ctx, storage.RecordOf(push), push.Raw, planWith(planner, push)) // at once, for it is small
}

// takeFull journals a full push first: diffing it takes long enough that a crash
// in between is worth finishing. If it is not applied by ctx's deadline, and was
// found to be right, it can no longer be refused, only finished, and that goes on
// (spec/marketplace.md §0).
func (s *Service) takeFull(ctx context.Context, planner Planner, push *directory.Push, leave func()) (*directory.Plan, error) {
	err := planner.Prepare(ctx, push)
	if err == nil {
		err = s.store.Accept(ctx, storage.RecordOf(push), push.Raw)
	} else {
		err = fmt.Errorf("prepare: %w", err)
	}
	if err != nil {
		leave()
		return nil, err
	}
	var checked atomic.Bool
	done := make(chan struct{})
	var plan *directory.Plan
	s.applying.Go(func() {
		defer close(done)
		defer leave()
		defer func() {
			if p := recover(); p != nil {
				s.options.Logger.Error("panic while applying a push", "push", push.ID, "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		plan, err = s.applyAccepted(ctx, push.ID, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
			plan, err := planner.Plan(ctx, view, push)
			checked.Store(err == nil)
			return plan, err
		})
	})
	select {
	case <-done:
		return plan, err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.Canceled) { // nobody waits for the answer
		<-done
		return plan, err
	}
	if !checked.Load() {
		return nil, fmt.Errorf("push %s is journaled and not checked yet: %w", push.ID, ctx.Err())
	}
	s.options.Logger.Info("a push is answered before it is applied", "push", push.ID, "scope", push.Scope.String())
	s.applying.Go(func() {
		<-done
		if err != nil {
			s.options.Logger.Error("a push that was answered is not applied; it stays in the journal for the next start", "push", push.ID, "error", err)
			return
		}
		s.report(push, plan)
	})
	return &directory.Plan{Result: directory.ResultAccepted}, nil
}

// Wait waits for the pushes that were answered before they were applied, until
// ctx ends. What is not done by then stays in the journal.
func (s *Service) Wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { s.applying.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// applyAccepted carries a journaled push through, though its sender may have
// hung up: sent again, it would take as long again.
func (s *Service) applyAccepted(ctx context.Context, pushID string, plan storage.PlanFunc) (*directory.Plan, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyLimit)
	defer cancel()
	return s.store.ApplyAccepted(ctx, pushID, plan)
}

func planWith(planner Planner, push *directory.Push) storage.PlanFunc {
	return func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		return planner.Plan(ctx, view, push)
	}
}

// failure names an error for the metrics.
func failure(err error) string {
	if refused(err) {
		return "refused"
	}
	return "failed"
}

// refused reports whether an error says that the push itself is at fault.
func refused(err error) bool {
	var invalid *directory.InvalidError
	return errors.As(err, &invalid) || errors.Is(err, directory.ErrClientSecret) || errors.Is(err, directory.ErrUnknownInstance)
}

func (s *Service) count(kind directory.PushKind, result string) {
	s.results.WithLabelValues(string(kind), result).Inc()
}

func (s *Service) report(push *directory.Push, plan *directory.Plan) {
	s.count(push.Kind(), string(plan.Result))
	if plan.Result == directory.ResultHeld {
		s.options.Logger.Warn("deletions are held: approve or reject them with `orgsync holds`",
			"push", push.ID, "scope", push.Scope.String(), "deletions", len(plan.Hold.Codes), "of", plan.Hold.Of)
	}
}

// Recover finishes the pushes that a crash interrupted, oldest first, and
// returns how many. It runs before the door opens. None stops the others: a
// push that is refused is dropped and reported, for its sender never had an
// answer and a refused push leaves nothing; one that fails otherwise is part of
// the error, which says whether it stays in the journal for the next start.
//
// Only pushes received longer than age ago count: where other replicas use the
// store, a younger one may still be theirs to answer.
func (s *Service) Recover(ctx context.Context, age time.Duration) (int, error) {
	finished := 0
	var errs []error
	for unfinished, err := range s.store.Unfinished(ctx) {
		id, kind := unfinished.Record.ID, unfinished.Record.Kind
		if stop := ctx.Err(); stop != nil || (err != nil && id == "") {
			errs = append(errs, fmt.Errorf("recover: %w", cmp.Or(stop, err)))
			break
		}
		if err == nil {
			if age > 0 && s.options.Now().Sub(unfinished.Record.ReceivedAt) <= age {
				continue
			}
			err = s.finish(ctx, unfinished)
		}
		switch {
		case err == nil:
			finished++
			continue
		case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrNotFound):
			continue // another replica was at it, and has finished or dropped it
		case refused(err):
			s.options.Logger.Warn("dropped an interrupted push: it is refused", "push", id, "kind", string(kind),
				"scope", unfinished.Record.Scope.String(), "reason", err)
		default:
			errs = append(errs, fmt.Errorf("recover push %s: %w", id, err))
		}
		s.count(kind, failure(err))
	}
	return finished, errors.Join(errs...)
}

var errUnplanned = errors.New("planning did not end")

func (s *Service) finish(ctx context.Context, unfinished storage.UnfinishedPush) error {
	planner, ok := s.planners[unfinished.Record.Kind]
	if !ok {
		return fmt.Errorf("no planner for %s; it stays in the journal", unfinished.Record.Kind)
	}
	push, refusal := s.decode(unfinished.Record.Kind, unfinished.Raw)
	if refusal == nil {
		unfinished.Record.Restamp(push)
		refusal = planner.Prepare(ctx, push)
	}
	var planErr error
	plan, err := s.applyAccepted(ctx, unfinished.Record.ID, func(ctx context.Context, view storage.View) (plan *directory.Plan, _ error) {
		planErr = errUnplanned // for a planner that panics
		if refusal != nil {
			planErr = refusal
		} else {
			plan, planErr = planner.Plan(ctx, view, push)
		}
		if planErr != nil && !refused(planErr) {
			planErr = fmt.Errorf("%w: %w", storage.ErrLater, planErr)
		}
		return plan, planErr
	})
	switch {
	case planErr != nil && !errors.Is(planErr, storage.ErrLater): // the store drops what cannot be planned
		return fmt.Errorf("%w; it is dropped", err)
	case err != nil:
		return fmt.Errorf("%w; it stays in the journal", err)
	}
	s.options.Logger.Info("finished an interrupted push", "push", push.ID, "kind", string(push.Kind()), "scope", push.Scope.String())
	s.report(push, plan)
	return nil
}

// Approve carries out the deletions a push holds. storage.ErrNotFound means
// that there is no such push, storage.ErrConflict that it holds nothing.
func (s *Service) Approve(ctx context.Context, pushID, by, reason string) (*directory.Plan, error) {
	return s.decide(ctx, pushID, "approved", by, reason, func(ctx context.Context, view storage.View, hold directory.Hold) (*directory.Plan, error) {
		return directory.ApproveHold(ctx, hold, view)
	})
}

// Reject drops the deletions a push holds: the departments stay. It fails as
// Approve does.
func (s *Service) Reject(ctx context.Context, pushID, by, reason string) (*directory.Plan, error) {
	return s.decide(ctx, pushID, "rejected", by, reason, func(context.Context, storage.View, directory.Hold) (*directory.Plan, error) {
		return directory.RejectHold(), nil
	})
}

func (s *Service) decide(ctx context.Context, pushID, verdict, by, reason string, plan func(context.Context, storage.View, directory.Hold) (*directory.Plan, error)) (*directory.Plan, error) {
	note := fmt.Sprintf("%s by %s at %s", verdict, by, s.options.Now().UTC().Format(time.RFC3339))
	if reason != "" {
		note += ": " + reason
	}
	planned, err := s.store.Decide(ctx, pushID, note, plan)
	if err != nil {
		return nil, err
	}
	s.options.Logger.Info("held deletions are "+verdict, "push", pushID, "by", by, "deleted", planned.Counts[directory.ActionDelete])
	return planned, nil
}
