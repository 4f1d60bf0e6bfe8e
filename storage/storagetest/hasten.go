package storagetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var hastenTests = map[string]func(*bundle){
	"what a clock that was ahead has put off is made due": func(b *bundle) {
		const wait = 24 * time.Hour
		b.clock.advance(30 * wait) // wrong
		b.apply(acme, departments("fresh", "retried", "leaving"))
		b.relay("t", storage.RelayOptions{})
		var slots []storage.Slot
		for _, task := range b.claim("t", acme) {
			slot := task.Slot
			switch slot.Key {
			case "retried":
				slot.State, slot.DueAt = storage.SlotRetrying, b.clock.now().Add(time.Minute)
			case "leaving":
				slot.State, slot.DueAt = storage.SlotLeaving, b.clock.now()
			default:
				continue
			}
			slots = append(slots, slot)
		}
		b.settle(slots...)
		b.clock.advance(-30 * wait) // put right
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("due", "", 1)}})
		b.relay("t", storage.RelayOptions{})

		n, err := b.store.Hasten(b.ctx, b.clock.now().Add(wait))
		require.NoError(b, err)
		require.Equal(b, 2, n)
		n, err = b.store.Hasten(b.ctx, b.clock.now().Add(wait))
		require.NoError(b, err)
		require.Zero(b, n)
		counts, err := b.store.Counts(b.ctx, "t", &acme)
		require.NoError(b, err)
		require.False(b, counts.Oldest.After(b.clock.now()))
		var keys []string
		for _, task := range b.claim("t", acme) {
			keys = append(keys, task.Key)
		}
		require.ElementsMatch(b, []string{"fresh", "retried", "due"}, keys)
	},

	"a replay takes pending slots if it is asked for them": func(b *bundle) {
		b.clock.advance(time.Hour)
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		b.clock.advance(-time.Hour)
		n, err := b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t"})
		require.NoError(b, err)
		require.Zero(b, n)
		require.Empty(b, b.claim("t", acme))
		n, err = b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t", State: storage.SlotPending})
		require.NoError(b, err)
		require.Equal(b, 1, n)
		require.Len(b, b.claim("t", acme), 1)
	},
}
