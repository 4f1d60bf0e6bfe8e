package keycloak

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/openkoo/connector/target"
)

const (
	// wanted is the attribute of a group that stands beside the name it is to
	// have: a digest of parent and name.
	wanted = "orgsyncWants"
	// pageSize and maxPages bound a walk through a group's children.
	pageSize, maxPages = 100, 500
)

// group is what we read and write of a group.
type group struct {
	ID         string     `json:"id,omitempty"`
	Name       string     `json:"name"`
	ParentID   string     `json:"parentId,omitempty"`
	Attributes attributes `json:"attributes,omitempty"`
	SubGroups  []group    `json:"subGroups,omitempty"`
	// SubGroupCount is told by servers that leave SubGroups out of a list.
	SubGroupCount *int `json:"subGroupCount,omitempty"`
}

func groupPath(id string) string { return "/groups/" + url.PathEscape(id) }

// childrenPath is where a group's children are listed and made; the realm's
// for the root.
func childrenPath(parent string) string {
	if parent == "" {
		return "/groups"
	}
	return groupPath(parent) + "/children"
}

func want(parent, name string) string { return digest(parent + "/" + name) }

// PutDepartment implements target.Connector.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	if d.Name == "" {
		d.Name = d.Code // a group must have a name
	}
	at, ok, err := c.locateGroup(ctx, d.Object)
	if err != nil {
		return "", err
	}
	if !ok {
		return c.createGroup(ctx, d)
	}
	return at.ID, c.updateGroup(ctx, at, d)
}

// locateGroup finds a department's group: by its id, and where that is not
// known (any more) and there may be one, by our name for it.
func (c *Connector) locateGroup(ctx context.Context, object target.Object) (group, bool, error) {
	if object.RemoteID != "" {
		var g group
		err := c.do(ctx, call{op: "read group", method: http.MethodGet, path: groupPath(object.RemoteID), into: &g})
		switch {
		case err == nil && g.ID != object.RemoteID:
			return group{}, false, &target.Error{Class: target.Transient, Op: "read group", Detail: "the answer is not the group that was asked for"}
		case !isGone(err):
			return g, err == nil, err
		}
	}
	if object.RemoteID == "" && !object.Uncertain {
		return group{}, false, nil
	}
	return c.findGroup(ctx, object.ExternalID)
}

// findGroup finds the group that carries our name for a department.
func (c *Connector) findGroup(ctx context.Context, external string) (group, bool, error) {
	found, err := c.groupsHaving(ctx, externalID, name(external))
	if err != nil || len(found) == 0 {
		return group{}, false, err
	}
	if len(found) > 1 {
		return group{}, false, twice("find group", external, found[0].ID, found[1].ID)
	}
	return found[0], true, nil
}

func twice(op, external, a, b string) error {
	return &target.Error{Class: target.Conflict, Op: op, Detail: "two objects carry " + external + ": " + a + " and " + b + "; remove one"}
}

// groupsHaving finds groups by an attribute. The server answers with the way
// from the root to each, and counts only if the attribute is there.
func (c *Connector) groupsHaving(ctx context.Context, attribute, value string) ([]group, error) {
	query := having(attribute, value)
	query.Set("populateHierarchy", "false")
	var roots []group
	if err := c.do(ctx, call{op: "find group", method: http.MethodGet, path: "/groups", query: query, into: &roots}); err != nil {
		return nil, err
	}
	found := make(map[string]group)
	for level := roots; len(level) > 0; {
		var below []group
		for _, g := range level {
			if g.Attributes.carries(attribute, value) {
				found[g.ID] = g
			}
			below = append(below, g.SubGroups...)
		}
		level = below
	}
	return slices.SortedFunc(maps.Values(found), func(a, b group) int { return strings.Compare(a.ID, b.ID) }), nil
}

