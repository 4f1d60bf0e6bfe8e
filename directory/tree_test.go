package directory_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

// outline writes a tree in one line: "a(b(c) d)".
func outline(nodes []*directory.Node) string {
	var words []string
	for _, node := range nodes {
		word := node.Code
		if len(node.Children) > 0 {
			word += "(" + outline(node.Children) + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestTree(t *testing.T) {
	t.Parallel()
	d := func(code, parent string) directory.Department {
		return directory.Department{Code: code, ParentCode: parent}
	}
	waiting, dead := d("w", "a"), d("x", "a")
	waiting.ParentMissing, dead.Deleted = true, true
	for want, departments := range map[string][]directory.Department{
		"":                     nil,
		"a(b(c) d) e w":        {d("c", "b"), d("e", ""), d("d", "a"), waiting, d("b", "a"), dead, d("a", "")},
		"orphan(y)":            {d("y", "orphan"), d("orphan", "nobody")},
		"child of a tombstone": {d("child of a tombstone", "x"), dead},
	} {
		require.Equal(t, want, outline(directory.Tree(departments)))
	}
}

// Every living department is in the tree once, under the one it hangs under.
func TestTreeHoldsEveryDepartmentOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(unguarded, nil)
		for _, push := range directorytest.Small.Pushes(r, rapid.IntRange(1, 20).Draw(r, "pushes")) {
			if _, err := w.receive(push); err != nil {
				requireInvalid(r, err)
			}
		}
		snapshot := w.Snapshot()
		var all []directory.Department
		for _, d := range snapshot.Departments {
			all = append(all, d)
		}
		seen := make(map[string]string)
		var walk func(parent string, nodes []*directory.Node)
		walk = func(parent string, nodes []*directory.Node) {
			for _, node := range nodes {
				require.NotContains(r, seen, node.Code)
				seen[node.Code] = parent
				walk(node.Code, node.Children)
			}
		}
		walk("", directory.Tree(all))
		require.Len(r, seen, snapshot.State.Departments)
		for code, parent := range seen {
			d := snapshot.Departments[code]
			require.Equal(r, d.AttachedTo(), parent)
		}
	})
}

// deep is a list of n departments, most of them in one chain, shuffled.
func deep(n, depth int) []directory.DepartmentItem {
	items := make([]directory.DepartmentItem, n)
	for i := range items {
		parent := ""
		switch {
		case i > depth:
			parent = fmt.Sprintf("d%07d", i/8)
		case i > 0:
			parent = fmt.Sprintf("d%07d", i-1)
		}
		items[i] = item(fmt.Sprintf("d%07d", i), parent)
	}
	rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items
}

// stored is a view of departments that are there already, which counts nothing
// and copies nothing.
type stored struct {
	departments []directory.Department
	state       directory.State
}

func (v *stored) State(context.Context) (directory.State, error) { return v.state, nil }

func (v *stored) Departments(context.Context) iter.Seq2[directory.Department, error] {
	return func(yield func(directory.Department, error) bool) {
		for _, d := range v.departments {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (v *stored) UsersIn(context.Context, []string) (map[string]int, error) { return nil, nil }

// A chain ninety thousand deep takes no recursion and no square of time.
func TestADeepTreeIsAsGoodAsAFlatOne(t *testing.T) {
	t.Parallel()
	const n, depth = 100_000, 90_000
	began := time.Now()
	items := deep(n, depth)
	push := fullOf(1, items...)
	view := &stored{}
	plan, err := directory.PlanFull(t.Context(), push, push.Payload.(*directory.FullPush), view, directory.DefaultGuard)
	require.NoError(t, err)
	require.Len(t, plan.Departments, n)
	require.Zero(t, plan.Delta.ParentMissing)

	roots := directory.Tree(plan.Departments)
	require.Len(t, roots, 1)
	way := 0
	for node := roots[0]; len(node.Children) > 0; node = node.Children[0] {
		way++
	}
	require.Equal(t, depth, way)

	view.departments, view.state = plan.Departments, directory.State{Departments: n, FullTime: 1}
	approved, err := directory.ApproveHold(t.Context(), directory.Hold{SourceTime: 1, Codes: []string{"d0000500"}}, view)
	require.NoError(t, err)
	require.Equal(t, 1, approved.Counts[directory.ActionDelete])

	for i := range items { // the chain's ends meet
		if items[i].ParentCode == "" {
			items[i].ParentCode = fmt.Sprintf("d%07d", depth)
		}
	}
	err = (&directory.FullPush{Departments: items}).Check()
	require.ErrorContains(t, err, "cycle")
	require.LessOrEqual(t, len(err.Error()), 255)
	// A square of time would take minutes; the bound leaves a slow machine room.
	require.Less(t, time.Since(began), 30*time.Second)
}

// All cycles of a list are found, also when trees hang under them.
func TestACycleIsFoundWhereverItIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(r, "n")
		items := make([]directory.DepartmentItem, n)
		parents := make([]int, n)
		for i := range items {
			parents[i] = rapid.IntRange(-1, n-1).Draw(r, "parent")
			if parents[i] == i {
				parents[i] = -1
			}
			items[i] = item(fmt.Sprintf("d%02d", i), "")
			if parents[i] >= 0 {
				items[i].ParentCode = fmt.Sprintf("d%02d", parents[i])
			}
		}
		cyclic := false
		for i := range parents { // more steps than departments: never to end
			at, steps := i, 0
			for ; at >= 0 && steps <= n; steps++ {
				at = parents[at]
			}
			cyclic = cyclic || at >= 0
		}
		err := (&directory.FullPush{Departments: rapid.Permutation(items).Draw(r, "order")}).Check()
		if cyclic {
			require.ErrorContains(r, err, "cycle: ")
		} else {
			require.NoError(r, err)
		}
	})
}
