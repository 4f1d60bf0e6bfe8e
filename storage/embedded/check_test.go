package embedded_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

// signals is a log that tells of each line.
type signals chan string

func (s signals) Write(line []byte) (int, error) {
	s <- string(line)
	return len(line), nil
}

// A file that was damaged when the machine went down is not found out by the
// tenant whose page it was.
func TestOpen_FindsADamagedPageAfterAnUncleanEnd(t *testing.T) {
	t.Parallel()
	dir, torn := t.TempDir(), t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	require.NoError(t, applyDepartments(t.Context(), store, benchScope, "many", 5000))
	require.NoError(t, store.Close())
	store, err = embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	require.NoError(t, applyDepartments(t.Context(), store, directory.Scope{Dataset: directory.Prod, TenantID: "another"}, "one", 1))
	for _, name := range []string{"", "-wal"} { // the machine goes down
		text, err := os.ReadFile(filepath.Join(dir, embedded.FileName+name))
		require.NoError(t, err)
		if name == "" { // and takes pages with it
			const page = 4096
			for i := len(text)/2/page*page - 10*page; i < len(text)/2; i++ {
				text[i] = 0xa5
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(torn, embedded.FileName+name), text, 0o600))
	}
	require.NoError(t, store.Close())

	log := make(signals, 10)
	store, err = embedded.Open(t.Context(), torn, embedded.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.Contains(t, <-log, "level=ERROR msg=\"the database file is damaged: stop the connector and restore")
	require.ErrorIs(t, store.Ping(t.Context()), storage.ErrDamaged)
	for page := (storage.Page{}); err == nil; {
		_, page.Cursor, err = store.Departments(t.Context(), storage.EntityFilter{Dataset: directory.Prod}, page)
		require.True(t, err != nil || page.Cursor != "", "the damage is in what is read")
	}
	require.ErrorContains(t, err, "restore the data directory from a backup")
}
