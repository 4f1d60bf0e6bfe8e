package storage

import (
	"time"

	"github.com/openkoo/connector/directory"
)

// Lease is the right to deliver one scope to one target, for one owner at a
// time, so that several replicas never send the same tenant's changes at once.
// It ends by itself, so that a replica that died blocks nobody for long.
type Lease struct {
	Target string
	Scope  directory.Scope
	// Owner names the holder in messages; Fence tells the leases apart. Each
	// new lease of a target and scope has a larger Fence than all before.
	Owner string
	Fence int64
	// Until is when the lease ends unless it is extended.
	Until time.Time
}
