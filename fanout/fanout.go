package fanout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// defaultPoll is how often replicas look for what another left behind.
const defaultPoll = 5 * time.Second

// ErrUnknownTarget means that no target of that name is configured.
var ErrUnknownTarget = errors.New("no such target")

// Store is what the fan-out needs of a store.
type Store interface {
	storage.Fanout
	storage.Targets
	storage.Wakeups
	storage.Resyncs
	// Deliveries reads slots for a resync (see storage.Reader).
	Deliveries(ctx context.Context, filter storage.DeliveryFilter, page storage.Page) ([]storage.Slot, string, error)
	// Instance reads how an instance stands (see storage.Instances).
	Instance(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error)
	// States lists the tenants of an instance (see storage.Reader).
	States(ctx context.Context, filter storage.EntityFilter, page storage.Page) ([]directory.State, string, error)
}

// Coordination is what the replicas that deliver to the same targets share.
// None of it is needed to be right: that a scope is delivered by one replica at
// a time is the store's to guarantee (storage.Fanout, Lease).
type Coordination interface {
	Dispatcher
	Limiter
	Breaker
	Wakeups
}

// Dispatcher hands the scopes that are due to the replicas (see
// coordination.Dispatcher). The queue is the target, the key the scope.
type Dispatcher interface {
	Enqueue(ctx context.Context, task coordination.Task) error
	Serve(ctx context.Context, queue string, atOnce int, handle func(ctx context.Context, key string)) error
}

// Limiter bounds the requests of all replicas to a target (see
// coordination.Buckets).
type Limiter interface {
	Take(ctx context.Context, key string, rate coordination.Rate, n int, patience time.Duration) (wait time.Duration, taken bool, err error)
	Shrink(ctx context.Context, key string, rate coordination.Rate, rest time.Duration) error
}

// Breaker keeps all replicas from a target that is down (see
// coordination.Breakers).
type Breaker interface {
	Enter(ctx context.Context, key string) (coordination.Passage, error)
	Trip(ctx context.Context, key, reason string, wait time.Duration) error
	Reset(ctx context.Context, key string) error
}

// Wakeups tells the other replicas that a target is worth a look (see
// coordination.Wakeups).
type Wakeups interface {
	Publish(ctx context.Context, topic string) error
	Subscribe(topic string) (woken <-chan struct{}, stop func())
}

// Policy says what becomes of an account at a target.
type Policy string

// The policies. Deactivate keeps the account and bars its sign-in.
const (
	Deactivate Policy = "deactivate"
	Delete     Policy = "delete"
	Keep       Policy = "keep"
	Nothing    Policy = "nothing" // as if nothing had happened
)

// Naming says which sign-in name an account gets at a target. A userName is
// unique within its tenant only (spec/marketplace.md §3.3).
type Naming string

// The namings.
const (
	Qualified Naming = "qualified" // userName@tenantCode
	Plain     Naming = "plain"     // userName
)

// Mapping sets what is mapped of an object, before it is sent. It is a function
// of what it is given: nothing else may change what comes out. It fails with a
// *target.Error.
type Mapping interface {
	MapUser(into *target.User, scope directory.Scope, u *directory.User, tenant *directory.Tenant, department *directory.Department) error
	MapDepartment(into *target.Department, scope directory.Scope, d *directory.Department) error
	// Fingerprint names the mapping.
	Fingerprint() string
}

