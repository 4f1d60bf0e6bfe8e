package mongo_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
	"github.com/openkoo/connector/storage/mongo/mongotest"
	"github.com/openkoo/connector/storage/storagetest"
)

// started is the server all tests share; each has a database of its own. It
// starts when it is first asked for: fuzzing needs none.
var started *mongotest.Server

var server = sync.OnceValue(func() *mongotest.Server {
	var err error
	if started, err = mongotest.Start(context.Background()); err != nil {
		panic(err)
	}
	return started
})

func TestMain(m *testing.M) {
	if uri := os.Getenv(crashURI); uri != "" {
		crashWriter(uri)
		return
	}
	// Each check of the suite's law opens a database of its own, which takes the
	// test server a while. -rapid.checks on the command line still counts.
	if err := flag.Set("rapid.checks", "10"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// database is a name for one test, dropped at its end.
func database(tb testing.TB) string {
	tb.Helper()
	name := "orgsync_test_" + strings.ReplaceAll(mongo.NewID(), "-", "")
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(tb, server().Drop(ctx, name))
	})
	return name
}

// quiet are options for tests: no log, nothing in the background.
func quiet() mongo.Options {
	return mongo.Options{Logger: slog.New(slog.DiscardHandler), PollInterval: time.Hour, Timeout: 30 * time.Second}
}

func openStore(tb testing.TB, name string, options mongo.Options) *mongo.Store {
	tb.Helper()
	store, err := mongo.Open(context.Background(), server().URI, name, options)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	return store
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T, now func() time.Time) func() (storage.Store, error) {
		name := database(t)
		return func() (storage.Store, error) {
			options := quiet()
			options.Now = now
			return mongo.Open(context.Background(), server().URI, name, options)
		}
	})
}

var acme = directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: "acme"}
