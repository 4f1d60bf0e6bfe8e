package directory

import (
	"cmp"
	"slices"
)

// Action is what a push did to one entity.
type Action string

// The actions. Rename and move of one department in one push are one Update
// with both reasons.
const (
	ActionCreate    Action = "create"
	ActionUpdate    Action = "update"
	ActionMove      Action = "move"
	ActionDelete    Action = "delete"
	ActionRestore   Action = "restore" // a tombstone lives again
	ActionGrant     Action = "grant"   // an application was granted
	ActionRevoke    Action = "revoke"  // a grant was withdrawn
	ActionAttach    Action = "attach"  // a waiting department found its parent
	ActionDetach    Action = "detach"  // a department lost its parent
	ActionHold      Action = "hold"    // a deletion waits for a decision
	ActionStale     Action = "stale"   // something newer is stored
	ActionUnchanged Action = "unchanged"
)

// Result sums a push up.
type Result string

// The results of a push.
const (
	ResultApplied   Result = "applied"
	ResultUnchanged Result = "unchanged" // a repeat: nothing to do
	ResultStale     Result = "stale"     // something newer is stored: nothing done
	ResultHeld      Result = "held"      // applied, but deletions wait for a decision
	ResultAccepted  Result = "accepted"  // journaled and checked; it is being applied
	ResultApproved  Result = "approved"  // was held; the deletions were carried out
	ResultRejected  Result = "rejected"  // was held; the deletions were dropped
	ResultReplaced  Result = "replaced"  // was held; a later full push decided anew
)

// Decision is what a push did to one entity, and why. Unchanged entities are
// counted in a plan but have no decision of their own in a full push.
type Decision struct {
	Kind   Kind   `json:"kind"`
	Key    string `json:"key"`
	Action Action `json:"action"`
	Reason string `json:"reason,omitempty"`
}

// Counts counts a plan's decisions by action.
type Counts map[Action]int

// Plan is what a push changes: the after-images of the entities it writes and
// nothing else. An empty plan writes no entity and sends nothing downstream.
type Plan struct {
	Result Result
	Counts Counts
	// Decisions lists what happened to each entity, in key order.
	Decisions []Decision

	// After-images to write, in key order; Meta.Seq and Meta.ChangedAt are the
	// store's to set.
	Tenant       *Tenant
	Departments  []Department
	Users        []User
	Applications []Application

	// Touched are entities of which only SourceTime moves on: a repeat with a
	// newer timeStamp. The store keeps their Version and Seq, so that nothing
	// goes downstream, yet a late push from in between stays stale.
	Touched []Touch

	// Delta is how the scope's counters change.
	Delta Delta
	// FullTime, when not zero, is the scope's new FullTime.
	FullTime SourceTime
	// FullDigest names the list that the scope's departments are made from. A
	// plan with a FullTime, or with Departments, replaces the scope's.
	FullDigest []byte
	// Hold replaces the scope's hold when HoldSet is true; nil clears it.
	Hold    *Hold
	HoldSet bool
}

// Touch moves an entity's times on and changes nothing else.
type Touch struct {
	Kind       Kind
	Key        string
	SourceTime SourceTime
	// User is the whole after-image where the entity is a user: a grant's time
	// may be what moved.
	User *User
}

// Delta is how a plan changes the counters of State.
type Delta struct {
	Departments, ParentMissing, Users, Applications int
}

// Empty reports whether the plan writes no entity.
func (p *Plan) Empty() bool {
	return p.Tenant == nil && len(p.Departments) == 0 && len(p.Users) == 0 && len(p.Applications) == 0
}

// Conclude sets the Result by what was decided for the entities.
func (p *Plan) Conclude() {
	switch {
	case len(p.Decisions) > 0 && p.Counts[ActionStale] == len(p.Decisions):
		p.Result = ResultStale
	case p.Counts[ActionStale]+p.Counts[ActionUnchanged] == len(p.Decisions):
		p.Result = ResultUnchanged
	default:
		p.Result = ResultApplied
	}
}

func (p *Plan) note(kind Kind, key string, action Action, reason string) {
	p.Counts[action]++
	p.Decisions = append(p.Decisions, Decision{Kind: kind, Key: key, Action: action, Reason: reason})
}

// stale, unchanged and settle conclude a plan about one entity.
func (p *Plan) stale(kind Kind, key string, stored SourceTime) *Plan {
	p.Result = ResultStale
	p.note(kind, key, ActionStale, newerReason(stored))
	return p
}

func (p *Plan) unchanged(kind Kind, key, reason string) {
	p.Result = ResultUnchanged
	p.note(kind, key, ActionUnchanged, reason)
}

// settle names what a written after-image means.
func (p *Plan) settle(kind Kind, key string, known, wasDeleted, deleted bool) {
	p.Result = ResultApplied
	switch {
	case deleted && (!known || wasDeleted):
		// Only a tombstone's content moved, or one was set for the unknown.
		p.unchanged(kind, key, "")
	case deleted:
		p.note(kind, key, ActionDelete, "")
	case !known:
		p.note(kind, key, ActionCreate, "")
	case wasDeleted:
		p.note(kind, key, ActionRestore, "was deleted")
	default:
		p.note(kind, key, ActionUpdate, "")
	}
}

// touch notes that only the time of an entity moves on.
func (p *Plan) touch(kind Kind, key string, stored, at SourceTime) {
	if at > stored {
		p.Touched = append(p.Touched, Touch{Kind: kind, Key: key, SourceTime: at})
	}
}

// sort puts departments and decisions in key order.
func (p *Plan) sort() {
	byCode := func(a, b Department) int { return cmp.Compare(a.Code, b.Code) }
	if !slices.IsSortedFunc(p.Departments, byCode) {
		slices.SortFunc(p.Departments, byCode)
	}
	byKey := func(a, b Decision) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Action, b.Action)) }
	if !slices.IsSortedFunc(p.Decisions, byKey) {
		slices.SortFunc(p.Decisions, byKey)
	}
}

func newerReason(stored SourceTime) string {
	return "stored since " + stored.Wire() + ", which is newer"
}
