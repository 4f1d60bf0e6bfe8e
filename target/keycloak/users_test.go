package keycloak_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/keycloak/keycloakfake"
	"github.com/openkoo/connector/target/targettest"
)

func TestAnAccountCarriesWhatTheMarketplaceSent(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	u := user("Zhang")
	u.Role, u.Title, u.EmployeeNumber, u.EmployeeType, u.DepartmentCode, u.DepartmentName, u.Organization = "admin", "工程师", "007", "1", "d", "研发部", "示例公司"
	u.Mobile, u.Email, u.WorkPlace, u.EntryDate = "138", "Zhang@Example.com", "深圳", "2020-01-2"
	id := b.putUser(u)
	require.Equal(t, []keycloakfake.User{{
		ID: id, Username: "zhang@acme", Enabled: true, FirstName: "张三 Zhang", Email: "zhang@example.com", Attributes: map[string][]string{
			"orgsyncId": {scope.ExternalID("Zhang")}, "accountName": {"Zhang"}, "role": {"admin"}, "title": {"工程师"}, "employeeNumber": {"007"}, "employeeType": {"1"},
			"departmentCode": {"d"}, "departmentName": {"研发部"}, "organization": {"示例公司"}, "mobile": {"138"}, "workPlace": {"深圳"}, "entryDate": {"2020-01-2"},
		},
	}}, b.realm.Users())

	u.RemoteID = id
	b.proxy.Forget()
	require.Equal(t, id, b.putUser(u))
	require.Empty(t, b.writes(), "the server's lower case is no difference")

	u = user("Zhang")
	u.RemoteID, u.Active = id, false
	require.Equal(t, id, b.putUser(u))
	require.Equal(t, []keycloakfake.User{{
		ID: id, Username: "zhang@acme", FirstName: "张三 Zhang", Attributes: map[string][]string{"orgsyncId": {scope.ExternalID("Zhang")}, "accountName": {"Zhang"}},
	}}, b.realm.Users(), "what is not sent any more goes")
}

// The server takes a user only whole: an administrator's attributes must come
// back to it.
func TestWhatOthersKeepInAUserStays(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	id := b.realm.AddUser("zhang@acme", map[string][]string{"orgsyncId": {"other", scope.ExternalID("zhang")}, "locale": {"zh"}, "title": {"old"}})
	u := user("zhang")
	u.Uncertain, u.Title = true, "new"
	require.Equal(t, id, b.putUser(u))
	all := b.realm.Users()[0].Attributes
	require.Equal(t, []string{"zh"}, all["locale"])
	require.Equal(t, []string{"new"}, all["title"])
	require.Equal(t, []string{"other", scope.ExternalID("zhang")}, all["orgsyncId"])
}

func TestSomebodyElsesAccountIsNotTaken(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	b.realm.AddUser("admin@acme", map[string][]string{"role": {"realm-admin"}})
	b.realm.AddUser("other@acme", map[string][]string{"orgsyncId": {"prod/inst:1/t2/other"}})
	before := b.realm.Users()
	for _, name := range []string{"admin", "ADMIN", "other"} {
		_, err := b.PutUser(t.Context(), user(name))
		requireClass(t, target.Conflict, err)
		require.ErrorContains(t, err, "same username")
	}
	require.Equal(t, before, b.realm.Users())
	u := user("zhang")
	u.RemoteID = b.putUser(u)
	u.UserName = "admin@acme"
	_, err := b.PutUser(t.Context(), u)
	requireClass(t, target.Conflict, err)
}

func TestAMailAddressThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	one, two := user("one"), user("two")
	one.Email, two.Email = "same@example.com", "same@example.com"
	b.putUser(one)
	_, err := b.PutUser(t.Context(), two)
	requireClass(t, target.Conflict, err)
	require.ErrorContains(t, err, "same email")
}

func TestAUsernameThatMayNotChangeIsNamed(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{FixedUsernames: true})
	u := user("zhang")
	u.RemoteID = b.putUser(u)
	u.UserName = "zhang@renamed"
	_, err := b.PutUser(t.Context(), u)
	requireClass(t, target.Permanent, err)
	require.ErrorContains(t, err, "username: error-user-attribute-read-only")
}

