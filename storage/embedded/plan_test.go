package embedded

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a department concerns is looked up, however many slots there are.
func TestSlotsAreMarkedByAnIndex(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for query, want := range map[string]struct {
		args int
		plan string
	}{
		wakeOwn:             {5, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		readRemotes:         {4, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		setUncertain:        {4, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		markSlots:           {5, "SCAN c VIRTUAL TABLE INDEX 1:"},
		wakeGroup:           {4, "SEARCH slots USING INDEX slots_group (target=? AND scope=? AND grp=?"},
		emptyGroup:          {3, "SEARCH slots USING INDEX slots_group (target=? AND scope=? AND grp=?"},
		lookupTasks:         {4, "SEARCH t USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		lookupSlots:         {4, "SEARCH t USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		claimQuery:          {5, "SEARCH t USING INDEX slots_due (target=? AND scope=? AND kind=? AND due_at<?)"},
		noteSlot:            {5, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		settleSlot:          {19, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
		markUsers + usersOf: {7, "SEARCH slots USING PRIMARY KEY (target=? AND scope=? AND kind=? AND key=?)"},
	} {
		var id, parent, unused int
		var detail string
		row := s.read.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, want.args)...)
		require.NoError(t, row.Scan(&id, &parent, &unused, &detail), query)
		require.Contains(t, detail, want.plan, query)
	}
}
