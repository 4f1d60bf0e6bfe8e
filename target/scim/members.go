package scim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// ChangeMembers implements target.Connector with one PATCH, or by writing the
// group back whole.
func (c *Connector) ChangeMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	if c.groupless() {
		return nil
	}
	k := c.groups()
	if k.puts() {
		return c.membersChanged(ctx, group, change, nil, c.replaceMembers(ctx, group, change))
	}
	answer, err := c.http.change(ctx, c.memberCall(group, change))
	if k.fallsBack(err) {
		answer, err = nil, c.replaceMembers(ctx, group, change)
	}
	return c.membersChanged(ctx, group, change, answer, err)
}

func (c *Connector) memberCall(group target.Object, change target.MemberChange) call {
	return call{
		op: "patch group members", method: http.MethodPatch, path: c.groups().one(group.RemoteID),
		body: patchBody{Schemas: []string{patchSchema}, Operations: c.memberOperations(change)},
	}
}

// membersChanged judges what came of a change of members.
func (c *Connector) membersChanged(ctx context.Context, group target.Object, change target.MemberChange, answer *httpclient.Answer, err error) error {
	switch {
	case err == nil:
		return c.checkAdded(ctx, change, answer)
	case target.ClassOf(err) == target.Gone:
		return c.whatIsGone(ctx, group, err)
	case isNoTarget(err) && len(change.Remove) > 0:
		return c.removeSingly(ctx, group, change)
	default:
		return c.groups().withHint(err)
	}
}

func (c *Connector) memberOperations(change target.MemberChange) []operation {
	var operations []operation
	if len(change.Add) > 0 {
		members := make([]any, len(change.Add))
		for i, m := range change.Add {
			members[i] = memberOf(m)
		}
		operations = append(operations, operation{Op: "add", Path: "members", Value: members})
	}
	if len(change.Remove) > 0 && c.config.Protocol.Removal == RemovalValue {
		members := make([]any, len(change.Remove))
		for i, m := range change.Remove {
			members[i] = map[string]any{"value": m.RemoteID}
		}
		return append(operations, operation{Op: "remove", Path: "members", Value: members})
	}
	for _, m := range change.Remove {
		operations = append(operations, operation{Op: "remove", Path: "members[value eq " + quote(m.RemoteID) + "]"})
	}
	return operations
}

func memberOf(m target.Member) map[string]any {
	kind := "User"
	if m.Kind == target.MemberDepartment {
		kind = "Group"
	}
	return map[string]any{"value": m.RemoteID, "type": kind}
}

// replaceMembers writes a group back with other members.
func (c *Connector) replaceMembers(ctx context.Context, group target.Object, change target.MemberChange) error {
	return c.groups().replace(ctx, group.RemoteID, func(d document) {
		leaving, there := make(map[string]bool, len(change.Remove)), make(map[string]bool)
		for _, m := range change.Remove {
			leaving[m.RemoteID] = true
		}
		name := d.name("members")
		before, _ := d[name].([]any)
		members := make([]any, 0, len(before)+len(change.Add))
		for _, one := range before {
			id := memberID(one)
			if there[id] = true; !leaving[id] {
				members = append(members, one)
			}
		}
		for _, m := range change.Add {
			if !there[m.RemoteID] {
				there[m.RemoteID] = true
				members = append(members, memberOf(m))
			}
		}
		if len(members) > 0 || before != nil {
			d[name] = members
		}
	})
}

func memberID(one any) string {
	m, _ := one.(map[string]any)
	return idText(member(m, "value"))
}

// checkAdded looks for members that the server dropped without a word because
// it does not know them, if its answer tells the members: such an account has
// to be made anew.
func (c *Connector) checkAdded(ctx context.Context, change target.MemberChange, answer *httpclient.Answer) error {
	var told struct {
		Members *[]struct {
			Value textID `json:"value"`
		} `json:"members"`
	}
	if answer == nil || len(change.Add) == 0 || c.service.membersHidden.Load() || json.Unmarshal(answer.Body, &told) != nil || told.Members == nil {
		return nil
	}
	there := make(map[string]bool, len(*told.Members))
	for _, m := range *told.Members {
		there[string(m.Value)] = true
	}
	for _, m := range change.Add {
		if there[m.RemoteID] {
			continue
		}
		k := c.users()
		if m.Kind == target.MemberDepartment {
			k = c.groups()
		}
		known, err := k.exists(ctx, m.RemoteID)
		if err != nil {
			return err
		}
		if !known {
			return &target.Error{Class: target.NeedsParent, Op: answer.Op, Status: answer.Status, Detail: "the server dropped a member that it does not know"}
		}
		c.service.membersHidden.Store(true) // it is there: the answer does not tell all
		return nil
	}
	return nil
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
