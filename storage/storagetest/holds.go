package storagetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// hold applies a full push that holds the deletion of codes.
func (b *bundle) hold(codes ...string) storage.Record {
	b.Helper()
	record := b.record(acme, directory.AllOrgSync)
	require.NoError(b, b.store.Accept(b.ctx, record, nil))
	_, err := b.store.ApplyAccepted(b.ctx, record.ID, planned(&directory.Plan{
		Result: directory.ResultHeld, HoldSet: true, Hold: &directory.Hold{PushID: record.ID, SourceTime: record.SourceTime, Codes: codes, Of: 2},
	}))
	require.NoError(b, err)
	return record
}

func (b *bundle) result(id string) directory.Result {
	b.Helper()
	record, _, err := b.store.Push(b.ctx, id)
	require.NoError(b, err)
	return record.Result
}

type decideFunc = func(context.Context, storage.View, directory.Hold) (*directory.Plan, error)

func reject(context.Context, storage.View, directory.Hold) (*directory.Plan, error) {
	return &directory.Plan{Result: directory.ResultRejected}, nil
}

var holdTests = map[string]func(*bundle){
	"an approval deletes what was held": func(b *bundle) {
		b.apply(acme, departments("a", "b"))
		record := b.hold("a")
		b.reopen()
		var approve decideFunc = func(ctx context.Context, v storage.View, hold directory.Hold) (*directory.Plan, error) {
			d, _, err := v.Department(ctx, hold.Codes[0])
			d.Deleted, d.Version = true, d.Version+1
			return &directory.Plan{Result: directory.ResultApproved, Departments: []directory.Department{d}, Delta: directory.Delta{Departments: -1}}, err
		}
		_, err := b.store.Decide(b.ctx, record.ID, "by ann", approve)
		require.NoError(b, err)
		got, _, err := b.store.Push(b.ctx, record.ID)
		require.NoError(b, err)
		require.Equal(b, directory.ResultApproved, got.Result)
		require.Equal(b, "by ann", got.Note)
		require.Equal(b, b.clock.now(), got.DecidedAt.UTC())
		state, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Nil(b, state.Hold)
		require.Equal(b, 1, state.Departments)
		_, err = b.store.Decide(b.ctx, record.ID, "", approve)
		require.ErrorIs(b, err, storage.ErrConflict)
	},

	"a decision's note comes behind the push's own": func(b *bundle) {
		b.apply(acme, departments("a"))
		record := b.record(acme, directory.AllOrgSync)
		record.Note = "restored by ann"
		require.NoError(b, b.store.Accept(b.ctx, record, []byte("raw")))
		_, err := b.store.ApplyAccepted(b.ctx, record.ID, planned(&directory.Plan{
			Result: directory.ResultHeld, HoldSet: true, Hold: &directory.Hold{PushID: record.ID, Codes: []string{"a"}, Of: 1},
		}))
		require.NoError(b, err)
		before, _, err := b.store.Push(b.ctx, record.ID)
		require.NoError(b, err)
		require.Equal(b, "restored by ann", before.Note)
		require.Zero(b, before.DecidedAt)
		b.clock.advance(time.Second)
		_, err = b.store.Decide(b.ctx, record.ID, "rejected by bob", reject)
		require.NoError(b, err)
		b.reopen()
		after, _, err := b.store.Push(b.ctx, record.ID)
		require.NoError(b, err)
		require.Equal(b, "restored by ann; rejected by bob", after.Note)
		require.Equal(b, b.clock.now(), after.DecidedAt.UTC())
	},

	"a rejection changes nothing but the hold": func(b *bundle) {
		b.apply(acme, departments("a"))
		record := b.hold("a")
		_, err := b.store.Decide(b.ctx, record.ID, "no", reject)
		require.NoError(b, err)
		require.Equal(b, directory.ResultRejected, b.result(record.ID))
		state, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Nil(b, state.Hold)
		require.Equal(b, 1, state.Departments)
	},

	"a later full push replaces a hold": func(b *bundle) {
		b.apply(acme, departments("a"))
		first := b.hold("a")
		second := b.hold("a")
		require.Equal(b, directory.ResultReplaced, b.result(first.ID))
		_, err := b.store.Decide(b.ctx, first.ID, "", reject)
		require.ErrorIs(b, err, storage.ErrConflict)
		b.applyFull(acme, &directory.Plan{HoldSet: true})
		require.Equal(b, directory.ResultReplaced, b.result(second.ID))
		_, err = b.store.Decide(b.ctx, "nobody", "", reject)
		require.ErrorIs(b, err, storage.ErrNotFound)
	},

	"a refused decision leaves the hold": func(b *bundle) {
		record := b.hold("a")
		_, err := b.store.Decide(b.ctx, record.ID, "", func(context.Context, storage.View, directory.Hold) (*directory.Plan, error) {
			return nil, errLookedOnly
		})
		require.ErrorIs(b, err, errLookedOnly)
		state, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Equal(b, record.ID, state.Hold.PushID)
		require.Equal(b, directory.ResultHeld, b.result(record.ID))
	},
}
