package ldap

import (
	"context"
	"errors"
	"slices"
	"strings"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
)

// pageSize bounds the entries in one answer.
const pageSize = 200

// entry is what we read of any entry.
type entry struct {
	dn       string
	id       string // the remote id
	external []string
	names    []string // ou
	classes  []string
	barred   bool // by InactiveAttribute
}

func (e entry) is(class string) bool {
	return slices.ContainsFunc(e.classes, func(c string) bool { return strings.EqualFold(c, class) })
}

// owner is whose the entry is: our name for it, empty for somebody else's.
func (e entry) owner() string {
	if at := slices.IndexFunc(e.external, isExternalID); at >= 0 {
		return e.external[at]
	}
	return ""
}

func (e entry) carries(externalID string) bool { return slices.Contains(e.external, externalID) }

func (c *Connector) attributes() []string {
	all := []string{"objectClass", "ou", c.config.RemoteIDAttribute, c.config.ExternalIDAttribute}
	if c.config.InactiveAttribute != "" {
		all = append(all, c.config.InactiveAttribute)
	}
	return all
}

func (c *Connector) read(e *ldapv3.Entry) entry {
	return entry{
		dn: e.DN, id: e.GetEqualFoldAttributeValue(c.config.RemoteIDAttribute),
		external: e.GetEqualFoldAttributeValues(c.config.ExternalIDAttribute),
		names:    e.GetEqualFoldAttributeValues("ou"), classes: e.GetEqualFoldAttributeValues("objectClass"),
		barred: c.config.InactiveAttribute != "" && slices.Contains(e.GetEqualFoldAttributeValues(c.config.InactiveAttribute), c.config.InactiveValue),
	}
}

// search reads the entries that match, at most limit; less than none for one
// page of however many there are.
func (c *Connector) search(ctx context.Context, op, base string, scope int, filter string, limit int) ([]entry, error) {
	request := ldapv3.NewSearchRequest(base, scope, ldapv3.NeverDerefAliases, max(limit, 0), int(c.config.Timeout.Seconds()), false, filter, c.attributes(), nil)
	if limit < 0 {
		request.Controls = []ldapv3.Control{ldapv3.NewControlPaging(pageSize)}
	}
	var answer *ldapv3.SearchResult
	err := c.pool.do(ctx, op, func(conn *ldapv3.Conn) (err error) {
		answer, err = conn.Search(request)
		return err
	})
	if err != nil && !is(err, ldapv3.LDAPResultSizeLimitExceeded) {
		return nil, err
	}
	found := make([]entry, 0, len(answer.Entries))
	for _, e := range answer.Entries {
		found = append(found, c.read(e))
	}
	return found, nil
}

// entryAt reads the entry of a DN; false if there is none.
func (c *Connector) entryAt(ctx context.Context, op, dn string) (entry, bool, error) {
	found, err := c.search(ctx, op, dn, ldapv3.ScopeBaseObject, "(objectClass=*)", 1)
	if is(err, ldapv3.LDAPResultNoSuchObject) {
		return entry{}, false, nil
	}
	if err != nil || len(found) == 0 {
		return entry{}, false, err
	}
	return found[0], true, nil
}

func equals(attribute, value string) string {
	return "(" + attribute + "=" + ldapv3.EscapeFilter(value) + ")"
}

func both(class, filter string) string { return "(&" + equals("objectClass", class) + filter + ")" }

// byID finds the entry of a remote id; false if there is none (any more).
func (c *Connector) byID(ctx context.Context, op, class, id string) (entry, bool, error) {
	found, err := c.byIDs(ctx, op, class, []string{id})
	e, ok := found[id]
	return e, ok, err
}

// byIDs finds the entries of several remote ids.
func (c *Connector) byIDs(ctx context.Context, op, class string, ids []string) (map[string]entry, error) {
	var filter strings.Builder
	for _, id := range ids {
		filter.WriteString(equals(c.config.RemoteIDAttribute, id))
	}
	found, err := c.search(ctx, op, c.config.BaseDN, ldapv3.ScopeWholeSubtree, both(class, "(|"+filter.String()+")"), len(ids)+1)
	if err != nil {
		return nil, err
	}
	entries := make(map[string]entry, len(ids))
	for _, id := range ids {
		for _, e := range found {
			if strings.EqualFold(e.id, id) {
				entries[id] = e
			}
		}
	}
	return entries, nil
}

// byExternalID finds the entry that carries our name; false if there is none.
// Servers compare without regard to case, we do not.
func (c *Connector) byExternalID(ctx context.Context, op, class, externalID string) (entry, bool, error) {
	found, err := c.search(ctx, op, c.config.BaseDN, ldapv3.ScopeWholeSubtree, both(class, equals(c.config.ExternalIDAttribute, externalID)), -1)
	if err != nil {
		return entry{}, false, err
	}
	found = slices.DeleteFunc(found, func(e entry) bool { return !e.carries(externalID) })
	switch len(found) {
	case 0:
		return entry{}, false, nil
	case 1:
		return found[0], true, nil
	default:
		return entry{}, false, twice(op, externalID, found[0], found[1])
	}
}

func twice(op, externalID string, a, b entry) error {
	return &target.Error{Class: target.Conflict, Op: op, Detail: "two entries carry " + externalID + ": " + a.dn + " and " + b.dn + "; remove one"}
}

// locate finds the entry of an object: by its remote id, and where that is not
// known (any more) and there may be one, by our name for it.
func (c *Connector) locate(ctx context.Context, op, class string, object target.Object) (entry, bool, error) {
	if object.RemoteID != "" {
		if e, ok, err := c.byID(ctx, op, class, object.RemoteID); ok || err != nil {
			return e, ok, err
		}
	} else if !object.Uncertain {
		return entry{}, false, nil
	}
	return c.byExternalID(ctx, op, class, object.ExternalID)
}

