package directory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

func TestFullPush(t *testing.T) {
	t.Parallel()
	named := func(code, parent, name string) directory.DepartmentItem {
		return directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
	}
	play(t, map[string]scene{
		"creates, renames, moves, deletes and leaves": {
			before: pushes{full(1, "a", "b", "c", "d", "e")},
			push:   fullOf(2, item("f", "a"), named("b", "", "B"), item("c", "a"), named("d", "c", "D"), item("a", "")),
			drawn:  "a b c<a d<c -e f<a",
			told: `update b (renamed from "name of b"); move c (moved from the root); ` +
				`update d (renamed from "name of d"; moved from the root); delete e (not in the list); create f`,
		},
		"restores what was deleted": {
			before: pushes{full(1, "a"), department(2, "b", ""), remove(3, "b")}, push: full(4, "a", "b"), drawn: "a b", told: "restore b (was deleted)",
		},
		"a repeat decides nothing": {
			before: pushes{full(1, "a", "b")}, push: full(2, "b", "a"), drawn: "a b",
		},
		"an older one changes nothing": {
			before: pushes{full(9, "a", "b")}, push: full(8, "a", "c"), drawn: "a b",
		},
		"of equal times the last to arrive counts": {
			before: pushes{full(9, "a", "b")}, push: full(9, "a", "c"), drawn: "a -b c", told: "delete b (not in the list); create c",
		},
		"does not delete what a later push made": {
			before: pushes{full(1, "a", "b"), department(9, "c", "")}, push: full(5, "a", "b"), drawn: "a b c", told: "stale c (" + gone + ")",
		},
		"nor rename it": {
			before: pushes{full(1, "a", "b"), rename(9, "b", "", "new")}, push: full(5, "a", "b"), drawn: "a b", told: "stale b (" + gone + ")",
		},
		"nor bring it back": {
			before: pushes{full(1, "a", "b"), remove(9, "b")}, push: full(5, "a", "b"), drawn: "a -b", told: "stale b (" + gone + ")",
		},
		"deletes what an earlier push made": {
			before: pushes{full(1, "a", "b"), department(4, "c", "")}, push: full(5, "a", "b"), drawn: "a b -c", told: "delete c (not in the list)",
		},
		"reports the users of what it deletes": {
			before: pushes{full(1, "a", "b", "c"), someone(2, "ann", "b"), someone(2, "bob", "a")}, push: full(3, "a"),
			drawn: "a -b -c", told: "delete b (not in the list; 1 user is still in it); delete c (not in the list)",
		},
		"a parent newer than the list and left out of it still lives": {
			before: pushes{department(9, "p", "")}, push: fullOf(5, item("a", "p")), drawn: "a<p p", told: "create a; stale p (" + gone + ")",
		},
		"an empty list into an empty scope": {
			push: full(1), drawn: "",
		},
		"all gone is held, however few": {
			before: pushes{full(1, "a")}, push: full(2, "b"), drawn: "a b", told: "hold a (not in the list; held by the guard); create b",
		},
		"nothing of a held department is reported": {
			before: pushes{full(1, "a"), someone(2, "ann", "a")}, push: full(3), drawn: "a", told: "hold a (not in the list; held by the guard)",
		},
	})
}

func TestAStaleFullPushIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	_, err := w.receive(full(9, "a"))
	require.NoError(t, err)
	plan, err := w.receive(full(8, "a", "b"))
	require.NoError(t, err)
	require.Equal(t, directory.ResultStale, plan.Result)
	require.Equal(t, directory.Counts{directory.ActionStale: 2}, plan.Counts)
	require.Zero(t, plan.FullTime)
}

// The bounds of architecture's guard: more than 10 and more than 20 %, or all.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		guard           directory.Guard
		deletes, living int
		holds           bool
	}{
		{directory.DefaultGuard, 0, 0, false},
		{directory.DefaultGuard, 0, 10, false},
		{directory.DefaultGuard, 1, 1, true},
		{directory.DefaultGuard, 1, 2, false},
		{directory.DefaultGuard, 10, 11, false},
		{directory.DefaultGuard, 10, 10, true},
		{directory.DefaultGuard, 11, 12, true},
		{directory.DefaultGuard, 11, 54, true},
		{directory.DefaultGuard, 11, 55, false},
		{directory.DefaultGuard, 200, 1000, false},
		{directory.DefaultGuard, 201, 1000, true},
		{directory.DefaultGuard, 1_000_000, 1_000_001, true},
		{directory.Guard{}, 1, 1000, true},
		{directory.Guard{MaxDeletes: 5, MaxPercent: 100}, 999, 1000, false},
		{directory.Guard{MaxDeletes: 5, MaxPercent: 100}, 1000, 1000, true},
	} {
		require.Equal(t, test.holds, test.guard.Holds(test.deletes, test.living), "%+v", test)
	}
}

