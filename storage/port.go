package storage

import (
	"context"
	"iter"
	"time"

	"github.com/openkoo/connector/directory"
)

// View is a scope as it stands in the scope's turn: all earlier pushes are in
// it, no other push of the scope can come between reading it and applying what
// was planned from it. Entities include tombstones unless a method says so.
type View interface {
	// State is the scope as a whole; zero counters for a scope never seen.
	State(ctx context.Context) (directory.State, error)
	Tenant(ctx context.Context) (directory.Tenant, bool, error)
	Application(ctx context.Context, appID string) (directory.Application, bool, error)
	Department(ctx context.Context, code string) (directory.Department, bool, error)
	// Departments yields every department of the scope by ascending code
	// (byte-wise). The loop may stop early; an error ends it.
	Departments(ctx context.Context) iter.Seq2[directory.Department, error]
	// Around reads a department and what planning it needs to see around it,
	// in one round trip. parentCode is where the push puts it, empty for the
	// root or a deletion.
	Around(ctx context.Context, code, parentCode string) (directory.Surroundings, error)
	// UsersIn counts the living users by OrgCode, of those codes; a code in
	// which nobody is may be left out.
	UsersIn(ctx context.Context, codes []string) (map[string]int, error)
	// Users are the users of those names that are known, by name.
	Users(ctx context.Context, names []string) (map[string]directory.User, error)
}

// PlanFunc decides from a view what a push changes. It does no I/O but
// through the view, and may be called again if the store has to start over.
type PlanFunc func(ctx context.Context, view View) (*directory.Plan, error)

// Intake is what the write path needs of a store.
type Intake interface {
	// Accept journals a push as received, with its body. It is on disk when
	// Accept returns. ErrAlreadyExists if the ID is taken.
	Accept(ctx context.Context, record Record, raw []byte) error

	// ApplyAtOnce journals, plans and applies a small push in one atomic
	// write, in the scope's turn. If plan fails, nothing is written and its
	// error is returned as it is.
	ApplyAtOnce(ctx context.Context, record Record, raw []byte, plan PlanFunc) (*directory.Plan, error)

	// ApplyAccepted plans and applies a push that Accept has journaled: for
	// pushes whose planning is too long to make all others wait. The scope's
	// other pushes wait, other scopes go on. If plan fails the record is
	// removed, so that nothing of the push is left, unless it failed with ErrLater.
	ApplyAccepted(ctx context.Context, id string, plan PlanFunc) (*directory.Plan, error)

	// Unfinished yields the pushes journaled but not applied, oldest first,
	// with their bodies. An error with a record is that push's alone, whose body
	// is damaged; any other ends the loop.
	Unfinished(ctx context.Context) iter.Seq2[UnfinishedPush, error]

	// Preview plans from the scope's view as it is now, and writes nothing.
	// ErrNotFound if the scope has never been seen.
	Preview(ctx context.Context, scope directory.Scope, plan PlanFunc) (*directory.Plan, error)

	// Decide ends the hold of a scope: plan is called with the hold and
	// returns what an approval deletes (or an empty plan for a rejection). The
	// held push's record takes the plan's Result and the time, and the note behind
	// the one it has. ErrNotFound when the push is not known, ErrConflict when it holds nothing (any more).
	Decide(ctx context.Context, pushID, note string, plan func(ctx context.Context, view View, hold directory.Hold) (*directory.Plan, error)) (*directory.Plan, error)
}

// UnfinishedPush is a journaled push that was interrupted.
type UnfinishedPush struct {
	Record Record
	Raw    []byte
}

// Match says which scopes a target wants.
type Match func(scope directory.Scope) bool

// RelayOptions shape how changes become slots.
type RelayOptions struct {
	// Match says which scopes the target wants; nil for all.
	Match Match
	// Selection names what the two others let through (see Marking.Select).
	Selection string
	// Placements also makes a slot for each department's place in its parent,
	// for targets that keep the tree as group membership.
	Placements bool
}

// Marking is how a change makes slots due.
type Marking interface {
	// Relay turns the next changes of the feed (at most limit entities) into
	// slots of the target and remembers how far it came, atomically. A changed
	// department also marks the slots of the users in it, a changed tenant
	// those of all its users: what they look like at the target depends on it.
	// Memberships without a Hash of the users in a changed department are
	// marked too: the department they belong to may have come, or gone.
	// Held slots are marked for a newer version of their own only: they wait for
	// a decision, whatever becomes of what they look like.
	// It returns how many changes it read and the scopes with slots to deliver;
	// 0 means that the target has caught up, or that its relay has begun anew
	// with another selection since.
	Relay(ctx context.Context, targetName string, options RelayOptions, limit int) (read int, scopes []directory.Scope, err error)

	// Select has the relay of a target begin anew, at the feed's beginning, unless
	// selection names what its relay lets through already, and reports whether it
	// does: what was passed over before may be wanted now. Slots that are there
	// for what the feed tells of again may become due; as they come out as they
	// were delivered they are not sent. Empty is the selection of a relay that
	// was never told of one.
	Select(ctx context.Context, targetName, selection string) (again bool, err error)

	// Rerender makes the department and user slots of a target that are
	// delivered or dead pending, unless fingerprint names the way in which they
	// were rendered last, and notes it once all are. What then comes out as it
	// was delivered is not sent again. A removal that was Cleared and delivered is
	// cleared no more: another one of the same version is asked for anew. It works in small steps, may be
	// interrupted and begun again, and returns how many it made pending.
	Rerender(ctx context.Context, targetName, fingerprint string) (int, error)
}

