package scim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/target/targettest"
)

const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

// putAccount creates an account and returns it with its id.
func putAccount(t *testing.T, c target.Connector, name string) target.User {
	t.Helper()
	u := account(name)
	u.Title, u.DepartmentName = "工程师", "研发部"
	id, err := c.PutUser(t.Context(), u)
	require.NoError(t, err)
	u.RemoteID = id
	return u
}

// get reads an object from behind.
func get(t *testing.T, s scimtest.Server, path string) map[string]any {
	t.Helper()
	var found map[string]any
	require.NoError(t, s.Do(t.Context(), http.MethodGet, path, nil, &found))
	return found
}

func patchBy(t *testing.T, s scimtest.Server, path string, operations ...map[string]any) {
	t.Helper()
	require.NoError(t, s.Do(t.Context(), http.MethodPatch, path, map[string]any{
		"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": operations,
	}, nil))
}

func methods(proxy *targettest.Proxy) string {
	var all []string
	for _, r := range proxy.Requests() {
		all = append(all, r.Method)
	}
	return strings.Join(all, " ")
}

func TestPutKeepsWhatOthersWrote(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true}})
	connector := dial(t, front.URL, scim.Protocol{})
	ann, bob := putAccount(t, connector, "ann"), putAccount(t, connector, "bob")
	patchBy(t, behind, "/Users/"+ann.RemoteID,
		map[string]any{"op": "replace", "path": "nickName", "value": "Annie"},
		map[string]any{"op": "replace", "path": enterprise + ":costCenter", "value": "42"},
		map[string]any{"op": "replace", "path": "addresses", "value": []any{map[string]any{"type": "work", "locality": "北京"}}})
	ann.Title, ann.DepartmentName, ann.Email = "", "市场部", "ann@example.com"
	_, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	found := get(t, behind, "/Users/"+ann.RemoteID)
	require.Equal(t, "Annie", found["nickName"])
	require.Equal(t, map[string]any{"costCenter": "42", "department": "市场部"}, found[enterprise])
	require.Equal(t, []any{map[string]any{"type": "work", "locality": "北京"}}, found["addresses"])
	require.NotContains(t, found, "title")

	group := department("a")
	group.RemoteID, err = connector.PutDepartment(t.Context(), group)
	require.NoError(t, err)
	patchBy(t, behind, "/Groups/"+group.RemoteID, map[string]any{"op": "add", "path": "members", "value": []any{map[string]any{"value": bob.RemoteID}}})
	change := target.MemberChange{Add: []target.Member{{RemoteID: ann.RemoteID}}}
	require.NoError(t, connector.ChangeMembers(t.Context(), group.Object, change))
	group.Name = "renamed"
	_, err = connector.PutDepartment(t.Context(), group)
	require.NoError(t, err)
	found = get(t, behind, "/Groups/"+group.RemoteID)
	require.Equal(t, "renamed", found["displayName"])
	require.Len(t, found["members"], 2, "somebody else's member stays, through a change and a renaming")
}

func TestPutDoesNotOverwriteAChangeInBetween(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true, Versions: true}})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{UserChanges: scim.MethodPut})
	ann := putAccount(t, connector, "ann")
	interfere := 1
	proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodPut && interfere > 0 {
			interfere--
			patchBy(t, behind, "/Users/"+ann.RemoteID, map[string]any{"op": "replace", "path": "nickName", "value": "Annie"})
		}
		return nil
	})
	proxy.Forget()
	ann.Title = "经理"
	_, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	require.Equal(t, "GET PUT GET PUT", methods(proxy))
	found := get(t, behind, "/Users/"+ann.RemoteID)
	require.Equal(t, "Annie", found["nickName"])
	require.Equal(t, "经理", found["title"])

	interfere, ann.Title = 1000, "总经理" // it never holds still: later, then
	_, err = connector.PutUser(t.Context(), ann)
	require.Equal(t, target.Transient, target.ClassOf(err))
}

func TestAnUnchangedObjectIsNotWrittenBack(t *testing.T) {
	t.Parallel()
	_, front, _ := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true}})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{Profile: scim.Okta})
	ann := putAccount(t, connector, "ann")
	proxy.Forget()
	_, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	require.Equal(t, "GET", methods(proxy))
}

