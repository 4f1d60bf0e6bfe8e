package embedded_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage/embedded"
)

// content is all that a directory holds.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		all[file.Name()] = string(text)
	}
	return all
}

func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	found, err := embedded.Inspect(t.Context(), dir)
	require.NoError(t, err)
	require.False(t, found.Found || found.Locked)
	require.Empty(t, content(t, dir))

	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	found, err = embedded.Inspect(t.Context(), dir)
	require.NoError(t, err)
	require.True(t, found.Found && found.Locked, "beside the process that has it")
	require.NoError(t, store.Ping(t.Context()), "which goes on")
	require.NoError(t, store.Close())

	before := content(t, dir)
	found, err = embedded.Inspect(t.Context(), dir)
	require.NoError(t, err)
	require.True(t, found.Found)
	require.False(t, found.Locked || found.Unchecked || found.Loading)
	require.Equal(t, found.Known, found.Schema)
	require.Empty(t, found.Faults)
	require.Equal(t, before, content(t, dir))
	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err, "its lock is free again")
	require.NoError(t, store.Close())
}

func TestInspectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	ended, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, err = embedded.Inspect(ended, dir)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
