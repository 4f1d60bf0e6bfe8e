package ldap

import (
	"context"
	"slices"
	"strings"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
)

// PutUser implements target.Connector. A new account is made under its
// department if that is there; later ChangeMembers moves it.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	attributes := userAttributes(u)
	id, err := c.putUser(ctx, u, attributes)
	return id, withSuspects(err, attributes)
}

func (c *Connector) putUser(ctx context.Context, u target.User, attributes []ldapv3.Attribute) (string, error) {
	const op = "put user"
	if err := checkAttributes(op, attributes); err != nil {
		return "", err
	}
	if err := checkText(op, u.UserName, u.ExternalID); err != nil {
		return "", err
	}
	if u.UserName != short(u.UserName, u.ExternalID) {
		return "", &target.Error{Class: target.Permanent, Content: true, Op: op, Detail: "the sign-in name is too long for a directory"}
	}
	at, ok, err := c.locate(ctx, op, personClass, u.Object)
	if err != nil {
		return "", err
	}
	if !ok {
		// Before a name is given it is looked for in the whole tree: a second
		// account of that name elsewhere would break both sign-ins.
		if at, ok, err = c.named(ctx, u); err != nil {
			return "", err
		}
	}
	if !ok {
		return c.createUser(ctx, u, attributes)
	}
	return at.id, c.updateUser(ctx, at, u, attributes)
}

// userAttributes maps an account. Those without a value are removed from an
// entry that has them.
func userAttributes(u target.User) []ldapv3.Attribute {
	name := u.DisplayName
	if name == "" {
		name = u.UserName // cn and sn are mandatory
	}
	all := []ldapv3.Attribute{{Type: "cn", Vals: []string{name}}, {Type: "sn", Vals: []string{name}}}
	for _, a := range []struct{ name, value string }{
		{"displayName", u.DisplayName},
		{"mail", u.Email},
		{"mobile", u.Mobile},
		{"title", u.Title},
		{"employeeNumber", u.EmployeeNumber},
		{"employeeType", u.EmployeeType},
		{"departmentNumber", u.DepartmentCode},
		{"ou", u.DepartmentName},
		{"o", u.Organization},
		{"physicalDeliveryOfficeName", u.WorkPlace},
	} {
		attribute := ldapv3.Attribute{Type: a.name}
		if a.value != "" {
			attribute.Vals = []string{a.value}
		}
		all = append(all, attribute)
	}
	return omitting(overlay(all, u.Mapped), u.Omit)
}

// omitting leaves attributes out.
func omitting(all []ldapv3.Attribute, omit []string) []ldapv3.Attribute {
	return slices.DeleteFunc(all, func(a ldapv3.Attribute) bool { return target.Omitted(omit, a.Type) })
}

// overlay sets what is mapped, in place of what there is.
func overlay(all []ldapv3.Attribute, mapped []target.Mapped) []ldapv3.Attribute {
	for _, m := range mapped {
		attribute := ldapv3.Attribute{Type: m.Name}
		switch value := m.Value.(type) {
		case string:
			attribute.Vals = []string{value}
		case []any:
			for _, one := range value {
				text, _ := one.(string)
				attribute.Vals = append(attribute.Vals, text)
			}
		}
		at := slices.IndexFunc(all, func(a ldapv3.Attribute) bool { return strings.EqualFold(a.Type, m.Name) })
		if at < 0 {
			all = append(all, attribute)
		} else {
			all[at] = attribute
		}
	}
	return all
}

