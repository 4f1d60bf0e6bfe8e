package embedded_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/storagetest"
)

func TestADumpIsLoadedByAnotherDirectory(t *testing.T) {
	t.Parallel()
	factory := func(t *testing.T, now func() time.Time) func() (storage.Store, error) {
		dir := t.TempDir()
		return func() (storage.Store, error) {
			return embedded.Open(context.Background(), dir, embedded.Options{Now: now, Logger: slog.New(slog.DiscardHandler)})
		}
	}
	storagetest.RunMoves(t, factory, factory)
}
