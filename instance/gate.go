package instance

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/directory"
)

// Receiver takes pushes of the kit.
type Receiver interface {
	Receive(ctx context.Context, push *directory.Push) (directory.Result, error)
}

// Gate refuses kit pushes that add to or modify an instance nobody has bought:
// 000003 (spec/marketplace.md §2). Deletes always pass, and so do the empty
// instanceId of a seller who creates credentials and debugging calls, which come
// in no order.
type Gate struct {
	Next      Receiver
	Instances *Service
}

// Receive implements marketplace.Receiver.
func (g Gate) Receive(ctx context.Context, push *directory.Push) (directory.Result, error) {
	adds := push.Flag == directory.FlagAdd || push.Flag == directory.FlagModify
	if id := push.Scope.InstanceID; adds && id != "" && push.Scope.Dataset != directory.Test {
		known, err := g.Instances.Known(ctx, push.Scope.Dataset, id)
		if err != nil {
			return "", fmt.Errorf("look up instance: %w", err)
		}
		if !known {
			return "", directory.ErrUnknownInstance
		}
	}
	return g.Next.Receive(ctx, push)
}