// named finds our account before it is created again, and refuses a name that
// somebody else has.
func (c *Connector) named(ctx context.Context, u target.User) (entry, bool, error) {
	const op = "look for user"
	filter := "(|" + equals(c.config.ExternalIDAttribute, u.ExternalID) + equals("uid", u.UserName) + ")"
	found, err := c.search(ctx, op, c.config.BaseDN, ldapv3.ScopeWholeSubtree, filter, -1)
	if err != nil {
		return entry{}, false, err
	}
	var ours []entry
	var others []entry
	for _, e := range found {
		switch {
		case e.carries(u.ExternalID) && e.is(personClass):
			ours = append(ours, e)
		case !e.is(unitClass):
			others = append(others, e)
		}
	}
	// The filter is without regard to case: another account's external id may
	// differ in case only, and is no claim to the name.
	others = slices.DeleteFunc(others, func(e entry) bool {
		at, err := splitDN(e.dn)
		return err == nil && at.attribute == "uid" && !strings.EqualFold(at.value, u.UserName)
	})
	switch {
	case len(ours) > 1:
		return entry{}, false, twice(op, u.ExternalID, ours[0], ours[1])
	case len(others) > 0:
		return entry{}, false, c.taken(op, others[0])
	case len(ours) == 1:
		return ours[0], true, nil
	default:
		return entry{}, false, nil
	}
}

// takenAt is a conflict with whatever stands at a DN.
func (c *Connector) takenAt(ctx context.Context, op, dn string) error {
	e, ok, err := c.entryAt(ctx, op, dn)
	switch {
	case err != nil:
		return err
	case !ok:
		return &target.Error{Class: target.Transient, Op: op, Detail: dn + " was in the way and is gone; trying again"}
	default:
		return c.taken(op, e)
	}
}

// taken is a conflict with the entry that has the name.
func (c *Connector) taken(op string, e entry) error {
	conflict := &target.Error{Class: target.Conflict, Op: op, Status: ldapv3.LDAPResultEntryAlreadyExists, Holder: e.owner()}
	if conflict.Holder != "" {
		conflict.Detail = e.dn + " has the name and is ours too, for " + conflict.Holder + "; the name is free once that one is renamed or removed"
	} else {
		conflict.Detail = e.dn + " has the name and is not ours; rename it, or give it our name in " + c.config.ExternalIDAttribute + " to hand it over"
	}
	return conflict
}

func (c *Connector) createUser(ctx context.Context, u target.User, attributes []ldapv3.Attribute) (string, error) {
	const op = "create user"
	home, err := c.home(ctx, u)
	if err != nil {
		return "", err
	}
	all := []ldapv3.Attribute{
		{Type: "objectClass", Vals: []string{"top", "person", "organizationalPerson", personClass}},
		{Type: "uid", Vals: []string{u.UserName}},
		{Type: c.config.ExternalIDAttribute, Vals: []string{u.ExternalID}},
	}
	if c.config.InactiveAttribute != "" && !u.Active {
		all = append(all, ldapv3.Attribute{Type: c.config.InactiveAttribute, Vals: []string{c.config.InactiveValue}})
	}
	for _, a := range attributes {
		if len(a.Vals) > 0 {
			all = append(all, a)
		}
	}
	dn := join(rdn("uid", u.UserName), home)
	id, err := c.add(ctx, op, dn, all)
	switch {
	case is(err, ldapv3.LDAPResultEntryAlreadyExists):
		return "", c.takenAt(ctx, op, dn)
	case is(err, ldapv3.LDAPResultNoSuchObject):
		return "", &target.Error{Class: target.Transient, Op: op, Detail: "its department moved meanwhile"}
	default:
		return id, err
	}
}

// home is where an account belongs that has no place yet.
func (c *Connector) home(ctx context.Context, u target.User) (string, error) {
	if !u.Active && c.config.InactiveAttribute == "" {
		return c.config.InactiveDN, nil
	}
	if u.DepartmentCode != "" {
		department, ok, err := c.byExternalID(ctx, "look for department", unitClass, u.Origin.Scope.ExternalID(u.DepartmentCode))
		if err != nil {
			return "", err
		}
		if ok {
			return department.dn, nil
		}
	}
	return c.config.DepartmentsDN, nil
}

