package keycloak_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
	"github.com/openkoo/connector/target/targettest"
)

func TestADepartmentIsMadeRenamedMovedAndDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	a := b.putDepartment(department("a", "产品部", ""))
	sub := b.putDepartment(department("b", "研发部", a))
	leaf := b.putDepartment(department("c", "测试组", sub))
	require.Equal(t, []string{"/产品部", "/产品部/研发部", "/产品部/研发部/测试组"}, b.realm.Paths())

	require.Equal(t, sub, b.putDepartment(with(department("b", "研究院", a), sub)))
	require.Equal(t, []string{"/产品部", "/产品部/研究院", "/产品部/研究院/测试组"}, b.realm.Paths())
	require.Equal(t, sub, b.putDepartment(with(department("b", "研究院", ""), sub)), "to the root")
	require.Equal(t, []string{"/产品部", "/研究院", "/研究院/测试组"}, b.realm.Paths())
	require.Equal(t, sub, b.putDepartment(with(department("b", "R&D / x", a), sub)), "a rename and a move at once")
	require.Equal(t, []string{"/产品部", "/产品部/R&D ~/ x", "/产品部/R&D ~/ x/测试组"}, b.realm.Paths())
	for _, g := range b.realm.Groups() {
		require.Len(t, g.Attributes, 1, "nothing of the way stays: %v", g.Attributes)
	}

	b.proxy.Forget()
	b.putDepartment(with(department("b", "R&D / x", a), sub))
	require.Empty(t, b.writes(), "what is so already is not written")

	for _, d := range []struct{ code, id string }{{"c", leaf}, {"b", sub}, {"a", a}} {
		o := object(d.code)
		o.RemoteID = d.id
		require.NoError(t, b.DeleteDepartment(t.Context(), o))
		require.NoError(t, b.DeleteDepartment(t.Context(), o), "gone is success")
	}
	require.Empty(t, b.realm.Paths())
}

// A move keeps the name and a rename the place, so the way between has to miss
// the names on both sides.
func TestARenameThatMovesPassesSiblingsOnBothSides(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	from, to := b.putDepartment(department("from", "from", "")), b.putDepartment(department("to", "to", ""))
	x := b.putDepartment(department("x", "old", from))
	b.putDepartment(department("y", "new", from))
	b.putDepartment(department("z", "old", to))
	b.putDepartment(with(department("x", "new", to), x))
	require.Equal(t, []string{"/from", "/from/new", "/to", "/to/new", "/to/old"}, b.realm.Paths())
}

func TestSiblingsSwapNames(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		b := newBed(t, keycloakfake.Options{NoChildSearch: old})
		p := b.putDepartment(department("p", "P", ""))
		for i := range 25 { // more than a page of the server's own choice
			b.putDepartment(department(fmt.Sprint("n", i), fmt.Sprint("A", i), p))
		}
		a, c := b.putDepartment(department("a", "Y", p)), b.putDepartment(department("c", "Z", p))
		b.putDepartment(with(department("a", "Z", p), a))
		b.putDepartment(with(department("c", "Y", p), c))
		for _, g := range b.realm.Groups() {
			require.Len(t, g.Attributes, 1)
			if g.ID == a {
				require.Equal(t, "Z", g.Name)
			}
			if g.ID == c {
				require.Equal(t, "Y", g.Name)
			}
		}
	}
}

func TestDepartmentsOfOneNameShareAParent(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	first := b.putDepartment(department("a", "产品部", ""))
	other := department("a", "产品部", "")
	other.ExternalID = "prod/inst-1/t2/a" // another tenant's
	second := b.putDepartment(other)
	require.NotEqual(t, first, second)
	require.Equal(t, second, b.putDepartment(other), "an answer that was lost changes nothing")
	other.RemoteID = second
	require.Equal(t, second, b.putDepartment(other))
	require.Len(t, b.realm.Paths(), 2)
	o := object("a")
	o.RemoteID = first
	require.NoError(t, b.DeleteDepartment(t.Context(), o))
	require.Equal(t, []string{"/产品部"}, b.realm.Paths(), "the name that became free is taken")
}

func TestSomebodyElsesGroupIsNotTaken(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	theirs := b.realm.AddGroup("", "A", map[string][]string{"cost": {"1"}})
	_, err := b.PutDepartment(t.Context(), department("a", "A", ""))
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "not ours")
	id := b.putDepartment(department("a", "free", ""))
	_, err = b.PutDepartment(t.Context(), with(department("a", "A", ""), id))
	requireClass(t, target.Conflict, err)
	p := b.putDepartment(department("p", "P", ""))
	b.realm.AddGroup(p, "free", nil)
	_, err = b.PutDepartment(t.Context(), with(department("a", "free", p), id))
	requireClass(t, target.Conflict, err)
	require.Equal(t, []string{"/A", "/P", "/P/free", "/free"}, b.realm.Paths())

	// Handed over by a person, it is ours, and keeps what else it has.
	b.realm.Remove(theirs)
	handed := b.realm.AddGroup("", "A", map[string][]string{"cost": {"1"}, "orgsyncId": {scope.ExternalID("h")}})
	require.Equal(t, handed, b.putDepartment(department("h", "A", "")))
	require.Equal(t, handed, b.putDepartment(with(department("h", "B", ""), handed)))
	for _, g := range b.realm.Groups() {
		if g.ID == handed {
			require.Equal(t, []string{"1"}, g.Attributes["cost"])
		}
	}
}

