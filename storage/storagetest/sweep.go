package storagetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var sweepTests = map[string]func(*bundle){
	"old records go, held and unfinished ones stay": func(b *bundle) {
		old := b.apply(acme, departments("a"))
		held := b.hold("a")
		open := b.record(other, directory.AllOrgSync)
		require.NoError(b, b.store.Accept(b.ctx, open, nil))
		b.clock.advance(time.Hour)
		young := b.apply(acme, departments("b"))
		swept, err := b.store.Sweep(b.ctx, storage.SweepTimes{Journal: b.clock.now()})
		require.NoError(b, err)
		require.Equal(b, storage.Swept{Journal: 1}, swept)
		_, _, err = b.store.Push(b.ctx, old.ID)
		require.ErrorIs(b, err, storage.ErrNotFound)
		for _, id := range []string{held.ID, open.ID, young.ID} {
			_, _, err = b.store.Push(b.ctx, id)
			require.NoError(b, err)
		}
	},

	"a tombstone stays until every target was told": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{Placements: true})
		b.deliver("t", acme)
		dead := department("a", "", 2)
		dead.Deleted = true
		b.apply(acme, &directory.Plan{Departments: []directory.Department{dead}, Delta: directory.Delta{Departments: -1}})
		b.clock.advance(time.Hour)
		times := storage.SweepTimes{Tombstones: b.clock.now()}
		sweep := func() int {
			swept, err := b.store.Sweep(b.ctx, times)
			require.NoError(b, err)
			return swept.Tombstones
		}
		require.Zero(b, sweep(), "not relayed")
		b.relay("t", storage.RelayOptions{Placements: true})
		require.Zero(b, sweep(), "not delivered")
		b.deliver("t", acme)
		require.Equal(b, 1, sweep())
		require.Empty(b, b.codes(acme))
		counts, err := b.store.Counts(b.ctx, "t", nil)
		require.NoError(b, err)
		require.Empty(b, counts.Slots)
	},

	"a tombstone stays while a target that passed it over has the object": func(b *bundle) {
		b.apply(acme, departments("a", "b"))
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		dead := department("a", "", 2)
		dead.Deleted = true
		b.apply(acme, &directory.Plan{Departments: []directory.Department{dead}, Delta: directory.Delta{Departments: -1}})
		none := storage.RelayOptions{Selection: "none", Match: func(directory.Scope) bool { return false }}
		_, err := b.store.Select(b.ctx, "t", none.Selection)
		require.NoError(b, err)
		require.Equal(b, 2, b.relay("t", none))
		b.clock.advance(time.Hour)
		times := storage.SweepTimes{Tombstones: b.clock.now()}
		swept, err := b.store.Sweep(b.ctx, times)
		require.NoError(b, err)
		require.Zero(b, swept.Tombstones)
		_, err = b.store.Select(b.ctx, "t", "")
		require.NoError(b, err)
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, 1, b.deliver("t", acme), "its deletion")
		swept, err = b.store.Sweep(b.ctx, times)
		require.NoError(b, err)
		require.Equal(b, 1, swept.Tombstones)
	},

	"test data expires by tombstones, production never": func(b *bundle) {
		b.apply(acme, departments("a"))
		plan := departments("p", "q")
		plan.Users = []directory.User{user("ann", "p", 1)}
		plan.Delta.Users = 1
		b.apply(debug, plan)
		b.clock.advance(time.Hour)
		b.apply(debug, &directory.Plan{Departments: []directory.Department{department("c", "p", 1)}, Delta: directory.Delta{Departments: 1}})
		b.readFeed()
		before, err := b.store.State(b.ctx, debug)
		require.NoError(b, err)
		swept, err := b.store.Sweep(b.ctx, storage.SweepTimes{TestData: b.clock.now()})
		require.NoError(b, err)
		require.Equal(b, storage.Swept{TestData: 3}, swept)
		b.readFeed()
		after, err := b.store.State(b.ctx, debug)
		require.NoError(b, err)
		require.Equal(b, []int{1, 1, 0}, []int{after.Departments, after.ParentMissing, after.Users})
		require.Greater(b, after.Seq, before.Seq)
		b.view(debug, func(v storage.View) {
			users, err := v.Users(b.ctx, []string{"ann"})
			require.NoError(b, err)
			ann := users["ann"]
			require.True(b, ann.Deleted)
			require.Empty(b, ann.Mobile)
			require.False(b, ann.Granted())
			c, _, err := v.Department(b.ctx, "c")
			require.NoError(b, err)
			require.True(b, c.ParentMissing)
		})
		require.Equal(b, []string{"a"}, b.codes(acme))
		state, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Equal(b, 1, state.Departments)
	},
}