// updateUser brings name, place and attributes about. Between departments only
// ChangeMembers moves; here accounts go to the inactive ones and come back.
func (c *Connector) updateUser(ctx context.Context, at entry, u target.User, attributes []ldapv3.Attribute) error {
	const op = "update user"
	now, err := splitDN(at.dn)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: op, Err: err}
	}
	parent := now.parent
	if c.config.InactiveAttribute == "" && sameDN(now.parent, c.config.InactiveDN) == u.Active {
		if parent, err = c.home(ctx, u); err != nil {
			return err
		}
	}
	dn := at.dn
	if now.attribute != "uid" || now.value != u.UserName || !sameDN(parent, now.parent) { //nolint:nestif // one step of a rename after the other
		if now.value != u.UserName {
			if _, _, err := c.named(ctx, u); err != nil {
				return err
			}
		}
		err := c.rename(ctx, op, at, rdn("uid", u.UserName), parent)
		if is(err, ldapv3.LDAPResultEntryAlreadyExists) {
			return c.takenAt(ctx, op, join(rdn("uid", u.UserName), parent))
		}
		if err != nil {
			return err
		}
		dn = join(rdn("uid", u.UserName), parent)
	}
	changes := make([]ldapv3.Change, 0, len(attributes)+2)
	for _, a := range attributes {
		changes = append(changes, replace(a.Type, a.Vals...))
	}
	if c.config.InactiveAttribute != "" && at.barred == u.Active {
		if u.Active {
			changes = append(changes, replace(c.config.InactiveAttribute))
		} else {
			changes = append(changes, replace(c.config.InactiveAttribute, c.config.InactiveValue))
		}
	}
	if !at.carries(u.ExternalID) {
		changes = append(changes, addValue(c.config.ExternalIDAttribute, u.ExternalID))
	}
	return c.modify(ctx, op, dn, changes)
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	const op = "delete user"
	object.Uncertain = true
	at, ok, err := c.locate(ctx, op, personClass, object)
	if err != nil || !ok {
		return err
	}
	return c.remove(ctx, op, at.dn)
}

// ChangeMembers implements target.Connector: an account is in the department
// that its entry stands under, so it is in one at a time. Added to another it
// has left the first. Accounts that may not sign in stay where they are.
func (c *Connector) ChangeMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	const op = "move users"
	var ids []string
	for _, m := range slices.Concat(change.Add, change.Remove) {
		if m.Kind != target.MemberUser {
			return &target.Error{Class: target.Permanent, Op: op, Detail: "departments are placed by their own entry"}
		}
		ids = append(ids, m.RemoteID)
	}
	department, ok, err := c.byID(ctx, op, unitClass, group.RemoteID)
	if err != nil {
		return err
	}
	if !ok && len(change.Add) > 0 {
		return &target.Error{Class: target.Gone, Op: op, Detail: "the department's entry is not there"}
	}
	if !ok {
		return nil
	}
	users, err := c.byIDs(ctx, op, personClass, ids)
	if err != nil {
		return err
	}
	for _, m := range change.Add {
		user, ok := users[m.RemoteID]
		if !ok {
			return &target.Error{Class: target.NeedsParent, Op: op, Detail: "the account " + m.RemoteID + " is not there"}
		}
		if err := c.moveUser(ctx, op, user, department.dn); err != nil {
			return err
		}
	}
	for _, m := range change.Remove {
		user, ok := users[m.RemoteID]
		if at, err := splitDN(user.dn); !ok || err != nil || !sameDN(at.parent, department.dn) {
			continue
		}
		if err := c.moveUser(ctx, op, user, c.config.DepartmentsDN); err != nil {
			return err
		}
	}
	return nil
}

// moveUser moves an account, unless it is there or is to stay with the
// inactive ones.
func (c *Connector) moveUser(ctx context.Context, op string, user entry, parent string) error {
	at, err := splitDN(user.dn)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: op, Err: err}
	}
	if sameDN(at.parent, parent) || (c.config.InactiveAttribute == "" && sameDN(at.parent, c.config.InactiveDN)) {
		return nil
	}
	err = c.rename(ctx, op, user, rdn(at.attribute, at.value), parent)
	if is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return c.takenAt(ctx, op, join(rdn(at.attribute, at.value), parent))
	}
	return err
}