func TestAServerThatPromisesPatchInVainIsPutTo(t *testing.T) {
	t.Parallel()
	_, front, _ := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true, PromisesPatch: true}})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{})
	_, err := connector.Describe(t.Context())
	require.NoError(t, err)
	ann := putAccount(t, connector, "ann")
	for _, want := range []string{"PATCH GET PUT", "GET PUT"} { // it is tried once
		proxy.Forget()
		ann.Title += "!"
		_, err := connector.PutUser(t.Context(), ann)
		require.NoError(t, err)
		require.Equal(t, want, methods(proxy))
	}
	_, err = dial(t, front.URL, scim.Protocol{UserChanges: scim.MethodPatch}).PutUser(t.Context(), ann)
	require.Equal(t, target.Permanent, target.ClassOf(err))
	require.ErrorContains(t, err, "scim.userChanges")
}

func TestWithoutGroupsAccountsNameTheirDepartment(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoGroups: true}})
	for name, connector := range map[string]*scim.Connector{
		"as the server says": dial(t, front.URL, scim.Protocol{}), "as the operator says": dial(t, front.URL, scim.Protocol{Groups: scim.UseOff, Discovery: scim.UseOff}),
	} {
		capabilities, err := connector.Describe(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, target.Capabilities{NoDepartments: true}, capabilities, name)
		group := department("a")
		group.RemoteID, err = connector.PutDepartment(t.Context(), group)
		require.NoError(t, err, name)
		require.NotEmpty(t, group.RemoteID, name)
		ann := putAccount(t, connector, "ann"+name[:6])
		require.NoError(t, connector.ChangeMembers(t.Context(), group.Object, target.MemberChange{Add: []target.Member{{RemoteID: ann.RemoteID}}}), name)
		require.NoError(t, connector.DeleteDepartment(t.Context(), group.Object), name)
		found := get(t, behind, "/Users/"+ann.RemoteID)
		require.Equal(t, map[string]any{"department": "研发部"}, found[enterprise])
	}
}

func TestAccountsThatAreForGoodAreBarred(t *testing.T) {
	t.Parallel()
	for name, quirks := range map[string]scimserver.Quirks{"by PATCH": {NoDelete: true}, "by PUT": {NoDelete: true, NoPatch: true}} {
		_, front, behind := quirky(t, scimserver.Options{Quirks: quirks})
		connector := dial(t, front.URL, scim.Protocol{})
		ann := putAccount(t, connector, "ann")
		require.NoError(t, connector.DeleteUser(t.Context(), ann.Object), name)
		require.Equal(t, false, get(t, behind, "/Users/"+ann.RemoteID)["active"], name)
		require.Equal(t, ann.RemoteID, putAccount(t, connector, "ann").RemoteID, "%s: made anew, it is the one that was", name)
		require.Equal(t, true, get(t, behind, "/Users/"+ann.RemoteID)["active"], name)
	}
}

func TestWhatAServerDoesNotKnowIsNotSent(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoExtension: true}})
	connector := dial(t, front.URL, scim.Protocol{})
	ann := account("ann")
	ann.DepartmentName, ann.Title = "研发部", "工程师"
	_, err := connector.PutUser(t.Context(), ann)
	require.Equal(t, target.Permanent, target.ClassOf(err), "it refuses the whole account for it")
	_, err = connector.Describe(t.Context())
	require.NoError(t, err)
	ann.RemoteID, err = connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	_, err = connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	found := get(t, behind, "/Users/"+ann.RemoteID)
	require.NotContains(t, found, enterprise)
	require.Equal(t, "工程师", found["title"])
	_, err = dial(t, front.URL, scim.Protocol{Discovery: scim.UseOff}).PutUser(t.Context(), ann)
	require.Equal(t, target.Permanent, target.ClassOf(err), "unless told not to believe it")
}

