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
	"github.com/openkoo/connector/storage/mongo"
)

// brief are options with turns so short that they have to be extended.
func brief(now func() time.Time) mongo.Options {
	opts := quiet()
	opts.TurnTime, opts.Timeout, opts.Now = 3*time.Second, 3*time.Second, now
	return opts
}

// A full push that plans for longer than a turn keeps its scope.
func TestALongPlanKeepsItsTurn(t *testing.T) {
	t.Parallel()
	name := database(t)
	p := newProxy(t)
	extended := make(chan struct{}, 100)
	p.set(func(c command) fault {
		if c.name == "update" {
			select {
			case extended <- struct{}{}:
			default:
			}
		}
		return fault{}
	})
	opts := brief(time.Now)
	store := openThrough(t, p, name, opts)
	other := openStore(t, name, opts)
	push := fullPush(acme, 1, item("a", "n", ""))
	require.NoError(t, planner.Prepare(t.Context(), push))
	require.NoError(t, store.Accept(t.Context(), storage.RecordOf(push), nil))
	calls := 0
	_, err := store.ApplyAccepted(t.Context(), push.ID, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		calls++
		for len(extended) > 0 { // what came before the plan
			<-extended
		}
		for range 4 { // more than one turn's time
			<-extended
		}
		require.ErrorIs(t, put(ctx, other, acme, 2, directory.FlagAdd, "b", "n", ""), context.DeadlineExceeded)
		return planner.Plan(ctx, view, push)
	})
	require.NoError(t, err)
	require.Equal(t, 1, calls)
	require.Equal(t, []string{"a n "}, tree(t, store, acme))
}

// A full push that lost its turn while planning hears of it and starts over, on
// top of what came in between.
func TestALostTurnEndsThePlan(t *testing.T) {
	t.Parallel()
	name := database(t)
	slow, quick := newClock(), newClock()
	store := openStore(t, name, brief(slow.now))
	opts := brief(quick.now)
	opts.Timeout, opts.TurnTime = long, long
	other := openStore(t, name, opts)
	push := fullPush(acme, 2, item("a", "n", ""), item("b", "n", ""))
	require.NoError(t, planner.Prepare(t.Context(), push))
	require.NoError(t, store.Accept(t.Context(), storage.RecordOf(push), nil))
	var saw []int
	_, err := store.ApplyAccepted(t.Context(), push.ID, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		state, err := view.State(ctx)
		require.NoError(t, err)
		if saw = append(saw, state.Departments); len(saw) == 1 {
			quick.advance(time.Hour)
			require.NoError(t, put(context.WithoutCancel(ctx), other, acme, 1, directory.FlagAdd, "a", "other", ""))
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return planner.Plan(ctx, view, push)
	})
	require.NoError(t, err)
	require.Equal(t, []int{0, 1}, saw)
	require.Equal(t, []string{"a n ", "b n "}, tree(t, store, acme))
}

// A push that another replica finished from the journal is not applied twice:
// its own replica answers with the outcome.
func TestAPushFinishedElsewhereHasThatOutcome(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	one, other := b.replica("one", long), b.replica("other", long)
	push := fullPush(acme, 1, item("a", "n", ""))
	require.NoError(b, planner.Prepare(b.Context(), push))
	require.NoError(b, one.Accept(b.Context(), storage.RecordOf(push), push.Raw))
	_, err := other.ApplyAccepted(b.Context(), push.ID, planOf(push))
	require.NoError(b, err)
	plan, err := one.ApplyAccepted(b.Context(), push.ID, planOf(push))
	require.NoError(b, err)
	require.Equal(b, directory.ResultApplied, plan.Result)
	require.Equal(b, 1, plan.Counts[directory.ActionCreate])
	require.Len(b, plan.Decisions, 1)
	_, err = one.ApplyAccepted(b.Context(), push.ID, planOf(push))
	require.ErrorIs(b, err, storage.ErrConflict, "it is no news any more")
	require.Len(b, feedOf(b, one.Store), 1)
}

// Pushes of one scope from many replicas, all at once, each see all before them.
func TestReplicasTakeTurns(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long), b.replica("three", long)}
	const each = 6
	var pushes sync.WaitGroup
	for _, r := range replicas {
		pushes.Go(func() {
			for range each {
				_, err := r.ApplyAtOnce(b.Context(), recordFor(acme, directory.SingleOrgSync, 1), nil, func(ctx context.Context, view storage.View) (*directory.Plan, error) {
					state, err := view.State(ctx)
					return newDepartments(fmt.Sprintf("d%02d", state.Departments)), err
				})
				if err != nil {
					b.Errorf("push: %v", err)
				}
			}
		})
	}
	pushes.Wait()
	feed := feedOf(b, replicas[0].Store)
	require.Len(b, feed, each*len(replicas))
	for i, change := range feed {
		require.Equal(b, fmt.Sprintf("d%02d", i), change.Key, "the feed is in the order of turns")
		require.EqualValues(b, 1, change.Department.Version)
	}
}

