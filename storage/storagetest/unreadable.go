package storagetest

import (
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// damaged loads a scope in which nothing can be read of what is not in the
// columns of a tenant, an application and the user "bad"; "good" is whole.
func (b *bundle) damaged() {
	b.Helper()
	store := b.store.(movable)
	mark := directory.PushMark{ID: "p", Kind: directory.AllOrgSync, SourceTime: -62167248000000}
	records := []storage.Dumped{{State: &storage.DumpedState{State: directory.State{Scope: acme, Users: 2, LastFull: &mark, LastIncremental: &mark}}}}
	for i, e := range []storage.DumpedEntity{
		{Kind: directory.KindTenant},
		{Kind: directory.KindApplication, Key: "app"},
		{Kind: directory.KindUser, Key: "bad", Parent: "a"},
		{Kind: directory.KindUser, Key: "good", Parent: "a", Data: "{}"},
	} {
		e.Scope, e.Name, e.Version, e.Seq, e.ChangedAt = acme, "name", 1, int64(i)+1, epoch
		if e.Data == "" {
			e.Data = `{"grants": {"app": {"sourceTime": "never`
		}
		records = append(records, storage.Dumped{Entity: &e})
	}
	require.NoError(b, store.BeginLoad(b.ctx, "damage"))
	require.NoError(b, store.Load(b.ctx, records))
	require.NoError(b, store.EndLoad(b.ctx, "damage"))
}

var unreadableTests = map[string]func(*bundle){
	"an entity that cannot be read harms nobody but itself": func(b *bundle) {
		b.damaged()
		prod := storage.EntityFilter{Dataset: directory.Prod}
		users, _, err := b.store.Users(b.ctx, prod, storage.Page{})
		leftOut, err := storage.Whole(err)
		require.NoError(b, err)
		require.Len(b, leftOut.Rows, 1)
		require.ErrorContains(b, leftOut, `"bad"`)
		require.Len(b, users, 1)
		require.Equal(b, "good", users[0].Entity.UserName)
		for _, err := range []error{
			second(b.store.Tenants(b.ctx, prod, storage.Page{})), second(b.store.Applications(b.ctx, prod, storage.Page{})),
		} {
			require.ErrorAs(b, err, new(*storage.UnreadableError))
		}
		changes, next, err := b.store.Changes(b.ctx, storage.Place{}, 10)
		leftOut, err = storage.Whole(err)
		require.NoError(b, err)
		require.Len(b, leftOut.Rows, 3)
		require.Len(b, changes, 1)
		require.EqualValues(b, 4, next.Seq)
		states, _, err := b.store.States(b.ctx, prod, storage.Page{})
		require.NoError(b, err)
		require.EqualValues(b, -62167248000000, states[0].LastFull.SourceTime)
	},

	"a push mends what cannot be read": func(b *bundle) {
		b.damaged()
		b.relay("corp", storage.RelayOptions{})
		tasks := b.claim("corp", acme)
		for _, task := range tasks {
			require.Equal(b, "good", task.Key)
		}
		dead := b.slot("corp", acme, storage.SlotUser, "bad")
		require.Equal(b, storage.SlotDead, dead.State)
		require.Equal(b, storage.ErrorClassUnreadable, dead.ErrorClass)
		require.Empty(b, b.claim("corp", other))
		b.view(acme, func(v storage.View) {
			_, ok, err := v.Tenant(b.ctx)
			require.NoError(b, err)
			require.True(b, ok)
			_, ok, err = v.Application(b.ctx, "app")
			require.NoError(b, err)
			require.True(b, ok)
			users, err := v.Users(b.ctx, []string{"bad"})
			require.NoError(b, err)
			require.EqualValues(b, 1, users["bad"].Version)
			require.Equal(b, "a", users["bad"].OrgCode)
		})
		b.apply(acme, &directory.Plan{Users: []directory.User{user("bad", "a", 2)}})
		users, _, err := b.store.Users(b.ctx, storage.EntityFilter{Dataset: directory.Prod}, storage.Page{})
		require.NoError(b, err)
		require.Len(b, users, 2)
		b.relay("corp", storage.RelayOptions{})
		require.Equal(b, storage.SlotPending, b.slot("corp", acme, storage.SlotUser, "bad").State)
		b.deliver("corp", acme)
		require.Equal(b, storage.SlotDelivered, b.slot("corp", acme, storage.SlotUser, "bad").State)
	},
}

func second[T any](_ []T, _ string, err error) error { return err }
