package directory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// A department that a push had deleted, newer than a full list that names it,
// stayed away. From a full push after that deletion on a replay cannot know:
// it says so in place of bringing the department back.
func TestAReplayNoticesWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	whole, naming := full(5, "a"), full(7, "a", "b")
	replay := directory.NewReplay()
	require.NoError(t, replay.Push(t.Context(), remove(10, "b"), directory.Told{Result: directory.ResultUnchanged, Counts: directory.Counts{directory.ActionUnchanged: 1}}))
	first := directory.Told{Result: directory.ResultApplied, Counts: directory.Counts{directory.ActionCreate: 1}}
	require.True(t, first.Whole())
	require.NoError(t, replay.Push(t.Context(), whole, first))
	second := directory.Told{Result: directory.ResultUnchanged, Counts: directory.Counts{directory.ActionUnchanged: 1, directory.ActionStale: 1}}
	require.False(t, second.Whole())
	require.NoError(t, replay.Push(t.Context(), naming, second))
	require.Equal(t, []directory.DepartmentItem{item("a", "")}, replay.List())

	late := directory.NewReplay()
	require.NoError(t, late.Begin(t.Context(), whole))
	require.ErrorIs(t, late.Push(t.Context(), naming, second), directory.ErrReplay)
}

func TestAReplayRefusesWhatItIsNotFor(t *testing.T) {
	t.Parallel()
	replay := directory.NewReplay()
	tenant := &directory.Push{Payload: &directory.TenantPush{}}
	require.ErrorContains(t, replay.Begin(t.Context(), tenant), "want allOrgSync")
	require.ErrorContains(t, replay.Push(t.Context(), tenant, directory.Told{}), "not about departments")
	require.ErrorIs(t, replay.Approve(t.Context(), "nobody"), directory.ErrReplay)
	require.False(t, directory.Told{Result: directory.ResultStale}.Whole())
	require.NoError(t, replay.Push(t.Context(), tenant, directory.Told{Result: directory.ResultStale}), "a stale push changed nothing")
}