// Target is one downstream identity provider and how to treat it.
type Target struct {
	// Name is unique; it appears in status, metrics, URLs and slots.
	Name string
	// Type is the connector's name, for status only.
	Type      string
	Connector target.Connector
	// Match says which scopes the target wants; nil for all. Selection names it:
	// with another name than at the last start the whole directory is looked at
	// again. What the target has of a scope that it wants no more stays there as
	// it is.
	Match     storage.Match
	Selection string
	// Address is where the target is, as it may be shown: with another one than
	// before the target is paused, for the ids that its objects had there may be
	// others' here. Empty where objects have no ids of the target's.
	Address string
	// OnRevoke is for accounts without a grant, default Deactivate; OnDelete
	// for deleted accounts, default Delete.
	OnRevoke, OnDelete Policy
	// OnFreeze and OnRelease are for all accounts of an instance that is frozen,
	// or released: Deactivate or Nothing, and Delete on release. OnFreeze
	// defaults to Deactivate, OnRelease to OnFreeze.
	OnFreeze, OnRelease Policy
	// UserNames defaults to Qualified.
	UserNames Naming
	// Mapping maps attributes of users and departments; nil for none.
	Mapping Mapping
	// ResyncEvery is how often the target is compared with the store and
	// repaired; zero for never.
	ResyncEvery time.Duration
	// Concurrency bounds the requests under way at once, default 8.
	Concurrency int
	// Rate bounds the requests of all replicas; the zero value leaves it to
	// the target to refuse some.
	Rate coordination.Rate
	// Removals bounds deletions and deactivations; nil for DefaultRemovals.
	Removals *RemovalLimit
	// DeleteAfter is how long an account that is to be deleted stays
	// deactivated before; zero deletes at once.
	DeleteAfter time.Duration
	// Backoff bounds the waits after failures.
	Backoff Backoff
	// QuarantineAfter is how many objects in a row the target may refuse before
	// it is quarantined, default 20.
	QuarantineAfter int
}

// Options shape a Fanout; the zero value serves.
type Options struct {
	Now func() time.Time // default time.Now
	// At returns a channel that gets a value when Now has come to a time,
	// default time.After.
	At         func(time.Time) <-chan time.Time
	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // default: metrics are not registered
	// Jitter draws from [0, n) for the backoff, default math/rand/v2.
	Jitter func(n time.Duration) time.Duration
	// Coordination is shared with other replicas on the same store; without,
	// this one is alone.
	Coordination Coordination
	// Poll is how often a target is looked at without anybody telling to: what
	// another replica left behind is found so. Default 5 s, never when alone.
	Poll time.Duration

	// resting hears of a runner that has nothing to do but wait.
	resting func(targetName string, pause pause)
	// resynced hears of a resync that has ended.
	resynced func(storage.Resync)
}

// pause is a wait of a runner: how many rounds go on beside it, the store's
// Changed from before it looked, and until when (zero: until something happens).
type pause struct {
	rounds  int
	changed <-chan struct{}
	until   time.Time
}

// State is what the fan-out thinks of a target.
type State string

// The states of a target.
const (
	Up     State = "up"
	Down   State = "down"   // does not answer or does not let us in; probed
	Paused State = "paused" // by an operator
	// Disabled: the target asked to be sent nothing more.
	Disabled State = "disabled"
	// Quarantined: too much fails; tried now and then.
	Quarantined State = "quarantined"
)

// States lists the states.
func States() []State { return []State{Up, Down, Paused, Disabled, Quarantined} }

// Status is how a target is doing.
type Status struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	LastError string    `json:"lastError,omitempty"`
	// By and Reason say who stopped the target and why.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// NextProbe is when a target that is down or quarantined is tried again.
	NextProbe time.Time `json:"nextProbe,omitzero"`
	// HeldSince is since when deletions or deactivations wait for a decision,
	// zero when none do; LastDecision is the latest one about such.
	HeldSince    time.Time             `json:"heldSince,omitzero"`
	LastDecision *storage.HeldDecision `json:"lastDecision,omitempty"`
}

// Fanout brings all targets to the stored state.
type Fanout struct {
	store   Store
	runners []*runner
	byName  map[string]*runner
}

