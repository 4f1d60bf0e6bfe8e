package storagetest

import (
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// held claims all that is due in a scope and holds it.
func (b *bundle) held(target string, scope directory.Scope) int {
	b.Helper()
	tasks := b.claim(target, scope)
	slots := make([]storage.Slot, 0, len(tasks))
	for _, task := range tasks {
		slot := task.Slot
		slot.State = storage.SlotHeld
		slots = append(slots, slot)
	}
	b.settle(slots...)
	return len(slots)
}

// decided decides about what is held at "t".
func (b *bundle) decided(filter storage.DeliveryFilter, approve bool) int {
	b.Helper()
	filter.Target = "t"
	n, err := b.store.DecideHeld(b.ctx, filter, approve)
	require.NoError(b, err)
	return n
}

func (b *bundle) holds(filter storage.DeliveryFilter) bool {
	b.Helper()
	filter.Target = "t"
	holds, err := b.store.Holds(b.ctx, filter)
	require.NoError(b, err)
	return holds
}

var targetTests = map[string]func(*bundle){
	"a record is empty, then what it was made": func(b *bundle) {
		record, err := b.store.Target(b.ctx, "t")
		require.NoError(b, err)
		require.Equal(b, storage.TargetRecord{Name: "t"}, record)
		want := storage.TargetRecord{
			Name: "t", Removals: []storage.RemovalCount{{Slice: 7, Count: 3}}, HeldSince: epoch,
			Stop:     &storage.Stop{State: storage.StopQuarantined, By: "ann", Reason: "why", Since: epoch, Trials: 2, NextTrial: epoch.Add(time.Hour)},
			Decision: &storage.HeldDecision{Approved: true, By: "bob", Reason: "yes", At: epoch, Removals: 4},
		}
		record, err = b.store.UpdateTarget(b.ctx, "t", func(r *storage.TargetRecord) error {
			require.Zero(b, r.Revision)
			*r = want
			return nil
		})
		require.NoError(b, err)
		want.Revision = 1
		require.Equal(b, want, record)
		b.reopen()
		record, err = b.store.Target(b.ctx, "t")
		require.NoError(b, err)
		require.Equal(b, want, record)
		record, err = b.store.Target(b.ctx, "another")
		require.NoError(b, err)
		require.Nil(b, record.Stop)
	},

	"an update that fails changes nothing": func(b *bundle) {
		refused := errors.New("refused")
		_, err := b.store.UpdateTarget(b.ctx, "t", func(r *storage.TargetRecord) error {
			r.HeldSince = epoch
			return refused
		})
		require.ErrorIs(b, err, refused)
		record, err := b.store.Target(b.ctx, "t")
		require.NoError(b, err)
		require.Zero(b, record.HeldSince)
	},

	"updates at once are all made": func(b *bundle) {
		var wg sync.WaitGroup
		errs := make(chan error, 10)
		for range cap(errs) {
			wg.Go(func() {
				_, err := b.store.UpdateTarget(b.ctx, "t", func(r *storage.TargetRecord) error {
					if len(r.Removals) == 0 {
						r.Removals = []storage.RemovalCount{{}}
					}
					r.Removals[0].Count++
					return nil
				})
				errs <- err
			})
		}
		wg.Wait()
		for range cap(errs) {
			require.NoError(b, <-errs)
		}
		record, err := b.store.Target(b.ctx, "t")
		require.NoError(b, err)
		require.Equal(b, cap(errs), record.Removals[0].Count)
		require.EqualValues(b, cap(errs), record.Revision)
	},

	"objects are counted as they come and go": func(b *bundle) {
		objects := func() int {
			n, err := b.store.Objects(b.ctx, "t")
			require.NoError(b, err)
			return n
		}
		require.Zero(b, objects())
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.apply(other, departments("x"))
		b.relay("t", storage.RelayOptions{Placements: true})
		require.Zero(b, objects(), "nothing is there yet")
		b.deliver("t", acme)
		require.Equal(b, 2, objects(), "places in groups are none")
		b.deliver("t", other)
		require.Equal(b, 3, objects())
		slot := b.slot("t", acme, storage.SlotUser, "ann")
		slot.RemoteID = "another"
		b.settle(slot)
		require.Equal(b, 3, objects(), "another id is not another object")
		slot.RemoteID = ""
		b.settle(slot)
		b.reopen()
		require.Equal(b, 2, objects())
	},

	"what is held waits for a decision": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.apply(other, departments("x"))
		b.relay("t", storage.RelayOptions{})
		require.False(b, b.holds(storage.DeliveryFilter{}))
		require.Equal(b, 3, b.held("t", acme))
		b.held("t", other)
		b.reopen()
		require.Empty(b, b.claim("t", acme))
		due, next, err := b.store.DueScopes(b.ctx, "t", b.clock.now())
		require.NoError(b, err)
		require.Empty(b, due)
		require.True(b, next.IsZero())
		require.True(b, b.holds(storage.DeliveryFilter{Dataset: acme.Dataset, InstanceID: &acme.InstanceID, TenantID: acme.TenantID}))
		require.False(b, b.holds(storage.DeliveryFilter{TenantID: "nobody"}))
		counts, err := b.store.Counts(b.ctx, "t", &acme)
		require.NoError(b, err)
		require.Equal(b, storage.SlotCounts{storage.SlotHeld: 3}, counts.Slots)
	},

	"an approval is of what is held, and of that version": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1), department("b", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		b.held("t", acme)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("b", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotDepartment, "b").State, "a newer version asks anew")
		heard := b.store.Changed()
		require.Equal(b, 2, b.decided(storage.DeliveryFilter{}, true), "a membership is no removal of its own")
		<-heard
		for _, task := range b.claim("t", acme) {
			want := task.Desired
			if task.Key == "b" {
				want = 0
			}
			require.Equal(b, want, task.Cleared, task.Key)
			require.Zero(b, task.Kept)
		}
		require.Zero(b, b.decided(storage.DeliveryFilter{}, true))
		cleared := b.slot("t", acme, storage.SlotDepartment, "a")
		require.EqualValues(b, 1, cleared.Cleared)
		cleared.Cleared = 7
		b.settle(cleared)
		require.EqualValues(b, 7, b.slot("t", acme, storage.SlotDepartment, "a").Cleared, "Settle writes it")
	},

	"a rejection keeps, until it is replayed or there is a newer version": func(b *bundle) {
		b.apply(acme, departments("a", "b", "c"))
		b.relay("t", storage.RelayOptions{})
		b.held("t", acme)
		require.Equal(b, 2, b.decided(storage.DeliveryFilter{Key: "a"}, false)+b.decided(storage.DeliveryFilter{Key: "b"}, false))
		require.True(b, b.holds(storage.DeliveryFilter{}), "c is not decided")
		for _, key := range []string{"a", "b"} {
			kept := b.slot("t", acme, storage.SlotDepartment, key)
			require.Equal(b, storage.SlotKept, kept.State)
			require.EqualValues(b, 1, kept.Kept)
			require.True(b, kept.DirtySince.IsZero())
		}
		require.Empty(b, b.claim("t", acme))
		n, err := b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t"})
		require.NoError(b, err)
		require.Zero(b, n, "only if asked for")
		b.clock.advance(time.Hour)
		n, err = b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t", State: storage.SlotKept, Key: "a"})
		require.NoError(b, err)
		require.Equal(b, 1, n)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("b", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		tasks := b.claim("t", acme)
		require.Len(b, tasks, 2)
		for _, task := range tasks {
			require.True(b, task.DirtySince.Equal(b.clock.now()), "%s is dirty since it left its rest", task.Key)
			require.Equal(b, map[string]int64{"a": 0, "b": 1}[task.Key], task.Kept)
		}
		settled := tasks[0].Slot
		settled.Kept = 9
		b.settle(settled)
		require.NotEqualValues(b, 9, b.slot("t", acme, storage.SlotDepartment, settled.Key).Kept, "Settle leaves it")
	},

	"what is leaving is due at its time": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		slot := b.claim("t", acme)[0].Slot
		slot.State, slot.Uncertain, slot.DueAt = storage.SlotLeaving, false, b.clock.now().Add(time.Hour)
		b.settle(slot)
		require.True(b, b.slot("t", acme, storage.SlotDepartment, "a").DirtySince.IsZero())
		require.Empty(b, b.claim("t", acme))
		due, next, err := b.store.DueScopes(b.ctx, "t", b.clock.now())
		require.NoError(b, err)
		require.Empty(b, due)
		require.True(b, next.Equal(slot.DueAt))
		counts, err := b.store.Counts(b.ctx, "t", &acme)
		require.NoError(b, err)
		require.True(b, counts.Oldest.IsZero(), "nobody waits for it")
		b.clock.advance(time.Hour)
		require.Len(b, b.claim("t", acme), 1)
	},
}
