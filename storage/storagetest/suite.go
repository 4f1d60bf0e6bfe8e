// Package storagetest holds every store to the promises of the port
// storage.Store: one suite, run against each backend with small data.
package storagetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Factory makes an empty data set for one test and returns how to open it.
// Opening again, after closing the store before, finds the same data. The
// store takes its time from now.
type Factory func(t *testing.T, now func() time.Time) (open func() (storage.Store, error))

// Run runs the whole suite.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests map[string]func(*bundle)
	}{
		{"intake", intakeTests}, {"holds", holdTests}, {"reader", readerTests},
		{"relay", relayTests}, {"slots", slotTests}, {"leases", leaseTests}, {"targets", targetTests}, {"sweep", sweepTests}, {"reseal", resealTests}, {"instances", instanceTests}, {"resyncs", resyncTests}, {"unreadable", unreadableTests}, {"hasten", hastenTests},
	} {
		for name, test := range part.tests {
			t.Run(part.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(newBundle(t, factory))
			})
		}
	}
	t.Run("laws", func(t *testing.T) {
		t.Parallel()
		counterLaw(t, factory)
	})
	t.Run("orders", func(t *testing.T) {
		t.Parallel()
		orderLaw(t, factory)
	})
	t.Run("meaning", func(t *testing.T) {
		t.Parallel()
		meaningLaw(t, factory)
	})
}

// clock is a time that only moves when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// bundle is a store under test with what tests need beside it.
type bundle struct {
	*testing.T
	ctx   context.Context
	clock *clock
	open  func() (storage.Store, error)
	store storage.Store
	ids   int
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newBundle(t *testing.T, factory Factory) *bundle {
	b := &bundle{T: t, ctx: t.Context(), clock: &clock{at: epoch}}
	b.open = factory(t, b.clock.now)
	store, err := b.open()
	require.NoError(t, err)
	b.store = store
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

// reopen closes the store and opens its data again.
func (b *bundle) reopen() {
	require.NoError(b, b.store.Close())
	store, err := b.open()
	require.NoError(b, err)
	b.store = store
}

var (
	acme  = directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "acme"}
	other = directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "other"}
	debug = directory.Scope{Dataset: directory.Test, InstanceID: "i-1", TenantID: "acme"}
)

// record is a fresh journal record; ids ascend as UUIDv7 do.
func (b *bundle) record(scope directory.Scope, kind directory.PushKind) storage.Record {
	b.ids++
	return storage.Record{
		ID: fmt.Sprintf("push-%06d", b.ids), Scope: scope, Kind: kind, Flag: directory.FlagModify,
		SourceTime: directory.SourceTime(b.ids), ReceivedAt: b.clock.now(), Phase: storage.PhaseReceived, Size: 3,
	}
}

func planned(plan *directory.Plan) storage.PlanFunc {
	return func(context.Context, storage.View) (*directory.Plan, error) { return plan, nil }
}

// apply applies a plan as a small push.
func (b *bundle) apply(scope directory.Scope, plan *directory.Plan) storage.Record {
	b.Helper()
	if plan.Result == "" {
		plan.Result = directory.ResultApplied
	}
	record := b.record(scope, directory.SingleOrgSync)
	_, err := b.store.ApplyAtOnce(b.ctx, record, []byte("raw"), planned(plan))
	require.NoError(b, err)
	return record
}

// applyFull applies a plan as a full push.
func (b *bundle) applyFull(scope directory.Scope, plan *directory.Plan) storage.Record {
	b.Helper()
	if plan.Result == "" {
		plan.Result = directory.ResultApplied
	}
	record := b.record(scope, directory.AllOrgSync)
	require.NoError(b, b.store.Accept(b.ctx, record, []byte("raw")))
	_, err := b.store.ApplyAccepted(b.ctx, record.ID, planned(plan))
	require.NoError(b, err)
	return record
}

func department(code, parent string, version int64) directory.Department {
	return directory.Department{Code: code, Name: "name of " + code, ParentCode: parent, Meta: directory.Meta{Version: version, SourceTime: directory.SourceTime(version)}}
}

func user(name, org string, version int64) directory.User {
	return directory.User{
		UserName: name, Name: "name of " + name, OrgCode: org, Enabled: true, Mobile: "13800000000", EmployeeType: 2,
		Grants: map[string]directory.Grant{"app": {SourceTime: 1}}, Meta: directory.Meta{Version: version, SourceTime: directory.SourceTime(version)},
	}
}