// New makes a fan-out; Run starts it. It fails on targets without a name or
// connector, of one name twice, or of unknown policy.
func New(store Store, targets []Target, options Options) (*Fanout, error) {
	options = options.withDefaults()
	metrics := newMetrics(options.Registerer)
	f := &Fanout{store: store, byName: make(map[string]*runner, len(targets))}
	var errs []error
	for _, t := range targets {
		t, err := t.withDefaults()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, taken := f.byName[t.Name]; taken {
			errs = append(errs, fmt.Errorf("target %q: the name is taken", t.Name))
			continue
		}
		r := newRunner(store, t, options, metrics)
		f.byName[t.Name] = r
		f.runners = append(f.runners, r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("fanout: %w", err)
	}
	return f, nil
}

// Run delivers until ctx ends. Attempts under way are cut off; what they would
// have done is done again after a restart. It returns nil when ctx ended.
func (f *Fanout) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range f.runners {
		group.Go(func() error { return r.run(ctx) })
	}
	return group.Wait()
}

// Targets tells how each target is doing, in the order of the configuration.
func (f *Fanout) Targets() []Status {
	all := make([]Status, 0, len(f.runners))
	for _, r := range f.runners {
		all = append(all, r.status())
	}
	return all
}

// Pause stops deliveries to a target on all replicas until Resume, restarts or
// not. Changes go on being noted.
func (f *Fanout) Pause(ctx context.Context, name, by, reason string) error {
	r, err := f.target(name)
	if err != nil {
		return err
	}
	return r.halted(ctx, storage.Stop{State: storage.StopPaused, By: by, Reason: reason})
}

// Resume takes deliveries up again, whatever they were stopped for, and probes
// a target that is down at once.
func (f *Fanout) Resume(ctx context.Context, name string) error {
	r, err := f.target(name)
	if err != nil {
		return err
	}
	return r.resumed(ctx)
}

func (f *Fanout) target(name string) (*runner, error) {
	r, ok := f.byName[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownTarget, name)
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.At == nil {
		o.At = func(at time.Time) <-chan time.Time { return time.After(time.Until(at)) }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	if o.Coordination == nil {
		o.Coordination = local.New(local.Options{Now: o.Now})
	} else if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	return o
}

func (t Target) withDefaults() (Target, error) {
	if t.OnRevoke == "" {
		t.OnRevoke = Deactivate
	}
	if t.OnDelete == "" {
		t.OnDelete = Delete
	}
	if t.OnFreeze == "" {
		t.OnFreeze = Deactivate
	}
	if t.OnRelease == "" {
		t.OnRelease = t.OnFreeze
	}
	if t.UserNames == "" {
		t.UserNames = Qualified
	}
	if t.Concurrency <= 0 {
		t.Concurrency = 8
	}
	t.Backoff = t.Backoff.withDefaults()
	if t.QuarantineAfter <= 0 {
		t.QuarantineAfter = defaultQuarantineAfter
	}
	if t.Removals == nil {
		t.Removals = &DefaultRemovals
	}
	errs := []error{t.Removals.check(t.Name)}
	if t.DeleteAfter < 0 {
		errs = append(errs, fmt.Errorf("target %q: deleteAfter: less than 0", t.Name))
	}
	if t.Name == "" {
		errs = append(errs, errors.New("target without a name"))
	}
	if t.Connector == nil {
		errs = append(errs, fmt.Errorf("target %q: no connector", t.Name))
	}
	for member, p := range map[string]Policy{"onRevoke": t.OnRevoke, "onDelete": t.OnDelete} {
		if p != Deactivate && p != Delete && p != Keep {
			errs = append(errs, fmt.Errorf("target %q: %s: %q: want deactivate, delete or keep", t.Name, member, p))
		}
	}
	if t.OnFreeze != Deactivate && t.OnFreeze != Nothing {
		errs = append(errs, fmt.Errorf("target %q: onFreeze: %q: want deactivate or nothing", t.Name, t.OnFreeze))
	}
	if t.OnRelease != Deactivate && t.OnRelease != Delete && t.OnRelease != Nothing {
		errs = append(errs, fmt.Errorf("target %q: onRelease: %q: want deactivate, delete or nothing", t.Name, t.OnRelease))
	}
	if t.UserNames != Qualified && t.UserNames != Plain {
		errs = append(errs, fmt.Errorf("target %q: userNames: %q: want qualified or plain", t.Name, t.UserNames))
	}
	return t, errors.Join(errs...)
}
