package storagetest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage"
)

func (b *bundle) resync(id string) storage.Resync {
	return storage.Resync{
		ID: id, Target: "t", By: "api", State: storage.ResyncRunning, StartedAt: b.clock.now(), UpdatedAt: b.clock.now(),
		Counts: map[storage.Finding]int{},
	}
}

var resyncTests = map[string]func(*bundle){
	"a report is kept as it stands, in place of what was kept": func(b *bundle) {
		r := b.resync("1")
		require.NoError(b, b.store.SaveResync(b.ctx, r, 5))
		r.State, r.EndedAt, r.Reason = storage.ResyncIncomplete, b.clock.now().Add(time.Minute), "the list broke off"
		r.Requests, r.Listed, r.InSync, r.Memberships, r.Unsettled, r.Repaired, r.Unkept, r.Left = 3, 200, 190, 180, 4, 2, 1, 7
		r.Counts = map[storage.Finding]int{storage.FindingMissing: 2}
		r.Attributes = map[string]storage.Tally{"title": {Same: 4, Differ: 1}}
		r.Drifts = []storage.Drift{
			{Finding: storage.FindingMissing, Kind: storage.SlotUser, Scope: acme, Key: "安娜", RemoteID: "u1", Repaired: true},
			{Finding: storage.FindingUnknown, Kind: storage.SlotDepartment, RemoteID: "g1", Name: "=1+1", Attributes: []string{"a"}, Group: "d", Unkept: true, Print: "p"},
		}
		require.NoError(b, b.store.SaveResync(b.ctx, r, 5))
		b.reopen()
		kept, err := b.store.Resync(b.ctx, "1")
		require.NoError(b, err)
		require.Equal(b, r, kept)
		all, cursor, err := b.store.Resyncs(b.ctx, "t", storage.Page{})
		require.NoError(b, err)
		require.Empty(b, cursor)
		r.Drifts = nil
		require.Equal(b, []storage.Resync{r}, all, "a list does without the differences")
	},

	"of each target the newest reports are kept, newest first": func(b *bundle) {
		other := b.resync("0")
		other.Target = "u"
		require.NoError(b, b.store.SaveResync(b.ctx, other, 3))
		for i := range 5 {
			require.NoError(b, b.store.SaveResync(b.ctx, b.resync(fmt.Sprint(i+1)), 3))
		}
		var ids []string
		page := storage.Page{Limit: 2}
		for {
			all, cursor, err := b.store.Resyncs(b.ctx, "t", page)
			require.NoError(b, err)
			for _, r := range all {
				ids = append(ids, r.ID)
			}
			if page.Cursor = cursor; cursor == "" {
				break
			}
		}
		require.Equal(b, []string{"5", "4", "3"}, ids)
		_, err := b.store.Resync(b.ctx, "0")
		require.NoError(b, err, "another target's stay")
	},

	"what is not there is not found": func(b *bundle) {
		_, err := b.store.Resync(b.ctx, "1")
		require.ErrorIs(b, err, storage.ErrNotFound)
		all, cursor, err := b.store.Resyncs(b.ctx, "t", storage.Page{})
		require.NoError(b, err)
		require.Empty(b, all)
		require.Empty(b, cursor)
		_, _, err = b.store.Resyncs(b.ctx, "t", storage.Page{Cursor: "!"})
		require.ErrorIs(b, err, storage.ErrBadCursor)
	},

	"a lease of no tenant is one at a time too": func(b *bundle) {
		scope := acme
		scope.TenantID = ""
		lease, err := b.store.Lease(b.ctx, "t/resync", scope, "a", time.Minute)
		require.NoError(b, err)
		_, err = b.store.Lease(b.ctx, "t/resync", scope, "b", time.Minute)
		require.ErrorIs(b, err, storage.ErrBusy)
		require.NoError(b, b.store.Release(b.ctx, lease))
		_, err = b.store.Lease(b.ctx, "t/resync", scope, "b", time.Minute)
		require.NoError(b, err)
	},
}