// twenty is a full push of twenty departments but those left out.
func twenty(at directory.SourceTime, leftOut int) *directory.Push {
	var codes []string
	for i := leftOut; i < 20; i++ {
		codes = append(codes, fmt.Sprintf("d%02d", i))
	}
	return full(at, codes...)
}

func TestTheGuardHoldsOnlyTheDeletions(t *testing.T) {
	t.Parallel()
	w := newWorld(directory.DefaultGuard, nil)
	w.patient = true
	_, err := w.receive(twenty(1, 0))
	require.NoError(t, err)
	_, err = w.receive(twenty(2, 10))
	require.NoError(t, err)
	require.Len(t, living(w.Snapshot()), 10, "ten may go")

	_, err = w.receive(twenty(3, 0))
	require.NoError(t, err)
	push := twenty(4, 11)
	list := push.Payload.(*directory.FullPush)
	list.Departments[0].Name = "renamed"
	list.Departments = append(list.Departments, item("new", "d00"), item("moved", ""))
	plan, err := w.receive(push)
	require.NoError(t, err)
	require.Equal(t, directory.ResultHeld, plan.Result)
	require.Equal(t, directory.Counts{
		directory.ActionHold: 11, directory.ActionCreate: 2, directory.ActionUpdate: 1, directory.ActionUnchanged: 8,
	}, plan.Counts)
	require.Equal(t, &directory.Hold{PushID: push.ID, SourceTime: 4, Of: 20, Codes: []string{
		"d00", "d01", "d02", "d03", "d04", "d05", "d06", "d07", "d08", "d09", "d10",
	}}, plan.Hold)
	snapshot := w.Snapshot()
	require.Len(t, living(snapshot), 22)
	require.Equal(t, "d00", snapshot.Departments["new"].ParentCode)
	require.False(t, snapshot.Departments["new"].ParentMissing, "a held department is still there to hang under")

	plan, err = w.receive(push)
	require.NoError(t, err)
	require.True(t, plan.Empty(), "the same again decides the same")
	require.Equal(t, directory.ResultHeld, plan.Result)
	require.Len(t, plan.Hold.Codes, 11)
}

func TestALaterFullPushDecidesAnew(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		push  *directory.Push
		holds int
		lives int
	}{
		"all are back":        {twenty(3, 0), 0, 20},
		"few enough may go":   {twenty(3, 3), 0, 17},
		"more are held":       {twenty(3, 15), 15, 20},
		"an older is no word": {twenty(1, 0), 12, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(directory.DefaultGuard, nil)
			w.patient = true
			for _, push := range []*directory.Push{twenty(1, 0), twenty(2, 12), test.push} {
				_, err := w.receive(push)
				require.NoError(t, err)
			}
			snapshot := w.Snapshot()
			require.Len(t, living(snapshot), test.lives)
			if test.holds == 0 {
				require.Nil(t, snapshot.State.Hold)
				return
			}
			require.Len(t, snapshot.State.Hold.Codes, test.holds)
		})
	}
}

