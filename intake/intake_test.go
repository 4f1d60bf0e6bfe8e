package intake_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

var scope = directorytest.Scope

// What Receive has answered is on disk.
func TestWhatIsReceivedOutlivesARestart(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	require.Equal(t, directory.ResultApplied, b.receive(full(t, 1, "a", "b")))
	require.Equal(t, directory.ResultApplied, b.receive(department(t, scope, 2, "c", "a")))
	require.Equal(t, directory.ResultUnchanged, b.receive(department(t, scope, 3, "c", "a")))
	require.Equal(t, directory.ResultStale, b.receive(full(t, 0, "x")))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "applied"))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "stale"))
	require.EqualValues(t, 1, b.counted(directory.SingleOrgSync, "applied"))
	require.EqualValues(t, 1, b.counted(directory.SingleOrgSync, "unchanged"))
	b.reopen()
	finished, err := b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, finished)
	require.Equal(t, []string{"a", "b", "c"}, b.codes(scope))
}

// A refused push leaves nothing, whether its list or its plan is at fault.
func TestARefusedPushLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.receive(full(t, 1, "a"))
	b.receive(department(t, scope, 2, "b", "a"))
	before := read(t, b.store, scope)
	twice := full(t, 3, "a", "a")
	loop := department(t, scope, 4, "a", "b")
	secret := arrived(t, scope, directory.FlagAdd, 5, &directory.ApplicationPush{AppID: "crm", ClientID: "c", ClientSecret: "bm90IG91cnM="})
	b.planners[directory.ApplicationSync] = refusing{directory.ErrClientSecret}
	for _, push := range []*directory.Push{twice, loop, secret} {
		_, err := b.service.Receive(t.Context(), push)
		require.Error(t, err)
		_, _, err = b.store.Push(t.Context(), push.ID)
		require.ErrorIs(t, err, storage.ErrNotFound)
	}
	require.Equal(t, before, read(t, b.store, scope))
	require.Empty(t, b.unfinished())
	for _, kind := range []directory.PushKind{directory.AllOrgSync, directory.SingleOrgSync, directory.ApplicationSync} {
		require.EqualValues(t, 1, b.counted(kind, "refused"))
	}
}

// refusing is a planner that plans nothing.
type refusing struct{ err error }

func (r refusing) Prepare(context.Context, *directory.Push) error { return nil }

func (r refusing) Plan(context.Context, storage.View, *directory.Push) (*directory.Plan, error) {
	return nil, r.err
}

// A failing plan leaves nothing either, and is counted as our fault.
func TestAFailedPlanLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	broken := errors.New("disk on fire")
	b.planners[directory.AllOrgSync], b.planners[directory.SingleOrgSync] = refusing{broken}, refusing{broken}
	for _, push := range []*directory.Push{full(t, 1, "a"), department(t, scope, 2, "b", "")} {
		_, err := b.service.Receive(t.Context(), push)
		require.ErrorIs(t, err, broken)
		require.EqualValues(t, 1, b.counted(push.Kind(), "failed"))
	}
	require.Empty(t, b.unfinished())
	require.Empty(t, b.codes(scope))
}

func TestAPushNobodyPlansIsAnError(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	delete(b.planners, directory.SingleOrgSync)
	_, err := b.service.Receive(t.Context(), department(t, scope, 1, "a", ""))
	require.EqualError(t, err, "intake: no planner for singleOrgSync")
}

// A journaled push is carried through though its sender hangs up meanwhile.
func TestAFullPushOutlivesItsSender(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	ctx, hangUp := context.WithCancel(t.Context())
	b.planners[directory.AllOrgSync] = interrupting{planner: b.planners[directory.AllOrgSync], at: hangUp}
	_, err := b.service.Receive(ctx, full(t, 1, "a"))
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	require.Equal(t, []string{"a"}, b.codes(scope))
	_, err = b.service.Receive(ctx, department(t, scope, 2, "b", ""))
	require.ErrorIs(t, err, context.Canceled, "one that has not begun is dropped")
	require.Equal(t, []string{"a"}, b.codes(scope))
}

// interrupting does something while a push is planned.
type interrupting struct {
	planner intake.Planner
	at      func()
}

func (p interrupting) Prepare(ctx context.Context, push *directory.Push) error {
	return p.planner.Prepare(ctx, push)
}

func (p interrupting) Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error) {
	p.at()
	return p.planner.Plan(ctx, view, push)
}

