package ldap_test

import (
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/ldap"
)

func TestAnAccountCarriesWhatTheMarketplaceSent(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.putDepartment(department("d", "研发部", ""))
	u := user("zhang", "d")
	u.Title, u.EmployeeNumber, u.EmployeeType, u.DepartmentName, u.Organization = "工程师", "007", "1", "研发部", "示例公司"
	u.Email, u.Mobile, u.WorkPlace = "zhang@example.com", "+86 13800000000", "深圳"
	id := b.putUser(u)
	e := b.tree()["departments/研发部/zhang@acme"]
	require.NotNil(t, e, "a new account stands under its department at once")
	for name, want := range map[string]string{
		"entryUUID": id, "uid": "zhang@acme", "cn": "张三 zhang", "sn": "张三 zhang", "displayName": "张三 zhang", "businessCategory": scope.ExternalID("zhang"), "title": "工程师",
		"employeeNumber": "007", "employeeType": "1", "departmentNumber": "d", "ou": "研发部", "o": "示例公司", "mail": "zhang@example.com", "mobile": "+86 13800000000", "physicalDeliveryOfficeName": "深圳",
	} {
		require.Equal(t, want, e.GetAttributeValue(name), name)
	}

	// What is not sent any more goes.
	u = user("zhang", "d")
	u.RemoteID = id
	require.Equal(t, id, b.putUser(u))
	e = b.tree()["departments/研发部/zhang@acme"]
	for _, name := range []string{"title", "mail", "mobile", "o", "ou", "employeeNumber", "physicalDeliveryOfficeName"} {
		require.Empty(t, e.GetAttributeValues(name), name)
	}
}

func TestAnAccountIsRenamedInPlace(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.putDepartment(department("d", "D", ""))
	u := user("zhang", "d")
	u.RemoteID = b.putUser(u)
	u.UserName = "zhang@new,tenant+code"
	require.Equal(t, u.RemoteID, b.putUser(u))
	e := b.tree()["departments/D/zhang@new,tenant+code"]
	require.NotNil(t, e)
	require.Equal(t, []string{"zhang@new,tenant+code"}, e.GetAttributeValues("uid"))
}

func TestMembersMoveBetweenDepartments(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	from, to := object("from"), object("to")
	from.RemoteID, to.RemoteID = b.putDepartment(department("from", "From", "")), b.putDepartment(department("to", "To", ""))
	var members []target.Member
	for _, name := range []string{"a", "b", "c"} {
		members = append(members, target.Member{RemoteID: b.putUser(user(name, "not there yet"))})
	}
	require.ElementsMatch(t, []string{"departments/From", "departments/To", "departments/a@acme", "departments/b@acme", "departments/c@acme"}, b.paths())
	for range 2 { // again is success
		require.NoError(t, b.ChangeMembers(t.Context(), from, target.MemberChange{Add: members}))
	}
	// As the fan-out does it: first the additions, then the removals.
	require.NoError(t, b.ChangeMembers(t.Context(), to, target.MemberChange{Add: members[:2]}))
	require.NoError(t, b.ChangeMembers(t.Context(), from, target.MemberChange{Remove: members[:2]}))
	require.ElementsMatch(t, []string{"departments/From", "departments/To", "departments/To/a@acme", "departments/To/b@acme", "departments/From/c@acme"}, b.paths())
	for range 2 {
		require.NoError(t, b.ChangeMembers(t.Context(), from, target.MemberChange{Remove: members[2:]}))
	}
	require.Contains(t, b.paths(), "departments/c@acme", "an account is never lost")
}

func TestMembersOfWhatIsGone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	group := object("g")
	group.RemoteID = b.putDepartment(department("g", "G", ""))
	member := target.Member{RemoteID: b.putUser(user("a", "g"))}
	nobody := target.Member{RemoteID: "00000000-0000-0000-0000-000000000000"}
	gone := target.Object{ExternalID: scope.ExternalID("x"), RemoteID: nobody.RemoteID}
	requireClass(t, target.Gone, b.ChangeMembers(t.Context(), gone, target.MemberChange{Add: []target.Member{member}}))
	requireClass(t, target.NeedsParent, b.ChangeMembers(t.Context(), group, target.MemberChange{Add: []target.Member{nobody}}))
	require.NoError(t, b.ChangeMembers(t.Context(), gone, target.MemberChange{Remove: []target.Member{member}}))
	require.NoError(t, b.ChangeMembers(t.Context(), group, target.MemberChange{Remove: []target.Member{nobody}}))
}

func TestInactiveAccountsLeaveTheTreeAndComeBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	group := object("d")
	group.RemoteID = b.putDepartment(department("d", "D", ""))
	u := user("zhang", "d")
	u.RemoteID = b.putUser(u)
	u.Active = false
	for range 2 {
		require.Equal(t, u.RemoteID, b.putUser(u))
		require.Contains(t, b.paths(), "inactive/zhang@acme")
	}
	// Being put in a department does not let the account in again.
	require.NoError(t, b.ChangeMembers(t.Context(), group, target.MemberChange{Add: []target.Member{{RemoteID: u.RemoteID}}}))
	require.Contains(t, b.paths(), "inactive/zhang@acme")
	u.Active = true
	for range 2 {
		require.Equal(t, u.RemoteID, b.putUser(u))
		require.Contains(t, b.paths(), "departments/D/zhang@acme", "back in its department")
	}
	barred := user("never", "d")
	barred.Active = false
	b.putUser(barred)
	require.Contains(t, b.paths(), "inactive/never@acme")
}

func TestInactiveAccountsByAttributeStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *ldap.Config) { c.InactiveAttribute, c.InactiveValue = "carLicense", "barred" })
	require.NotContains(t, b.tree(), "inactive")
	b.putDepartment(department("d", "D", ""))
	u := user("zhang", "d")
	u.Active = false
	u.RemoteID = b.putUser(u)
	require.Equal(t, "barred", b.tree()["departments/D/zhang@acme"].GetAttributeValue("carLicense"))
	u.Active = true
	b.putUser(u)
	require.Empty(t, b.tree()["departments/D/zhang@acme"].GetAttributeValues("carLicense"))
	u.Active = false
	b.putUser(u)
	require.Equal(t, "barred", b.tree()["departments/D/zhang@acme"].GetAttributeValue("carLicense"))
}

// A name is somebody's wherever in the tree it stands.
func TestSomebodyElsesAccountIsNotTaken(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.addUnit("ou=people,"+b.base, nil)
	b.addPerson("uid=admin@acme,ou=people,"+b.base, nil)
	b.addPerson("uid=other@acme,ou=people,"+b.base, []string{"prod/inst-1/t2/other"})
	for _, name := range []string{"admin", "other", "ADMIN"} {
		_, err := b.PutUser(t.Context(), user(name, ""))
		requireClass(t, target.Conflict, err)
		require.ErrorContains(t, err, map[bool]string{true: "is ours too, for prod/inst-1/t2/other", false: "not ours"}[name == "other"])
	}
	u := user("zhang", "")
	u.RemoteID = b.putUser(u)
	u.UserName = "admin@acme"
	_, err := b.PutUser(t.Context(), u)
	requireClass(t, target.Conflict, err)
	require.Contains(t, b.paths(), "departments/zhang@acme")
}

func TestALostAnswerMakesNoSecondAccount(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	u := user("zhang", "")
	id := b.putUser(u)
	require.Equal(t, id, b.putUser(u))
	u.Uncertain = true
	require.Equal(t, id, b.putUser(u))
	require.Len(t, b.paths(), 1)
	require.NoError(t, b.admin.Del(ldapv3.NewDelRequest("uid=zhang@acme,ou=departments,"+b.base, nil)))
	u.RemoteID = id
	require.NotEqual(t, id, b.putUser(u), "one that is gone is made anew")
}

// A department and an account of one key have one external id.
func TestADepartmentAndAnAccountOfOneKeyAreTwo(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	department, account := b.putDepartment(department("same", "Same", "")), b.putUser(user("same", "same"))
	require.NotEqual(t, department, account)
	o := object("same")
	require.NoError(t, b.DeleteUser(t.Context(), o), "without a remote id it is found by ours")
	require.Equal(t, []string{"departments/Same"}, b.paths())
	o.RemoteID = account
	require.NoError(t, b.DeleteUser(t.Context(), o), "gone is success")
	require.Equal(t, []string{"departments/Same"}, b.paths())
}

func TestWhatTheSchemaForbidsIsPermanentAndNamed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	u := user("zhang", "")
	u.Email = "张三@例子.公司" // mail is IA5
	_, err := b.PutUser(t.Context(), u)
	requireClass(t, target.Permanent, err)
	require.ErrorContains(t, err, "mail")
	u.Email, u.DisplayName = "", "nul\x00"
	_, err = b.PutUser(t.Context(), u)
	requireClass(t, target.Permanent, err)
	require.Empty(t, b.paths())
}

// Mapped attributes arrive with all their values, of departments too, and go
// when they are mapped to nothing.
func TestMappedAttributesArriveAndGo(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	d := department("d", "研发部", "")
	d.Mapped = []target.Mapped{{Name: "description", Value: []any{"one", "two"}}, {Name: "l", Value: nil}}
	id := b.putDepartment(d)
	require.ElementsMatch(t, []string{"one", "two"}, b.tree()["departments/研发部"].GetAttributeValues("description"))
	d = with(d, id)
	d.Mapped = []target.Mapped{{Name: "description", Value: nil}, {Name: "l", Value: "深圳"}}
	require.Equal(t, id, b.putDepartment(d))
	entry := b.tree()["departments/研发部"]
	require.Empty(t, entry.GetAttributeValues("description"))
	require.Equal(t, "深圳", entry.GetAttributeValue("l"))

	u := user("zhang", "d")
	u.Email = "old@example.com"
	u.Mapped = []target.Mapped{{Name: "cn", Value: "研发部 张三"}, {Name: "description", Value: "x"}, {Name: "mail", Value: []any{"a@example.com", "b@example.com"}}}
	u.RemoteID = b.putUser(u)
	entry = b.tree()["departments/研发部/zhang@acme"]
	require.Equal(t, []string{"研发部 张三"}, entry.GetAttributeValues("cn"))
	require.ElementsMatch(t, []string{"a@example.com", "b@example.com"}, entry.GetAttributeValues("mail"))
	u.Mapped = []target.Mapped{{Name: "description", Value: nil}, {Name: "mail", Value: nil}}
	require.Equal(t, u.RemoteID, b.putUser(u))
	entry = b.tree()["departments/研发部/zhang@acme"]
	require.Empty(t, entry.GetAttributeValues("description"))
	require.Empty(t, entry.GetAttributeValues("mail"))
	require.Equal(t, []string{"张三 zhang"}, entry.GetAttributeValues("cn"), "the default again")

	// What the entry's classes do not allow is the target's word, and final.
	u.Mapped = []target.Mapped{{Name: "nonsense", Value: "x"}}
	_, err := b.PutUser(t.Context(), u)
	require.Equal(t, target.Permanent, target.ClassOf(err), "%v", err)
	u.Mapped = []target.Mapped{{Name: "description", Value: "a\x00b"}}
	_, err = b.PutUser(t.Context(), u)
	require.Equal(t, target.Permanent, target.ClassOf(err), "%v", err)
}