func TestALostAnswerMakesNoSecondAccount(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	u := user("zhang")
	_, err := b.Describe(t.Context()) // the token is there
	require.NoError(t, err)
	b.proxy.Next(targettest.LoseAnswer)
	_, err = b.PutUser(t.Context(), u)
	require.True(t, requireClass(t, target.Transient, err).UnknownOutcome)
	id := b.putUser(u)
	u.Uncertain = true
	require.Equal(t, id, b.putUser(u))
	require.Len(t, b.realm.Users(), 1)
	b.realm.Remove(id)
	u.RemoteID, u.Uncertain = id, false
	require.NotEqual(t, id, b.putUser(u), "one that is gone is made anew")
	require.NoError(t, b.DeleteUser(t.Context(), object("zhang")), "without an id it is found by our name")
	require.Empty(t, b.realm.Users())
	require.NoError(t, b.DeleteUser(t.Context(), object("zhang")))
}

func TestMembersJoinAndLeave(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	group := object("g")
	group.RemoteID = b.putDepartment(department("g", "G", ""))
	member := target.Member{RemoteID: b.putUser(user("a"))}
	nobody := target.Member{RemoteID: "nobody"}
	gone := target.Object{ExternalID: scope.ExternalID("x"), RemoteID: "gone"}
	for range 2 {
		require.NoError(t, b.ChangeMembers(t.Context(), group, target.MemberChange{Add: []target.Member{member}}))
		require.True(t, b.realm.Groups()[0].Members[member.RemoteID])
	}
	for range 2 {
		require.NoError(t, b.ChangeMembers(t.Context(), group, target.MemberChange{Remove: []target.Member{member}}))
		require.Empty(t, b.realm.Groups()[0].Members)
	}
	requireClass(t, target.Gone, b.ChangeMembers(t.Context(), gone, target.MemberChange{Add: []target.Member{member}}))
	requireClass(t, target.NeedsParent, b.ChangeMembers(t.Context(), group, target.MemberChange{Add: []target.Member{nobody}}))
	require.NoError(t, b.ChangeMembers(t.Context(), gone, target.MemberChange{Remove: []target.Member{member}}))
	require.NoError(t, b.ChangeMembers(t.Context(), group, target.MemberChange{Remove: []target.Member{nobody}}))
	nested := target.Member{Kind: target.MemberDepartment, RemoteID: group.RemoteID}
	requireClass(t, target.Permanent, b.ChangeMembers(t.Context(), group, target.MemberChange{Add: []target.Member{nested}}))
}

// Mapped attributes arrive with all their values and go when they are mapped to
// nothing; an unchanged account costs no write.
func TestMappedAttributesArriveAndGo(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	u := user("zhang")
	u.Role = "user"
	u.Mapped = []target.Mapped{{Name: "attributes.badges", Value: []any{"a", "b"}}, {Name: "attributes.role", Value: nil}, {Name: "email", Value: "zhang@example.com"}, {Name: "firstName", Value: "三"}}
	u.RemoteID = b.putUser(u)
	made := b.realm.Users()[0]
	require.Equal(t, "三", made.FirstName)
	require.Equal(t, "zhang@example.com", made.Email)
	require.Equal(t, []string{"a", "b"}, made.Attributes["badges"])
	require.NotContains(t, made.Attributes, "role")
	b.proxy.Forget()
	b.putUser(u)
	require.Empty(t, b.writes())

	u.Mapped = []target.Mapped{{Name: "attributes.badges", Value: nil}, {Name: "email", Value: nil}}
	b.putUser(u)
	made = b.realm.Users()[0]
	require.Empty(t, made.Email)
	require.NotContains(t, made.Attributes, "badges")
	require.Equal(t, []string{"user"}, made.Attributes["role"])
}

// The server keeps names in lower case as Java has it.
func TestCompareUser_KnowsANameAsItIsKept(t *testing.T) {
	t.Parallel()
	b := newBed(t, keycloakfake.Options{})
	for _, name := range []string{"İstanbul@acme", "ΟΔΟΣ@acme", "Zhang@Acme", "ẞ@acme"} {
		u := user(name)
		u.UserName, u.Email = name, name+".example"
		id, err := b.PutUser(t.Context(), u)
		require.NoError(t, err, name)
		u.RemoteID = id
		for f, err := range b.List(t.Context(), func(ctx context.Context, _ string, request func(context.Context) error) error { return request(ctx) }) {
			require.NoError(t, err)
			if f.RemoteID == id {
				require.Empty(t, b.CompareUser(f, u).Differ, name)
			}
		}
	}
}
