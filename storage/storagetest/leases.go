package storagetest

import (
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage"
)

// take leases acme at "t" to an owner for a minute.
func (b *bundle) take(owner string) (storage.Lease, error) {
	return b.store.Lease(b.ctx, "t", acme, owner, time.Minute)
}

func (b *bundle) mustTake(owner string) storage.Lease {
	b.Helper()
	lease, err := b.take(owner)
	require.NoError(b, err)
	return lease
}

var leaseTests = map[string]func(*bundle){
	"a scope is delivered to a target by one owner": func(b *bundle) {
		b.mustTake("ann")
		_, err := b.take("bob")
		require.ErrorIs(b, err, storage.ErrBusy)
		_, err = b.store.Lease(b.ctx, "t", other, "bob", time.Minute)
		require.NoError(b, err, "another scope")
		_, err = b.store.Lease(b.ctx, "u", acme, "bob", time.Minute)
		require.NoError(b, err, "another target")
	},

	"many that ask at once get one lease": func(b *bundle) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		got, refused := 0, 0
		for i := range 16 {
			wg.Go(func() {
				_, err := b.take(string(rune('a' + i)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					got++
				case errors.Is(err, storage.ErrBusy):
					refused++
				}
			})
		}
		wg.Wait()
		require.Equal(b, []int{1, 15}, []int{got, refused})
	},

	"a lease ends by itself, by release, and not by what is lost": func(b *bundle) {
		ann := b.mustTake("ann")
		b.clock.advance(time.Minute)
		bob := b.mustTake("bob")
		require.Greater(b, bob.Fence, ann.Fence)
		require.NoError(b, b.store.Release(b.ctx, ann))
		_, err := b.take("ann")
		require.ErrorIs(b, err, storage.ErrBusy)
		require.NoError(b, b.store.Release(b.ctx, bob))
		require.Greater(b, b.mustTake("ann").Fence, bob.Fence)
	},

	"a lease lasts as long as it is extended": func(b *bundle) {
		lease := b.mustTake("ann")
		for range 3 {
			b.clock.advance(40 * time.Second)
			var err error
			lease, err = b.store.Extend(b.ctx, lease, time.Minute)
			require.NoError(b, err)
			require.True(b, lease.Until.Equal(b.clock.now().Add(time.Minute)))
			_, err = b.take("bob")
			require.ErrorIs(b, err, storage.ErrBusy)
		}
		b.clock.advance(time.Minute)
		_, err := b.store.Extend(b.ctx, lease, time.Minute)
		require.ErrorIs(b, err, storage.ErrLeaseLost, "it had ended, even if nobody took it")
	},

	"taking again ends the owner's older lease": func(b *bundle) {
		first := b.mustTake("ann")
		second := b.mustTake("ann")
		_, err := b.store.Extend(b.ctx, first, time.Minute)
		require.ErrorIs(b, err, storage.ErrLeaseLost)
		_, err = b.store.Extend(b.ctx, second, time.Minute)
		require.NoError(b, err)
	},

	"who lost the lease neither claims nor settles": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		ann := b.mustTake("ann")
		tasks, err := b.store.Claim(b.ctx, ann, b.clock.now(), 10, nil)
		require.NoError(b, err)
		require.Len(b, tasks, 1)
		b.clock.advance(time.Minute)
		refused := func(why string) {
			_, err := b.store.Claim(b.ctx, ann, b.clock.now(), 10, nil)
			require.ErrorIs(b, err, storage.ErrLeaseLost, why)
			err = b.store.Settle(b.ctx, ann, []storage.Slot{delivered(tasks[0].Slot)})
			require.ErrorIs(b, err, storage.ErrLeaseLost, why)
			noted := tasks[0].Slot
			noted.Hash = "late"
			require.ErrorIs(b, b.store.Note(b.ctx, ann, []storage.Slot{noted}), storage.ErrLeaseLost, why)
			require.Empty(b, b.slot("t", acme, storage.SlotDepartment, "a").Hash)
			require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotDepartment, "a").State)
		}
		refused("it ended")
		bob := b.mustTake("bob")
		refused("bob has it")
		again, err := b.store.Claim(b.ctx, bob, b.clock.now(), 10, nil)
		require.NoError(b, err)
		require.True(b, again[0].Uncertain, "ann may have sent it")
		refused("bob claimed")
		require.NoError(b, b.store.Settle(b.ctx, bob, []storage.Slot{delivered(again[0].Slot)}))
		require.Equal(b, storage.SlotDelivered, b.slot("t", acme, storage.SlotDepartment, "a").State)
	},

	"what is wanted is claimed, whatever stands before it": func(b *bundle) {
		b.apply(acme, departments("a", "b", "c", "d", "e"))
		b.relay("t", storage.RelayOptions{})
		tasks, err := b.store.Claim(b.ctx, b.mustTake("ann"), b.clock.now(), 2, func(t storage.Task) bool { return t.Department != nil && t.Key >= "c" })
		require.NoError(b, err)
		require.Len(b, tasks, 2)
		require.Equal(b, []string{"c", "d"}, []string{tasks[0].Key, tasks[1].Key})
		for code, uncertain := range map[string]bool{"a": false, "c": true, "d": true, "e": false} {
			require.Equal(b, uncertain, b.slot("t", acme, storage.SlotDepartment, code).Uncertain, code)
		}
	},

	"a lease covers its own target and scope only": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("u", storage.RelayOptions{})
		task := b.claim("u", acme)[0]
		require.Error(b, b.store.Settle(b.ctx, b.mustTake("ann"), []storage.Slot{delivered(task.Slot)}))
		require.Equal(b, storage.SlotPending, b.slot("u", acme, storage.SlotDepartment, "a").State)
	},
}
