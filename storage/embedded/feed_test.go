package embedded_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// A backup is restored, and the feed goes on from it: it gives out anew the
// numbers that a reader has passed, and the reader is told.
func TestAReaderIsToldThatABackupWasRestored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, embedded.FileName)
	// put opens the store, writes departments, and says where a reader stands then.
	put := func(codes ...string) (*embedded.Store, storage.Place) {
		store, err := embedded.Open(t.Context(), dir, embedded.Options{})
		require.NoError(t, err)
		for _, code := range codes {
			writeDepartment(t, store, code)
		}
		_, place, err := store.Changes(t.Context(), storage.Place{}, 100)
		require.NoError(t, err)
		return store, place
	}
	store, before := put("a", "b")
	require.NoError(t, store.Close())
	backup, err := os.ReadFile(path)
	require.NoError(t, err)
	store, after := put("c", "d")
	require.NoError(t, store.Close())
	require.NoError(t, os.WriteFile(path, backup, 0o600))

	store, _ = put()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	for _, code := range []string{"", "e", "f", "g"} { // in the end beyond the reader's number
		if code != "" {
			writeDepartment(t, store, code)
		}
		_, _, err = store.Changes(t.Context(), after, 100)
		require.ErrorIs(t, err, storage.ErrFeedSetBack)
	}
	changes, _, err := store.Changes(t.Context(), before, 100)
	require.NoError(t, err, "what was read before the backup is as it was")
	require.Len(t, changes, 3, "and what came then is read")
}

// writeDepartment puts one department into the feed, and nothing else.
func writeDepartment(t *testing.T, store *embedded.Store, code string) {
	t.Helper()
	record := storage.Record{ID: code, Scope: benchScope, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}
	_, err := store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
		department := directory.Department{Code: code, Name: code, Meta: directory.Meta{Version: 1, SourceTime: 1}}
		return &directory.Plan{Result: directory.ResultApplied, Departments: []directory.Department{department}}, nil
	})
	require.NoError(t, err)
}