func TestTwoGroupsOfOneExternalIDAreAConflict(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	for _, name := range []string{"one", "two"} {
		b.realm.AddGroup("", name, map[string][]string{"orgsyncId": {scope.ExternalID("a")}})
	}
	d := department("a", "A", "")
	d.Uncertain = true
	_, err := b.PutDepartment(t.Context(), d)
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "remove one")
}

// The server deletes what is below a group along with it.
func TestAGroupThatHasChildrenIsNotDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	a := b.putDepartment(department("a", "A", ""))
	sub := b.putDepartment(department("b", "B", a))
	o := object("a")
	o.RemoteID = a
	requireClass(t, target.Transient, b.DeleteDepartment(t.Context(), o))
	b.putDepartment(with(department("b", "B", ""), sub))
	theirs := b.realm.AddGroup(a, "theirs", nil)
	require.ErrorContains(t, b.DeleteDepartment(t.Context(), o), "not ours")
	requireClass(t, target.Permanent, b.DeleteDepartment(t.Context(), o))
	require.Equal(t, []string{"/A", "/A/theirs", "/B"}, b.realm.Paths())
	b.realm.Remove(theirs)
	require.NoError(t, b.DeleteDepartment(t.Context(), o))
}

func TestAParentThatIsNotThereIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	_, err := b.PutDepartment(t.Context(), department("a", "A", "no-such-id"))
	requireClass(t, target.NeedsParent, err)
	id := b.putDepartment(department("a", "A", ""))
	_, err = b.PutDepartment(t.Context(), with(department("a", "A", "no-such-id"), id))
	requireClass(t, target.NeedsParent, err)
	require.Equal(t, []string{"/A"}, b.realm.Paths())
}

func TestALostAnswerMakesNoSecondGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	parent := b.putDepartment(department("p", "P", ""))
	d := department("a", "A", parent)
	b.proxy.Next(targettest.LoseAnswer)
	_, err := b.PutDepartment(t.Context(), d)
	require.True(t, requireClass(t, target.Transient, err).UnknownOutcome)
	d.Uncertain, d.Name = true, "renamed meanwhile"
	id := b.putDepartment(d)
	d.Uncertain = false // not even if nobody knows of an attempt
	require.Equal(t, id, b.putDepartment(d))
	require.Equal(t, []string{"/P", "/P/renamed meanwhile"}, b.realm.Paths())
	b.realm.Remove(id)
	d.RemoteID = id
	require.NotEqual(t, id, b.putDepartment(d), "one that is gone is made anew")
}

// Keycloak keeps 255 characters of an attribute, and escaped codes are long.
func TestExternalIDsLongerThanAnAttributeAreFound(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	d, u := department(strings.Repeat("部", 64), strings.Repeat("长", 128), ""), user(strings.Repeat("张", 64))
	group, account := b.putDepartment(d), b.putUser(u)
	d.Uncertain, u.Uncertain = true, true
	require.Equal(t, group, b.putDepartment(d))
	require.Equal(t, account, b.putUser(u))
	require.NoError(t, b.DeleteUser(t.Context(), u.Object))
	require.NoError(t, b.DeleteDepartment(t.Context(), d.Object))
	require.Empty(t, b.realm.Paths())
	require.Empty(t, b.realm.Users())
}

// A change may be cut off after any of its requests; the next try ends it.
func TestAMoveThatWasCutOffIsFinished(t *testing.T) {
	t.Parallel()
	for cut := range 6 {
		b := newBed(t, keycloakfake.Options{})
		from, to := b.putDepartment(department("from", "from", "")), b.putDepartment(department("to", "to", ""))
		x := b.putDepartment(department("x", "old", from))
		b.proxy.Next(append(make([]targettest.Fault, cut), targettest.LoseAnswer)...)
		_, err := b.PutDepartment(t.Context(), with(department("x", "new", to), x))
		b.proxy.Heal()
		if err != nil {
			requireClass(t, target.Transient, err)
		}
		require.Equal(t, x, b.putDepartment(with(department("x", "new", to), x)))
		require.Equal(t, []string{"/from", "/to", "/to/new"}, b.realm.Paths(), "after %d requests", cut)
	}
}

// Whatever the order of changes, the tree ends as it is to be.
func TestAnyChangesEndInTheTreeThatIsWanted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, keycloakfake.Options{NoChildSearch: rapid.Bool().Draw(rt, "old server")})
		parents := []string{"", b.putDepartment(department("p", "P", "")), b.putDepartment(department("q", "Q", ""))}
		ids := map[int]string{}
		put := func(i int, name, parent string) {
			id, err := b.PutDepartment(t.Context(), with(department(fmt.Sprint(i), name, parent), ids[i]))
			require.NoError(rt, err)
			ids[i] = id
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			put(rapid.IntRange(0, 3).Draw(rt, "department"), rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(rt, "name"), rapid.SampledFrom(parents).Draw(rt, "parent"))
		}
		final, parent := rapid.Permutation([]string{"A", "B", "C", "D"}).Draw(rt, "final names"), rapid.SampledFrom(parents).Draw(rt, "final parent")
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(rt, "final order") {
			put(i, final[i], parent)
		}
		for _, g := range b.realm.Groups() {
			require.NotContains(rt, g.Name, "(", "stands beside its name: %v", b.realm.Paths())
			require.Len(rt, g.Attributes, 1)
			for i, id := range ids {
				if g.ID == id {
					require.Equal(rt, final[i], g.Name)
					require.Equal(rt, parent, g.ParentID)
				}
			}
		}
	})
}
