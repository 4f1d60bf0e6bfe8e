package targettest

import (
	"net/http"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

var objectLaws = map[string]func(*law){
	"a server that is well is described": func(l *law) {
		capabilities := l.capabilities()
		if capabilities.Memberships {
			require.Positive(l, capabilities.MembersPerChange)
		}
		require.False(l, capabilities.ParentByMembership && capabilities.NativeParent, "one way to keep the tree")
	},

	"a department is created, renamed and deleted": func(l *law) {
		d := l.putDepartment(l.department("a"))
		require.Equal(l, d.Name, l.onlyDepartment().Name)
		require.Equal(l, d.ExternalID, l.onlyDepartment().ExternalID)
		require.Equal(l, d.RemoteID, l.onlyDepartment().RemoteID)
		d.Name = l.prefix + ` 新 "名" \ 部门`
		require.Equal(l, d.RemoteID, l.putDepartment(d).RemoteID)
		require.Equal(l, d.Name, l.onlyDepartment().Name)
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, d.Object))
		require.Empty(l, l.departments())
	},

	"putting and deleting a department twice is as good as once": func(l *law) {
		d := l.putDepartment(l.department("a"))
		require.Equal(l, d.RemoteID, l.putDepartment(d).RemoteID)
		require.Len(l, l.departments(), 1)
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, d.Object))
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, d.Object))
	},

	"an account is created with all its attributes, changed and deleted": func(l *law) {
		u := l.putUser(l.user("ann"))
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
		u.UserName, u.DisplayName, u.Title, u.DepartmentName = l.prefix+".anna@acme", "安娜", "经理", "市场部"
		u.Email, u.Mobile, u.Active = "anna@example.com", "13900000000", false
		require.Equal(l, u.RemoteID, l.putUser(u).RemoteID)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()), "each list holds the new value alone")
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object))
		require.Empty(l, l.users())
	},

	"what is cleared is cleared at the target": func(l *law) {
		u := l.putUser(l.user("ann"))
		u.Title, u.EmployeeNumber, u.EmployeeType, u.DepartmentName, u.Organization, u.Mobile, u.Email = "", "", "", "", "", "", ""
		l.putUser(u)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
		full := l.user("ann")
		full.RemoteID = u.RemoteID
		l.putUser(full)
		require.Equal(l, l.Carried(full), l.Carried(l.onlyUser()), "and comes back")
	},

	"an account without optional attributes is created": func(l *law) {
		u := l.user("ann")
		u.Title, u.EmployeeNumber, u.EmployeeType, u.DepartmentName, u.Organization, u.Mobile, u.Email = "", "", "", "", "", "", ""
		u = l.putUser(u)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
	},

	"putting and deleting an account twice is as good as once": func(l *law) {
		u := l.putUser(l.user("ann"))
		require.Equal(l, u.RemoteID, l.putUser(u).RemoteID)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object))
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object))
	},

	"one request changes one object": func(l *law) {
		d, u := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		l.wire().Forget()
		l.putDepartment(d)
		l.putUser(u)
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object))
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, d.Object))
		require.Len(l, l.wire().Requests(), 4)
	},
}

