package directory_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
)

// drawn is a scope's departments in one line, by code: "a" hangs at the root,
// "b<a" under a, "c?x" waits for x, "-d" is a tombstone.
func drawn(s directorytest.Snapshot) string {
	var words []string
	for _, code := range slices.Sorted(maps.Keys(s.Departments)) {
		d := s.Departments[code]
		switch {
		case d.Deleted:
			words = append(words, "-"+code)
		case d.ParentMissing:
			words = append(words, code+"?"+d.ParentCode)
		case d.ParentCode != "":
			words = append(words, code+"<"+d.ParentCode)
		default:
			words = append(words, code)
		}
	}
	return strings.Join(words, " ")
}

// told is a plan's decisions in one line.
func told(plan *directory.Plan) string {
	words := make([]string, len(plan.Decisions))
	for i, d := range plan.Decisions {
		words[i] = string(d.Action) + " " + d.Key
		if d.Reason != "" {
			words[i] += " (" + d.Reason + ")"
		}
	}
	return strings.Join(words, "; ")
}

// scene is one push into a scope that other pushes have made.
type scene struct {
	before  []*directory.Push
	push    *directory.Push
	drawn   string // the departments afterwards
	told    string // the decisions
	refused string // the error, where nothing may change
}

func (s scene) play(t *testing.T, guard directory.Guard) *world {
	t.Helper()
	w := newWorld(guard, nil)
	w.patient = true
	for _, push := range s.before {
		_, err := w.receive(push)
		require.NoError(t, err)
	}
	before := w.Snapshot()
	plan, err := w.receive(s.push)
	after := w.Snapshot()
	if s.refused != "" {
		require.EqualError(t, err, s.refused)
		var invalid *directory.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, before, after)
		return w
	}
	require.NoError(t, err)
	require.Equal(t, s.drawn, drawn(after))
	require.Equal(t, s.told, told(plan))
	after.Check(t)
	counted := directory.Counts{}
	for _, d := range plan.Decisions {
		counted[d.Action]++
	}
	for action, n := range plan.Counts {
		// What a full push leaves as it is it counts and does not list.
		if s.push.Kind() != directory.AllOrgSync || (action != directory.ActionUnchanged && action != directory.ActionStale) {
			require.Equal(t, counted[action], n, action)
		}
	}
	return w
}

func play(t *testing.T, scenes map[string]scene) {
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scene.play(t, directory.DefaultGuard)
		})
	}
}

type pushes = []*directory.Push

// rename puts a department with another name.
func rename(at directory.SourceTime, code, parent, name string) *directory.Push {
	return push(at, directory.FlagModify, &directory.DepartmentPush{
		DepartmentItem: directory.DepartmentItem{Code: code, Name: name, ParentCode: parent},
	})
}

func flagged(push *directory.Push, flag directory.Flag) *directory.Push {
	push.Flag = flag
	return push
}

// someone is put into a department.
func someone(at directory.SourceTime, name, code string) *directory.Push {
	return push(at, directory.FlagAdd, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{{UserName: name, OrgCode: code, Enabled: true}}})
}

const (
	gone   = "stored since 19700101080000009, which is newer"
	absent = "its parent %s is not there"
	found  = "its parent %s is there to hang under"
)

