package directorytest

import (
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// Snapshot is a scope as a store has it.
type Snapshot struct {
	State        directory.State
	Tenant       *directory.Tenant
	Departments  map[string]directory.Department
	Users        map[string]directory.User
	Applications map[string]directory.Application
}

// Meaning is what the snapshot means of the entities that the wanted meaning
// speaks of, and of all others that live. A full push moves the time of all
// departments on without writing them: the scope's FullTime speaks for them.
func (s *Snapshot) Meaning(of Meaning) Meaning {
	m := Meaning{
		Departments: make(map[string]Department), Users: make(map[string]Account), Applications: make(map[string]Application),
	}
	for code := range of.Departments {
		m.Departments[code] = Department{Since: s.State.FullTime}
	}
	for code, d := range s.Departments {
		switch {
		case !d.Deleted:
			m.Departments[code] = Department{
				Lives: true, Name: d.Name, Parent: d.ParentCode, ParentMissing: d.ParentMissing, Since: max(d.SourceTime, s.State.FullTime),
			}
		default:
			m.Departments[code] = Department{Since: max(d.SourceTime, s.State.FullTime)}
		}
	}
	for name, u := range s.Users {
		m.Users[name] = account(&u)
	}
	for id, a := range s.Applications {
		m.Applications[id] = Application{Lives: !a.Deleted, ClientID: a.ClientID, Fingerprint: string(a.SecretFingerprint), Since: a.SourceTime}
	}
	if t := s.Tenant; t != nil {
		m.Tenant = Tenant{
			Lives: !t.Deleted, Since: t.SourceTime,
			Item: directory.TenantPush{OrderID: t.OrderID, Code: t.Code, Name: t.Name, DomainName: t.DomainName},
		}
	}
	return m
}

func account(u *directory.User) Account {
	a := Account{Lives: !u.Deleted, Since: u.SourceTime}
	if a.Lives {
		a.Item = directory.UserItem{
			UserName: u.UserName, Name: u.Name, OrgCode: u.OrgCode, Role: u.Role, Enabled: u.Enabled,
			Position: u.Position, EmployeeCode: u.EmployeeCode, EmployeeType: u.EmployeeType,
			Mobile: u.Mobile, Email: u.Email, WorkPlace: u.WorkPlace, EntryDate: u.EntryDate,
		}
	}
	for app, grant := range u.Grants {
		if grant.Revoked {
			continue
		}
		if a.Grants == nil {
			a.Grants = make(map[string]directory.SourceTime)
		}
		a.Grants[app] = grant.SourceTime
	}
	return a
}

// Check holds the snapshot to what is always so: the counters equal a recount;
// a department waits exactly if its parent does not live or it is the one that
// gives way in a cycle; no cycle is left among those that hang under their
// parent; nothing of a deleted account is kept but its tombstone.
func (s *Snapshot) Check(t require.TestingT) {
	recount := directory.State{}
	told := Meaning{Departments: make(map[string]Department)}
	for code, d := range s.Departments {
		recount.Departments += one(!d.Deleted)
		recount.ParentMissing += one(!d.Deleted && d.ParentMissing)
		told.Departments[code] = Department{Lives: !d.Deleted, Parent: d.ParentCode, Since: max(d.SourceTime, s.State.FullTime)}
	}
	told.place()
	for code, d := range s.Departments {
		if d.Deleted {
			require.False(t, d.ParentMissing, "tombstone %s waits", code)
			continue
		}
		require.Equal(t, told.Departments[code].ParentMissing, d.ParentMissing, "parentMissing of %s under %s", code, d.ParentCode)
		steps := 0
		for at := d; at.AttachedTo() != ""; at = s.Departments[at.AttachedTo()] {
			require.False(t, s.Departments[at.AttachedTo()].Deleted, "%s hangs under a tombstone", at.Code)
			steps++
			require.LessOrEqual(t, steps, len(s.Departments), "%s is on a cycle", code)
		}
	}
	for name, u := range s.Users {
		recount.Users += one(!u.Deleted)
		if u.Deleted {
			require.False(t, u.Granted(), "%s is deleted and granted", name)
			require.Equal(t, directory.User{UserName: name, Grants: u.Grants, DeletedAt: u.DeletedAt, Meta: u.Meta}, u)
		}
	}
	for _, a := range s.Applications {
		recount.Applications += one(!a.Deleted)
	}
	require.Equal(t, []int{recount.Departments, recount.ParentMissing, recount.Users, recount.Applications},
		[]int{s.State.Departments, s.State.ParentMissing, s.State.Users, s.State.Applications}, "the counters of %s", s.State.Scope)
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
