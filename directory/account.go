package directory

import (
	"fmt"
	"maps"
)

// MaxUsers bounds the users of one authSync (spec/marketplace.md §0).
const MaxUsers = 500

// CheckUsers refuses a user list that is too long or names somebody twice.
func CheckUsers(users []UserItem) error {
	if len(users) > MaxUsers {
		return Invalid("userList", "%d users: more than %d", len(users), MaxUsers)
	}
	seen := make(map[string]struct{}, len(users))
	for i := range users {
		if _, twice := seen[users[i].UserName]; twice {
			return Invalid(fmt.Sprintf("userList[%d].userName", i), "appears twice")
		}
		seen[users[i].UserName] = struct{}{}
	}
	return nil
}

// Account plans what a push makes of one account, grants aside.
// flags 1 and 2 put it, 0 deletes it, 3 leaves it as it is. It returns the
// account as it will stand and what was done; ActionUnchanged and ActionStale
// leave it as stored. An account of which only a grant is known is no account.
func Account(push *Push, item *UserItem, stored User) (User, Action, string) {
	if push.Flag == FlagCancel {
		stored.UserName = item.UserName
		return stored, ActionUnchanged, ""
	}
	if push.SourceTime < stored.SourceTime {
		return stored, ActionStale, newerReason(stored.SourceTime)
	}
	if push.Flag == FlagDelete {
		// No personal data outlives the account.
		next := User{UserName: item.UserName, Grants: stored.Grants, Meta: stored.Meta}
		next.Deleted = true
		next.SourceTime = push.SourceTime
		switch {
		case stored.Version == 0:
			return next, ActionUnchanged, "was never known"
		case stored.Deleted:
			return next, ActionUnchanged, "is deleted already"
		}
		return next, ActionDelete, ""
	}
	next := User{
		UserName: item.UserName, Name: item.Name, OrgCode: item.OrgCode, Role: item.Role, Enabled: item.Enabled,
		Position: item.Position, EmployeeCode: item.EmployeeCode, EmployeeType: item.EmployeeType,
		Mobile: item.Mobile, Email: item.Email, WorkPlace: item.WorkPlace, EntryDate: item.EntryDate,
		Grants: stored.Grants, Meta: stored.Meta,
	}
	next.Deleted = false
	next.SourceTime = push.SourceTime
	switch {
	case stored.Version == 0 || (stored.Deleted && stored.SourceTime == 0):
		return next, ActionCreate, ""
	case stored.Deleted:
		return next, ActionRestore, "was deleted"
	case sameAccount(&next, &stored):
		return next, ActionUnchanged, ""
	case next.OrgCode != stored.OrgCode:
		return next, ActionMove, "moved from " + place(stored.OrgCode)
	default:
		return next, ActionUpdate, ""
	}
}

func sameAccount(a, b *User) bool {
	return a.Name == b.Name && a.OrgCode == b.OrgCode && a.Role == b.Role && a.Enabled == b.Enabled &&
		a.Position == b.Position && a.EmployeeCode == b.EmployeeCode && a.EmployeeType == b.EmployeeType &&
		a.Mobile == b.Mobile && a.Email == b.Email && a.WorkPlace == b.WorkPlace && a.EntryDate == b.EntryDate
}

// Grants plans what a push makes of an account's grants, in place of those of
// next: flags 1 and 2 grant the application, 3 withdraws it, 0 ends all that
// are not newer. A withdrawn grant is kept as a tombstone, and the time of a
// deletion too, so that a late add does not grant again. changed says that an
// authorisation was gained or lost, moved that a time moved on.
func Grants(push *Push, appID string, stored *User, next *User) (changed, moved bool) {
	next.Grants = maps.Clone(stored.Grants)
	next.DeletedAt = stored.DeletedAt
	if push.Flag == FlagDelete {
		for app, grant := range stored.Grants {
			if grant.SourceTime <= push.SourceTime {
				delete(next.Grants, app)
				changed = changed || !grant.Revoked
			}
		}
		next.DeletedAt = max(stored.DeletedAt, push.SourceTime)
		return changed, changed || next.DeletedAt != stored.DeletedAt
	}
	old, known := stored.Grants[appID]
	if push.SourceTime < max(old.SourceTime, stored.DeletedAt) {
		return false, false
	}
	if next.Grants == nil {
		next.Grants = make(map[string]Grant, 1)
	}
	grant := Grant{SourceTime: push.SourceTime, Revoked: push.Flag == FlagCancel}
	next.Grants[appID] = grant
	had := known && !old.Revoked
	return had == grant.Revoked, grant != old
}

// PlanAccount plans one member of an authSync list: account is what becomes of
// the account itself (see Account), the grants are planned here.
func (p *Plan) PlanAccount(push *Push, appID string, stored User, account User, action Action, reason string) {
	next := account
	granted, moved := Grants(push, appID, &stored, &next)
	lives, lived := !next.Deleted, stored.Version > 0 && !stored.Deleted
	if stored.Version == 0 && action == ActionUnchanged {
		next.UserName, next.Deleted, lives = account.UserName, true, false // a grant's tombstone, no account
	}
	written := action != ActionUnchanged && action != ActionStale
	newest := max(stored.Grants[appID].SourceTime, stored.DeletedAt)
	switch {
	case written:
	case push.Flag == FlagCancel && push.SourceTime < newest:
		action, reason = ActionStale, newerReason(newest)
	case granted && push.Flag == FlagCancel:
		action, reason = ActionRevoke, "application "+appID
	case granted && push.Flag == FlagDelete:
		action, reason = ActionRevoke, "all applications granted before"
	case granted:
		action, reason = ActionGrant, "application "+appID
	}
	p.note(KindUser, next.UserName, action, reason)
	switch {
	case written || granted || (stored.Version == 0 && moved):
		next.Version = stored.Version + 1
		p.Users = append(p.Users, next)
		p.Delta.Users += count(lives) - count(lived)
	case moved || next.SourceTime != stored.SourceTime:
		p.Touched = append(p.Touched, Touch{Kind: KindUser, Key: next.UserName, SourceTime: next.SourceTime, User: &next})
	}
}
