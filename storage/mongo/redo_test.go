package mongo_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage/mongo"
)

// What the journal has of a plan is the plan: carrying it out needs nothing else.
func TestTheJournalKeepsAllThatAPushChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		plan := &directory.Plan{Result: directory.ResultApplied, FullTime: directory.SourceTime(rapid.Int64Range(0, 9).Draw(r, "full"))}
		for _, code := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z/%#]{1,4}`), 0, 5, rapid.ID[string]).Draw(r, "codes") {
			plan.Departments = append(plan.Departments, directory.Department{
				Code: code, Name: rapid.String().Draw(r, "name"), Meta: directory.Meta{Version: rapid.Int64Range(1, 3).Draw(r, "version")},
			})
		}
		for range rapid.IntRange(0, 3).Draw(r, "touches") {
			plan.Touched = append(plan.Touched, directory.Touch{Kind: directory.KindUser, Key: rapid.String().Draw(r, "key"), User: &directory.User{Name: "n"}})
		}
		packed, want, err := mongo.PackRedo(plan)
		require.NoError(r, err)
		got, err := mongo.UnpackRedo(packed)
		require.NoError(r, err)
		require.Equal(r, want, got)
	})
}

func TestADamagedListOfChangesIsRefused(t *testing.T) {
	t.Parallel()
	plan := newDepartments("a", "b")
	plain, err := mongo.PlainRedo(plan)
	require.NoError(t, err)
	for cut := 1; cut < len(plain); cut++ {
		if mongo.WholeDocuments(plain[:cut]) {
			continue // as if there were fewer changes: the length is right
		}
		_, err := mongo.ParseRedo(plain[:cut])
		require.Error(t, err, "cut at %d of %d", cut, len(plain))
	}
}

func FuzzRedo(f *testing.F) {
	plain, err := mongo.PlainRedo(newDepartments("a", "b"))
	require.NoError(f, err)
	f.Add(plain)
	f.Add([]byte{5, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if err := mongo.CheckRedo(plain); err != nil {
			require.ErrorContains(t, err, "damaged")
		}
	})
}

// The order of changes is that of turns, and of places within one.
func TestOrderIsByTurnThenPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		turn := rapid.Int64Range(1, 1<<38).Draw(r, "turn")
		place := rapid.IntRange(0, 1<<24-1).Draw(r, "place")
		require.GreaterOrEqual(r, mongo.OrderOf(turn, place), mongo.OrderOf(turn, 0))
		require.Less(r, mongo.OrderOf(turn, place), mongo.OrderOf(turn+1, 0))
		require.Positive(r, mongo.OrderOf(turn, place))
	})
}