// A crash between journal and plan is finished at the next start, oldest first,
// once.
func TestACrashIsFinishedAtTheNextStart(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.receive(full(t, 1, "a"))
	other := directory.Scope{Dataset: directory.Test, InstanceID: "i", TenantID: "t"}
	first, second := full(t, 2, "a", "b"), full(t, 9000, "a", "b", "c")
	second.SourceTime = 3 // the door may say otherwise than the body
	third := arrived(t, other, directory.FlagModify, 4, list("x"))
	for _, push := range []*directory.Push{first, second, third} {
		b.accept(push)
	}
	b.reopen()
	require.Equal(t, []string{"a"}, b.codes(scope))
	finished, err := b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 3, finished)
	require.Equal(t, []string{"a", "b", "c"}, b.codes(scope))
	b.receive(full(t, 5, "a", "b", "c", "d"))
	require.Equal(t, []string{"a", "b", "c", "d"}, b.codes(scope), "what was finished counts as of the time it was accepted with")
	require.Equal(t, []string{"x"}, b.codes(other))
	require.EqualValues(t, 4, b.counted(directory.AllOrgSync, "applied"))
	record, _, err := b.store.Push(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, storage.PhaseApplied, record.Phase)
	require.Equal(t, directory.ResultApplied, record.Result)
	require.Contains(t, b.log.String(), "finished an interrupted push")
	finished, err = b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, finished)
}

// What the finished push holds is held as if it had not been interrupted.
func TestAnInterruptedPushIsGuardedToo(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.receive(full(t, 1, "a", "b"))
	empty := full(t, 2)
	b.accept(empty)
	b.reopen()
	_, err := b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, b.codes(scope))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "held"))
	require.Contains(t, b.log.String(), "deletions are held")
	plan, err := b.service.Approve(t.Context(), empty.ID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, 2, plan.Counts[directory.ActionDelete])
	require.Empty(t, b.codes(scope))
}

// An interrupted push that is refused is dropped and reported; one nobody can
// plan stays and is an error. Neither stops the others.
func TestNoInterruptedPushStopsTheOthers(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	twice, garbled, unknown, broken, good := full(t, 1, "a", "a"), full(t, 2, "b"), full(t, 3, "c"), full(t, 4, "d"), full(t, 5, "e")
	garbled.Raw = []byte(`{"orgInfoList": [`)
	record := storage.RecordOf(unknown)
	record.Kind = "someSync"
	b.accept(twice)
	b.accept(garbled)
	require.NoError(t, b.store.Accept(t.Context(), record, unknown.Raw))
	b.accept(broken)
	b.accept(good)
	whole := b.planners[directory.AllOrgSync]
	b.planners[directory.AllOrgSync] = choosing{planner: whole, breaks: broken.ID}
	b.reopen()
	finished, err := b.service.Recover(t.Context(), 0)
	require.Equal(t, 1, finished)
	require.Equal(t, []string{"e"}, b.codes(scope))
	require.ErrorContains(t, err, unknown.ID+": no planner for someSync; it stays in the journal")
	require.ErrorContains(t, err, broken.ID+": internal error: panic while planning: boom; it is dropped")
	require.NotContains(t, err.Error(), twice.ID)
	require.Equal(t, []string{unknown.ID}, b.unfinished())
	for _, dropped := range []*directory.Push{twice, garbled} {
		require.Contains(t, b.log.String(), "dropped an interrupted push: it is refused\" push="+dropped.ID)
	}
	require.Contains(t, b.log.String(), "orgCode a appears twice")
	require.EqualValues(t, 2, b.counted(directory.AllOrgSync, "refused"))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "failed"))
}

// A store that cannot be read now is not the push's fault: it is finished when
// the store is well again.
func TestAnInterruptedPushOutlivesASickStore(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	push := full(t, 1, "a")
	b.accept(push)
	whole := b.planners[directory.AllOrgSync]
	b.planners[directory.AllOrgSync] = choosing{planner: whole, breaks: push.ID, with: context.DeadlineExceeded}
	b.reopen()
	finished, err := b.service.Recover(t.Context(), 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, push.ID+": cannot be planned now: context deadline exceeded; it stays in the journal")
	require.Zero(t, finished)
	require.Equal(t, []string{push.ID}, b.unfinished())

	b.planners[directory.AllOrgSync] = whole
	b.reopen()
	finished, err = b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 1, finished)
	require.Equal(t, []string{"a"}, b.codes(scope))
}