func TestApprove(t *testing.T) {
	t.Parallel()
	tree := func(at directory.SourceTime) *directory.Push {
		return fullOf(at, item("a", ""), item("b", "a"), item("c", "b"), item("d", "a"))
	}
	type approval struct {
		between     pushes
		drawn, told string
	}
	for name, test := range map[string]approval{
		"all that was held": {
			drawn: "-a -b -c -d", told: "delete a (approved); delete b (approved); delete c (approved); delete d (approved)",
		},
		"but what a newer push touched": {
			between: pushes{rename(9, "b", "a", "B")},
			drawn:   "-a b?a -c -d",
			told:    "delete a (approved); detach b (its parent a is not there); stale b (" + gone + "); delete c (approved); delete d (approved)",
		},
		"or only told again": {
			between: pushes{department(9, "d", "a")},
			drawn:   "-a -b -c d?a",
			told:    "delete a (approved); delete b (approved); delete c (approved); detach d (its parent a is not there); stale d (" + gone + ")",
		},
		"or deleted": {
			between: pushes{remove(9, "c")},
			drawn:   "-a -b -c -d", told: "delete a (approved); delete b (approved); unchanged c (is deleted already); delete d (approved)",
		},
		"and what came later waits for a parent that went": {
			between: pushes{department(9, "e", "d")},
			drawn:   "-a -b -c -d e?d",
			told:    "delete a (approved); delete b (approved); delete c (approved); delete d (approved); detach e (its parent d is not there)",
		},
		"users are reported": {
			between: pushes{someone(9, "ann", "c")},
			drawn:   "-a -b -c -d",
			told:    "delete a (approved); delete b (approved); delete c (approved; 1 user is still in it); delete d (approved)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(directory.DefaultGuard, nil)
			w.patient = true
			for _, push := range append(pushes{tree(1), full(5)}, test.between...) {
				_, err := w.receive(push)
				require.NoError(t, err)
			}
			plan, err := directory.ApproveHold(t.Context(), *w.Snapshot().State.Hold, w)
			require.NoError(t, err)
			require.Equal(t, directory.ResultApproved, plan.Result)
			plan.HoldSet = true
			w.Apply(plan)
			after := w.Snapshot()
			require.Equal(t, test.drawn, drawn(after))
			require.Equal(t, test.told, told(plan))
			after.Check(t)
		})
	}
}

// A tombstone swept meanwhile is no reason to stop, nor is a view that fails
// one to delete a part.
func TestApproveOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	_, err := w.receive(full(1, "a", "b"))
	require.NoError(t, err)
	hold := directory.Hold{SourceTime: 5, Codes: []string{"b", "swept"}}
	plan, err := directory.ApproveHold(t.Context(), hold, w)
	require.NoError(t, err)
	require.Equal(t, "delete b (approved); unchanged swept (is deleted already)", told(plan))
	for calls := range 3 {
		plan, err = directory.ApproveHold(context.Background(), hold, &failingView{Memory: w.Memory, after: calls, err: context.DeadlineExceeded})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Nil(t, plan)
	}
}

// A department's version rises by one with each change and with nothing else.
func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(unguarded, nil)
	for _, step := range []struct {
		push    *directory.Push
		version int64
		since   directory.SourceTime
	}{
		{department(1, "b", "a"), 1, 1},
		{department(2, "b", "a"), 1, 2},   // told again
		{department(3, "a", ""), 2, 2},    // attached: not its own word
		{full(4, "a", "b"), 3, 4},         // moved
		{full(5, "a", "b"), 3, 4},         // the list need not be written
		{remove(6, "b"), 4, 6},            // deleted
		{remove(7, "b"), 4, 7},            // told again
		{department(8, "b", ""), 5, 8},    // restored
		{rename(8, "b", "", "B"), 6, 8},   // renamed
		{rename(7, "b", "", "old"), 6, 8}, // stale
	} {
		_, err := w.receive(step.push)
		require.NoError(t, err)
		b := w.Snapshot().Departments["b"]
		require.Equal(t, directory.Meta{Version: step.version, SourceTime: step.since, Deleted: b.Deleted}, b.Meta)
	}
}

// Nothing in one data set, instance or tenant is a word about another: a scope
// is all that a planner sees, and the key of all that is stored.
func TestScopesAreApart(t *testing.T) {
	t.Parallel()
	base := directorytest.Scope
	seen := map[string]directory.Scope{}
	for _, scope := range []directory.Scope{
		base, {Dataset: directory.Test, InstanceID: base.InstanceID, TenantID: base.TenantID},
		{Dataset: directory.Prod, TenantID: base.TenantID}, {Dataset: directory.Prod, InstanceID: base.TenantID},
		{Dataset: directory.Prod, InstanceID: "a/b", TenantID: "c"}, {Dataset: directory.Prod, InstanceID: "a", TenantID: "b/c"},
		{Dataset: directory.Prod, InstanceID: "a%2Fb", TenantID: "c"},
	} {
		require.NotContains(t, seen, scope.String())
		seen[scope.String()] = scope
		back, err := directory.ParseScope(scope.String())
		require.NoError(t, err)
		require.Equal(t, scope, back)
		require.NotEqual(t, scope.ExternalID("a/b"), scope.ExternalID("a")+"/b")
	}
}
