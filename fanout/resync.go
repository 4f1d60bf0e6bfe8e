package fanout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout/resync"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// Why a resync does not begin.
var (
	// ErrCannotList means that there is nothing to read at the target.
	ErrCannotList = errors.New("the target cannot be read out")
	// ErrResyncing means that a resync of the target is under way.
	ErrResyncing = errors.New("a resync of the target is under way")
	// ErrUnfit means that the target may not be sent to now.
	ErrUnfit = errors.New("the target may not be sent to now")
)

const (
	// resyncOwner tells a resync's leases from the rounds' of the same replica.
	resyncOwner = "/resync"
	// keptResyncs bounds the reports kept of a target, maxDrifts the
	// differences in one.
	keptResyncs, maxDrifts = 20, 10_000
	// progressEvery is how often a running resync's report is written.
	progressEvery = 2 * time.Second
	// scheduleRetry is how long a scheduled resync that may not begin is put off.
	scheduleRetry = 5 * time.Minute
)

// errNotDue means that a scheduled resync was done by another replica.
var errNotDue = errors.New("not due")

// Who starts a resync.
const (
	byAPI      = "api"
	bySchedule = "schedule"
)

// ResyncOptions shape a resync.
type ResyncOptions struct {
	// DryRun compares and changes nothing.
	DryRun bool
	// AcceptMissing makes anew what is missing, however much that is.
	AcceptMissing bool
}

// resyncJob is a resync that was accepted.
type resyncJob struct {
	report   storage.Resync
	options  ResyncOptions
	lease    storage.Lease
	previous *storage.Resync
}

// Resync begins to compare a target with the store, and to repair it, and
// returns the report as it stands. It fails with ErrUnknownTarget,
// ErrCannotList, ErrResyncing or ErrUnfit.
func (f *Fanout) Resync(ctx context.Context, name string, options ResyncOptions) (storage.Resync, error) {
	r, ok := f.byName[name]
	if !ok {
		return storage.Resync{}, fmt.Errorf("%w: %q", ErrUnknownTarget, name)
	}
	job, err := r.accept(ctx, byAPI, options)
	if err != nil {
		return storage.Resync{}, fmt.Errorf("target %s: %w", name, err)
	}
	begun := job.report // the job is another's once it is handed over
	select {
	case r.resyncs <- job:
		return begun, nil
	case <-ctx.Done():
	case <-time.After(acceptTimeout):
	}
	return storage.Resync{}, errors.Join(fmt.Errorf("target %s: %w: the connector ends", name, ErrUnfit), r.abandon(ctx, job))
}

// acceptTimeout bounds how long an accepted resync waits for the one before to
// be put away.
const acceptTimeout = 5 * time.Second

