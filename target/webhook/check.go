package webhook

import (
	"context"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

var _ target.Checker = (*Connector)(nil)

// Check implements target.Checker: it connects, and sends no message, which the
// receiver might count.
func (c *Connector) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if _, err := c.route.Reach(ctx); err != nil {
		return &target.Error{Class: target.Down, Op: "connect", Detail: egress.Explain(err), Err: err}
	}
	return nil
}
