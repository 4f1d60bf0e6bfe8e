package storage

import (
	"context"
	"time"

	"github.com/openkoo/connector/directory"
)

// ResyncState is where a resync of a target stands.
type ResyncState string

// The states of a resync. All but the first are for good.
const (
	// ResyncRunning: the target is being read, or what differs is made due.
	ResyncRunning ResyncState = "running"
	// ResyncDone: the whole target was compared.
	ResyncDone ResyncState = "done"
	// ResyncIncomplete: the list broke off. What was compared counts; nothing
	// was concluded from what was not in it.
	ResyncIncomplete ResyncState = "incomplete"
	// ResyncHeld: so much is missing that somebody must say that it is.
	ResyncHeld ResyncState = "held"
	// ResyncInterrupted: the connector ended, or lost its lease, meanwhile.
	ResyncInterrupted ResyncState = "interrupted"
	// ResyncFailed: the store or the target failed before anything was compared.
	ResyncFailed ResyncState = "failed"
)

// Finding says how an object at a target and what the store has differ.
type Finding string

// The findings. Those that are repaired are made due in the slots.
const (
	FindingMissing   Finding = "missing"   // delivered, and gone there
	FindingChanged   Finding = "changed"   // Attributes differ
	FindingMoved     Finding = "moved"     // it is there under another id than the one it got
	FindingLeftOver  Finding = "left-over" // deleted here, still there under our name
	FindingUnknown   Finding = "unknown"   // not ours; never touched
	FindingDuplicate Finding = "duplicate" // bears our name a second time; never touched
	// FindingMemberMissing and FindingMemberExtra: an account, or a department
	// where groups are nested, is not in the group it belongs to, or in one it
	// does not. FindingMemberUnknown: a stranger is in a group of ours.
	FindingMemberMissing Finding = "member-missing"
	FindingMemberExtra   Finding = "member-extra"
	FindingMemberUnknown Finding = "member-unknown"
)

// Findings lists the findings.
func Findings() []Finding {
	return []Finding{
		FindingMissing, FindingChanged, FindingMoved, FindingLeftOver, FindingUnknown, FindingDuplicate,
		FindingMemberMissing, FindingMemberExtra, FindingMemberUnknown,
	}
}

// Drift is one difference between a target and the store.
type Drift struct {
	Finding Finding `json:"finding"`
	// Kind is what kind of object: a department, a user, or their membership.
	Kind SlotKind `json:"kind"`
	// Scope and Key name the entity; empty for what is not ours.
	Scope directory.Scope `json:"scope,omitzero"`
	Key   string          `json:"key,omitempty"`
	// RemoteID is the object's id at the target, Name what a group is called
	// there that is not ours.
	RemoteID string `json:"remoteId,omitempty"`
	Name     string `json:"name,omitempty"`
	// Group is, of a membership, the orgCode of the group.
	Group string `json:"group,omitempty"`
	// Attributes that differ, by name. Their values are nobody's business here.
	Attributes []string `json:"attributes,omitempty"`
	// Repaired says that it was made due.
	Repaired bool `json:"repaired"`
	// Unkept says that it was sent by the resync before too and is as it was:
	// the target does not keep it. A scheduled resync does not send it again.
	Unkept bool `json:"unkept,omitempty"`
	// Print tells this very difference from others of the entity.
	Print string `json:"print,omitempty"`
}

// Tally counts, of an attribute with a value, the objects that have it as it
// was sent and those that do not.
type Tally struct {
	Same   int `json:"same"`
	Differ int `json:"differ"`
}

// Resync is a comparison of a target with the store, and its report.
type Resync struct {
	// ID is a UUIDv7: it sorts by start.
	ID     string `json:"id"`
	Target string `json:"target"`
	// By is who started it: "api" or "schedule".
	By     string      `json:"by"`
	DryRun bool        `json:"dryRun"`
	State  ResyncState `json:"state"`
	// Reason says why it is not done, or what could not be compared.
	Reason    string    `json:"reason,omitempty"`
	StartedAt time.Time `json:"startedAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	// Requests is how many reads the list took, Listed how many objects are in
	// it so far.
	Requests int `json:"requests"`
	Listed   int `json:"listed"`
	// InSync counts departments and accounts that are as they should be,
	// Memberships those found where they belong. Unsettled objects were
	// changing, or waited for delivery, and were not judged.
	InSync      int `json:"inSync"`
	Memberships int `json:"memberships"`
	Unsettled   int `json:"unsettled"`
	// Counts of the findings, exact however many Drifts are kept.
	Counts map[Finding]int `json:"counts"`
	// Repaired is how many slots were made due, Unkept how many differences
	// were left for the target does not keep what it is sent.
	Repaired int `json:"repaired"`
	Unkept   int `json:"unkept"`
	// Attributes tallies what the target keeps.
	Attributes map[string]Tally `json:"attributes,omitempty"`
	// Drifts are the differences, the first of them if there are very many.
	Drifts []Drift `json:"drifts,omitempty"`
	// Left is how many differences are not among Drifts.
	Left int `json:"left,omitempty"`
}

// Resyncs keeps the reports of resyncs.
type Resyncs interface {
	// SaveResync keeps a resync as it stands, in place of what was kept of it,
	// and of its target's the newest keep only.
	SaveResync(ctx context.Context, resync Resync, keep int) error

	// Resyncs lists the resyncs of a target without their Drifts, newest first.
	Resyncs(ctx context.Context, targetName string, page Page) ([]Resync, string, error)

	// Resync reads one resync, or ErrNotFound.
	Resync(ctx context.Context, id string) (Resync, error)
}
