package storagetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// pages reads a list to its end, a few entries at a time.
func pages[T any](b *bundle, read func(storage.Page) ([]T, string, error)) []T {
	b.Helper()
	var all []T
	page := storage.Page{Limit: 3}
	for {
		part, next, err := read(page)
		require.NoError(b, err)
		require.LessOrEqual(b, len(part), page.Limit)
		all = append(all, part...)
		if next == "" {
			return all
		}
		require.Len(b, part, page.Limit)
		page.Cursor = next
	}
}

func (b *bundle) listDepartments(f storage.EntityFilter) (codes []string) {
	for _, d := range pages(b, func(p storage.Page) ([]storage.Scoped[directory.Department], string, error) {
		return b.store.Departments(b.ctx, f, p)
	}) {
		codes = append(codes, d.Scope.TenantID+":"+d.Entity.Code)
	}
	return codes
}

var readerTests = map[string]func(*bundle){
	"lists page through scopes and filter": func(b *bundle) {
		b.apply(other, departments("x", "y"))
		plan := departments("a", "b", "c", "d", "e", "f")
		dead := department("g", "", 1)
		dead.Deleted = true
		plan.Departments = append(plan.Departments, dead, department("h", "a", 1))
		b.apply(acme, plan)
		b.apply(debug, departments("t"))
		prod := storage.EntityFilter{Dataset: directory.Prod}
		require.ElementsMatch(b, []string{"acme:a", "acme:b", "acme:c", "acme:d", "acme:e", "acme:f", "acme:h", "other:x", "other:y"}, b.listDepartments(prod))
		require.Equal(b, []string{"acme:t"}, b.listDepartments(storage.EntityFilter{Dataset: directory.Test}))
		require.Equal(b, []string{"other:x", "other:y"}, b.listDepartments(storage.EntityFilter{Dataset: directory.Prod, TenantID: "other"}))
		require.Equal(b, []string{"acme:c"}, b.listDepartments(storage.EntityFilter{Dataset: directory.Prod, Key: "c"}))
		parent, nowhere := "a", "i-9"
		require.Equal(b, []string{"acme:h"}, b.listDepartments(storage.EntityFilter{Dataset: directory.Prod, Parent: &parent}))
		require.Empty(b, b.listDepartments(storage.EntityFilter{Dataset: directory.Prod, InstanceID: &nowhere}))
		prod.Deleted = true
		require.Contains(b, b.listDepartments(prod), "acme:g")
	},

	"users, tenants, applications and states list": func(b *bundle) {
		for i := range 7 {
			scope := directory.Scope{Dataset: directory.Prod, TenantID: fmt.Sprintf("t%d", i)}
			b.apply(scope, &directory.Plan{
				Tenant:       &directory.Tenant{Code: "c", Name: scope.TenantID, Meta: directory.Meta{Version: 1}},
				Users:        []directory.User{user("u1", "a", 1), user("u2", "a", 1)},
				Applications: []directory.Application{{AppID: "app", ClientID: "cid", Meta: directory.Meta{Version: 1}}},
				Delta:        directory.Delta{Users: 2, Applications: 1},
			})
		}
		f := storage.EntityFilter{Dataset: directory.Prod}
		require.Len(b, pages(b, func(p storage.Page) ([]storage.Scoped[directory.User], string, error) {
			return b.store.Users(b.ctx, f, p)
		}), 14)
		require.Len(b, pages(b, func(p storage.Page) ([]storage.Scoped[directory.Tenant], string, error) {
			return b.store.Tenants(b.ctx, f, p)
		}), 7)
		require.Len(b, pages(b, func(p storage.Page) ([]storage.Scoped[directory.Application], string, error) {
			return b.store.Applications(b.ctx, f, p)
		}), 7)
		states := pages(b, func(p storage.Page) ([]directory.State, string, error) { return b.store.States(b.ctx, f, p) })
		require.Len(b, states, 7)
		require.Equal(b, 2, states[0].Users)
	},

	"a cursor that is none of ours is refused": func(b *bundle) {
		b.apply(acme, departments("a"))
		for _, cursor := range []string{"!", "bm8", "e30"} {
			page := storage.Page{Limit: 3, Cursor: cursor}
			_, _, err := b.store.Departments(b.ctx, storage.EntityFilter{Dataset: directory.Prod}, page)
			require.ErrorIs(b, err, storage.ErrBadCursor)
			_, _, err = b.store.States(b.ctx, storage.EntityFilter{Dataset: directory.Prod}, page)
			require.ErrorIs(b, err, storage.ErrBadCursor)
			_, _, err = b.store.Pushes(b.ctx, storage.PushFilter{}, page)
			require.ErrorIs(b, err, storage.ErrBadCursor)
			_, _, err = b.store.Deliveries(b.ctx, storage.DeliveryFilter{}, page)
			require.ErrorIs(b, err, storage.ErrBadCursor)
		}
	},

	"the journal lists newest first and filters": func(b *bundle) {
		for i := range 5 {
			b.apply(acme, departments(fmt.Sprint(i)))
		}
		full := b.applyFull(other, &directory.Plan{Result: directory.ResultUnchanged})
		list := func(f storage.PushFilter) (ids []string) {
			for _, r := range pages(b, func(p storage.Page) ([]storage.Record, string, error) { return b.store.Pushes(b.ctx, f, p) }) {
				ids = append(ids, r.ID)
			}
			return ids
		}
		all := list(storage.PushFilter{})
		require.Len(b, all, 6)
		require.IsDecreasing(b, all)
		require.Len(b, list(storage.PushFilter{TenantID: "acme"}), 5)
		require.Equal(b, []string{full.ID}, list(storage.PushFilter{Kind: directory.AllOrgSync}))
		require.Equal(b, []string{full.ID}, list(storage.PushFilter{Result: directory.ResultUnchanged}))
		require.Empty(b, list(storage.PushFilter{Dataset: directory.Test}))
	},

	"the feed keeps the newest state at its newest place": func(b *bundle) {
		b.apply(acme, departments("a", "b"))
		again := department("a", "", 2)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{again}})
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "a", 1)}})
		changes, next, err := b.store.Changes(b.ctx, storage.Place{}, 100)
		require.NoError(b, err)
		require.Len(b, changes, 3)
		require.Equal(b, []string{"b", "a", "ann"}, []string{changes[0].Key, changes[1].Key, changes[2].Key})
		require.EqualValues(b, 2, changes[1].Department.Version)
		require.NotNil(b, changes[2].User)
		require.Less(b, changes[0].Seq, changes[1].Seq)
		require.Equal(b, changes[2].Seq, next.Seq)
		b.reopen()
		b.apply(acme, departments("c"))
		changes, _, err = b.store.Changes(b.ctx, next, 100)
		require.NoError(b, err)
		require.Len(b, changes, 1)
		require.Equal(b, "c", changes[0].Key)
	},

	"a place in the feed holds through restarts, and in no other feed": func(b *bundle) {
		read := func(after storage.Place) (storage.Place, []string) {
			changes, next, err := b.store.Changes(b.ctx, after, 100)
			require.NoError(b, err, "%s", after)
			keys := []string{}
			for _, c := range changes {
				keys = append(keys, c.Key)
			}
			return next, keys
		}
		_, _, err := b.store.Changes(b.ctx, storage.Place{Seq: 1}, 100)
		require.ErrorIs(b, err, storage.ErrFeedSetBack, "behind the end of an empty feed")
		var places []storage.Place
		place, _ := read(storage.Place{})
		for i := range 3 {
			places = append(places, place) // given before a change of this process
			b.apply(acme, departments(fmt.Sprint(i)))
			var keys []string
			place, keys = read(place)
			require.Equal(b, []string{fmt.Sprint(i)}, keys)
			require.NotEmpty(b, place.Epoch)
			b.reopen()
			again, none := read(place)
			require.Equal(b, place, again, "a restart alone begins no epoch")
			require.Empty(b, none)
		}
		for i, earlier := range places {
			again, keys := read(earlier)
			require.Equal(b, place, again)
			require.Len(b, keys, 3-i)
		}
		for what, wrong := range map[string]storage.Place{
			"further than its epoch went": {Seq: place.Seq, Epoch: places[1].Epoch},
			"further than the feed goes":  {Seq: place.Seq + 1, Epoch: place.Epoch},
			"a number too large":          {Seq: place.Seq + 1},
			"of a feed that went on":      {Seq: 1, Epoch: storage.NewEpoch()},
		} {
			_, _, err := b.store.Changes(b.ctx, wrong, 100)
			require.ErrorIs(b, err, storage.ErrFeedSetBack, what)
		}
	},

	"data sets do not touch": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.apply(debug, departments("a", "b"))
		require.Equal(b, []string{"a"}, b.codes(acme))
		state, err := b.store.State(b.ctx, debug)
		require.NoError(b, err)
		require.Equal(b, 2, state.Departments)
	},
}