func (c *Connector) createGroup(ctx context.Context, d target.Department) (string, error) {
	const op = "create group"
	body := group{Name: d.Name, Attributes: attributes{externalID: {name(d.ExternalID)}}}
	id, err := c.create(ctx, call{op: op, path: childrenPath(d.ParentRemoteID), body: body})
	if isGone(err) {
		return "", noParent(op, d)
	}
	if !isConflict(err) {
		return id, err
	}
	sibling, ok, err := c.blocker(ctx, op, d, err)
	if err != nil {
		return "", err
	}
	if ok && sibling.Attributes.carries(externalID, name(d.ExternalID)) {
		return sibling.ID, c.updateGroup(ctx, sibling, d)
	}
	body.Name = target.Beside(d.Name, d.ExternalID)
	body.Attributes[wanted] = []string{want(d.ParentRemoteID, d.Name)}
	id, err = c.create(ctx, call{op: op, path: childrenPath(d.ParentRemoteID), body: body})
	if isConflict(err) {
		// Only our own parked group can be there: an answer was lost.
		at, ok, findErr := c.findGroup(ctx, d.ExternalID)
		if findErr != nil || !ok {
			return "", errors.Join(findErr, err)
		}
		return at.ID, c.updateGroup(ctx, at, d)
	}
	if err != nil {
		return "", err
	}
	body.ID, body.ParentID = id, d.ParentRemoteID
	_, err = c.nameGroup(ctx, body, d)
	return id, err
}

func noParent(op string, d target.Department) error {
	return &target.Error{Class: target.NeedsParent, Op: op, Detail: "the group of its parent " + d.ParentCode + " is not there"}
}

// updateGroup brings the group's place, name and attribute about. A move keeps
// the name and a rename the place, so one that does both first takes a name
// that neither parent's children have.
func (c *Connector) updateGroup(ctx context.Context, at group, d target.Department) error {
	before := at
	if at.ParentID != d.ParentRemoteID {
		if err := c.bring(ctx, &at, d); err != nil {
			return err
		}
	}
	if at.Name != d.Name || !at.Attributes.carries(externalID, name(d.ExternalID)) || len(at.Attributes[wanted]) > 0 {
		if err := c.rename(ctx, &at, d); err != nil {
			return err
		}
	}
	if before.Name != at.Name || before.ParentID != at.ParentID {
		c.promote(ctx, before)
	}
	return nil
}

// bring moves the group to its parent.
func (c *Connector) bring(ctx context.Context, at *group, d target.Department) error {
	if at.Name != d.Name {
		if err := c.park(ctx, at, d); err != nil {
			return err
		}
	}
	err := c.moveGroup(ctx, *at, d)
	if isConflict(err) {
		if _, _, err := c.blocker(ctx, "move group", d, err); err != nil {
			return err
		}
		if err := c.park(ctx, at, d); err != nil {
			return err
		}
		err = c.moveGroup(ctx, *at, d)
	}
	if err == nil {
		at.ParentID = d.ParentRemoteID
	}
	return err
}

// park gives the group a name that no sibling has, here or there.
func (c *Connector) park(ctx context.Context, at *group, d target.Department) error {
	aside := target.Beside(d.Name, d.ExternalID)
	if at.Name == aside && at.Attributes.carries(wanted, want(d.ParentRemoteID, d.Name)) {
		return nil
	}
	all := at.Attributes.with(externalID, name(d.ExternalID)).with(wanted, want(d.ParentRemoteID, d.Name))
	if err := c.putGroup(ctx, at.ID, aside, all); err != nil {
		return err
	}
	at.Name, at.Attributes = aside, all
	return nil
}

// with is a copy that has a value more; what others keep there stays.
func (a attributes) with(attribute, value string) attributes {
	all := maps.Clone(a)
	if all == nil {
		all = make(attributes, 1)
	}
	if attribute == wanted {
		all[attribute] = []string{value}
	} else if !a.carries(attribute, value) {
		all[attribute] = append(slices.Clone(a[attribute]), value)
	}
	return all
}

func (a attributes) without(attribute string) attributes {
	all := maps.Clone(a)
	delete(all, attribute)
	return all
}

func (c *Connector) moveGroup(ctx context.Context, at group, d target.Department) error {
	const op = "move group"
	body := group{ID: at.ID, Name: at.Name}
	err := c.do(ctx, call{op: op, method: http.MethodPost, path: childrenPath(d.ParentRemoteID), body: body})
	if isGone(err) {
		return noParent(op, d)
	}
	return err
}

// rename gives the group its name, or one beside it if a sibling of ours has
// it.
func (c *Connector) rename(ctx context.Context, at *group, d target.Department) error {
	taken, err := c.nameGroup(ctx, *at, d)
	if err != nil {
		return err
	}
	if taken {
		at.Name = d.Name
		return nil
	}
	if _, _, err := c.blocker(ctx, "rename group", d, errTaken); err != nil {
		return err
	}
	if err := c.park(ctx, at, d); err != nil {
		return err
	}
	// Once more: a sibling that left the name before we stood beside it has
	// not seen us there, one that leaves it later will.
	if taken, err = c.nameGroup(ctx, *at, d); taken {
		at.Name = d.Name
	}
	return err
}

