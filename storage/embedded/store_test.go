package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/storagetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashWriter(dir)
		return
	}
	if dir := os.Getenv(fullDisk); dir != "" {
		onFullDisk(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("suite", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T, now func() time.Time) func() (storage.Store, error) {
			dir, err := os.MkdirTemp(t.TempDir(), "store")
			require.NoError(t, err)
			return func() (storage.Store, error) {
				options := embedded.Options{Now: now, Logger: slog.New(slog.DiscardHandler)}
				return embedded.Open(context.Background(), dir, options.WithDriver("sqlite-recorded"))
			}
		})
	})
	// Now that the suite has sent every statement there is:
	t.Run("no statement costs more the more is stored", checkPlans)
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	t.Run("another process", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		store, err := embedded.Open(t.Context(), dir, embedded.Options{})
		require.NoError(t, err)
		_, err = embedded.Open(t.Context(), dir, embedded.Options{})
		require.ErrorContains(t, err, "in use by another")
		require.NoError(t, store.Close())
		require.NoError(t, store.Close(), "closing twice is harmless")
	})
	t.Run("not a database", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, embedded.FileName), []byte("this is no database at all, only words of some length"), 0o600))
		_, err := embedded.Open(t.Context(), dir, embedded.Options{})
		require.ErrorContains(t, err, "move it away")
	})
	t.Run("not a directory", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		_, err := embedded.Open(t.Context(), path, embedded.Options{})
		require.ErrorContains(t, err, "ORGSYNC_DATA_DIR")
	})
	t.Run("newer schema", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		db := openRaw(t, filepath.Join(dir, embedded.FileName))
		_, err := db.ExecContext(t.Context(), "PRAGMA user_version = 999")
		require.NoError(t, err)
		require.NoError(t, db.Close())
		_, err = embedded.Open(t.Context(), dir, embedded.Options{})
		require.ErrorContains(t, err, "newer orgsync")
	})
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), entry.Name())
	}
}

// A push that finds the disk full fails as a whole; those that fit still work.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{MaxPages: 120})
	require.NoError(t, err)
	apply := func(id string, n int) error {
		record := storage.Record{ID: id, Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
		_, err := store.ApplyAtOnce(t.Context(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
			return fullPlan(n, id), nil
		})
		return err
	}
	require.NoError(t, apply("1", 10))
	require.ErrorContains(t, apply("2", 20_000), "full")
	for i := range 5 {
		require.NoError(t, apply(fmt.Sprint(3+i), 1))
	}
	require.NoError(t, store.Close())
	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	state, err := store.State(t.Context(), benchScope)
	require.NoError(t, err)
	require.Equal(t, 15, state.Departments)
	_, _, err = store.Push(t.Context(), "2")
	require.ErrorIs(t, err, storage.ErrNotFound)
}