// Leasing gives each scope to one replica at a time.
type Leasing interface {
	// Lease takes the right to deliver a scope to a target for ttl. ErrBusy if
	// another owner has it. Taking it again gives a new lease and ends the
	// owner's old one.
	Lease(ctx context.Context, targetName string, scope directory.Scope, owner string, ttl time.Duration) (Lease, error)

	// Extend lets a lease last for ttl from now. ErrLeaseLost if it has ended.
	Extend(ctx context.Context, lease Lease, ttl time.Duration) (Lease, error)

	// Release ends a lease, so that others need not wait for it to run out. A
	// lease that is lost already is no error.
	Release(ctx context.Context, lease Lease) error
}

// Fanout is what delivering needs of a store.
type Fanout interface {
	Marking
	Leasing

	// DueScopes lists the scopes in which the target has slots due at now,
	// and when the next of the others becomes due (zero: none is waiting).
	DueScopes(ctx context.Context, targetName string, now time.Time) (due []directory.Scope, next time.Time, err error)

	// Claim reads at most limit due slots of the lease's scope in order of kind,
	// of those that are wanted (nil: all), and marks them uncertain on disk, so
	// that an attempt cut off by a crash is known. The tasks carry the mark as it
	// was before. A slot whose entity is not in the store any more carries neither
	// entity. To find what is wanted all due slots of the scope are passed.
	// ErrLeaseLost if the lease has ended.
	Claim(ctx context.Context, lease Lease, now time.Time, limit int, wanted func(Task) bool) ([]Task, error)

	// Lookup reads slots of one target and scope by kind and key, absent ones
	// left out: the parents and groups a task depends on.
	Lookup(ctx context.Context, targetName string, scope directory.Scope, kind SlotKind, keys []string) (map[string]Task, error)

	// Slots is Lookup without the entities, which cost more than all the rest.
	Slots(ctx context.Context, targetName string, scope directory.Scope, kind SlotKind, keys []string) (map[string]Slot, error)

	// Note writes the Hash of each slot and marks it uncertain, atomically and
	// nothing else: what is about to be sent, so that a crash in between is known.
	// ErrLeaseLost, and nothing written, if the lease has ended.
	Note(ctx context.Context, lease Lease, slots []Slot) error

	// Settle writes the outcome of attempts, atomically: every member of each
	// slot but Desired and Kept. A slot whose desired version moved on meanwhile stays
	// pending. When the RemoteID of a department or user slot changes, these
	// become pending and keep their Attempts: the placement or membership of
	// that object, and, of a department, the placements and memberships in it
	// (Group), and all slots that wait for it. When a department loses its
	// RemoteID, the placements and memberships in it lose their Hash.
	// ErrLeaseLost, and nothing written, if the lease has ended: another may be
	// delivering the same.
	Settle(ctx context.Context, lease Lease, slots []Slot) error

	// MarkUsers makes the slots of a scope's accounts due again, whatever became
	// of them but for held ones: what they look like depends on more than the
	// directory. It goes by
	// key, marks at most limit behind after, and returns the last key, empty if
	// there are no more.
	MarkUsers(ctx context.Context, targetName string, scope directory.Scope, after string, limit int) (last string, err error)

	// Replay makes dead or retrying slots that match pending, at once, and
	// returns how many. Kept ones only if the filter asks for them: their
	// removal is then asked for anew. Pending ones only if it asks for them, too:
	// they are due at once anyway, unless a clock was wrong.
	Replay(ctx context.Context, filter DeliveryFilter) (int, error)

	// Hasten makes due now the pending and retrying slots that are due after
	// latest, and returns how many: no slot is put off so far but by a clock that
	// was wrong then. It costs as much as there are open slots.
	Hasten(ctx context.Context, latest time.Time) (int, error)

	// Tenant reads the scope's tenant for rendering users.
	Tenant(ctx context.Context, scope directory.Scope) (directory.Tenant, bool, error)
}

// Wakeups is how a store tells that something changed.
type Wakeups interface {
	// Changed returns a channel that is closed at the next committed change of
	// the directory or of a slot's due time from outside (MarkUsers, Replay).
	Changed() <-chan struct{}
}