// One push that cannot be read stays, is named, and stops no other.
func TestADamagedPushStopsNoOther(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	damaged, good := full(t, 1, "a"), full(t, 2, "b")
	b.accept(damaged)
	b.accept(good)
	file, err := sql.Open("sqlite", filepath.Join(b.dir, embedded.FileName))
	require.NoError(t, err)
	_, err = file.ExecContext(t.Context(), "UPDATE journal SET raw = 'scratched' WHERE id = ?", damaged.ID)
	require.NoError(t, errors.Join(err, file.Close()))
	finished, err := b.service.Recover(t.Context(), 0)
	require.ErrorContains(t, err, damaged.ID+": its body is damaged")
	require.Equal(t, 1, finished)
	require.Equal(t, []string{"b"}, b.codes(scope))
	b.reopen()
	for push, err := range b.store.Unfinished(t.Context()) {
		require.Error(t, err)
		require.Equal(t, damaged.ID, push.Record.ID)
	}
}

// choosing panics over one push, or fails at it.
type choosing struct {
	planner intake.Planner
	breaks  string
	with    error // nil: panics
}

func (p choosing) Prepare(ctx context.Context, push *directory.Push) error {
	return p.planner.Prepare(ctx, push)
}

func (p choosing) Plan(ctx context.Context, view storage.View, push *directory.Push) (*directory.Plan, error) {
	switch {
	case push.ID != p.breaks:
	case p.with != nil:
		return nil, p.with
	default:
		panic("boom")
	}
	return p.planner.Plan(ctx, view, push)
}

// A shutdown while finishing is no reason to lose a push.
func TestAShutdownLeavesTheRestForTheNextStart(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	first, second := full(t, 1, "a"), full(t, 2, "a", "b")
	b.accept(first)
	b.accept(second)
	whole := b.planners[directory.AllOrgSync]
	ctx, stop := context.WithCancel(t.Context())
	b.planners[directory.AllOrgSync] = interrupting{planner: whole, at: stop}
	b.reopen()
	finished, err := b.service.Recover(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, finished, "the one under way is carried through")
	require.Equal(t, []string{second.ID}, b.unfinished())
	b.planners[directory.AllOrgSync] = whole
	b.reopen()
	finished, err = b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 1, finished)
	require.Equal(t, []string{"a", "b"}, b.codes(scope))
}

// A disk that is full fails the push and keeps it; sent again it is applied;
// the twin, finished at the next start, changes nothing any more.
func TestAPushAnsweredWithAnErrorAndSentAgainConverges(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.receive(full(t, 1, "a"))
	b.options.MaxPages = 60
	b.reopen()
	var codes []string
	for i := range 4000 {
		codes = append(codes, fmt.Sprintf("d%05d", i))
	}
	failing := full(t, 2, append(codes, "a")...)
	_, err := b.service.Receive(t.Context(), failing)
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*directory.InvalidError))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "failed"))
	require.Equal(t, []string{"a"}, b.codes(scope), "nothing of it is applied")
	require.Equal(t, []string{failing.ID}, b.unfinished())

	b.options.MaxPages = 0
	b.reopen()
	again := full(t, 2, append(codes, "a")...)
	require.Equal(t, directory.ResultApplied, b.receive(again))
	b.receive(department(t, scope, 3, "new", "a"))
	before := read(t, b.store, scope)
	finished, err := b.service.Recover(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 1, finished)
	after := read(t, b.store, scope)
	before.State.LastFull, after.State.LastFull = nil, nil
	require.Equal(t, before, after)
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "unchanged"))
}

// Whoever decides a hold is noted, with the reason and the time.
func TestDecisionsAreNoted(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.receive(full(t, 1, "a", "b"))
	first := full(t, 2)
	require.Equal(t, directory.ResultHeld, b.receive(first))
	require.EqualValues(t, 1, b.counted(directory.AllOrgSync, "held"))

	_, err := b.service.Reject(t.Context(), first.ID, "ann", "wrong export")
	require.NoError(t, err)
	record, _, err := b.store.Push(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, directory.ResultRejected, record.Result)
	require.Equal(t, "rejected by ann at 2026-01-02T03:04:05Z: wrong export", record.Note)
	require.Equal(t, []string{"a", "b"}, b.codes(scope))
	_, err = b.service.Approve(t.Context(), first.ID, "bob", "")
	require.ErrorIs(t, err, storage.ErrConflict)
	_, err = b.service.Approve(t.Context(), "nobody", "bob", "")
	require.ErrorIs(t, err, storage.ErrNotFound)

	second, third := full(t, 3), full(t, 4)
	b.receive(second)
	b.receive(third)
	_, err = b.service.Approve(t.Context(), second.ID, "bob", "")
	require.ErrorIs(t, err, storage.ErrConflict, "a later full push has replaced it")
	b.receive(department(t, scope, 5, "b", ""))
	plan, err := b.service.Approve(t.Context(), third.ID, "bob", "")
	require.NoError(t, err)
	require.Equal(t, directory.Counts{directory.ActionDelete: 1, directory.ActionStale: 1}, plan.Counts)
	record, _, err = b.store.Push(t.Context(), third.ID)
	require.NoError(t, err)
	require.Equal(t, "approved by bob at 2026-01-02T03:04:05Z", record.Note)
	require.Equal(t, []string{"b"}, b.codes(scope))
	require.Contains(t, b.log.String(), "held deletions are approved")
}

