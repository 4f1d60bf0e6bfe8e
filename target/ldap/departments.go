package ldap

import (
	"context"
	"slices"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
)

// PutDepartment implements target.Connector. A rename and a move are one
// request.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	attributes := departmentAttributes(d)
	id, err := c.putDepartment(ctx, d, attributes)
	return id, withSuspects(err, attributes)
}

// departmentAttributes are what is mapped of a department.
func departmentAttributes(d target.Department) []ldapv3.Attribute {
	return omitting(overlay(nil, d.Mapped), d.Omit)
}

func (c *Connector) putDepartment(ctx context.Context, d target.Department, attributes []ldapv3.Attribute) (string, error) {
	const op = "put department"
	name := d.Name
	if name == "" {
		name = d.Code
	}
	if err := checkText(op, name, d.ExternalID); err != nil {
		return "", err
	}
	if err := checkAttributes(op, attributes); err != nil {
		return "", err
	}
	parent := c.config.DepartmentsDN
	if d.ParentRemoteID != "" {
		above, ok, err := c.byID(ctx, op, unitClass, d.ParentRemoteID)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", &target.Error{Class: target.NeedsParent, Op: op, Detail: "the entry of its parent " + d.ParentCode + " is not there"}
		}
		parent = above.dn
	}
	at, ok, err := c.locate(ctx, op, unitClass, d.Object)
	if err != nil {
		return "", err
	}
	to := spot{name: name, rdn: short(name, d.ExternalID), parent: parent}
	if !ok {
		return c.createDepartment(ctx, d, to)
	}
	return at.id, c.updateDepartment(ctx, at, d, to)
}

// spot is where a department is to stand: rdn is its name, cut if need be.
type spot struct{ name, rdn, parent string }

// values are the entry's values of ou when it stands under rdn.
func (s spot) values(rdn string) []string {
	if rdn == s.name {
		return []string{s.name}
	}
	return []string{s.name, rdn}
}

func (c *Connector) createDepartment(ctx context.Context, d target.Department, to spot) (string, error) {
	const op = "create department"
	mapped := slices.DeleteFunc(departmentAttributes(d), func(a ldapv3.Attribute) bool { return len(a.Vals) == 0 })
	add := func(value string) (string, error) {
		return c.add(ctx, op, join(rdn("ou", value), to.parent), append([]ldapv3.Attribute{
			{Type: "objectClass", Vals: []string{"top", unitClass}},
			{Type: "ou", Vals: to.values(value)},
			{Type: c.config.ExternalIDAttribute, Vals: []string{d.ExternalID}},
		}, mapped...))
	}
	id, err := add(to.rdn)
	if !is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return id, err
	}
	blocker, err := c.blocker(ctx, op, to)
	if err != nil {
		return "", err
	}
	if blocker.carries(d.ExternalID) {
		return blocker.id, c.updateDepartment(ctx, blocker, d, to)
	}
	aside := target.Beside(to.rdn, d.ExternalID)
	id, err = add(aside)
	if is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		// Only our own parked entry can be there: an answer was lost.
		at, ok, err := c.byExternalID(ctx, op, unitClass, d.ExternalID)
		if err != nil || !ok {
			return "", err
		}
		return at.id, c.updateDepartment(ctx, at, d, to)
	}
	if err != nil {
		return "", err
	}
	_, err = c.unpark(ctx, entry{dn: join(rdn("ou", aside), to.parent)}, to)
	return id, err
}

// updateDepartment brings the entry's name, place and attributes about.
func (c *Connector) updateDepartment(ctx context.Context, at entry, d target.Department, to spot) error {
	const op = "update department"
	now, err := splitDN(at.dn)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: op, Err: err}
	}
	stands := now.value // of the RDN, after all
	if now.value != to.rdn || !sameDN(now.parent, to.parent) {
		if stands, err = c.moveDepartment(ctx, at, now, d, to); err != nil {
			return err
		}
	}
	var changes []ldapv3.Change
	for _, a := range departmentAttributes(d) {
		changes = append(changes, replace(a.Type, a.Vals...))
	}
	// ModifyDN has taken the old RDN's value out and put the new one in.
	have := slices.DeleteFunc(slices.Clone(at.names), func(n string) bool { return n == now.value || n == stands })
	have = slices.Sorted(slices.Values(append(have, stands)))
	if want := to.values(stands); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		changes = append(changes, replace("ou", want...))
	}
	if !at.carries(d.ExternalID) {
		changes = append(changes, addValue(c.config.ExternalIDAttribute, d.ExternalID))
	}
	if err := c.modify(ctx, op, join(rdn("ou", stands), to.parent), changes); err != nil {
		return err
	}
	if stands != to.rdn {
		// Once more, now that the name is among our values: a sibling that left it
		// before has not seen us beside it, one that leaves it later will.
		if _, err := c.unpark(ctx, entry{dn: join(rdn("ou", stands), to.parent)}, to); err != nil {
			return err
		}
	}
	if now.value != stands || !sameDN(now.parent, to.parent) {
		c.promote(ctx, now)
	}
	return nil
}

