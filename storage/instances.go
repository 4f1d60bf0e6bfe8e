package storage

import (
	"context"
	"time"

	"github.com/openkoo/connector/directory"
)

// InstanceFilter narrows the instances. Empty members match all.
type InstanceFilter struct {
	Dataset directory.Dataset
}

// Instances is what the instance lifecycle needs of a store. Orders are opaque
// keys; within a data set each is bound to one instance, once and for all.
type Instances interface {
	// CreateInstance keeps a new instance and binds the orders to it. If one of
	// them is bound already, the instance of the first that is bound is returned
	// as it stands, and nothing is created. ErrConflict if the id is taken by an
	// instance of other orders.
	CreateInstance(ctx context.Context, instance directory.Instance, orders []string) (stored directory.Instance, created bool, err error)

	// ChangeInstance shows an instance to change and keeps what it made of it, if
	// change says that it did, together with binding the order (empty: none), all
	// or nothing. repeat tells change that the order was bound to the instance
	// before. change may be called again if the store has to start over; its
	// error is returned as it is. ErrNotFound if there is no such instance,
	// ErrConflict if the order is another instance's.
	ChangeInstance(ctx context.Context, dataset directory.Dataset, id, order string, change func(instance *directory.Instance, repeat bool) (bool, error)) (directory.Instance, error)

	// Instance reads one instance, or ErrNotFound.
	Instance(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error)

	// Instances lists instances by data set and id.
	Instances(ctx context.Context, filter InstanceFilter, page Page) ([]directory.Instance, string, error)

	// DueInstances lists the instances whose NextDue has come, the longest due
	// first, and when the next of the others is due (zero: none waits).
	DueInstances(ctx context.Context, now time.Time, limit int) (due []directory.Instance, next time.Time, err error)
}
