package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

// SyncState answers "is it synced?".
type SyncState string

// The answers, the gravest last. Where several hold the gravest is given: a
// target in trouble comes before deletions that wait, which are told anyway
// (heldPush, heldDeletions), and both come before what is merely under way.
const (
	Synced   SyncState = "synced"   // every target has what the store has
	Syncing  SyncState = "syncing"  // on its way
	Held     SyncState = "held"     // deletions wait for a decision, here or at a target
	Degraded SyncState = "degraded" // dead letters, or a target that is not up with work left
	Unknown  SyncState = "unknown"  // nothing was ever pushed
)

// gravity orders the answers for a summary. A summary of nothing is Unknown;
// no tenant of one is.
var gravity = map[SyncState]int{Synced: 0, Syncing: 1, Held: 2, Degraded: 3, Unknown: 4}

// Worse reports whether s is graver than other.
func (s SyncState) Worse(other SyncState) bool { return gravity[s] > gravity[other] }

// TargetStatus is how far one target has come.
type TargetStatus struct {
	Name      string       `json:"name"`
	State     fanout.State `json:"state"`
	Pending   int          `json:"pending"` // not tried yet, changes not yet relayed among them
	Retrying  int          `json:"retrying"`
	Waiting   int          `json:"waiting"` // for a department that is not there
	Delivered int          `json:"delivered"`
	Dead      int          `json:"dead"`
	Held      int          `json:"held,omitempty"`    // until a removal is decided
	Kept      int          `json:"kept,omitempty"`    // as somebody rejected their removal
	Leaving   int          `json:"leaving,omitempty"` // deactivated, deleted later
	// OldestPendingSeconds is how long the oldest open delivery has waited.
	OldestPendingSeconds float64 `json:"oldestPendingSeconds"`
	LastError            string  `json:"lastError,omitempty"`

	// ahead says that the oldest open delivery began in the future: a clock was
	// set back, and what it has put off waits for it.
	ahead bool
}

// clockSkew is how far the clocks of replicas may differ.
const clockSkew = time.Minute

// SyncStatus is the answer for one scope.
type SyncStatus struct {
	directory.Scope
	State SyncState `json:"state"`
	// Instance is where the instance of the scope stands, empty if none is known.
	Instance        directory.InstanceState `json:"instance,omitempty"`
	LastFull        *directory.PushMark     `json:"lastFull"`
	LastIncremental *directory.PushMark     `json:"lastIncremental"`
	Departments     int                     `json:"departments"`
	ParentMissing   int                     `json:"parentMissing"`
	Users           int                     `json:"users"`
	Applications    int                     `json:"applications"`
	HeldPush        string                  `json:"heldPush,omitempty"`
	HeldDeletions   int                     `json:"heldDeletions,omitempty"`
	Targets         []TargetStatus          `json:"targets"`
}

// SyncSummary is the answer for many scopes, a page at a time. State is the
// gravest of the page.
type SyncSummary struct {
	State   SyncState    `json:"state"`
	Tenants []SyncStatus `json:"tenants"`
	Cursor  string       `json:"cursor,omitempty"`
}

func (a *API) syncStatus(c *gin.Context) {
	if c.Query("tenantId") == "" {
		a.syncSummary(c)
		return
	}
	state, err := a.oneScope(c)
	if errors.Is(err, storage.ErrNotFound) {
		c.JSON(http.StatusOK, SyncStatus{Scope: state.Scope, State: Unknown, Targets: []TargetStatus{}})
		return
	}
	if err != nil {
		fail(c, err)
		return
	}
	statuses, err := a.statuses(c.Request.Context(), []directory.State{state})
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, statuses[0])
}

