package mongo_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

func anyOfOurs(c command) bool { return c.ours() }

// commit is the write that decides whether a push happened.
func commit(c command) bool { return c.name == "update" && c.on("journal") }

// carryOut is the write of what a push changes.
func carryOut(c command) bool { return c.name == "update" && c.on("directory") }

func tenant(format string, args ...any) directory.Scope {
	return directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf(format, args...)}
}

// Whatever command of a push fails, and whether the server did the work or not:
// once the server is well again, repeating the push completes it, on the same
// replica or, when the turn has run out, on another.
func TestARepeatCompletesAPushCutOffAnywhere(t *testing.T) {
	t.Parallel()
	for n, minFailed := range []int{1: 6, 2: 2, 3: 6, 4: 6, 5: 0} { // the driver repeats a read by itself
		if n == 0 {
			continue
		}
		t.Run(fmt.Sprintf("command %d", n), func(t *testing.T) {
			t.Parallel()
			require.GreaterOrEqual(t, cutPushes(t, n), minFailed)
		})
	}
}

// cutPushes cuts the n-th command of pushes off in all ways, has them repeated,
// and returns how many had failed.
func cutPushes(t *testing.T, n int) (failed int) {
	b := newBundle(t)
	one, other := b.replica("one", long), b.replica("other", long)
	ctx := b.Context()
	for what, does := range map[string]fault{"request": {loseRequest: true}, "answer": {loseAnswer: true}, "refusal": {code: 14031, message: "no space left"}} {
		for healer, store := range map[string]*replica{"same": one, "other": other} {
			scope := tenant("%s %s", what, healer)
			require.NoError(b, put(ctx, one.Store, scope, 1, directory.FlagAdd, "p", "top", ""))
			require.NoError(b, put(ctx, one.Store, scope, 2, directory.FlagAdd, "a", "below", "p"))
			require.NoError(b, put(ctx, one.Store, scope, 3, directory.FlagAdd, "b", "below", "p"))
			one.proxy.once(n, does, anyOfOurs)
			// Deleting the parent writes three departments.
			if put(ctx, one.Store, scope, 4, directory.FlagDelete, "p", "", "") != nil {
				failed++
			}
			one.proxy.set(nil)
			if store == other {
				b.clock.advance(turnTime)
			}
			require.NoError(b, put(ctx, store.Store, scope, 4, directory.FlagDelete, "p", "", ""), scope)
			require.Equal(b, []string{"a below p (missing)", "b below p (missing)"}, tree(b, store.Store, scope), scope)
		}
	}
	versions := make(map[string]int64)
	for _, change := range feedOf(b, other.Store) {
		versions[change.Key] = max(versions[change.Key], change.Department.Version)
	}
	require.Equal(b, map[string]int64{"p": 2, "a": 2, "b": 2}, versions, "no change was made twice, none is missing")
	return failed
}

// A full push that was cut off is finished as at a restart: from the journal.
func TestAFullPushCutOffAnywhereIsFinishedFromTheJournal(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	one := b.replica("one", long)
	other := b.replica("other", long)
	for n := 1; n <= 6; n++ {
		for what, does := range map[string]fault{"request": {loseRequest: true}, "answer": {loseAnswer: true}} {
			scope := tenant("full %d %s", n, what)
			ctx := b.Context()
			require.NoError(b, full(ctx, one.Store, fullPush(scope, 1, item("a", "one", ""), item("b", "two", "a"), item("c", "three", "a"))))
			push := fullPush(scope, 2, item("a", "new", ""), item("b", "two", ""), item("d", "four", "b"))
			one.proxy.once(n, does, anyOfOurs)
			err := full(ctx, one.Store, push)
			one.proxy.set(nil)
			b.clock.advance(turnTime)
			pushes := map[string]*directory.Push{push.ID: push}
			for unfinished, err := range other.Unfinished(ctx) {
				require.NoError(b, err)
				require.Equal(b, "the body", string(unfinished.Raw))
				_, err := other.ApplyAccepted(ctx, unfinished.Record.ID, planOf(pushes[unfinished.Record.ID]))
				require.NoError(b, err)
			}
			if err != nil {
				again := fullPush(scope, 2, item("a", "new", ""), item("b", "two", ""), item("d", "four", "b"))
				require.NoError(b, full(ctx, other.Store, again), scope)
			}
			require.Equal(b, []string{"a new ", "b two ", "d four b"}, tree(b, other.Store, scope), scope)
		}
	}
}