// add makes an entry and returns its remote id.
func (c *Connector) add(ctx context.Context, op, dn string, attributes []ldapv3.Attribute) (string, error) {
	at, err := splitDN(dn)
	if err != nil {
		return "", &target.Error{Class: target.Permanent, Op: op, Err: err}
	}
	request := &ldapv3.AddRequest{DN: dn, Attributes: attributes}
	err = c.inContainer(ctx, at.parent, func() error {
		return c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.Add(request) })
	})
	if err != nil {
		return "", err
	}
	made, ok, err := c.entryAt(ctx, op, dn)
	switch {
	case err != nil:
		return "", unknown(err)
	case !ok || made.id == "":
		return "", unknown(&target.Error{Class: target.Transient, Op: op, Detail: "the entry is not to be seen after it was made"})
	}
	return made.id, nil
}

// unknown notes that the entry may be there all the same.
func unknown(err error) error {
	if e, ok := err.(*target.Error); ok { //nolint:errorlint // made by do, not wrapped
		marked := *e
		marked.UnknownOutcome = true
		return &marked
	}
	return err
}

// rename gives an entry another name, another parent, or both, at once.
func (c *Connector) rename(ctx context.Context, op string, at entry, rdn, parent string) error {
	now, err := splitDN(at.dn)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: op, Err: err}
	}
	superior := ""
	if !sameDN(now.parent, parent) {
		superior = parent
	}
	request := ldapv3.NewModifyDNRequest(at.dn, rdn, true, superior)
	err = c.inContainer(ctx, superior, func() error {
		return c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.ModifyDN(request) })
	})
	switch {
	case is(err, ldapv3.LDAPResultNoSuchObject):
		// It, or an ancestor, was moved since it was looked up.
		return movedMeanwhile(op)
	case is(err, ldapv3.LDAPResultUnwillingToPerform):
		return c.whyUnwilling(ctx, op, at, join(rdn, parent), parent, err)
	case is(err, ldapv3.LDAPResultOther):
		return c.besideNewer(ctx, op, at, request, err)
	}
	return err
}

func movedMeanwhile(op string) error {
	return &target.Error{Class: target.Transient, Op: op, Status: ldapv3.LDAPResultNoSuchObject, Detail: "it moved meanwhile"}
}

// whyUnwilling tells the refusals of a ModifyDN apart that are true for now
// only: other entries are still to move, of the same reorganisation.
func (c *Connector) whyUnwilling(ctx context.Context, op string, at entry, dn, parent string, refusal error) error {
	switch {
	case within(parent, at.dn):
		return &target.Error{
			Class: target.NeedsParent, Op: op, Status: ldapv3.LDAPResultUnwillingToPerform,
			Detail: "its new parent " + parent + " still stands below it",
		}
	case within(at.dn, dn):
		// An ancestor has the name: servers look for that before they look
		// whether an entry of the name is there.
		return &target.Error{Class: target.Conflict, Op: op, Status: ldapv3.LDAPResultEntryAlreadyExists, Detail: dn + " stands above it"}
	}
	now, ok, err := c.entryAt(ctx, op, at.dn)
	switch {
	case err != nil:
		return err
	case !ok || now.id != at.id:
		return movedMeanwhile(op)
	default:
		return refusal
	}
}

// besideNewer renames once more while a newer entry is there. OpenLDAP's mdb
// (2.5.13) fails with "other" to rename the newest entry of all if that has
// one below it.
func (c *Connector) besideNewer(ctx context.Context, op string, at entry, request *ldapv3.ModifyDNRequest, failure error) error {
	below, err := c.search(ctx, op, at.dn, ldapv3.ScopeSingleLevel, "(objectClass=*)", 1)
	if err != nil || len(below) == 0 {
		return failure
	}
	dn := join(rdn("ou", target.Beside("orgsync", at.dn)), c.config.DepartmentsDN)
	newer := ldapv3.NewAddRequest(dn, nil)
	newer.Attribute("objectClass", []string{"top", unitClass})
	err = c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.Add(newer) })
	if err != nil && !is(err, ldapv3.LDAPResultEntryAlreadyExists) {
		return failure
	}
	err = c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.ModifyDN(request) })
	return errors.Join(err, c.remove(ctx, op, dn))
}

// modify changes attributes; no changes, no request.
func (c *Connector) modify(ctx context.Context, op, dn string, changes []ldapv3.Change) error {
	if len(changes) == 0 {
		return nil
	}
	request := &ldapv3.ModifyRequest{DN: dn, Changes: changes}
	err := c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.Modify(request) })
	if is(err, ldapv3.LDAPResultNoSuchObject) {
		return movedMeanwhile(op)
	}
	return err
}

func replace(name string, values ...string) ldapv3.Change {
	return ldapv3.Change{Operation: ldapv3.ReplaceAttribute, Modification: ldapv3.PartialAttribute{Type: name, Vals: values}}
}

func addValue(name, value string) ldapv3.Change {
	return ldapv3.Change{Operation: ldapv3.AddAttribute, Modification: ldapv3.PartialAttribute{Type: name, Vals: []string{value}}}
}

// remove deletes an entry; one that is gone is success.
func (c *Connector) remove(ctx context.Context, op, dn string) error {
	err := c.pool.do(ctx, op, func(conn *ldapv3.Conn) error { return conn.Del(ldapv3.NewDelRequest(dn, nil)) })
	if is(err, ldapv3.LDAPResultNoSuchObject) {
		return nil
	}
	return err
}