// errTaken is the answer to a name that a sibling has.
var errTaken = &target.Error{Class: target.Conflict, Op: "rename group", Status: http.StatusConflict}

// nameGroup gives the group its name if that is free.
func (c *Connector) nameGroup(ctx context.Context, at group, d target.Department) (taken bool, err error) {
	err = c.putGroup(ctx, at.ID, d.Name, at.Attributes.with(externalID, name(d.ExternalID)).without(wanted))
	if isConflict(err) {
		return false, nil
	}
	return err == nil, err
}

func (c *Connector) putGroup(ctx context.Context, id, name string, all attributes) error {
	body := group{ID: id, Name: name, Attributes: all}
	return c.do(ctx, call{op: "update group", method: http.MethodPut, path: groupPath(id), body: body})
}

// blocker is the sibling that has the department's name, if it is one of ours;
// somebody else's is a Conflict. False if it went meanwhile.
func (c *Connector) blocker(ctx context.Context, op string, d target.Department, conflict error) (group, bool, error) {
	for page := range maxPages {
		var siblings []group
		query := url.Values{"first": {strconv.Itoa(page * pageSize)}, "max": {strconv.Itoa(pageSize)}, "briefRepresentation": {"false"}, "search": {d.Name}, "exact": {"true"}}
		err := c.do(ctx, call{op: op, method: http.MethodGet, path: childrenPath(d.ParentRemoteID), query: query, into: &siblings})
		if isGone(err) {
			return group{}, false, noParent(op, d)
		}
		if err != nil {
			return group{}, false, err
		}
		for _, g := range siblings {
			switch {
			case g.Name != d.Name || g.ParentID != d.ParentRemoteID:
			case len(g.Attributes[externalID]) > 0:
				return g, true, nil
			default:
				return group{}, false, &target.Error{
					Class: target.Conflict, Op: op, Status: statusOf(conflict),
					Detail: "the group " + g.ID + " has the name " + d.Name + " and is not ours; rename it, or give it the attribute " + externalID + " = " + name(d.ExternalID) + " to hand it over",
				}
			}
		}
		if len(siblings) < pageSize {
			break
		}
	}
	return group{}, false, nil
}

// promote gives a name that has become free to a sibling that waits beside it.
// It is a courtesy: what fails here, the sibling's next change makes good.
func (c *Connector) promote(ctx context.Context, left group) {
	waiting, err := c.groupsHaving(ctx, wanted, want(left.ParentID, left.Name))
	if err != nil {
		return
	}
	for _, g := range waiting {
		if g.ID == left.ID {
			continue
		}
		err := c.putGroup(ctx, g.ID, left.Name, g.Attributes.without(wanted))
		if err == nil {
			return
		}
	}
}

// DeleteDepartment implements target.Connector. The server would delete what is
// below the group along with it: a group that has children is kept.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	const op = "delete group"
	ids := []string{object.RemoteID}
	if object.RemoteID == "" || object.Uncertain {
		found, ok, err := c.findGroup(ctx, object.ExternalID)
		if err != nil {
			return err
		}
		if ok && found.ID != object.RemoteID {
			ids = append(ids, found.ID)
		}
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		var g group
		err := c.do(ctx, call{op: "read group", method: http.MethodGet, path: groupPath(id), into: &g})
		if isGone(err) {
			continue
		}
		if err == nil {
			err = c.childless(ctx, op, id)
		}
		if err == nil {
			err = c.do(ctx, call{op: op, method: http.MethodDelete, path: groupPath(id)})
		}
		if err != nil && !isGone(err) {
			return err
		}
		c.promote(ctx, g)
	}
	return nil
}

// childless refuses a group that has children.
func (c *Connector) childless(ctx context.Context, op, id string) error {
	var children []group
	query := url.Values{"first": {"0"}, "max": {strconv.Itoa(pageSize)}, "briefRepresentation": {"false"}}
	if err := c.do(ctx, call{op: op, method: http.MethodGet, path: childrenPath(id), query: query, into: &children}); err != nil || len(children) == 0 {
		return err
	}
	for _, child := range children {
		if len(child.Attributes[externalID]) == 0 {
			return &target.Error{Class: target.Permanent, Op: op, Detail: "it holds the group " + child.Name + " (" + child.ID + "), which is not ours; move that and replay"}
		}
	}
	return &target.Error{Class: target.Transient, Op: op, Detail: "its sub-department " + children[0].Name + " is still there"}
}