// accept makes a resync the one of its target, on all replicas.
func (r *runner) accept(ctx context.Context, by string, options ResyncOptions) (*resyncJob, error) {
	if _, ok := r.Connector.(target.Lister); !ok {
		return nil, fmt.Errorf("%w: what was sent to a %s cannot be asked for again", ErrCannotList, r.Type)
	}
	status := r.gate.status()
	if status.State != Up || r.capabilities.Load() == nil {
		reason := string(status.State)
		if status.State == Up {
			reason = "not reached yet"
		}
		return nil, fmt.Errorf("%w: it is %s; resync it when it is up", ErrUnfit, reason)
	}
	select {
	case <-r.tidied:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	lease, err := r.store.Lease(ctx, r.Name+resyncOwner, directory.Scope{}, r.owner+"/"+uuid.NewString(), leaseFor)
	if errors.Is(err, storage.ErrBusy) {
		return nil, ErrResyncing
	}
	if err != nil {
		return nil, fmt.Errorf("lease resync: %w", err)
	}
	now := r.options.Now()
	job := &resyncJob{options: options, lease: lease, report: storage.Resync{
		ID: uuid.Must(uuid.NewV7()).String(), Target: r.Name, By: by, DryRun: options.DryRun, State: storage.ResyncRunning,
		StartedAt: now, UpdatedAt: now, Counts: map[storage.Finding]int{},
	}}
	var latest time.Time
	job.previous, latest, err = r.interrupted(ctx)
	if err == nil && by == bySchedule && latest.Add(r.ResyncEvery).After(now) {
		err = errNotDue // another replica was first
	}
	if err == nil {
		err = r.store.SaveResync(ctx, job.report, keptResyncs)
	}
	if err != nil {
		return nil, errors.Join(err, r.store.Release(context.WithoutCancel(ctx), lease))
	}
	return job, nil
}

// interrupted marks the resyncs that ended with their connector, now that none
// is under way, and returns the latest that may have repaired, and when the
// latest of them all began that was no dry run.
func (r *runner) interrupted(ctx context.Context) (previous *storage.Resync, latest time.Time, err error) {
	all, _, err := r.store.Resyncs(ctx, r.Name, storage.Page{Limit: keptResyncs})
	if err != nil {
		return nil, latest, fmt.Errorf("read earlier resyncs: %w", err)
	}
	for _, one := range all {
		if one.State == storage.ResyncRunning {
			one.State, one.Reason, one.EndedAt = storage.ResyncInterrupted, endedMeanwhile, r.options.Now()
			if err := r.store.SaveResync(ctx, one, keptResyncs); err != nil {
				return nil, latest, err
			}
		}
		if !one.DryRun && latest.IsZero() {
			latest = one.StartedAt
		}
		if !one.DryRun && previous == nil && one.State != storage.ResyncFailed {
			whole, err := r.store.Resync(ctx, one.ID)
			if err != nil {
				return nil, latest, err
			}
			previous = &whole
		}
	}
	return previous, latest, nil
}

const endedMeanwhile = "the connector ended, or lost its lease, meanwhile"

// abandon ends a resync that was accepted and is not to be.
func (r *runner) abandon(ctx context.Context, job *resyncJob) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	job.report.State, job.report.EndedAt = storage.ResyncInterrupted, r.options.Now()
	return errors.Join(r.store.SaveResync(ctx, job.report, keptResyncs), r.store.Release(ctx, job.lease))
}

// serveResyncs carries out the resyncs of this replica, one at a time.
func (r *runner) serveResyncs(ctx context.Context) {
	if _, ok := r.Connector.(target.Lister); !ok {
		return
	}
	r.tidyResyncs(ctx)
	close(r.tidied)
	began := r.options.Now()
	var putOff time.Time
	for ctx.Err() == nil {
		var due <-chan time.Time
		if r.ResyncEvery > 0 {
			at, err := r.nextResync(ctx, began)
			if err != nil {
				at = r.options.Now().Add(scheduleRetry)
			}
			if at.Before(putOff) {
				at = putOff
			}
			due = r.options.At(at)
		}
		select {
		case <-ctx.Done():
		case job := <-r.resyncs:
			r.resync(ctx, job)
		case <-due:
			if !r.scheduled(ctx) {
				putOff = r.options.Now().Add(min(scheduleRetry, r.ResyncEvery))
			}
		}
	}
}

// tidyResyncs marks, at start, the resyncs that a crash interrupted.
func (r *runner) tidyResyncs(ctx context.Context) {
	lease, err := r.store.Lease(ctx, r.Name+resyncOwner, directory.Scope{}, r.owner+"/"+uuid.NewString(), leaseFor)
	if errors.Is(err, storage.ErrBusy) {
		return // another replica is at it
	}
	if err == nil {
		_, _, err = r.interrupted(ctx)
		err = errors.Join(err, r.store.Release(context.WithoutCancel(ctx), lease))
	}
	if err != nil && ctx.Err() == nil {
		r.logger.Warn("cannot look for interrupted resyncs", "error", err)
	}
}

// nextResync is when the next scheduled resync is due: ResyncEvery after the
// latest that was no dry run began, and up to a tenth more, so that targets and
// replicas do not all begin at once.
func (r *runner) nextResync(ctx context.Context, began time.Time) (time.Time, error) {
	all, _, err := r.store.Resyncs(ctx, r.Name, storage.Page{Limit: keptResyncs})
	if err != nil {
		return time.Time{}, err
	}
	after := began
	for _, one := range all {
		if !one.DryRun {
			after = one.StartedAt
			break
		}
	}
	return after.Add(r.ResyncEvery + r.options.Jitter(r.ResyncEvery/10+1)), nil
}

