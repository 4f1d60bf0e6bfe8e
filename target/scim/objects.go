package scim

import (
	"context"

	"github.com/openkoo/connector/target"
)

// PutDepartment implements target.Connector. Members are left alone. On a
// server without Groups there is nothing to send: accounts name their
// department.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	if c.groupless() {
		return d.ExternalID, nil
	}
	all := c.department(d)
	id, err := c.groups().put(ctx, d.Object, all, d.Name)
	return id, withSuspects(err, all)
}

// DeleteDepartment implements target.Connector.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	if c.groupless() {
		return nil
	}
	return c.groups().remove(ctx, object)
}

// PutUser implements target.Connector.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	all := c.user(u)
	id, err := c.users().put(ctx, u.Object, all, u.UserName)
	return id, withSuspects(err, all)
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	return c.users().remove(ctx, object)
}

func (c *Connector) department(d target.Department) attributes {
	return c.taken(groupSchema, departmentAttributes(d)).overlay(d.Mapped).omitting(d.Omit)
}

func (c *Connector) user(u target.User) attributes {
	all := userAttributes(u)
	if c.config.Protocol.Names == NamesSplit {
		all = append(all, splitAttributes(u.DisplayName)...)
	}
	return c.taken(userSchema, all).overlay(u.Mapped).omitting(u.Omit)
}
