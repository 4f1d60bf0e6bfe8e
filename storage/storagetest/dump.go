package storagetest

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// movable is what both ends of a migration are.
type movable interface {
	storage.Store
	storage.Dumper
	storage.Loader
}

// dumped is what a store dumps, as comparable lines in no order.
func dumped(b *bundle) (records []storage.Dumped, lines []string) {
	b.Helper()
	for record, err := range b.store.(movable).Dump(b.ctx) {
		require.NoError(b, err)
		text, err := json.Marshal(record)
		require.NoError(b, err)
		records, lines = append(records, record), append(lines, string(text))
	}
	slices.Sort(lines)
	return records, lines
}

// corp is what the target of a dump relays.
var corp = storage.RelayOptions{Placements: true, Selection: "chosen"}

// eventful fills a store with one of everything: tombstones, a hold, slots in
// several states, an unfinished push.
func eventful(b *bundle) {
	_, err := b.store.Select(b.ctx, "corp", corp.Selection)
	require.NoError(b, err)
	b.apply(acme, departments("a", "b"))
	b.apply(other, departments("x"))
	b.application("sealed", 1)
	b.apply(acme, &directory.Plan{Users: []directory.User{user("zhang", "a", 1)}, Delta: directory.Delta{Users: 1}})
	b.apply(debug, departments("t"))
	b.relay("corp", corp)
	b.deliver("corp", acme)
	_, err = b.store.Rerender(b.ctx, "corp", "mapped")
	require.NoError(b, err)
	b.deliver("corp", acme)
	gone := department("b", "", 2)
	gone.Deleted = true
	b.apply(acme, &directory.Plan{Departments: []directory.Department{gone}, Delta: directory.Delta{Departments: -1}, Decisions: []directory.Decision{{Kind: directory.KindDepartment, Key: "b"}}})
	missing := department("c/%", "nobody", 1)
	missing.ParentMissing = true
	b.apply(acme, &directory.Plan{Departments: []directory.Department{missing}, Delta: directory.Delta{Departments: 1, ParentMissing: 1}})
	b.relay("corp", corp)
	tasks := b.claim("corp", acme)
	failed := tasks[0].Slot
	failed.State, failed.ErrorClass, failed.LastError, failed.Attempts = storage.SlotDead, "permanent", "refused", 3
	b.settle(failed)
	decided := b.hold("a")
	_, err = b.store.Decide(b.ctx, decided.ID, "no", reject)
	require.NoError(b, err)
	b.hold("a")
	b.apply(other, &directory.Plan{Users: []directory.User{user("li", "x", 1), user("wu", "x", 1)}, Delta: directory.Delta{Users: 2}})
	b.relay("corp", storage.RelayOptions{Selection: corp.Selection})
	b.held("corp", other)
	_, err = b.store.DecideHeld(b.ctx, storage.DeliveryFilter{Target: "corp", Key: "li"}, false)
	require.NoError(b, err)
	_, err = b.store.UpdateTarget(b.ctx, "corp", func(r *storage.TargetRecord) error {
		r.Stop = &storage.Stop{State: storage.StopPaused, By: "ann", Since: b.clock.now()}
		return nil
	})
	require.NoError(b, err)
	require.NoError(b, b.store.Accept(b.ctx, b.record(other, directory.AllOrgSync), []byte("interrupted")))
	b.create(newInstance("i/1"), "order/2", "order/1")
	_, err = b.store.ChangeInstance(b.ctx, directory.Prod, "i/1", "order/0", func(i *directory.Instance, _ bool) (bool, error) {
		i.Frozen, i.DueAt = true, epoch.Add(time.Hour)
		return true, nil
	})
	require.NoError(b, err)
}

// RunMoves checks that what one kind of store dumps another loads, and dumps
// the same again. Both factories may be of one kind.
func RunMoves(t *testing.T, from, to Factory) {
	t.Helper()
	t.Run("a dump that is loaded dumps the same", func(t *testing.T) {
		t.Parallel()
		source, target := newBundle(t, from), newBundle(t, to)
		eventful(source)
		records, want := dumped(source)
		kinds := make(map[string]bool)
		for i := range records {
			kinds[records[i].Kind()] = true
		}
		require.Len(t, kinds, 8, "one of everything")

		store := target.store.(movable)
		require.NoError(t, store.BeginLoad(t.Context(), "m"))
		require.NoError(t, store.Load(t.Context(), records[:len(records)/2]))
		target.reopen()
		store = target.store.(movable)
		name, err := store.Loading(t.Context())
		require.NoError(t, err)
		require.Equal(t, "m", name)
		require.ErrorIs(t, store.BeginLoad(t.Context(), "another"), storage.ErrConflict)
		require.NoError(t, store.BeginLoad(t.Context(), "m"), "the same is resumed")
		require.NoError(t, store.Load(t.Context(), records), "twice is once")
		require.ErrorIs(t, store.EndLoad(t.Context(), "another"), storage.ErrConflict)
		require.NoError(t, store.EndLoad(t.Context(), "m"))
		target.reopen()
		store = target.store.(movable)
		require.ErrorIs(t, store.BeginLoad(t.Context(), "m"), storage.ErrConflict, "it is not empty")
		_, got := dumped(target)
		require.Equal(t, want, got)

		// It is a working store: the feed goes on where it was, with its readers,
		// and counters hold.
		_, place, err := source.store.Changes(t.Context(), storage.Place{}, 100)
		require.NoError(t, err)
		require.NotEmpty(t, place.Epoch)
		for _, b := range []*bundle{source, target} {
			b.ids += 100
			b.apply(acme, departments("new"))
			require.Equal(t, 1, b.relay("corp", corp))
			changes, _, err := b.store.Changes(t.Context(), place, 100)
			require.NoError(t, err)
			require.Len(t, changes, 1)
			require.Equal(t, "new", changes[0].Key)
		}
		before, err := source.store.State(t.Context(), acme)
		require.NoError(t, err)
		after, err := target.store.State(t.Context(), acme)
		require.NoError(t, err)
		require.Equal(t, before.Seq, after.Seq)
		require.Equal(t, before.Departments, after.Departments)
		source.sameInstances(target)
		for _, scope := range []directory.Scope{acme, other} {
			before, err := source.store.Counts(t.Context(), "corp", &scope)
			require.NoError(t, err)
			after, err := target.store.Counts(t.Context(), "corp", &scope)
			require.NoError(t, err)
			require.Equal(t, before, after)
		}
	})
}

// sameInstances checks that the target goes on with the source's instance: it is
// due then, and its orders are its own.
func (b *bundle) sameInstances(target *bundle) {
	b.Helper()
	for _, at := range []*bundle{b, target} {
		due, next, err := at.store.DueInstances(b.ctx, epoch.Add(time.Hour), 10)
		require.NoError(b, err)
		require.Len(b, due, 1)
		require.True(b, next.IsZero())
		for _, order := range []string{"order/0", "order/1", "order/2"} {
			stored, created, err := at.store.CreateInstance(b.ctx, newInstance("another"), []string{order})
			require.NoError(b, err)
			require.False(b, created)
			require.Equal(b, due[0], stored)
		}
		_, err = at.store.ChangeInstance(b.ctx, directory.Prod, "i/1", "order/0", func(_ *directory.Instance, repeat bool) (bool, error) {
			require.True(b, repeat)
			return false, nil
		})
		require.NoError(b, err)
	}
}
