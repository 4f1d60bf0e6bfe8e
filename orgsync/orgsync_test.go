package orgsync_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/orgsync"
)

func push(payload directory.Payload) *directory.Push {
	return &directory.Push{Scope: directorytest.Scope, Flag: directory.FlagModify, SourceTime: 1, Payload: payload}
}

// Each of the three interfaces reaches its planner.
func TestPlan(t *testing.T) {
	t.Parallel()
	planner := orgsync.New(directory.DefaultGuard)
	memory := directorytest.NewMemory()
	for _, payload := range []directory.Payload{
		&directory.TenantPush{Name: "Acme"},
		&directory.FullPush{Departments: []directory.DepartmentItem{{Code: "b", Name: "B", ParentCode: "a"}, {Code: "a", Name: "A"}}},
		&directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "c", Name: "C", ParentCode: "b"}},
	} {
		push := push(payload)
		require.NoError(t, planner.Prepare(t.Context(), push))
		plan, err := planner.Plan(t.Context(), memory, push)
		require.NoError(t, err)
		require.Equal(t, directory.ResultApplied, plan.Result)
		memory.Apply(plan)
	}
	snapshot := memory.Snapshot()
	snapshot.Check(t)
	require.Equal(t, "Acme", snapshot.Tenant.Name)
	require.Equal(t, 3, snapshot.State.Departments)
}

// A list that contradicts itself is refused before anything is journaled.
func TestPrepareRefusesAListThatContradictsItself(t *testing.T) {
	t.Parallel()
	planner := orgsync.New(directory.DefaultGuard)
	err := planner.Prepare(t.Context(), push(&directory.FullPush{Departments: []directory.DepartmentItem{
		{Code: "a", ParentCode: "b"}, {Code: "b", ParentCode: "a"},
	}}))
	require.EqualError(t, err, "orgInfoList: cycle: a → b → a")
	require.NoError(t, planner.Prepare(t.Context(), push(&directory.TenantPush{})))
}

// The planner's guard is the one it was made with.
func TestTheGuardIsTheOneGiven(t *testing.T) {
	t.Parallel()
	for guard, result := range map[directory.Guard]directory.Result{
		{MaxDeletes: 0, MaxPercent: 0}: directory.ResultHeld,
		{MaxDeletes: 1, MaxPercent: 0}: directory.ResultApplied,
	} {
		planner, memory := orgsync.New(guard), directorytest.NewMemory()
		var plan *directory.Plan
		for _, codes := range [][]string{{"a", "b", "c"}, {"a", "b"}} {
			full := &directory.FullPush{}
			for _, code := range codes {
				full.Departments = append(full.Departments, directory.DepartmentItem{Code: code})
			}
			var err error
			plan, err = planner.Plan(t.Context(), memory, push(full))
			require.NoError(t, err)
			memory.Apply(plan)
		}
		require.Equal(t, result, plan.Result, "%+v", guard)
	}
}

func TestPlanOfAnotherInterfaceIsAnError(t *testing.T) {
	t.Parallel()
	_, err := orgsync.New(directory.DefaultGuard).Plan(t.Context(), directorytest.NewMemory(), push(&directory.AuthPush{}))
	require.EqualError(t, err, "orgsync: does not plan authSync")
}
