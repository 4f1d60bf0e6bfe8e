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

// A database from before the base interface gains its tables and keeps the rest.
func TestOldDatabaseLearnsInstances(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	record := storage.Record{ID: "p1", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
	_, err = store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) { return fullPlan(3, "a"), nil })
	require.NoError(t, err)
	require.NoError(t, store.Close())
	db := openRaw(t, filepath.Join(dir, embedded.FileName))
	_, err = db.ExecContext(t.Context(), undoFeed+undoSelection+undoResyncs+undoRendering+undoTargets+"ALTER TABLE journal DROP COLUMN decided_at; DROP TABLE instances; DROP TABLE instance_orders; PRAGMA user_version = 1")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, created, err := store.CreateInstance(t.Context(), directory.Instance{Dataset: directory.Prod, ID: "i"}, []string{"o"})
	require.NoError(t, err)
	require.True(t, created)
	state, err := store.State(t.Context(), benchScope)
	require.NoError(t, err)
	require.Equal(t, 3, state.Departments)
}

// A database from before decisions had a time gains it and keeps the journal.
func TestOldDatabaseLearnsWhenItWasDecided(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	record := storage.Record{ID: "p1", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
	hold := &directory.Plan{Result: directory.ResultHeld, HoldSet: true, Hold: &directory.Hold{PushID: "p1", Codes: []string{"a"}}}
	_, err = store.ApplyAtOnce(t.Context(), record, []byte("body"), func(context.Context, storage.View) (*directory.Plan, error) { return hold, nil })
	require.NoError(t, err)
	require.NoError(t, store.Close())
	db := openRaw(t, filepath.Join(dir, embedded.FileName))
	_, err = db.ExecContext(t.Context(), undoFeed+undoSelection+undoResyncs+undoRendering+undoTargets+"ALTER TABLE journal DROP COLUMN decided_at; PRAGMA user_version = 2")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Decide(t.Context(), "p1", "no", func(context.Context, storage.View, directory.Hold) (*directory.Plan, error) {
		return directory.RejectHold(), nil
	})
	require.NoError(t, err)
	decided, _, err := store.Push(t.Context(), "p1")
	require.NoError(t, err)
	require.False(t, decided.DecidedAt.IsZero())
	body, err := store.Body(t.Context(), "p1")
	require.NoError(t, err)
	require.Equal(t, "body", string(body))
}
