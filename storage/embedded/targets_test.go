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

// undoFeed takes from a database what epochs of the feed gave it.
const undoFeed = "DROP TABLE feed_epochs;"

// undoSelection takes from a database what selections gave it.
const undoSelection = "ALTER TABLE relays DROP COLUMN selection;"

// undoResyncs takes from a database what resyncs gave it.
const undoResyncs = "DROP TABLE resyncs;"

// undoRendering takes from a database what mappings gave it.
const undoRendering = "ALTER TABLE relays DROP COLUMN rendering;"

// undoCounts gives a database the counters and indexes it had before
// counts.sql; the counters are only to be dropped again.
const undoCounts = "DROP TRIGGER slots_count_insert; DROP TRIGGER slots_count_update; DROP TRIGGER slots_count_delete;" +
	"DROP TABLE slot_counts; CREATE TABLE slot_counts (target, scope, state, n); CREATE TABLE slot_objects (target, n);" +
	"DROP INDEX slots_due; CREATE INDEX slots_due ON slots (target, scope, kind, due_at) WHERE state IN (1, 2, 8);" +
	"DROP INDEX slots_dirty; CREATE INDEX slots_dirty ON slots (target, scope, dirty_since) WHERE state IN (1, 2, 3);" +
	"CREATE INDEX slot_counts_open ON slot_counts (target, scope);" +
	"CREATE TRIGGER slots_count_insert AFTER INSERT ON slots BEGIN SELECT 1; END; CREATE TRIGGER slots_count_update AFTER UPDATE ON slots BEGIN SELECT 1; END;" +
	"CREATE TRIGGER slots_count_delete AFTER DELETE ON slots BEGIN SELECT 1; END; CREATE TRIGGER slots_object_insert AFTER INSERT ON slots BEGIN SELECT 1; END;" +
	"CREATE TRIGGER slots_object_update AFTER UPDATE ON slots BEGIN SELECT 1; END; CREATE TRIGGER slots_object_delete AFTER DELETE ON slots BEGIN SELECT 1; END;"

// undoTargets takes from a database what targets.sql and what came after it gave it.
const undoTargets = undoCounts + "DROP TRIGGER slots_object_insert; DROP TRIGGER slots_object_update; DROP TRIGGER slots_object_delete;" +
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
	tasks, err := store.Claim(t.Context(), lease, time.Now().Add(time.Second), 100, nil)
	require.NoError(t, err)
	require.Len(t, tasks, 3)
	slot := tasks[0].Slot
	slot.State, slot.RemoteID = storage.SlotDelivered, "r"
	require.NoError(t, store.Settle(t.Context(), lease, []storage.Slot{slot}))
	require.NoError(t, store.Close())
	db := openRaw(t, filepath.Join(dir, embedded.FileName))
	_, err = db.ExecContext(t.Context(), undoFeed+undoSelection+undoResyncs+undoRendering+undoTargets+"PRAGMA user_version = 3")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	n, err := store.Objects(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	counts, err := store.Counts(t.Context(), "t", nil)
	require.NoError(t, err)
	require.Equal(t, storage.SlotCounts{storage.SlotPending: 2, storage.SlotDelivered: 1}, counts.Slots)
	due, _, err := store.DueScopes(t.Context(), "t", time.Now().Add(time.Second))
	require.NoError(t, err)
	require.Equal(t, []directory.Scope{benchScope}, due)
	_, err = store.UpdateTarget(t.Context(), "t", func(*storage.TargetRecord) error { return nil })
	require.NoError(t, err)
}