// scheduled carries out a scheduled resync, if no replica has meanwhile. False
// means that it is to be tried again soon.
func (r *runner) scheduled(ctx context.Context) bool {
	job, err := r.accept(ctx, bySchedule, ResyncOptions{})
	switch {
	case err == nil:
		r.resync(ctx, job)
		return true
	case errors.Is(err, errNotDue):
		return true
	case ctx.Err() == nil && !errors.Is(err, ErrResyncing):
		r.logger.Info("the scheduled resync is put off", "error", err)
	}
	return false
}

// resync carries out a resync that was accepted.
func (r *runner) resync(ctx context.Context, job *resyncJob) {
	report := &job.report
	held, stop := r.keepLease(ctx, job.lease)
	err := r.compareAll(held, job)
	stop()
	report.EndedAt, report.UpdatedAt = r.options.Now(), r.options.Now()
	switch {
	case err != nil && held.Err() != nil:
		report.State, report.Reason = storage.ResyncInterrupted, endedMeanwhile
	case err != nil:
		report.State, report.Reason = storage.ResyncFailed, cut(err.Error(), maxLastError)
	case report.State == storage.ResyncRunning:
		report.State = storage.ResyncDone
	}
	r.measure(report) // who has seen its end finds it in the measures
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := errors.Join(r.store.SaveResync(ended, *report, keptResyncs), r.store.Release(ended, job.lease)); err != nil {
		r.logger.Error("the report of a resync is lost", "resync", report.ID, "error", err)
	}
	r.announce(ended, report)
	if r.options.resynced != nil {
		r.options.resynced(*report)
	}
}

// compareAll lists, compares and repairs.
func (r *runner) compareAll(ctx context.Context, job *resyncJob) error {
	lister, ok := r.Connector.(target.Lister)
	if !ok {
		return ErrCannotList
	}
	report := &job.report
	capabilities := *r.capabilities.Load()
	side := &compared{runner: r, capabilities: capabilities, lister: lister, report: report}
	saved := r.options.Now()
	return resync.Run(ctx, side, lister.List(ctx, side.through), report, resync.Options{
		Members: capabilities.Memberships, NoDepartments: capabilities.NoDepartments, AcceptMissing: job.options.AcceptMissing, Lenient: report.By == bySchedule,
		Previous: job.previous, MaxDrifts: maxDrifts,
		Progress: func(ctx context.Context) {
			now := r.options.Now()
			if now.Sub(saved) < progressEvery {
				return
			}
			saved, report.UpdatedAt = now, now
			shown := *report
			shown.Drifts = nil
			if err := r.store.SaveResync(ctx, shown, keptResyncs); err != nil && ctx.Err() == nil {
				r.logger.Warn("the progress of a resync is not written", "resync", report.ID, "error", err)
			}
		},
	})
}

// measure counts a resync that has ended, and what it found.
func (r *runner) measure(report *storage.Resync) {
	r.metrics.resyncs.WithLabelValues(r.Name, strconv.FormatBool(report.DryRun), string(report.State)).Inc()
	if report.State == storage.ResyncDone || report.State == storage.ResyncHeld {
		r.metrics.compared.WithLabelValues(r.Name).Set(float64(report.StartedAt.Unix()))
		for _, finding := range storage.Findings() {
			r.metrics.drift.WithLabelValues(r.Name, string(finding)).Set(float64(report.Counts[finding]))
		}
	}
}

// announce tells of a resync's end, and wakes those who deliver what it made due.
func (r *runner) announce(ctx context.Context, report *storage.Resync) {
	differences := 0
	for _, n := range report.Counts {
		differences += n
	}
	r.logger.Info("resync ended", "resync", report.ID, "by", report.By, "dryRun", report.DryRun, "state", report.State, "reason", report.Reason,
		"listed", report.Listed, "inSync", report.InSync, "differences", differences, "repaired", report.Repaired)
	if report.Repaired == 0 {
		return
	}
	r.gate.signal()
	if err := r.shared.Publish(ctx, r.topic()); err != nil {
		r.logger.Warn("the other replicas do not know yet of what a resync made due", "error", err)
	}
}