func TestDepartment(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"a new one is created": {
			push: department(1, "a", ""), drawn: "a", told: "create a",
		},
		"a modify of the unknown creates it": {
			push: flagged(department(1, "a", ""), directory.FlagModify), drawn: "a", told: "create a",
		},
		"an add of the known updates it": {
			before: pushes{department(1, "a", "")}, push: flagged(rename(2, "a", "", "R&D"), directory.FlagAdd),
			drawn: "a", told: `update a (renamed from "name of a")`,
		},
		"a move": {
			before: pushes{full(1, "a", "b")}, push: department(2, "b", "a"), drawn: "a b<a", told: "move b (moved from the root)",
		},
		"a move and a new name at once": {
			before: pushes{department(1, "a", ""), department(2, "b", "a")}, push: rename(3, "b", "", "B"),
			drawn: "a b", told: `update b (renamed from "name of b"; moved from a)`,
		},
		"a repeat is unchanged": {
			before: pushes{department(1, "a", "")}, push: department(2, "a", ""), drawn: "a", told: "unchanged a",
		},
		"an older push changes nothing": {
			before: pushes{department(9, "a", "")}, push: rename(8, "a", "", "old"), drawn: "a", told: "stale a (" + gone + ")",
		},
		"of equal times the last to arrive counts": {
			before: pushes{department(9, "a", ""), department(9, "b", "")}, push: department(9, "b", "a"),
			drawn: "a b<a", told: "move b (moved from the root)",
		},
		"a repeat moves the time on, so that what lies between stays stale": {
			before: pushes{department(1, "a", ""), department(9, "a", "")}, push: rename(5, "a", "", "between"),
			drawn: "a", told: "stale a (" + gone + ")",
		},
		"a push older than the full push is stale, of a department in its list": {
			before: pushes{department(1, "a", ""), full(9, "a")}, push: rename(5, "a", "", "between"),
			drawn: "a", told: "stale a (" + gone + ")",
		},
		"and of one that is not": {
			before: pushes{full(9, "a")}, push: department(5, "b", ""), drawn: "a", told: "stale b (" + gone + ")",
		},
		"a delete": {
			before: pushes{full(1, "a", "b")}, push: remove(2, "b"), drawn: "a -b", told: "delete b",
		},
		"a delete again succeeds": {
			before: pushes{full(1, "a", "b"), remove(2, "b")}, push: remove(3, "b"), drawn: "a -b", told: "unchanged b (is deleted already)",
		},
		"a delete of the unknown succeeds": {
			push: remove(3, "b"), drawn: "-b", told: "unchanged b (was never known)",
		},
		"a late add cannot bring back what was deleted": {
			before: pushes{department(1, "a", ""), remove(9, "a")}, push: department(5, "a", ""), drawn: "-a", told: "stale a (" + gone + ")",
		},
		"nor create what was deleted before it was known": {
			before: pushes{remove(9, "a")}, push: department(5, "a", ""), drawn: "-a", told: "stale a (" + gone + ")",
		},
		"a repeated delete moves the tombstone's time on": {
			before: pushes{remove(3, "a"), remove(9, "a")}, push: department(5, "a", ""), drawn: "-a", told: "stale a (" + gone + ")",
		},
		"a later add restores it": {
			before: pushes{department(1, "a", ""), remove(2, "a")}, push: department(3, "a", ""), drawn: "a", told: "restore a (was deleted)",
		},
		"a late delete of a living one is stale": {
			before: pushes{department(9, "a", "")}, push: remove(5, "a"), drawn: "a", told: "stale a (" + gone + ")",
		},
		"users of a deleted one are reported": {
			before: pushes{department(1, "a", ""), someone(2, "ann", "a"), someone(3, "bob", "a"), someone(4, "eve", "b")},
			push:   remove(5, "a"), drawn: "-a", told: "delete a (2 users are still in it)",
		},
		"one user is one": {
			before: pushes{department(1, "a", ""), someone(2, "ann", "a")},
			push:   remove(5, "a"), drawn: "-a", told: "delete a (1 user is still in it)",
		},
	})
}

