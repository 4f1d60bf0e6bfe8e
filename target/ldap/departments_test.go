package ldap_test

import (
	"fmt"
	"strings"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
	"github.com/openkoo/connector/test/peers/slapd"
)

func TestADepartmentIsMadeRenamedMovedAndDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	a := b.putDepartment(department("a", "产品部", ""))
	sub := b.putDepartment(department("b", "研发部", a))
	leaf := b.putDepartment(department("c", "测试组", sub))
	require.ElementsMatch(t, []string{"departments/产品部", "departments/产品部/研发部", "departments/产品部/研发部/测试组"}, b.paths())
	entry := b.tree()["departments/产品部/研发部"]
	require.Equal(t, "prod/inst-1/t1/b", entry.GetAttributeValue("businessCategory"))
	require.Equal(t, sub, entry.GetAttributeValue("entryUUID"))

	require.Equal(t, sub, b.putDepartment(with(department("b", "研究院", a), sub)), "a rename keeps the remote id")
	require.Equal(t, leaf, b.tree()["departments/产品部/研究院/测试组"].GetAttributeValue("entryUUID"), "what is below comes along")
	require.Equal(t, sub, b.putDepartment(with(department("b", "研究院", ""), sub)), "a move keeps it too")
	require.ElementsMatch(t, []string{"departments/产品部", "departments/研究院", "departments/研究院/测试组"}, b.paths())
	b.putDepartment(with(department("b", "R&D", a), sub))
	require.ElementsMatch(t, []string{"departments/产品部", "departments/产品部/R&D", "departments/产品部/R&D/测试组"}, b.paths())
	require.Equal(t, []string{"R&D"}, b.tree()["departments/产品部/R&D"].GetAttributeValues("ou"), "no old name stays behind")

	for _, d := range []struct{ code, id string }{{"c", leaf}, {"b", sub}, {"a", a}} {
		o := object(d.code)
		o.RemoteID = d.id
		require.NoError(t, b.DeleteDepartment(t.Context(), o))
		require.NoError(t, b.DeleteDepartment(t.Context(), o), "gone is success")
	}
	require.Empty(t, b.paths())
}

// One request, so that no reader ever sees the department under a third name
// or in a third place.
func TestARenameThatMovesIsOneModifyDN(t *testing.T) {
	t.Parallel()
	proxy := newProxy(t, strings.TrimPrefix(server.URL, "ldap://"))
	b := newBed(t, proxy.plain)
	a := b.putDepartment(department("a", "A", ""))
	x := b.putDepartment(department("x", "X", ""))
	before := proxy.requests()
	b.putDepartment(with(department("x", "Y", a), x))
	after := proxy.requests()
	require.Equal(t, 1, after[ldapv3.ApplicationModifyDNRequest]-before[ldapv3.ApplicationModifyDNRequest])
	require.Zero(t, after[ldapv3.ApplicationModifyRequest]-before[ldapv3.ApplicationModifyRequest])
	require.Contains(t, b.tree(), "departments/A/Y")

	before = after
	b.putDepartment(with(department("x", "Y", a), x))
	after = proxy.requests()
	for _, write := range []uint8{ldapv3.ApplicationModifyDNRequest, ldapv3.ApplicationModifyRequest, ldapv3.ApplicationAddRequest, ldapv3.ApplicationDelRequest} {
		require.Equal(t, before[write], after[write], "what is so already is not written")
	}
}

func TestHostileNamesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	names := []string{
		"产品部，一组", "a,b", "#1 team", " leading", "trailing ", "a+b", `q"uote`, `back\slash`, "<angle>", "semi;colon", "a=b", "ou=x,dc=example,dc=com",
		"(paren)", "star*", "é", "emoji 🚀", "a/b", `\`, `\2c`, "#", "tab\there", "line\nbreak", "\tleading tab", "\nleading break", "trailing tab\t", "\r", "*)(objectClass=*", "' or 1=1 --",
	}
	parent := b.putDepartment(department("root", "root", ""))
	ids := map[string]string{}
	for i, name := range names {
		ids[name] = b.putDepartment(department(fmt.Sprintf("code-%d", i), name, parent))
	}
	for i, name := range names {
		d := with(department(fmt.Sprintf("code-%d", i), name, parent), ids[name])
		require.Equal(t, ids[name], b.putDepartment(d), "%q again", name)
		d.RemoteID, d.Uncertain = "", true
		require.Equal(t, ids[name], b.putDepartment(d), "%q found by its external id", name)
		child := b.putDepartment(department(fmt.Sprintf("child-%d", i), name, ids[name]))
		o := object(fmt.Sprintf("child-%d", i))
		o.RemoteID = child
		require.NoError(t, b.DeleteDepartment(t.Context(), o))
	}
	found := map[string]string{}
	for path, e := range b.tree() {
		if name, ok := strings.CutPrefix(path, "departments/root/"); ok {
			found[name] = e.GetAttributeValue("entryUUID")
		}
	}
	require.Equal(t, ids, found)
	all, _, err := b.list()
	require.NoError(t, err)
	for i, name := range names {
		require.Empty(t, b.CompareDepartment(all[ids[name]], department(fmt.Sprintf("code-%d", i), name, parent)).Differ, "%q in a list", name)
	}

	for _, name := range []string{"a\x00b", "a\xffb"} {
		_, err := b.PutDepartment(t.Context(), department("nul", name, parent))
		requireClass(t, target.Permanent, err)
	}
}

// The marketplace allows 128 characters (spec/marketplace.md §3.4), OpenLDAP
// 240 bytes in an RDN.
func TestANameTooLongForADNIsWholeInItsAttribute(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ids := map[string]string{}
	for i, name := range []string{strings.Repeat("长", 128), strings.Repeat("长", 127) + "短", strings.Repeat(",", 128), strings.Repeat("长", 66), strings.Repeat("\U0001F680", 128)} {
		d := department(fmt.Sprintf("code-%d", i), "first", "")
		d.RemoteID = b.putDepartment(d)
		d.Name = name
		ids[name] = b.putDepartment(d)
		require.Equal(t, d.RemoteID, ids[name])
		require.Equal(t, d.RemoteID, b.putDepartment(d), "again")
		fresh := department(fmt.Sprintf("fresh-%d", i), name, d.RemoteID)
		first := b.putDepartment(fresh)
		require.Equal(t, first, b.putDepartment(fresh))
	}
	for name, id := range ids {
		found := 0
		for _, e := range b.tree() {
			if e.GetAttributeValue("entryUUID") == id {
				found++
				require.Contains(t, e.GetAttributeValues("ou"), name)
				require.LessOrEqual(t, len(e.GetAttributeValues("ou")), 2)
			}
		}
		require.Equal(t, 1, found)
	}
	long := user(strings.Repeat("长", 64), "")
	long.UserName += strings.Repeat("长", 20)
	_, err := b.PutUser(t.Context(), long)
	requireClass(t, target.Permanent, err)
	require.ErrorContains(t, err, "too long")
}

func TestALostAnswerMakesNoSecondEntry(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	d := department("a", "A", "")
	id := b.putDepartment(d)
	d.Uncertain = true
	require.Equal(t, id, b.putDepartment(d))
	d.Uncertain, d.Name = false, "A" // not even when nobody knows of an attempt
	require.Equal(t, id, b.putDepartment(d))
	d.Uncertain, d.Name = true, "B" // renamed in between
	require.Equal(t, id, b.putDepartment(d))
	require.Equal(t, []string{"departments/B"}, b.paths())
}

func TestARemoteIDThatIsGoneIsMadeAnew(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.putDepartment(department("a", "A", ""))
	require.NoError(t, b.admin.Del(ldapv3.NewDelRequest("ou=A,ou=departments,"+b.base, nil)))
	again := b.putDepartment(with(department("a", "A", ""), id))
	require.NotEqual(t, id, again)
	require.NotEmpty(t, b.putDepartment(with(department("b", "B", ""), "no uuid (at* all)")))
}

func TestAParentThatIsNotThereIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	_, err := b.PutDepartment(t.Context(), department("a", "A", "00000000-0000-0000-0000-000000000000"))
	requireClass(t, target.NeedsParent, err)
	require.Empty(t, b.paths())
}

func TestSomebodyElsesEntryIsNotTaken(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.addUnit("ou=A,ou=departments,"+b.base, []string{"finance"}) // the attribute is used for something else
	_, err := b.PutDepartment(t.Context(), department("a", "A", ""))
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "not ours")
	id := b.putDepartment(department("a", "free", ""))
	_, err = b.PutDepartment(t.Context(), with(department("a", "A", ""), id))
	requireClass(t, target.Conflict, err)
	require.ElementsMatch(t, []string{"departments/A", "departments/free"}, b.paths())

	// Handed over by a person, it is ours, and keeps what else it holds.
	b.addUnit("ou=H,ou=departments,"+b.base, []string{"legal", scope.ExternalID("h")})
	handed := b.putDepartment(department("h", "H", ""))
	require.Equal(t, handed, b.tree()["departments/H"].GetAttributeValue("entryUUID"))
	require.ElementsMatch(t, []string{"legal", scope.ExternalID("h")}, b.tree()["departments/H"].GetAttributeValues("businessCategory"))
}

func TestTwoEntriesOfOneExternalIDAreAConflict(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, ou := range []string{"one", "two"} {
		b.addUnit("ou="+ou+",ou=departments,"+b.base, []string{scope.ExternalID("a")})
	}
	d := department("a", "A", "")
	d.Uncertain = true
	_, err := b.PutDepartment(t.Context(), d)
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "remove one")
}

// The server compares without regard to case; the marketplace does not.
func TestCodesThatDifferInCaseAreTwoDepartments(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	upper := b.putDepartment(department("A", "one", ""))
	d := department("a", "two", "")
	d.Uncertain = true
	require.NotEqual(t, upper, b.putDepartment(d))
}

func TestSiblingsSwapNames(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	a, c := b.putDepartment(department("a", "A", "")), b.putDepartment(department("c", "C", ""))
	b.putDepartment(with(department("a", "C", ""), a))
	require.Len(t, b.paths(), 2)
	require.NotContains(t, b.paths(), "departments/A", "it stands beside the name until that is free")
	b.putDepartment(with(department("c", "A", ""), c))
	tree := b.tree()
	require.Equal(t, a, tree["departments/C"].GetAttributeValue("entryUUID"))
	require.Equal(t, c, tree["departments/A"].GetAttributeValue("entryUUID"))
	require.Equal(t, []string{"C"}, tree["departments/C"].GetAttributeValues("ou"))
}

func TestDepartmentsOfOneNameShareAParent(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	first := b.putDepartment(department("a", "产品部", ""))
	other := department("a", "产品部", "")
	other.ExternalID = "prod/inst-1/t2/a" // another tenant's
	second := b.putDepartment(other)
	require.NotEqual(t, first, second)
	other.RemoteID = second
	require.Equal(t, second, b.putDepartment(other), "again changes nothing")
	other.RemoteID, other.Uncertain = "", false
	require.Equal(t, second, b.putDepartment(other), "nor does an answer that was lost")
	require.Len(t, b.paths(), 2)
	for _, e := range b.tree() {
		if e.GetAttributeValue("entryUUID") == second {
			require.Contains(t, e.GetAttributeValues("ou"), "产品部", "the name is there in any case")
		}
	}
	o := object("a")
	o.RemoteID = first
	require.NoError(t, b.DeleteDepartment(t.Context(), o))
	require.Equal(t, []string{"departments/产品部"}, b.paths(), "the name that became free is taken")
}

func TestADepartmentThatIsNotEmptyIsNotDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	a := b.putDepartment(department("a", "A", ""))
	sub := b.putDepartment(department("b", "B", a))
	o := object("a")
	o.RemoteID = a
	requireClass(t, target.Transient, b.DeleteDepartment(t.Context(), o))
	b.putDepartment(with(department("b", "B", ""), sub))
	b.addUnit("ou=theirs,ou=A,ou=departments,"+b.base, nil)
	err := b.DeleteDepartment(t.Context(), o)
	requireClass(t, target.Permanent, err)
	require.ErrorContains(t, err, "ou=theirs")
	require.Contains(t, b.tree(), "departments/A/theirs")
}

// More accounts than the server gives in one answer.
func TestAccountsLeaveADepartmentBeforeItIsDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	a := b.putDepartment(department("a", "A", ""))
	const users = 2*slapd.SizeLimit + 7
	for i := range users {
		b.addPerson(fmt.Sprintf("uid=u%d,ou=A,ou=departments,%s", i, b.base), []string{scope.ExternalID(fmt.Sprintf("u%d", i))})
	}
	o := object("a")
	o.RemoteID = a
	require.NoError(t, b.DeleteDepartment(t.Context(), o))
	require.Len(t, b.paths(), users)
	require.Contains(t, b.paths(), "departments/u0")
}

// Whatever the order of changes, the tree ends as it is to be.
func TestAnyChangesEndInTheTreeThatIsWanted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		root := b.putDepartment(department(fmt.Sprintf("root-%d", round), fmt.Sprintf("root %d", round), ""))
		code := func(i int) string { return fmt.Sprintf("r%d-%d", round, i) }
		ids, want := map[int]string{}, map[int]string{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			i := rapid.IntRange(0, 3).Draw(rt, "department")
			name := rapid.SampledFrom([]string{"A", "B", "C", "D", "a,b "}).Draw(rt, "name")
			d := with(department(code(i), name, root), ids[i])
			ids[i], want[i] = b.putDepartment(d), name
		}
		// Names end different, as siblings' are: each is put once more.
		final := rapid.Permutation([]string{"A", "B", "C", "D"}).Draw(rt, "final names")
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(rt, "final order") {
			ids[i], want[i] = b.putDepartment(with(department(code(i), final[i], root), ids[i])), final[i]
		}
		tree := b.tree()
		for i, name := range want {
			e := tree[fmt.Sprintf("departments/root %d/%s", round, name)]
			require.NotNil(rt, e, "%s", name)
			require.Equal(rt, ids[i], e.GetAttributeValue("entryUUID"))
			require.Equal(rt, []string{name}, e.GetAttributeValues("ou"))
			require.NoError(rt, b.admin.Del(ldapv3.NewDelRequest(e.DN, nil)))
		}
	})
}

// A department that is dissolved gives its place, and its name, to the one
// below it that has the same.
func TestPutDepartment_TakesTheNameOfItsOwnAncestor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	outer := b.putDepartment(department("outer", "研发部", ""))
	between := b.putDepartment(department("between", "二部", outer))
	inner := b.putDepartment(department("inner", "研发部", between))
	b.putDepartment(with(department("inner", "研发部", ""), inner))
	require.Len(t, b.paths(), 3)
	require.Subset(t, b.paths(), []string{"departments/研发部", "departments/研发部/二部"}, "it stands beside its name until that is free")

	for _, code := range []string{"between", "outer"} {
		o := object(code)
		o.RemoteID = map[string]string{"between": between, "outer": outer}[code]
		require.NoError(t, b.DeleteDepartment(t.Context(), o))
	}
	require.ElementsMatch(t, []string{"departments/研发部"}, b.paths())
	require.Equal(t, inner, b.tree()["departments/研发部"].GetAttributeValue("entryUUID"))
	require.Equal(t, []string{"研发部"}, b.tree()["departments/研发部"].GetAttributeValues("ou"))
}

func TestPutDepartment_WaitsForAParentThatStandsBelowIt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	upper := b.putDepartment(department("upper", "A", ""))
	lower := b.putDepartment(department("lower", "B", upper))
	_, err := b.PutDepartment(t.Context(), with(department("upper", "A", lower), upper))
	requireClass(t, target.NeedsParent, err)
	require.ErrorContains(t, err, "still stands below it")
	b.putDepartment(with(department("lower", "B", ""), lower))
	b.putDepartment(with(department("upper", "A", lower), upper))
	require.ElementsMatch(t, []string{"departments/B", "departments/B/A"}, b.paths())
}

func TestPutDepartment_RenamesTheNewestEntryOfAll(t *testing.T) {
	t.Parallel()
	own, err := slapd.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(own.Down)
	c := open(t, ldap.Config{URL: own.URL, CAFile: own.CAFile, BindDN: slapd.Admin, Password: slapd.Password, BaseDN: slapd.Suffix})
	_, err = c.Describe(t.Context())
	require.NoError(t, err)
	put := func(d target.Department) string {
		id, err := c.PutDepartment(t.Context(), d)
		require.NoError(t, err)
		return id
	}
	older := put(department("older", "older", ""))
	newest := put(department("newest", "newest", ""))
	put(with(department("older", "older", newest), older))
	put(with(department("newest", "renamed", ""), newest))
	admin, err := own.Client()
	require.NoError(t, err)
	defer func() { _ = admin.Close() }()
	found, err := admin.Search(ldapv3.NewSearchRequest("ou=departments,"+slapd.Suffix, ldapv3.ScopeWholeSubtree, ldapv3.NeverDerefAliases, 0, 0, false, "(objectClass=*)", nil, nil))
	require.NoError(t, err)
	var dns []string
	for _, e := range found.Entries {
		dns = append(dns, strings.TrimSuffix(e.DN, ",ou=departments,"+slapd.Suffix))
	}
	require.ElementsMatch(t, []string{"ou=departments," + slapd.Suffix, "ou=renamed", "ou=older,ou=renamed"}, dns, "and nothing else is left")
}
