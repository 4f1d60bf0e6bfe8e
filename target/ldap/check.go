package ldap

import (
	"context"

	"github.com/openkoo/connector/target"
)

var _ target.Checker = (*Connector)(nil)

// Check implements target.Checker: it binds and looks at the base. Unlike
// Describe it makes no container that is missing.
func (c *Connector) Check(ctx context.Context) error {
	return c.lookAtBase(ctx)
}