func TestDepartmentsWaitForTheirParent(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"under an unknown parent it waits": {
			push: department(1, "b", "a"), drawn: "b?a", told: "create b",
		},
		"under a tombstone too": {
			before: pushes{remove(1, "a")}, push: department(2, "b", "a"), drawn: "-a b?a", told: "create b",
		},
		"a move to nowhere": {
			before: pushes{department(1, "b", "")}, push: department(2, "b", "x"), drawn: "b?x", told: "move b (moved from the root)",
		},
		"children hang themselves under a parent that comes": {
			before: pushes{department(1, "b", "a"), department(2, "c", "a"), department(3, "d", "b")},
			push:   department(4, "a", ""), drawn: "a b<a c<a d<b",
			told: "create a; attach b (" + fmt.Sprintf(found, "a") + "); attach c (" + fmt.Sprintf(found, "a") + ")",
		},
		"and under one that comes back": {
			before: pushes{department(1, "a", ""), department(2, "b", "a"), remove(3, "a")},
			push:   department(4, "a", ""), drawn: "a b<a", told: "restore a (was deleted); attach b (" + fmt.Sprintf(found, "a") + ")",
		},
		"a deleted parent leaves its children waiting": {
			before: pushes{department(1, "a", ""), department(2, "b", "a"), department(3, "c", "b")},
			push:   remove(4, "a"), drawn: "-a b?a c<b", told: "delete a; detach b (" + fmt.Sprintf(absent, "a") + ")",
		},
		"one that waits can be renamed and waits": {
			before: pushes{department(1, "b", "a")}, push: rename(2, "b", "a", "B"),
			drawn: "b?a", told: `update b (renamed from "name of b")`,
		},
		"one that waits can be told again": {
			before: pushes{department(1, "b", "a")}, push: department(2, "b", "a"), drawn: "b?a", told: "unchanged b",
		},
		"one that waits can be deleted": {
			before: pushes{department(1, "b", "a")}, push: remove(2, "b"), drawn: "-b", told: "delete b",
		},
		"a full push may name a parent that is not in its list": {
			push: fullOf(1, item("a", ""), item("b", "a"), item("c", "265789314")), drawn: "a b<a c?265789314",
			told: "create a; create b; create c",
		},
		"a full push brings the parent": {
			before: pushes{department(1, "b", "a")}, push: fullOf(2, item("a", ""), item("b", "a")), drawn: "a b<a",
			told: "create a; attach b (" + fmt.Sprintf(found, "a") + ")",
		},
		"a full push that restores the parent": {
			before: pushes{fullOf(1, item("a", ""), item("b", "a")), remove(2, "a")}, push: fullOf(3, item("a", ""), item("b", "a")), drawn: "a b<a",
			told: "restore a (was deleted); attach b (" + fmt.Sprintf(found, "a") + ")",
		},
		"a full push that leaves a parent out lets its children wait": {
			before: pushes{fullOf(1, item("a", ""), item("b", "a"), item("c", "a"))}, push: fullOf(2, item("b", "a"), item("c", "a")),
			drawn: "-a b?a c?a",
			told:  "delete a (not in the list); detach b (" + fmt.Sprintf(absent, "a") + "); detach c (" + fmt.Sprintf(absent, "a") + ")",
		},
	})
}

func TestACycleIsRefused(t *testing.T) {
	t.Parallel()
	chain := pushes{department(1, "a", ""), department(2, "b", "a"), department(3, "c", "b"), department(4, "d", "c")}
	play(t, map[string]scene{
		"its own parent": {
			push: department(1, "a", "a"), refused: "parentCode: orgCode a is its own parent",
		},
		"even if it is stale": {
			before: pushes{full(9, "a")}, push: department(1, "a", "a"), refused: "parentCode: orgCode a is its own parent",
		},
		"under its child": {
			before: chain, push: department(9, "a", "b"), refused: "parentCode: cycle: a → b → a",
		},
		"far below itself": {
			before: chain, push: department(9, "a", "d"), refused: "parentCode: cycle: a → d → c → b → a",
		},
		"new, under a child that waits for it": {
			before: pushes{department(1, "b", "a")}, push: department(2, "a", "b"), refused: "parentCode: cycle: a → b → a",
		},
		"back, below a child that waits for it": {
			before: append(slices.Clone(chain), remove(5, "a")), push: department(6, "a", "d"), refused: "parentCode: cycle: a → d → c → b → a",
		},
		"in a list": {
			push:    fullOf(1, item("a", "c"), item("b", "a"), item("c", "b"), item("d", "a")),
			refused: "orgInfoList: cycle: a → c → b → a",
		},
		"its own parent, in a list": {
			push: fullOf(1, item("a", ""), item("b", "b")), refused: "orgInfoList: orgCode b is its own parent",
		},
		"a stale push closes nothing": {
			before: pushes{department(1, "a", ""), department(2, "b", "a"), department(9, "a", "")}, push: department(5, "a", "b"),
			drawn: "a b<a", told: "stale a (" + gone + ")",
		},
		"a move within the own branch upwards is none": {
			before: chain, push: department(9, "d", "a"), drawn: "a b<a c<b d<a", told: "move d (moved from c)",
		},
	})
	_, err := newWorld(unguarded, nil).receive(fullOf(1, item("a", ""), item("b", ""), item("a", "b")))
	require.EqualError(t, err, "orgInfoList: orgCode a appears twice")
}

