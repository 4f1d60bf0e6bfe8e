package targettest

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// listLaws hold a connector whose target can be read out.
var listLaws = map[string]func(*law){
	"a list has what was put, as it was put": func(l *law) {
		lister := l.lister()
		group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		below := l.department("b")
		if l.capabilities().NativeParent {
			below.ParentCode, below.ParentRemoteID = group.Code, group.RemoteID
		}
		below = l.putDepartment(below)
		barred := l.user("bob")
		barred.Active = false
		bare := target.User{Object: target.Object{ExternalID: l.user("cid").ExternalID}, UserName: l.user("cid").UserName, DisplayName: "C", Active: true}
		users := []target.User{ann, l.putUser(barred), l.putUser(bare)}

		found := l.list(lister)
		require.Len(l, found, 5)
		for _, d := range []target.Department{group, below} {
			f := found[d.RemoteID]
			require.Equal(l, target.MemberDepartment, f.Kind)
			require.Equal(l, d.ExternalID, f.ExternalID)
			require.Empty(l, lister.CompareDepartment(f, d).Differ)
			require.NotEmpty(l, lister.CompareDepartment(f, d).Same)
		}
		for _, u := range users {
			f := found[u.RemoteID]
			require.Equal(l, target.MemberUser, f.Kind)
			require.Equal(l, u.ExternalID, f.ExternalID)
			require.Empty(l, lister.CompareUser(f, u).Differ)
			require.NotEmpty(l, lister.CompareUser(f, u).Same)
		}
	},

	"what is put otherwise differs, and is the same when it was put": func(l *law) {
		lister := l.lister()
		group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		group.Name += " neu"
		ann.DisplayName, ann.Title, ann.Active = "another", "", false
		before := l.list(lister)
		department, user := lister.CompareDepartment(before[group.RemoteID], group), lister.CompareUser(before[ann.RemoteID], ann)
		require.NotEmpty(l, department.Differ)
		require.NotEmpty(l, department.Print)
		require.GreaterOrEqual(l, len(user.Differ), 3, user.Differ)
		require.Equal(l, user, lister.CompareUser(before[ann.RemoteID], ann), "the same difference, the same print")
		group, ann = l.putDepartment(group), l.putUser(ann)
		after := l.list(lister)
		require.Empty(l, lister.CompareDepartment(after[group.RemoteID], group).Differ)
		require.Empty(l, lister.CompareUser(after[ann.RemoteID], ann).Differ)
	},

	"a list tells who is in which department": func(l *law) {
		lister := l.lister()
		a, b := l.putDepartment(l.department("a")), l.putDepartment(l.department("b"))
		ann, bob := l.putUser(l.user("ann")), l.putUser(l.user("bob"))
		require.NoError(l, l.connector.ChangeMembers(l.ctx, a.Object, target.MemberChange{Add: []target.Member{member(ann)}}))
		require.NoError(l, l.connector.ChangeMembers(l.ctx, b.Object, target.MemberChange{Add: []target.Member{member(bob)}}))
		var pairs [][2]string
		for _, f := range l.list(lister) {
			for _, m := range f.Members {
				pairs = append(pairs, [2]string{f.RemoteID, m.RemoteID})
			}
			for _, g := range f.Groups {
				pairs = append(pairs, [2]string{g, f.RemoteID})
			}
		}
		require.ElementsMatch(l, [][2]string{{a.RemoteID, ann.RemoteID}, {b.RemoteID, bob.RemoteID}}, pairs)
	},

	"a list has strangers' objects, without a name of ours": func(l *law) {
		lister := l.lister()
		group, err := l.Server.CreateDepartment(l.ctx, l.prefix+" theirs", "")
		require.NoError(l, err)
		user, err := l.Server.CreateUser(l.ctx, l.prefix+".theirs@acme", "")
		require.NoError(l, err)
		var strangers []string
		for found, err := range lister.List(l.ctx, through) {
			require.NoError(l, err)
			if found.RemoteID == group || found.RemoteID == user {
				require.Empty(l, found.ExternalID)
				strangers = append(strangers, found.RemoteID)
			}
		}
		require.ElementsMatch(l, []string{group, user}, strangers)
	},

	"what was deleted is in no list": func(l *law) {
		lister := l.lister()
		group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		require.Len(l, l.list(lister), 2)
		require.NoError(l, l.connector.DeleteUser(l.ctx, ann.Object))
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, group.Object))
		require.Empty(l, l.list(lister))
	},

	"every request of a list goes through": func(l *law) {
		lister := l.lister()
		l.putUser(l.user("ann"))
		stop := &target.Error{Class: target.Permanent, Op: "stop"}
		var seen int
		var last error
		for _, err := range lister.List(l.ctx, func(context.Context, string, func(context.Context) error) error { return stop }) {
			if last = err; err == nil {
				seen++
			}
		}
		require.ErrorIs(l, last, stop)
		require.Zero(l, seen)
	},

	"a list ends when nobody listens any more": func(l *law) {
		lister := l.lister()
		l.putUser(l.user("ann"))
		l.putDepartment(l.department("a"))
		for _, err := range lister.List(l.ctx, through) {
			require.NoError(l, err)
			break
		}
	},
}

// brokenLists hold a connector that speaks HTTP.
var brokenLists = map[string]func(*law){
	"a list whose server fails ends with an error": func(l *law) {
		lister := l.lister()
		l.putUser(l.user("ann"))
		for _, fault := range []Fault{
			Answer(http.StatusInternalServerError, ""), Answer(http.StatusForbidden, ""), Answer(http.StatusOK, "<html>", "Content-Type", "text/html"),
			Answer(http.StatusOK, "{"), Reset, l.wire().Endless,
		} {
			l.wire().Always(fault)
			require.Error(l, lastOf(l, lister))
		}
		l.wire().Heal()
		require.NoError(l, lastOf(l, lister))
	},
}

// lastOf is the error that a list ends with.
func lastOf(l *law, lister target.Lister) (last error) {
	for _, err := range lister.List(l.ctx, through) {
		last = err
	}
	return last
}

// through makes a request once.
func through(ctx context.Context, _ string, request func(context.Context) error) error {
	return request(ctx)
}

// lister is the connector, if its target can be read out.
func (l *law) lister() target.Lister {
	lister, ok := l.connector.(target.Lister)
	if !ok {
		l.Skip("there is nothing to read at such a target")
	}
	return lister
}

// list is what a list has of this test's objects, by remote id.
func (l *law) list(lister target.Lister) map[string]target.Found {
	l.Helper()
	own := make(map[string]target.Found)
	for found, err := range lister.List(l.ctx, through) {
		require.NoError(l, err)
		if strings.Contains(found.ExternalID, "/"+l.prefix+"/") {
			require.NotContains(l, own, found.RemoteID, "each once")
			found.Members = slices.Clone(found.Members)
			own[found.RemoteID] = found
		}
	}
	return own
}
