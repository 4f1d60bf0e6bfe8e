package keycloak

import (
	"context"

	"github.com/openkoo/connector/target"
)

var _ target.Checker = (*Connector)(nil)

// Check implements target.Checker: Describe only reads.
func (c *Connector) Check(ctx context.Context) error {
	_, err := c.Describe(ctx)
	return err
}
