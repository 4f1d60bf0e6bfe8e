package storage

import (
	"context"
	"iter"
	"time"

	"github.com/openkoo/connector/directory"
)

// Dumped is one record of a store, as it is kept. Just one member is set.
type Dumped struct {
	State    *DumpedState    `json:"state,omitempty"`
	Entity   *DumpedEntity   `json:"entity,omitempty"`
	Push     *DumpedPush     `json:"push,omitempty"`
	Slot     *DumpedSlot     `json:"slot,omitempty"`
	Relay    *DumpedRelay    `json:"relay,omitempty"`
	Epoch    *DumpedEpoch    `json:"epoch,omitempty"`
	Target   *TargetRecord   `json:"target,omitempty"`
	Instance *DumpedInstance `json:"instance,omitempty"`
}

// Kind names the record's kind for people.
func (d *Dumped) Kind() string {
	switch {
	case d.State != nil:
		return "scopes"
	case d.Entity != nil:
		return "entities"
	case d.Push != nil:
		return "pushes"
	case d.Slot != nil:
		return "slots"
	case d.Relay != nil:
		return "relays"
	case d.Epoch != nil:
		return "epochs"
	case d.Target != nil:
		return "targets"
	default:
		return "instances"
	}
}

// DumpedState is a scope as a whole, its hold included.
type DumpedState struct {
	directory.State
	FullDigest []byte `json:"fullDigest,omitempty"` // in place of the State's, which no JSON shows
}

// DumpedEntity is an entity with its versions, times and place in the feed.
// Data is the store's JSON of what Name and Parent do not hold.
type DumpedEntity struct {
	Scope         directory.Scope      `json:"scope"`
	Kind          directory.Kind       `json:"kind"`
	Key           string               `json:"key"`
	Name          string               `json:"name"`
	Parent        string               `json:"parent"`
	ParentMissing bool                 `json:"parentMissing"`
	Deleted       bool                 `json:"deleted"`
	Version       int64                `json:"version"`
	Seq           int64                `json:"seq"`
	SourceTime    directory.SourceTime `json:"sourceTime"`
	ChangedAt     time.Time            `json:"changedAt"`
	Data          string               `json:"data"`
}

// DumpedPush is a push of the journal with its body and what was decided.
type DumpedPush struct {
	Record
	Raw       []byte `json:"raw"`
	Decisions []byte `json:"decisions"` // JSON, empty for none
}

// DumpedSlot is a slot with the members that no API shows.
type DumpedSlot struct {
	Slot
	Hash     string    `json:"hash"`
	Marks    int64     `json:"marks"`
	Cleared  int64     `json:"cleared,omitempty"`
	Kept     int64     `json:"kept,omitempty"`
	FailedAt time.Time `json:"failedAt,omitzero"`
}

// DumpedRelay is how far a target's relay has read the feed.
type DumpedRelay struct {
	Target string `json:"target"`
	Seq    int64  `json:"seq"`
	// Rendering is the fingerprint of how its slots were rendered.
	Rendering string `json:"rendering,omitempty"`
	// Selection names what it lets through.
	Selection string `json:"selection,omitempty"`
}

// DumpedEpoch is an epoch of the feed (Place). Until is its last number, 0 for
// the present one, which goes on.
type DumpedEpoch struct {
	ID    string `json:"id"`
	Until int64  `json:"until"`
}

// DumpedInstance is an instance with the orders bound to it.
type DumpedInstance struct {
	directory.Instance
	Orders []string `json:"orders"`
}

// Dumper reads a store out.
type Dumper interface {
	// Dump yields every record. Nobody may write to the store meanwhile. Leases
	// are no records: they end by themselves.
	Dump(ctx context.Context) iter.Seq2[Dumped, error]
}

// Loader fills an empty store with what another one has dumped.
type Loader interface {
	// BeginLoad marks the store as being filled by the load of that name.
	// ErrConflict if it holds anything that is not of a load of that name.
	BeginLoad(ctx context.Context, name string) error
	// Load writes records as they are, once or again.
	Load(ctx context.Context, records []Dumped) error
	// EndLoad ends the load of that name: the store is whole.
	EndLoad(ctx context.Context, name string) error
	// Loading is the name of the load that has not ended, empty for none.
	Loading(ctx context.Context) (string, error)
}
