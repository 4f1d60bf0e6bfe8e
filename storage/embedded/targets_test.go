package embedded_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// undoFeed takes from a database what epochs of the feed gave it, undoResyncs
// what resyncs did.
const (
	undoFeed    = "DROP TABLE feed_epochs;"
	undoResyncs = "DROP TABLE resyncs;"
)

// undoRendering takes from a database what mappings gave it.
const undoRendering = "ALTER TABLE relays DROP COLUMN rendering;"

// undoTargets takes from a database what targets.sql gave it.
const undoTargets = "DROP TRIGGER slots_object_insert; DROP TRIGGER slots_object_update; DROP TRIGGER slots_object_delete;" +
	"DROP TABLE targets; DROP TABLE slot_objects; ALTER TABLE slots DROP COLUMN cleared; ALTER TABLE slots DROP COLUMN kept;"

// A database from before deletions were limited counts what its targets have.
func TestOldDatabaseCountsItsObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	record := storage.Record{ID: "p1", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
	_, err = store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) { return fullPlan(3, "a"), nil })
	require.NoError(t, err)
	_, _, err = store.Relay(t.Context(), "t", storage.RelayOptions{}, 100)
	require.NoError(t, err)
	lease, err := store.Lease(t.Context(), "t", benchScope, "test", time.Hour)
	require.NoError(t, err)
	tasks, err := store.Claim(t.Context(), lease, time.Now().Add(time.Second), 100)
	require.NoError(t, err)
	require.Len(t, tasks, 3)
	slot := tasks[0].Slot
	slot.State, slot.RemoteID = storage.SlotDelivered, "r"
	require.NoError(t, store.Settle(t.Context(), lease, []storage.Slot{slot}))
	require.NoError(t, store.Close())
	db := openRaw(t, filepath.Join(dir, embedded.FileName))
	_, err = db.ExecContext(t.Context(), undoFeed+undoResyncs+undoRendering+undoTargets+"PRAGMA user_version = 3")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	n, err := store.Objects(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = store.UpdateTarget(t.Context(), "t", func(*storage.TargetRecord) error { return nil })
	require.NoError(t, err)
}