var searchLaws = map[string]func(*law){
	"a department whose creation went unanswered is found again": func(l *law) {
		d := l.department("a")
		l.wire().Next(LoseAnswer)
		_, err := l.connector.PutDepartment(l.ctx, d)
		require.True(l, l.failure(err, target.Transient).UnknownOutcome)
		d.Uncertain, d.Name = true, l.prefix+" renamed meanwhile"
		d = l.putDepartment(d)
		require.Equal(l, d.RemoteID, l.onlyDepartment().RemoteID)
		require.Equal(l, d.Name, l.onlyDepartment().Name)
	},

	"an account whose creation went unanswered is found again": func(l *law) {
		u := l.user("ann")
		l.wire().Next(LoseAnswer)
		_, err := l.connector.PutUser(l.ctx, u)
		require.True(l, l.failure(err, target.Transient).UnknownOutcome)
		u.Uncertain, u.Title = true, "经理"
		u = l.putUser(u)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
	},

	"what went before the target saw it is created": func(l *law) {
		d := l.department("a")
		l.wire().Next(Reset)
		_, err := l.connector.PutDepartment(l.ctx, d)
		require.True(l, l.failure(err, target.Transient).UnknownOutcome)
		d.Uncertain = true
		l.putDepartment(d)
		require.Len(l, l.departments(), 1)
	},

	"an object that is gone is made anew": func(l *law) {
		d, u := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		require.NoError(l, l.Server.Delete(l.ctx, target.MemberDepartment, d.RemoteID))
		require.NoError(l, l.Server.Delete(l.ctx, target.MemberUser, u.RemoteID))
		require.Equal(l, l.putDepartment(d).RemoteID, l.onlyDepartment().RemoteID)
		require.Equal(l, l.putUser(u).RemoteID, l.onlyUser().RemoteID)
	},

	"an object made anew without an answer is not made twice": func(l *law) {
		d := l.putDepartment(l.department("a"))
		require.NoError(l, l.Server.Delete(l.ctx, target.MemberDepartment, d.RemoteID))
		created := false // by the first POST, whatever is looked for before
		l.wire().Choose(func(r Request) Fault {
			if created || r.Method != http.MethodPost {
				return nil
			}
			created = true
			return LoseAnswer
		})
		_, err := l.connector.PutDepartment(l.ctx, d)
		require.True(l, l.failure(err, target.Transient).UnknownOutcome)
		d.Uncertain = true // its old id is all that is known
		require.Equal(l, l.putDepartment(d).RemoteID, l.onlyDepartment().RemoteID)
	},

	"what may have been created is deleted": func(l *law) {
		d, u := l.department("a"), l.user("ann")
		l.wire().Next(LoseAnswer, LoseAnswer)
		_, err := l.connector.PutDepartment(l.ctx, d)
		l.fails(err, target.Transient)
		_, err = l.connector.PutUser(l.ctx, u)
		l.fails(err, target.Transient)
		d.Uncertain, u.Uncertain = true, true
		require.NoError(l, l.connector.DeleteDepartment(l.ctx, d.Object))
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object))
		require.Empty(l, l.departments())
		require.Empty(l, l.users())
		require.NoError(l, l.connector.DeleteUser(l.ctx, u.Object), "nor is it a failure that it is not there")
	},

	"an account of that name with another owner is a conflict, and left alone": func(l *law) {
		u := l.user("ann")
		id, err := l.Server.CreateUser(l.ctx, u.UserName, "somebody else's")
		require.NoError(l, err)
		_, err = l.connector.PutUser(l.ctx, u)
		l.fails(err, target.Conflict)
		require.Equal(l, id, l.onlyUser().RemoteID)
		require.Equal(l, "somebody else's", l.onlyUser().ExternalID)
		require.Empty(l, l.onlyUser().Title)
	},

	"an account of that name without an owner is taken over": func(l *law) {
		u := l.user("ann")
		id, err := l.Server.CreateUser(l.ctx, u.UserName, "")
		require.NoError(l, err)
		u = l.putUser(u)
		require.Equal(l, id, u.RemoteID)
		require.Equal(l, l.Carried(u), l.Carried(l.onlyUser()))
		require.Equal(l, u.ExternalID, l.onlyUser().ExternalID)
	},

	"a department of that name with another owner is not taken over": func(l *law) {
		d := l.department("a")
		foreign, err := l.Server.CreateDepartment(l.ctx, d.Name, "somebody else's")
		require.NoError(l, err)
		id, err := l.connector.PutDepartment(l.ctx, d)
		if err != nil {
			l.fails(err, target.Conflict)
		}
		require.NotEqual(l, foreign, id)
	},

	"two objects of our name are a conflict": func(l *law) {
		d := l.department("a")
		for range 2 {
			_, err := l.Server.CreateDepartment(l.ctx, d.Name, d.ExternalID)
			require.NoError(l, err)
		}
		d.Uncertain = true
		_, err := l.connector.PutDepartment(l.ctx, d)
		l.fails(err, target.Conflict)
		require.Len(l, l.departments(), 2)
	},
}

var memberLaws = map[string]func(*law){
	"members are added and removed, one twice as good as once": func(l *law) {
		group, child, ann, bob := l.putDepartment(l.department("a")), l.putDepartment(l.department("b")), l.putUser(l.user("ann")), l.putUser(l.user("bob"))
		members := []target.Member{member(ann), member(bob)}
		if l.capabilities().ParentByMembership {
			members = append(members, target.Member{Kind: target.MemberDepartment, RemoteID: child.RemoteID})
		}
		for range 2 {
			require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Add: members}))
			require.ElementsMatch(l, members, l.members(group))
		}
		for range 2 {
			require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Remove: members[:2]}))
			require.ElementsMatch(l, members[2:], l.members(group))
		}
		require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Add: members[:1], Remove: members[1:]}))
		require.ElementsMatch(l, members[:1], l.members(group))
	},

	"many members go in one change": func(l *law) {
		group := l.putDepartment(l.department("a"))
		capabilities := l.capabilities()
		var change target.MemberChange
		for i := range min(capabilities.MembersPerChange, 30) {
			change.Add = append(change.Add, member(l.putUser(l.user(string(rune('A'+i))))))
		}
		l.wire().Forget()
		require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, change))
		require.ElementsMatch(l, change.Add, l.members(group))
		require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Remove: change.Add}))
		require.Empty(l, l.members(group))
		require.Len(l, l.wire().Requests(), 2)
	},

	"renaming a department leaves its members alone": func(l *law) {
		group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		require.NoError(l, l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Add: []target.Member{member(ann)}}))
		group.Name += " neu"
		l.putDepartment(group)
		require.Equal(l, []target.Member{member(ann)}, l.members(group))
	},

	"members of a department that is gone fail as gone": func(l *law) {
		group, ann := l.putDepartment(l.department("a")), l.putUser(l.user("ann"))
		require.NoError(l, l.Server.Delete(l.ctx, target.MemberDepartment, group.RemoteID))
		l.fails(l.connector.ChangeMembers(l.ctx, group.Object, target.MemberChange{Add: []target.Member{member(ann)}}), target.Gone)
	},
}

func member(u target.User) target.Member {
	return target.Member{Kind: target.MemberUser, RemoteID: u.RemoteID}
}

// members are the members of a department at the server.
func (l *law) members(group target.Department) []target.Member {
	l.Helper()
	for _, d := range l.departments() {
		if d.RemoteID == group.RemoteID {
			return d.Members
		}
	}
	require.Fail(l, "the department is not there", group.ExternalID)
	return nil
}
