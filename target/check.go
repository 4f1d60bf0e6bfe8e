package target

import "context"

// Checker is a Connector that can say whether its target answers and lets us
// in, and changes nothing at the target: it makes nothing and sends no message.
// It fails as every call of a connector does.
type Checker interface {
	Check(ctx context.Context) error
}