// A writer that is held up before its commit has lost its turn: it starts over,
// on top of what came in between.
func TestAWriterHeldUpBeforeItsCommitStartsOver(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	slow, quick := b.replica("slow", long), b.replica("quick", long)
	require.NoError(b, put(b.Context(), slow.Store, acme, 1, directory.FlagAdd, "a", "first", ""))
	held := make(chan struct{})
	hit := slow.proxy.once(1, fault{hold: held}, commit)
	var planned []int
	record := recordFor(acme, directory.SingleOrgSync, 2)
	done := make(chan error, 1)
	go func() {
		_, err := slow.ApplyAtOnce(b.Context(), record, nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
			state, err := view.State(ctx)
			planned = append(planned, state.Departments)
			return newDepartments(fmt.Sprintf("d%d", state.Departments)), err
		})
		done <- err
	}()
	<-hit
	b.clock.advance(turnTime)
	require.NoError(b, put(b.Context(), quick.Store, acme, 3, directory.FlagAdd, "b", "second", ""))
	close(held)
	require.NoError(b, <-done)
	require.Equal(b, []int{1, 2}, planned)
	require.Equal(b, []string{"a first ", "b second ", "d2 name "}, tree(b, quick.Store, acme))
}

func newDepartments(codes ...string) *directory.Plan {
	plan := &directory.Plan{Result: directory.ResultApplied, Delta: directory.Delta{Departments: len(codes)}}
	for _, code := range codes {
		plan.Departments = append(plan.Departments, directory.Department{Code: code, Name: "name", Meta: directory.Meta{Version: 1, SourceTime: 1}})
	}
	return plan
}

// A writer that is held up after its commit is finished by the next one, and its
// own late writes change nothing.
func TestLateWritesOfASettledTurnChangeNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	slow, quick := b.replica("slow", long), b.replica("quick", long)
	ctx := b.Context()
	require.NoError(b, put(ctx, slow.Store, acme, 1, directory.FlagAdd, "p", "top", ""))
	require.NoError(b, put(ctx, slow.Store, acme, 2, directory.FlagAdd, "a", "below", "p"))
	held := make(chan struct{})
	hit := slow.proxy.once(1, fault{hold: held}, carryOut)
	done := make(chan error, 1)
	go func() { done <- put(ctx, slow.Store, acme, 3, directory.FlagDelete, "p", "", "") }()
	<-hit
	b.clock.advance(turnTime)
	require.NoError(b, put(ctx, quick.Store, acme, 4, directory.FlagAdd, "p", "back", ""))
	require.NoError(b, put(ctx, quick.Store, acme, 5, directory.FlagModify, "a", "renamed", ""))
	want := []string{"a renamed ", "p back "}
	require.Equal(b, want, tree(b, quick.Store, acme))
	before := feedOf(b, quick.Store)
	close(held)
	require.NoError(b, <-done, "another replica has finished it")
	require.Equal(b, want, tree(b, quick.Store, acme))
	require.Equal(b, before, feedOf(b, quick.Store))
}

// Numbers of the feed that are written late neither appear behind a reader's
// back nor move what is numbered.
func TestLateNumbersOfTheFeedChangeNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	slow, quick := b.replica("slow", long), b.replica("quick", long)
	ctx := b.Context()
	for i := range 5 {
		require.NoError(b, put(ctx, quick.Store, acme, directory.SourceTime(i+1), directory.FlagAdd, fmt.Sprint(i), "n", ""))
	}
	held := make(chan struct{})
	hit := slow.proxy.once(1, fault{hold: held}, carryOut)
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = slow.Changes(ctx, storage.Place{}, 10) })
	<-hit
	require.Len(b, feedOf(b, quick.Store), 5, "an open batch is finished by whoever comes")
	require.NoError(b, put(ctx, quick.Store, acme, 9, directory.FlagModify, "0", "renamed", ""))
	before := feedOf(b, quick.Store)
	close(held)
	wg.Wait()
	require.Equal(b, before, feedOf(b, quick.Store))
	require.Equal(b, "0", before[4].Key)
}

