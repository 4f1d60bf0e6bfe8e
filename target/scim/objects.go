package scim

import (
	"context"
	"errors"
	"net/http"

	"github.com/openkoo/connector/target"
)

// PutDepartment implements target.Connector. Members are left alone.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	return c.groups().put(ctx, d.Object, departmentAttributes(d), "")
}

// DeleteDepartment implements target.Connector.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	return c.groups().remove(ctx, object)
}

// PutUser implements target.Connector.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	return c.users().put(ctx, u.Object, userAttributes(u), u.UserName)
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	return c.users().remove(ctx, object)
}

// ChangeMembers implements target.Connector with one PATCH.
func (c *Connector) ChangeMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	err := c.http.do(ctx, call{
		op: "patch group members", method: http.MethodPatch, path: c.groups().one(group.RemoteID),
		body: patchBody{Schemas: []string{patchSchema}, Operations: memberOperations(change)},
	})
	switch {
	case err == nil:
		return nil
	case target.ClassOf(err) == target.Gone:
		return c.whatIsGone(ctx, group, err)
	case isNoTarget(err) && len(change.Remove) > 0:
		return c.removeSingly(ctx, group, change)
	default:
		return err
	}
}

func memberOperations(change target.MemberChange) []operation {
	var operations []operation
	if len(change.Add) > 0 {
		members := make([]any, len(change.Add))
		for i, m := range change.Add {
			kind := "User"
			if m.Kind == target.MemberDepartment {
				kind = "Group"
			}
			members[i] = map[string]any{"value": m.RemoteID, "type": kind}
		}
		operations = append(operations, operation{Op: "add", Path: "members", Value: members})
	}
	for _, m := range change.Remove {
		operations = append(operations, operation{Op: "remove", Path: "members[value eq " + quote(m.RemoteID) + "]"})
	}
	return operations
}

// whatIsGone finds out what a "not found" is about: the group, or a member.
func (c *Connector) whatIsGone(ctx context.Context, group target.Object, gone error) error {
	there, err := c.groups().exists(ctx, group.RemoteID)
	if err != nil {
		return err
	}
	e, ok := errors.AsType[*target.Error](gone)
	if !there || !ok {
		return gone
	}
	member := *e
	member.Class = target.NeedsParent
	member.Detail = "a member is not there. " + e.Detail
	return &member
}

// isNoTarget reports whether a server refuses to remove what is not there
// (RFC 7644 §3.12, scimType noTarget).
func isNoTarget(err error) bool {
	kind, ok := errors.AsType[scimType](err)
	return ok && kind == "noTarget"
}

// removeSingly removes members one by one, where the server refused them
// together because some are no members.
func (c *Connector) removeSingly(ctx context.Context, group target.Object, change target.MemberChange) error {
	if len(change.Add) == 0 && len(change.Remove) == 1 {
		return nil // it is no member: that was the wish
	}
	if len(change.Add) > 0 {
		if err := c.ChangeMembers(ctx, group, target.MemberChange{Add: change.Add}); err != nil {
			return err
		}
	}
	for i := range change.Remove {
		if err := c.ChangeMembers(ctx, group, target.MemberChange{Remove: change.Remove[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}
