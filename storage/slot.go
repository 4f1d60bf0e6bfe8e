package storage

import (
	"fmt"
	"time"

	"github.com/openkoo/connector/directory"
)

// SlotKind says what a slot delivers. The numbers are the order of delivery
// within one tenant, and are stored; do not renumber.
type SlotKind uint8

// The kinds of slot.
const (
	SlotDepartment SlotKind = 1 // a department itself
	SlotUser       SlotKind = 2 // an account itself
	SlotPlacement  SlotKind = 3 // a department as a member of its parent
	SlotMembership SlotKind = 4 // a user as a member of the department
)

// Entity is the kind of entity that the slot's key names.
func (k SlotKind) Entity() directory.Kind {
	if k == SlotUser || k == SlotMembership {
		return directory.KindUser
	}
	return directory.KindDepartment
}

// String returns the kind's name as the API spells it.
func (k SlotKind) String() string {
	switch k {
	case SlotDepartment:
		return "department"
	case SlotUser:
		return "user"
	case SlotPlacement:
		return "placement"
	case SlotMembership:
		return "membership"
	default:
		return fmt.Sprintf("slot(%d)", uint8(k))
	}
}

// MarshalText writes the kind's name.
func (k SlotKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *SlotKind) UnmarshalText(text []byte) error {
	for kind := SlotDepartment; kind <= SlotMembership; kind++ {
		if kind.String() == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("unknown kind %q: want department, user, placement or membership", text)
}

// SlotState is where a slot stands.
type SlotState uint8

// The states of a slot. The numbers are stored; do not renumber.
const (
	SlotPending   SlotState = 1 // changed, not yet tried
	SlotRetrying  SlotState = 2 // tried, failed, tried again at DueAt
	SlotWaiting   SlotState = 3 // needs Group, which is not at the target yet
	SlotDelivered SlotState = 4 // the target has the desired version
	SlotDead      SlotState = 5 // dead letter: a person must look
	SlotHeld      SlotState = 6 // a removal too many: a person must decide
	SlotKept      SlotState = 7 // the removal was rejected: the target keeps what it has
	SlotLeaving   SlotState = 8 // deactivated; deleted at DueAt
)

// SlotStates lists the states.
func SlotStates() []SlotState {
	return []SlotState{SlotPending, SlotRetrying, SlotWaiting, SlotDelivered, SlotDead, SlotHeld, SlotKept, SlotLeaving}
}

// String returns the state's name as the API spells it.
func (s SlotState) String() string {
	switch s {
	case SlotPending:
		return "pending"
	case SlotRetrying:
		return "retrying"
	case SlotWaiting:
		return "waiting"
	case SlotDelivered:
		return "delivered"
	case SlotDead:
		return "dead"
	case SlotHeld:
		return "held"
	case SlotKept:
		return "kept"
	case SlotLeaving:
		return "leaving"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// MarshalText writes the state's name.
func (s SlotState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SlotKey names a slot.
type SlotKey struct {
	Target string          `json:"target"`
	Scope  directory.Scope `json:"scope"`
	Kind   SlotKind        `json:"kind"`
	Key    string          `json:"key"`
}

// Slot is what a target should have of one entity, and what it has. A change
// overwrites the desired side, so that a hundred edits cost one request.
type Slot struct {
	SlotKey
	State SlotState `json:"state"`
	// Desired is the version of the entity to deliver, Delivered the one the
	// target has (0: none). A member is delivered to a group: it is back at 0
	// when the target loses that group.
	Desired   int64 `json:"desired"`
	Delivered int64 `json:"delivered"`
	// Hash is of the rendered form the target has; equal hash, no request.
	Hash string `json:"-"`
	// RemoteID is the target's own id of the object, empty when it has none.
	RemoteID string `json:"remoteId,omitempty"`
	// Group is, for a placement or a membership, the orgCode of the department
	// the target has the member in (delivered), or that it waits for (waiting).
	// For a waiting department or user slot it is the orgCode waited for.
	Group string `json:"group,omitempty"`
	// Uncertain means that an attempt was begun and its answer is not known:
	// the object must be looked for before it is created again.
	Uncertain bool `json:"uncertain,omitempty"`
	// Marks counts how often the slot was made due. The store sets it; Settle
	// takes it as it was claimed, so that a slot made due again during an
	// attempt is not taken for delivered.
	Marks int64 `json:"-"`
	// Cleared is the version whose removal at the target may go on: it was
	// within the limit, or approved. Kept is the version whose removal was
	// rejected; only DecideHeld and Replay write it. A newer version is neither.
	Cleared int64 `json:"-"`
	Kept    int64 `json:"-"`
	// Attempts counts the failed attempts since the last success or change.
	Attempts int `json:"attempts"`
	// DirtySince is when the slot left SlotDelivered; DueAt when to try next.
	DirtySince  time.Time `json:"dirtySince,omitzero"`
	DueAt       time.Time `json:"dueAt,omitzero"`
	ErrorClass  string    `json:"errorClass,omitempty"`
	LastError   string    `json:"lastError,omitempty"`
	DeliveredAt time.Time `json:"deliveredAt,omitzero"`
}

// Task is a slot that is due, with the entity as the store has it now. Just
// one of Department and User is set, by the slot's kind.
type Task struct {
	Slot
	Department *directory.Department
	User       *directory.User
}

// SlotCounts counts the slots of one target in one scope by state.
type SlotCounts map[SlotState]int