func TestALongCycleIsNamedInShort(t *testing.T) {
	t.Parallel()
	var items []directory.DepartmentItem
	for i := range 50 {
		items = append(items, item(fmt.Sprintf("department number %02d", i), fmt.Sprintf("department number %02d", (i+1)%50)))
	}
	_, err := newWorld(unguarded, nil).receive(fullOf(1, items...))
	require.ErrorContains(t, err, "→ …")
	require.LessOrEqual(t, len([]rune(err.Error())), 255, "resultMsg (spec/marketplace.md §2)")
}

// A cycle no push has told: a full push that came late says that b is under a,
// a push newer than it that a is under b. The older word gives way.
func TestCyclesOfDifferentPushes(t *testing.T) {
	t.Parallel()
	knot := pushes{full(1, "a", "b", "c"), department(9, "a", "b"), fullOf(5, item("a", ""), item("b", "a"), item("c", ""))}
	const (
		loop = "its parent %s hangs under it; the other word is newer"
	)
	long := pushes{full(1, "a", "b", "c", "d"), department(9, "a", "b"), fullOf(5, item("a", ""), item("b", "c"), item("c", "a"), item("d", ""))}
	// What a full push leaves as it is it has told all the same.
	old := pushes{
		full(1, "a", "b", "c", "d"), department(2, "d", "a"), department(3, "c", "d"), department(9, "a", "b"),
		fullOf(5, item("a", ""), item("b", "c"), item("c", "d"), item("d", "a"), item("e", "")),
	}
	w := scene{before: old[:4], push: old[4], drawn: "a<b b?c c<d d<a e", told: "stale a (" + gone + "); move b (moved from the root); create e"}.play(t, unguarded)
	approved, err := directory.ApproveHold(t.Context(), directory.Hold{SourceTime: 5, Codes: []string{"e"}}, w)
	require.NoError(t, err)
	require.Equal(t, "delete e (approved)", told(approved), "the same one waits")
	play(t, map[string]scene{
		"what a full push leaves unchanged is as old as the push": {
			before: old, push: department(10, "b", "c"), drawn: "a<b b<c c?d d<a e",
			told: "attach b (" + fmt.Sprintf(found, "c") + "); detach c (" + fmt.Sprintf(loop, "d") + ")",
		},
		"the list gives way to what is newer": {
			before: knot[:2], push: knot[2], drawn: "a<b b?a c", told: "stale a (" + gone + "); move b (moved from the root)",
		},
		"though nothing in the list changes": {
			before: pushes{fullOf(1, item("a", ""), item("b", "a")), department(2, "b", ""), department(9, "a", "b"), department(3, "b", "c")},
			push:   fullOf(4, item("a", ""), item("b", "a")), drawn: "a<b b?a", told: "stale a (" + gone + "); move b (moved from c)",
		},
		"of a longer cycle the smallest code of the list gives way": {
			before: long[:2], push: long[2], drawn: "a<b b?c c<a d",
			told: "stale a (" + gone + "); move b (moved from the root); move c (moved from the root)",
		},
		"one that gave way and is told again takes its place back": {
			before: knot, push: department(10, "b", "a"), drawn: "a?b b<a c",
			told: "detach a (" + fmt.Sprintf(loop, "b") + "); attach b (" + fmt.Sprintf(found, "a") + ")",
		},
		"and with another name": {
			before: knot, push: rename(10, "b", "a", "B"), drawn: "a?b b<a c",
			told: "detach a (" + fmt.Sprintf(loop, "b") + `); update b (renamed from "name of b")`,
		},
		"told again, yet still the oldest, it waits on": {
			before: knot, push: rename(6, "b", "a", "B"), drawn: "a<b b?a c", told: `update b (renamed from "name of b")`,
		},
		"of a longer one the next oldest gives way": {
			before: long, push: rename(10, "b", "c", "B"), drawn: "a<b b<c c?a d",
			told: `update b (renamed from "name of b"); detach c (` + fmt.Sprintf(loop, "a") + ")",
		},
		"another member can be renamed": {
			before: knot, push: rename(10, "a", "b", "A"), drawn: "a<b b?a c", told: `update a (renamed from "name of a")`,
		},
		"it ends when another member moves away": {
			before: long, push: department(10, "a", "d"), drawn: "a<d b<c c<a d",
			told: "move a (moved from b); attach b (" + fmt.Sprintf(found, "c") + ")",
		},
		"or when the one that waits moves away": {
			before: long, push: department(10, "b", ""), drawn: "a<b b c<a d", told: "move b (moved from c)",
		},
		"or when a member is deleted": {
			before: long, push: remove(10, "a"), drawn: "-a b<c c?a d",
			told: "delete a; attach b (" + fmt.Sprintf(found, "c") + "); detach c (" + fmt.Sprintf(absent, "a") + ")",
		},
		"the parent of the one that waits is deleted": {
			before: long, push: remove(10, "c"), drawn: "a<b b?c -c d", told: "delete c",
		},
		"or when a full push tells all": {
			before: long, push: fullOf(10, item("a", ""), item("b", "c"), item("c", "a"), item("d", "")), drawn: "a b<c c<a d",
			told: "move a (moved from b); attach b (" + fmt.Sprintf(found, "c") + ")",
		},
		"a new one may hang under it": {
			before: knot, push: department(10, "e", "a"), drawn: "a<b b?a c e<a", told: "create e",
		},
		"one with children may be moved under it": {
			before: append(slices.Clone(knot), department(10, "e", "c")), push: department(11, "c", "a"), drawn: "a<b b?a c<a e<c",
			told: "move c (moved from the root)",
		},
		"it cannot be widened": {
			before: append(slices.Clone(knot), department(10, "c", "b")), push: department(11, "a", "c"),
			refused: "parentCode: cycle: a → c → b → a",
		},
	})
}

// What every push needs is read at once; only a department with children that
// moves climbs the tree.
func TestPlanningReadsLittle(t *testing.T) {
	t.Parallel()
	before := pushes{department(1, "a", "")}
	for i := range 20 {
		before = append(before, department(2, fmt.Sprintf("a%02d", i+1), strings.TrimSuffix(fmt.Sprintf("a%02d", i), "00")))
	}
	for name, test := range map[string]struct {
		push  *directory.Push
		reads int
	}{
		"new leaf":       {department(9, "z", "a20"), 2},
		"rename":         {rename(9, "a05", "a04", "Z"), 2},
		"leaf moves":     {department(9, "a20", "a03"), 2},
		"branch to root": {department(9, "a15", ""), 2},
		"branch moves":   {department(9, "a15", "a02"), 2 + 3},
		"delete":         {remove(9, "a15"), 3},
		"unchanged":      {department(9, "a15", "a14"), 2},
		"stale":          {department(1, "a15", "a01"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(unguarded, nil)
			for _, push := range before {
				_, err := w.receive(push)
				require.NoError(t, err)
			}
			w.Reads = 0
			_, err := w.plan(test.push)
			require.NoError(t, err)
			require.Equal(t, test.reads, w.Reads)
		})
	}
}