func (a *API) syncSummary(c *gin.Context) {
	f, p, err := entityQuery(c, "", "")
	if err != nil {
		fail(c, err)
		return
	}
	states, cursor, err := a.Reader.States(c.Request.Context(), f, p)
	_, err = a.leftOut(err) // all are there: a part of one may be missing
	if err != nil {
		fail(c, err)
		return
	}
	statuses, err := a.statuses(c.Request.Context(), states)
	if err != nil {
		fail(c, err)
		return
	}
	summary := SyncSummary{State: Synced, Tenants: statuses, Cursor: cursor}
	if len(states) == 0 {
		summary.State = Unknown
	}
	for _, status := range statuses {
		if status.State.Worse(summary.State) {
			summary.State = status.State
		}
	}
	c.JSON(http.StatusOK, summary)
}

// statuses are the answers for the scopes of a page. Their slots are counted
// together: fifty targets times a hundred scopes are too many questions.
func (a *API) statuses(ctx context.Context, states []directory.State) ([]SyncStatus, error) {
	targets := a.Deliverer.Targets()
	names := make([]string, len(targets))
	for i := range targets {
		names[i] = targets[i].Name
	}
	scopes := make([]directory.Scope, len(states))
	spreading := make([]bool, len(states))
	statuses := make([]SyncStatus, len(states))
	for i, state := range states {
		scopes[i] = state.Scope
		// Before the slots: what makes them due is noted there first.
		var err error
		if statuses[i].Instance, spreading[i], err = a.instanceState(ctx, state.Scope); err != nil {
			return nil, err
		}
	}
	counts, err := a.Reader.CountsOf(ctx, names, scopes)
	if err != nil {
		return nil, err
	}
	for i := range states {
		status := a.status(&states[i], targets, spreading[i], counts)
		status.Instance = statuses[i].Instance
		statuses[i] = status
	}
	return statuses, nil
}

func (a *API) status(state *directory.State, targets []fanout.Status, spreading bool, counts map[storage.CountsKey]storage.TargetCounts) SyncStatus {
	status := SyncStatus{
		Scope: state.Scope, State: Synced, LastFull: state.LastFull, LastIncremental: state.LastIncremental,
		Departments: state.Departments, ParentMissing: state.ParentMissing, Users: state.Users, Applications: state.Applications,
		Targets: []TargetStatus{},
	}
	open, held, degraded := false, state.Hold != nil, false
	for _, t := range targets {
		if a.Matches != nil && !a.Matches(t.Name, state.Scope) {
			continue
		}
		one := a.targetStatus(t, counts[storage.CountsKey{Target: t.Name, Scope: state.Scope}])
		waits := one.Pending+one.Retrying > 0
		open = open || waits || spreading
		held = held || one.Held > 0
		degraded = degraded || one.Dead > 0 || one.ahead || (waits && t.State != fanout.Up)
		status.Targets = append(status.Targets, one)
	}
	if state.Hold != nil {
		status.HeldPush, status.HeldDeletions = state.Hold.PushID, len(state.Hold.Codes)
	}
	switch {
	case degraded:
		status.State = Degraded
	case held:
		status.State = Held
	case open:
		status.State = Syncing
	}
	return status
}

func (a *API) targetStatus(t fanout.Status, counts storage.TargetCounts) TargetStatus {
	status := TargetStatus{
		Name: t.Name, State: t.State,
		Pending:   counts.Slots[storage.SlotPending] + counts.Unrelayed,
		Retrying:  counts.Slots[storage.SlotRetrying],
		Waiting:   counts.Slots[storage.SlotWaiting],
		Delivered: counts.Slots[storage.SlotDelivered],
		Dead:      counts.Slots[storage.SlotDead],
		Held:      counts.Slots[storage.SlotHeld],
		Kept:      counts.Slots[storage.SlotKept],
		Leaving:   counts.Slots[storage.SlotLeaving],
		LastError: counts.LastError,
	}
	if status.LastError == "" && t.State != fanout.Up {
		status.LastError = cmp.Or(t.LastError, t.Reason)
	}
	if !counts.Oldest.IsZero() {
		// Less than 0 by a clock that was ahead: the delivery waits for it.
		status.OldestPendingSeconds = max(0, a.Now().Sub(counts.Oldest).Seconds())
		status.ahead = counts.Oldest.Sub(a.Now()) > clockSkew
	}
	return status
}