func TestAMemberDroppedWithoutAWordIsMissed(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{DropsStrangers: true, TellsMembers: true}})
	connector := dial(t, front.URL, scim.Protocol{})
	ann, bob := putAccount(t, connector, "ann"), putAccount(t, connector, "bob")
	group := department("a")
	var err error
	group.RemoteID, err = connector.PutDepartment(t.Context(), group)
	require.NoError(t, err)
	require.NoError(t, behind.Delete(t.Context(), target.MemberUser, bob.RemoteID))
	add := func(ids ...string) error {
		var change target.MemberChange
		for _, id := range ids {
			change.Add = append(change.Add, target.Member{RemoteID: id})
		}
		return connector.ChangeMembers(t.Context(), group.Object, change)
	}
	err = add(ann.RemoteID, bob.RemoteID)
	require.Equal(t, target.NeedsParent, target.ClassOf(err))
	require.ErrorContains(t, err, "dropped a member")
	require.NoError(t, add(ann.RemoteID))
}

// An answer that tells no members, of a group that has them, is not believed
// again: it would cost a look for every member.
func TestAnAnswerThatHidesMembersIsAskedAboutOnce(t *testing.T) {
	t.Parallel()
	_, front, _ := quirky(t, scimserver.Options{})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{})
	ann := putAccount(t, connector, "ann")
	id, err := connector.PutDepartment(t.Context(), department("a"))
	require.NoError(t, err)
	for _, want := range []string{"PATCH GET", "PATCH"} {
		proxy.Forget()
		proxy.Next(targettest.Answer(http.StatusOK, `{"id":"x","members":[]}`))
		require.NoError(t, connector.ChangeMembers(t.Context(), target.Object{RemoteID: id}, target.MemberChange{Add: []target.Member{{RemoteID: ann.RemoteID}}}))
		require.Equal(t, want, methods(proxy))
	}
}

func TestBehindAnInternalErrorMayStandANameThatIsTaken(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{Blames: true}})
	connector := dial(t, front.URL, scim.Protocol{})
	_, err := behind.CreateUser(t.Context(), "ann@acme", "somebody else's")
	require.NoError(t, err)
	_, err = connector.PutUser(t.Context(), account("ann"))
	require.Equal(t, target.Conflict, target.ClassOf(err))
	nobodys, err := behind.CreateUser(t.Context(), "bob@acme", "")
	require.NoError(t, err)
	require.Equal(t, nobodys, putAccount(t, connector, "bob").RemoteID)
}

func TestWhatAServerSaysOfItselfIsReadOnceUntilItIsInDoubt(t *testing.T) {
	t.Parallel()
	server, front, _ := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{NoPatch: true, PromisesPatch: true}})
	connector := dial(t, front.URL, scim.Protocol{})
	describe := func() {
		_, err := connector.Describe(t.Context())
		require.NoError(t, err)
	}
	describe()
	describe()
	require.Equal(t, 1, server.Requests()["GET /Schemas"])
	require.Equal(t, 2, server.Requests()["GET /ServiceProviderConfig"], "the probe of a target that is down")
	ann := putAccount(t, connector, "ann")
	_, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	describe()
	require.Equal(t, 2, server.Requests()["GET /Schemas"], "it broke its word")
}

func TestOptionalDocumentsMayBeMissingOrPagesForPeople(t *testing.T) {
	t.Parallel()
	for _, answer := range []targettest.Fault{
		targettest.Answer(http.StatusNotFound, ""), targettest.Answer(http.StatusForbidden, ""), targettest.Answer(http.StatusInternalServerError, ""),
		targettest.Answer(http.StatusOK, "<html>", "Content-Type", "text/html"), targettest.Answer(http.StatusOK, `[]`), targettest.Answer(http.StatusOK, `{"Resources":[{"endpoint":"/Me"}]}`),
		targettest.Answer(http.StatusOK, `{"Resources":[{"id":7}]}`), targettest.Answer(http.StatusOK, ``),
	} {
		proxy, connector := quirk(t)
		proxy.Next(nil, answer, answer)
		capabilities, err := connector.Describe(t.Context())
		require.NoError(t, err)
		require.True(t, capabilities.Memberships)
		putAccount(t, connector, "ann")
	}
	proxy, connector := quirk(t)
	proxy.Next(nil, targettest.Answer(http.StatusUnauthorized, ""))
	_, err := connector.Describe(t.Context())
	require.Equal(t, target.Down, target.ClassOf(err))
}
