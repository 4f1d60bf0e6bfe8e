package fanout

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// account is a user as the server has it, with its groups.
func (p *peer) account(scope directory.Scope, name string) (user scimserver.User, there bool, groups int) {
	snapshot := p.Snapshot()
	id := scope.ExternalID(name)
	user, there = snapshot.Users[id]
	for _, g := range snapshot.Groups {
		for _, member := range g.Users {
			if member == id {
				groups++
			}
		}
	}
	return user, there, groups
}

func TestPoliciesDecideWhatBecomesOfAnAccount(t *testing.T) {
	t.Parallel()
	const revoked, deleted = directory.FlagCancel, directory.FlagDelete
	for name, c := range map[string]struct {
		onRevoke, onDelete Policy
		flag               directory.Flag
		there, active      bool
		groups             int
	}{
		"revoked, by default deactivated": {flag: revoked, there: true, groups: 1},
		"revoked, deactivated":            {onRevoke: Deactivate, flag: revoked, there: true, groups: 1},
		"revoked, deleted":                {onRevoke: Delete, flag: revoked},
		"revoked, kept":                   {onRevoke: Keep, flag: revoked, there: true, active: true, groups: 1},
		"deleted, by default deleted":     {flag: deleted},
		"deleted, deactivated":            {onDelete: Deactivate, flag: deleted, there: true},
		"deleted, deleted":                {onDelete: Delete, flag: deleted},
		"deleted, kept":                   {onDelete: Keep, flag: deleted, there: true, active: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, scim := newPeer(t, "t")
			scim.OnRevoke, scim.OnDelete = c.onRevoke, c.onDelete
			b := newBundle(t, scim).start()
			b.tree(acme, "a")
			b.users(acme, directory.FlagAdd, "ann@a")
			b.settled()
			b.users(acme, c.flag, "ann")
			b.settled()
			user, there, groups := p.account(acme, "ann")
			require.Equal(t, c.there, there)
			require.Equal(t, c.active, user.Active)
			require.Equal(t, c.groups, groups)
			require.Equal(t, storage.SlotCounts{storage.SlotDelivered: 4}, b.counts("t"))

			b.users(acme, directory.FlagAdd, "ann@a")
			b.settled()
			b.synced("t", p, acme)
		})
	}
}

func TestAnAccountWithoutAGrantIsNeverMade(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.users(acme, directory.FlagCancel, "ann")
	b.users(acme, directory.FlagDelete, "bob")
	b.start().settled()
	require.Empty(t, p.sent("", "/Users/"))
	require.Empty(t, p.sent(http.MethodPost, "/Users"))
	require.Equal(t, storage.SlotCounts{storage.SlotDelivered: 6}, b.counts("t"))
}

func TestADisabledAccountIsInactive(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.push(acme, directory.FlagAdd, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{{UserName: "ann", Name: "A", OrgCode: "a"}}})
	b.settled()
	user, there, _ := p.account(acme, "ann")
	require.True(t, there)
	require.False(t, user.Active)
}

func TestSignInNamesFollowTheTenantsCode(t *testing.T) {
	t.Parallel()
	p, qualified := newPeer(t, "qualified")
	q, plain := newPeer(t, "plain")
	plain.UserNames = Plain
	b := newBundle(t, qualified, plain).start()
	names := func(p *peer) string {
		user, _, _ := p.account(acme, "ann")
		return user.UserName
	}
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	require.Equal(t, "ann@acme", names(p), "the tenant's id until its code is known")
	b.tenant(acme, "corp")
	b.settled()
	require.Equal(t, "ann@corp", names(p))
	require.Equal(t, "ann", names(q))
}

func TestARenamedDepartmentIsRenamedInItsUsers(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@b")
	b.settled()
	p.proxy.Forget()
	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "a", Name: "renamed"})
	b.settled()
	user, _, _ := p.account(acme, "ann")
	require.Equal(t, "renamed", user.Department)
	require.Len(t, p.writes(), 2, "the department and its one user")
}

func TestTargetsGetTheScopesTheyMatch(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	scim.Match = func(s directory.Scope) bool { return s.TenantID == "acme" }
	b := newBundle(t, scim).start()
	b.tree(acme, "a")
	b.tree(other, "a")
	b.settled()
	b.synced("t", p, acme)
}

func TestTwoTenantsWithTheSameNamesStayApart(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	for _, scope := range []directory.Scope{acme, other} {
		b.tree(scope, "a", "b<a")
		b.users(scope, directory.FlagAdd, "ann@b")
	}
	b.settled()
	b.synced("t", p, acme, other)
	b.users(other, directory.FlagDelete, "ann")
	b.department(other, directory.FlagDelete, item("b"))
	b.settled()
	b.synced("t", p, acme, other)
}

func TestWrongTargetsAreRefusedAllAtOnce(t *testing.T) {
	t.Parallel()
	connector := newTreeTarget()
	_, err := New(nil, []Target{
		{Name: "a", Connector: connector, OnRevoke: "shrug"},
		{Name: "b", Connector: connector, OnDelete: "shrug", UserNames: "odd"},
		{Connector: connector},
		{Name: "c"},
		{Name: "d", Connector: connector},
		{Name: "d", Connector: connector},
	}, Options{})
	require.Error(t, err)
	for _, want := range []string{`"a": onRevoke`, `"b": onDelete`, `"b": userNames`, "without a name", `"c": no connector`, `"d": the name is taken`} {
		require.Contains(t, err.Error(), want)
	}
}

func TestUnknownTargetsAreToldSo(t *testing.T) {
	t.Parallel()
	f, err := New(nil, nil, Options{})
	require.NoError(t, err)
	require.ErrorIs(t, f.Pause(t.Context(), "x", "", ""), ErrUnknownTarget)
	require.ErrorIs(t, f.Resume(t.Context(), "x"), ErrUnknownTarget)
}

func TestErrorsAreCutToWholeRunes(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		short := cut(strings.Repeat("部", 5), n)
		require.LessOrEqual(t, len(short), n)
		require.NotContains(t, short, "\uFFFD")
		require.True(t, strings.HasPrefix("部部部部部", short)) //nolint:gocritic // short is the part
	}
}

func TestDigestsIgnoreWhatTheTargetCallsTheObject(t *testing.T) {
	t.Parallel()
	u := target.User{UserName: "a"}
	digest := digestUser(u)
	u.RemoteID, u.Uncertain = "7", true
	require.Equal(t, digest, digestUser(u))
	u.Email = "a@b"
	require.NotEqual(t, digest, digestUser(u))
	d := target.Department{Name: "a"}
	require.Equal(t, digestDepartment(d), digestDepartment(target.Department{Object: target.Object{RemoteID: "7", Uncertain: true}, Name: "a"}))
	require.NotEqual(t, digestDepartment(d), digestDepartment(target.Department{Name: "b"}))
}
