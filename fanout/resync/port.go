package resync

import (
	"context"
	"iter"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// Ours is the connector's side of the comparison.
type Ours interface {
	// Objects are the departments or users of one scope that are known, by key.
	Objects(ctx context.Context, kind storage.SlotKind, scope directory.Scope, keys []string) (map[string]Object, error)
	// Slots yields all slots of the target, a page at a time.
	Slots(ctx context.Context) iter.Seq2[[]storage.Slot, error]
	// Places are where a placement's or membership's slot says that its member
	// is at the target, and the member's remote id.
	Places(slot storage.Slot) (member string, in []Place)
	// Correct makes slots of one scope due and tells which: not those that
	// changed since they were judged. Those of one slot stand next to each other.
	Correct(ctx context.Context, scope directory.Scope, corrections []Correction) ([]bool, error)
}

// Fate is what a target is to do with an object.
type Fate int

// The fates.
const (
	Present Fate = iota // have it, as it was put
	Absent              // not have it
	Left                // have it or not: it is left alone
)

// Object is a department or a user as the connector knows it.
type Object struct {
	Slot storage.Slot
	Fate Fate
	// Settled says that the target was brought to what the store has now, and
	// that nothing is under way.
	Settled bool
	// Compare compares it with what was found, if it is Settled and Present.
	Compare func(found target.Found) target.Comparison
}

// Place is a group that a member is in.
type Place struct {
	Code  string // the department's
	Group string // its remote id
}

// Action is what is done to a slot that is made due.
type Action int

// The actions.
const (
	Resend    Action = iota // bring it there again
	Recreate                // it has no remote id any more
	Relocate                // it has the remote id RemoteID
	AddPlace                // its member is in Place too
	DropPlace               // its member is not in Place
)

// Correction makes a slot due.
type Correction struct {
	Kind  storage.SlotKind
	Key   string
	Marks int64 // of the slot as it was judged
	Do    Action

	RemoteID string // to Relocate to; of the member to AddPlace to
	Place    Place
}

// Options shape a comparison.
type Options struct {
	// Members says that the target keeps departments' members, NoDepartments
	// that it has no departments.
	Members, NoDepartments bool
	// AcceptMissing says that what is missing really is, however much.
	AcceptMissing bool
	// Lenient leaves what the target does not keep: what the Previous resync
	// has sent and is as it was all the same.
	Lenient  bool
	Previous *storage.Resync
	// MaxDrifts bounds the differences kept in the report.
	MaxDrifts int
	// Progress hears from time to time that the report moved on.
	Progress func(ctx context.Context)
	// Now is the time.
	Now func() time.Time
}