// A server that is gone, hangs, refuses or is full makes a push fail in time, and
// not for ever.
func TestASickServerFailsInTime(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	for name, test := range map[string]struct {
		rule func(command) fault
		says string
		sick bool // whatever it is asked
	}{
		"hangs":                {func(command) fault { return fault{hang: true} }, "did not answer within 3s", true},
		"cuts":                 {func(command) fault { return fault{loseRequest: true} }, "", true},
		"loses its answers":    {func(c command) fault { return fault{loseAnswer: c.ours()} }, "", true},
		"is full":              {refuseWrites(14031, "no space left on device"), "no space left", true},
		"lets the user read":   {refuseWrites(13, "not authorized on orgsync to execute command"), "not authorized", true},
		"hangs at the commit":  {func(c command) fault { return fault{hang: commit(c)} }, "did not answer", false},
		"hangs after a commit": {func(c command) fault { return fault{hang: carryOut(c)} }, "will be finished", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			store := b.replica("one", timeout)
			ctx := b.Context()
			require.NoError(b, put(ctx, store.Store, acme, 1, directory.FlagAdd, "a", "first", ""))
			store.proxy.set(test.rule)
			began := time.Now()
			err := put(ctx, store.Store, acme, 2, directory.FlagAdd, "b", "second", "")
			require.ErrorContains(b, err, test.says)
			if test.sick {
				require.Error(b, store.Ping(ctx), "it is not ready")
			}
			// A caller with much time does not give the server more of it.
			patiently, stop := context.WithTimeout(ctx, 10*time.Minute)
			defer stop()
			err = full(patiently, store.Store, fullPush(acme, 3, item("c", "third", "")))
			require.Error(b, err)
			// Two pushes, each with the little it takes to clean up, and a ping.
			require.Less(b, time.Since(began), 12*timeout)
			store.proxy.set(nil)
			store.proxy.cut()
			require.Eventually(b, func() bool { return store.Ping(ctx) == nil }, time.Minute, 20*time.Millisecond)
			b.clock.advance(turnTime)
			slow, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			patient := b.replica("patient", long)
			require.NoError(b, put(slow, patient.Store, acme, 2, directory.FlagAdd, "b", "second", ""))
			require.Equal(b, []string{"a first ", "b second "}, tree(b, patient.Store, acme)[:2])
		})
	}
}

func refuseWrites(code int32, message string) func(command) fault {
	return func(c command) fault {
		switch c.name {
		case "insert", "update", "findAndModify", "delete":
			return fault{code: code, message: message}
		default:
			return fault{}
		}
	}
}

// A caller waits for the scope no longer than the store's time.
func TestWaitingForAScopeEnds(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	holder, waiter := b.replica("holder", long), b.replica("waiter", time.Second)
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := holder.ApplyAtOnce(b.Context(), recordFor(acme, directory.SingleOrgSync, 1), nil, func(context.Context, storage.View) (*directory.Plan, error) {
			close(inside)
			<-leave
			return newDepartments("a"), nil
		})
		done <- err
	}()
	<-inside
	err := put(b.Context(), waiter.Store, acme, 2, directory.FlagAdd, "b", "n", "")
	require.ErrorIs(b, err, context.DeadlineExceeded)
	require.ErrorContains(b, err, "holder has the scope: an earlier push is not done yet")
	require.NotContains(b, err.Error(), "MongoDB did not answer", "the fault is not to be looked for at the server")
	require.NoError(b, put(b.Context(), waiter.Store, tenant("other"), 2, directory.FlagAdd, "b", "n", ""), "other scopes go on")
	close(leave)
	require.NoError(b, <-done)
	require.Equal(b, []string{"a name "}, tree(b, holder.Store, acme))
}