// Test data cannot change production data, though all names are the same.
func TestTestDataIsApart(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	debug := scope
	debug.Dataset = directory.Test
	b.receive(full(t, 1, "a", "b"))
	before := read(t, b.store, scope)
	b.receive(arrived(t, debug, directory.FlagModify, 9, list("b", "c")))
	b.receive(arrived(t, debug, directory.FlagDelete, 10, &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "b"}}))
	require.Equal(t, before, read(t, b.store, scope))
	require.Equal(t, []string{"c"}, b.codes(debug))
	require.Equal(t, directory.ResultApplied, b.receive(department(t, scope, 2, "c", "")), "nor does a newer time in it count")
}

// Pushes of one scope apply one after the other, those of many side by side:
// whatever the order, the end is the same.
func TestPushesAtOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	const scopes, each = 4, 24
	errs := make(chan error, scopes*each)
	var wg sync.WaitGroup
	for s := range scopes {
		scope := directory.Scope{Dataset: directory.Prod, TenantID: fmt.Sprintf("t%d", s)}
		// A list that would delete all that is stored is held: this one stays.
		b.receive(department(t, scope, 1, "stays", ""))
		for i := range each {
			at := directory.SourceTime(10 + i)
			code, parent := fmt.Sprintf("d%d", i%6), ""
			if i%6 > 0 {
				parent = fmt.Sprintf("d%d", i%6-1)
			}
			push := department(t, scope, at, code, parent)
			if i%8 == 7 {
				push = arrived(t, scope, directory.FlagModify, at, list("stays", "d0", "d1", "d5"))
			}
			wg.Go(func() {
				if _, err := b.service.Receive(t.Context(), push); err != nil {
					errs <- err
				}
			})
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	// A department that the last list left out before any push named it has no
	// tombstone; the scope's full time says the same of it.
	told := directorytest.Meaning{Departments: make(map[string]directorytest.Department)}
	for i := range 6 {
		told.Departments[fmt.Sprintf("d%d", i)] = directorytest.Department{}
	}
	var first *directorytest.Meaning
	for s := range scopes {
		snapshot := read(t, b.store, directory.Scope{Dataset: directory.Prod, TenantID: fmt.Sprintf("t%d", s)})
		snapshot.Check(t)
		meaning := snapshot.Meaning(told)
		if first == nil {
			first = &meaning
		}
		require.Equal(t, *first, meaning)
	}
	require.Len(t, first.Departments, 7)
}

// While a full push is planned its scope waits and no other does; what comes
// after it sees it.
func TestAFullPushMakesItsOwnScopeWait(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	planning, goOn := make(chan struct{}), make(chan struct{})
	b.planners[directory.AllOrgSync] = interrupting{planner: b.planners[directory.AllOrgSync], at: func() {
		close(planning)
		<-goOn
	}}
	var wg sync.WaitGroup
	results := make([]directory.Result, 2)
	errs := make([]error, 2)
	list, older := full(t, 5, "a"), department(t, scope, 4, "b", "")
	wg.Go(func() { results[0], errs[0] = b.service.Receive(t.Context(), list) })
	<-planning
	wg.Go(func() { results[1], errs[1] = b.service.Receive(t.Context(), older) })
	other := directory.Scope{Dataset: directory.Prod, TenantID: "other"}
	require.Equal(t, directory.ResultApplied, b.receive(department(t, other, 1, "x", "")))
	close(goOn)
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, []directory.Result{directory.ResultApplied, directory.ResultStale}, results)
}

// The planners are those of the folder that bears the interface's name.
func TestEveryInterfaceHasItsPlanner(t *testing.T) {
	t.Parallel()
	planners := intake.Planners(orgsync.New(directory.DefaultGuard), nil)
	for _, kind := range directory.PushKinds() {
		require.Contains(t, planners, kind)
	}
	require.Len(t, planners, len(directory.PushKinds()))
}