// moveDepartment renames and moves the entry, beside its name if a sibling of
// ours has it. It returns the value of the RDN that it stands under.
func (c *Connector) moveDepartment(ctx context.Context, at entry, now place, d target.Department, to spot) (string, error) {
	const op = "move department"
	err := c.rename(ctx, op, at, rdn("ou", to.rdn), to.parent)
	if !is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return to.rdn, err
	}
	blocker, err := c.blocker(ctx, op, to)
	if err != nil {
		return "", err
	}
	if blocker.carries(d.ExternalID) && blocker.id != at.id {
		return "", twice(op, d.ExternalID, at, blocker)
	}
	aside := target.Beside(to.rdn, d.ExternalID)
	if now.value != aside || !sameDN(now.parent, to.parent) {
		if err := c.rename(ctx, op, at, rdn("ou", aside), to.parent); err != nil {
			return "", err
		}
	}
	return aside, nil
}

// blocker is the entry that has the name, if it is one of ours; somebody
// else's is a Conflict.
func (c *Connector) blocker(ctx context.Context, op string, to spot) (entry, error) {
	dn := join(rdn("ou", to.rdn), to.parent)
	e, ok, err := c.entryAt(ctx, op, dn)
	switch {
	case err != nil:
		return entry{}, err
	case !ok:
		return entry{}, &target.Error{Class: target.Transient, Op: op, Detail: dn + " was in the way and is gone; trying again"}
	case e.owner() == "":
		return entry{}, c.taken(op, e)
	default:
		return e, nil
	}
}

// promote gives a name that has become free to a sibling that waits beside it.
// It is a courtesy: what fails here, the sibling's next change makes good.
func (c *Connector) promote(ctx context.Context, left place) {
	const op = "give a free name to who waits for it"
	waiting, err := c.search(ctx, op, left.parent, ldapv3.ScopeSingleLevel, both(unitClass, equals("ou", left.value)), -1)
	if err != nil {
		return
	}
	for _, e := range waiting {
		at, err := splitDN(e.dn)
		if err == nil && at.value == target.Beside(left.value, e.owner()) {
			_, _ = c.unpark(ctx, e, spot{rdn: left.value, parent: left.parent})
			return
		}
	}
}

// unpark takes the name if it is free. Its own value of ou goes with the old
// RDN, the name's stays.
func (c *Connector) unpark(ctx context.Context, at entry, to spot) (taken bool, err error) {
	err = c.rename(ctx, "take a free name", at, rdn("ou", to.rdn), to.parent)
	if is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return false, nil
	}
	return err == nil, err
}

// DeleteDepartment implements target.Connector. Accounts that still stand under
// the department go to the root of the tree; anything else there keeps it.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	const op = "delete department"
	object.Uncertain = true
	at, ok, err := c.locate(ctx, op, unitClass, object)
	if err != nil || !ok {
		return err
	}
	err = c.remove(ctx, op, at.dn)
	if is(err, ldapv3.LDAPResultNotAllowedOnNonLeaf) {
		if err = c.evacuate(ctx, at.dn); err == nil {
			err = c.remove(ctx, op, at.dn)
		}
	}
	if err != nil {
		return err
	}
	if left, err := splitDN(at.dn); err == nil {
		c.promote(ctx, left)
	}
	return nil
}

// evacuate moves our accounts out of a department, page by page.
func (c *Connector) evacuate(ctx context.Context, dn string) error {
	const op = "empty department"
	for {
		page, err := c.search(ctx, op, dn, ldapv3.ScopeSingleLevel, "(objectClass=*)", -1)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			switch {
			case e.owner() == "":
				return &target.Error{Class: target.Permanent, Op: op, Detail: "it holds " + e.dn + ", which is not ours; move that and replay"}
			case !e.is(personClass):
				return &target.Error{Class: target.Transient, Op: op, Detail: "its sub-department " + e.dn + " is still there"}
			}
			if err := c.moveUser(ctx, op, e, c.config.DepartmentsDN); err != nil {
				return err
			}
		}
	}
}
