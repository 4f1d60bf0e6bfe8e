package mongo_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
	"github.com/openkoo/connector/storage/storagetest"
)

func TestADumpIsLoadedByTheOtherKindOfStore(t *testing.T) {
	t.Parallel()
	inDirectory := func(t *testing.T, now func() time.Time) func() (storage.Store, error) {
		dir := t.TempDir()
		return func() (storage.Store, error) {
			return embedded.Open(context.Background(), dir, embedded.Options{Now: now, Logger: slog.New(slog.DiscardHandler)})
		}
	}
	inMongo := func(t *testing.T, now func() time.Time) func() (storage.Store, error) {
		name := database(t)
		return func() (storage.Store, error) {
			options := quiet()
			options.Now = now
			return mongo.Open(context.Background(), server().URI, name, options)
		}
	}
	for name, way := range map[string][2]storagetest.Factory{
		"into MongoDB": {inDirectory, inMongo}, "out of MongoDB": {inMongo, inDirectory}, "from MongoDB to MongoDB": {inMongo, inMongo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.RunMoves(t, way[0], way[1])
		})
	}
}