// Page asks for a part of a list.
type Page struct {
	Limit  int    // 1 … 1000
	Cursor string // opaque, empty for the first page
}

// EntityFilter narrows a list of entities. Empty members match all, except
// Dataset, which is always one of the two.
type EntityFilter struct {
	Dataset    directory.Dataset
	InstanceID *string
	TenantID   string
	Key        string  // orgCode, userName or appId
	Parent     *string // departments: parentCode; users: orgCode
	Deleted    bool    // tombstones too
}

// PushFilter narrows the journal.
type PushFilter struct {
	Dataset    directory.Dataset // empty: both
	InstanceID *string
	TenantID   string
	Kind       directory.PushKind
	Result     directory.Result
}

// DeliveryFilter narrows the slots.
type DeliveryFilter struct {
	Target     string
	State      SlotState         // 0: any
	Dataset    directory.Dataset // empty: both
	InstanceID *string
	TenantID   string
	Kind       SlotKind // 0: any
	Key        string
}

// Scoped is an entity with its scope, as lists return it.
type Scoped[T any] struct {
	Scope  directory.Scope
	Entity T
}

// Change is an entry of the change feed: the newest state of an entity, at
// the place of its newest change. Just one of the entity members is set.
type Change struct {
	Seq         int64
	Scope       directory.Scope
	Kind        directory.Kind
	Key         string
	Deleted     bool
	Tenant      *directory.Tenant
	Department  *directory.Department
	User        *directory.User
	Application *directory.Application
}

// Journal is the pushes that were accepted.
type Journal interface {
	Pushes(ctx context.Context, filter PushFilter, page Page) ([]Record, string, error) // newest first
	Push(ctx context.Context, id string) (Record, []directory.Decision, error)          // ErrNotFound
	// PushPage is Push with a part of the decisions only, and the next page's
	// cursor: a long list has a million.
	PushPage(ctx context.Context, id string, page Page) (Record, []directory.Decision, string, error)
	// Body is a push as it arrived. ErrNotFound if there is no such push.
	Body(ctx context.Context, id string) ([]byte, error)
}

// Reader is what the admin API needs of a store.
type Reader interface {
	Journal
	States(ctx context.Context, filter EntityFilter, page Page) ([]directory.State, string, error)
	State(ctx context.Context, scope directory.Scope) (directory.State, error) // ErrNotFound
	Tenants(ctx context.Context, filter EntityFilter, page Page) ([]Scoped[directory.Tenant], string, error)
	Departments(ctx context.Context, filter EntityFilter, page Page) ([]Scoped[directory.Department], string, error)
	Users(ctx context.Context, filter EntityFilter, page Page) ([]Scoped[directory.User], string, error)
	Applications(ctx context.Context, filter EntityFilter, page Page) ([]Scoped[directory.Application], string, error)
	// Changes reads the feed after a place, oldest change first, and says where
	// the reader stands then. ErrFeedSetBack if the place is not in the feed.
	Changes(ctx context.Context, after Place, limit int) (changes []Change, next Place, err error)

	Deliveries(ctx context.Context, filter DeliveryFilter, page Page) ([]Slot, string, error)
	// Counts counts a target's slots in a scope; a nil scope counts all scopes.
	// Unrelayed is how many changes of the feed the target's relay has yet to
	// read (of the scope, or of all), oldest when the oldest open slot left
	// SlotDelivered.
	Counts(ctx context.Context, targetName string, scope *directory.Scope) (TargetCounts, error)
	// CountsOf is Counts for each of some targets in each of some scopes, in a few
	// requests however many those are. Where a target has no slot it may be left out.
	CountsOf(ctx context.Context, targetNames []string, scopes []directory.Scope) (map[CountsKey]TargetCounts, error)
}

// CountsKey is whose counts they are.
type CountsKey struct {
	Target string
	Scope  directory.Scope
}

// TargetCounts is how far a target has come.
type TargetCounts struct {
	Slots     SlotCounts
	Unrelayed int
	Oldest    time.Time // zero: nothing is open
	LastError string    // of the open or dead slot that failed last
}

// Health is what readiness asks.
type Health interface {
	Ping(ctx context.Context) error
}

// Sweeper removes what is past keeping.
type Sweeper interface {
	// Sweep deletes journal records applied before journal, tombstones changed
	// before tombstones, and turns test entities not changed since testData
	// into tombstones. It works in small steps and returns how many of each.
	Sweep(ctx context.Context, before SweepTimes) (Swept, error)
}

// SweepTimes are the moments before which things are swept; zero keeps all.
type SweepTimes struct{ Journal, Tombstones, TestData time.Time }

// Swept counts what Sweep did.
type Swept struct{ Journal, Tombstones, TestData int }

// Store is the whole port; each consumer takes the part it needs.
type Store interface {
	Intake
	Fanout
	Targets
	Wakeups
	Reader
	Health
	Sweeper
	Resyncs
	Instances
	Close() error
}