// departments plans new departments without parents.
func departments(codes ...string) *directory.Plan {
	plan := &directory.Plan{Delta: directory.Delta{Departments: len(codes)}}
	for _, code := range codes {
		plan.Departments = append(plan.Departments, department(code, "", 1))
	}
	return plan
}

// view runs look on the scope's view without changing anything.
func (b *bundle) view(scope directory.Scope, look func(storage.View)) {
	b.Helper()
	_, err := b.store.ApplyAtOnce(b.ctx, b.record(scope, directory.SingleOrgSync), nil, func(_ context.Context, v storage.View) (*directory.Plan, error) {
		look(v)
		return nil, errLookedOnly
	})
	require.ErrorIs(b, err, errLookedOnly)
}

var errLookedOnly = fmt.Errorf("looked only")

// codes lists the departments of a scope, tombstones included.
func (b *bundle) codes(scope directory.Scope) []string {
	b.Helper()
	var codes []string
	b.view(scope, func(v storage.View) {
		for d, err := range v.Departments(b.ctx) {
			require.NoError(b, err)
			codes = append(codes, d.Code)
		}
	})
	return codes
}

// readFeed lets a store that gives changes their places in the feed when it is
// read do so.
func (b *bundle) readFeed() {
	b.Helper()
	_, _, err := b.store.Changes(b.ctx, storage.Place{}, 1)
	require.NoError(b, err)
}

// relay brings a target up to the feed's end.
func (b *bundle) relay(target string, options storage.RelayOptions) (total int) {
	b.Helper()
	for {
		n, _, err := b.store.Relay(b.ctx, target, options, 3)
		require.NoError(b, err)
		if n == 0 {
			return total
		}
		total += n
	}
}

// lease takes the right to deliver a scope to a target.
func (b *bundle) lease(target string, scope directory.Scope) storage.Lease {
	b.Helper()
	lease, err := b.store.Lease(b.ctx, target, scope, "test", time.Hour)
	require.NoError(b, err)
	return lease
}

func (b *bundle) claim(target string, scope directory.Scope) []storage.Task {
	b.Helper()
	tasks, err := b.store.Claim(b.ctx, b.lease(target, scope), b.clock.now(), 1000, nil)
	require.NoError(b, err)
	return tasks
}

// settle writes outcomes of one target and scope.
func (b *bundle) settle(slots ...storage.Slot) {
	b.Helper()
	if len(slots) > 0 {
		require.NoError(b, b.store.Settle(b.ctx, b.lease(slots[0].Target, slots[0].Scope), slots))
	}
}

// claimed claims all that is due, one task of each kind.
func (b *bundle) claimed(target string, scope directory.Scope) map[storage.SlotKind]storage.Task {
	b.Helper()
	byKind := make(map[storage.SlotKind]storage.Task)
	for _, task := range b.claim(target, scope) {
		byKind[task.Kind] = task
	}
	return byKind
}

// deliver claims all that is due and settles it as delivered.
func (b *bundle) deliver(target string, scope directory.Scope) int {
	b.Helper()
	tasks := b.claim(target, scope)
	slots := make([]storage.Slot, 0, len(tasks))
	for _, task := range tasks {
		slots = append(slots, delivered(task.Slot))
	}
	b.settle(slots...)
	return len(slots)
}

func delivered(slot storage.Slot) storage.Slot {
	slot.State, slot.Delivered, slot.Hash, slot.Uncertain = storage.SlotDelivered, slot.Desired, "h", false
	slot.Attempts, slot.ErrorClass, slot.LastError = 0, "", ""
	if slot.Kind == storage.SlotDepartment || slot.Kind == storage.SlotUser {
		slot.RemoteID = "remote-" + slot.Key
	}
	return slot
}

// slot reads one slot, both ways.
func (b *bundle) slot(target string, scope directory.Scope, kind storage.SlotKind, key string) storage.Slot {
	b.Helper()
	found, err := b.store.Lookup(b.ctx, target, scope, kind, []string{key})
	require.NoError(b, err)
	require.Contains(b, found, key)
	alone, err := b.store.Slots(b.ctx, target, scope, kind, []string{key})
	require.NoError(b, err)
	require.Equal(b, map[string]storage.Slot{key: found[key].Slot}, alone)
	return found[key].Slot
}