// A decision that is cut off anywhere can be made again, or was made.
func TestADecisionCutOffAnywhereCanBeRepeated(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	ctx := b.Context()
	for n := 1; n <= 6; n++ {
		for what, does := range map[string]fault{"request": {loseRequest: true}, "answer": {loseAnswer: true}} {
			scope := tenant("decide %d %s", n, what)
			require.NoError(b, full(ctx, r.Store, fullPush(scope, 1, item("a", "n", ""), item("b", "n", "a"))))
			held := fullPush(scope, 2)
			require.NoError(b, full(ctx, r.Store, held))
			approve := func() error {
				_, err := r.Decide(ctx, held.ID, "by ann", func(ctx context.Context, view storage.View, hold directory.Hold) (*directory.Plan, error) {
					return directory.ApproveHold(ctx, hold, view)
				})
				return err
			}
			r.proxy.once(n, does, anyOfOurs)
			first := approve()
			r.proxy.set(nil)
			if again := approve(); first == nil {
				require.ErrorIs(b, again, storage.ErrConflict)
			} else if again != nil {
				require.ErrorIs(b, again, storage.ErrConflict, "the first came through after all")
			}
			require.Empty(b, tree(b, r.Store, scope), scope)
			record, _, err := r.Push(ctx, held.ID)
			require.NoError(b, err)
			require.Equal(b, []any{directory.ResultApproved, "by ann"}, []any{record.Result, record.Note}, scope)
			state, err := r.State(ctx, scope)
			require.NoError(b, err)
			require.Nil(b, state.Hold)
			require.Equal(b, directory.ResultApproved, state.LastFull.Result)
		}
	}
}

// A sweep that is cut off anywhere is made up for by the next, and takes nothing
// that is needed.
func TestASweepCutOffAnywhereIsMadeUpFor(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	ctx := b.Context()
	for n := 1; n <= 12; n += 2 {
		scope := directory.Scope{Dataset: directory.Test, TenantID: fmt.Sprint("t", n)}
		require.NoError(b, put(ctx, r.Store, scope, 1, directory.FlagAdd, "a", "n", ""))
		require.NoError(b, put(ctx, r.Store, scope, 2, directory.FlagAdd, "b", "n", "a"))
		relayed(b, r, "t")
		b.clock.advance(2 * time.Hour)
		times := storage.SweepTimes{TestData: b.clock.now(), Journal: b.clock.now()}
		r.proxy.once(n, fault{loseAnswer: true}, anyOfOurs)
		_, _ = r.Sweep(ctx, times)
		r.proxy.set(nil)
		_, err := r.Sweep(ctx, times)
		require.NoError(b, err)
		require.Empty(b, tree(b, r.Store, scope))
		relayed(b, r, "t")
		b.clock.advance(2 * time.Hour)
		_, err = r.Sweep(ctx, storage.SweepTimes{Tombstones: b.clock.now()})
		require.NoError(b, err)
		require.Empty(b, feedOf(b, r.Store), "no tombstone is left")
		slots, _, err := r.Deliveries(ctx, storage.DeliveryFilter{}, storage.Page{})
		require.NoError(b, err)
		require.Empty(b, slots)
	}
}

// relayed relays all there is to a target and settles it as delivered.
func relayed(b *bundle, r *replica, target string) {
	b.Helper()
	ctx := b.Context()
	for {
		read, scopes, err := r.Relay(ctx, target, storage.RelayOptions{}, 100)
		require.NoError(b, err)
		if read == 0 {
			return
		}
		for _, scope := range scopes {
			lease, err := r.Lease(ctx, target, scope, "one", time.Minute)
			require.NoError(b, err)
			tasks, err := r.Claim(ctx, lease, b.clock.now(), 100, nil)
			require.NoError(b, err)
			slots := make([]storage.Slot, 0, len(tasks))
			for _, task := range tasks {
				task.State, task.Delivered, task.Uncertain = storage.SlotDelivered, task.Desired, false
				slots = append(slots, task.Slot)
			}
			require.NoError(b, r.Settle(ctx, lease, slots))
		}
	}
}
