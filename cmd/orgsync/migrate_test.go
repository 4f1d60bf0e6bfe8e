package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
	"github.com/openkoo/connector/storage/mongo/mongotest"
)

// mongoServer is a server of this test's own.
func mongoServer(t *testing.T) (uri string) {
	t.Helper()
	server, err := mongotest.Start(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, name := range []string{"orgsync_test_moved", "orgsync_test_second"} {
			require.NoError(t, server.Drop(ctx, name))
		}
		require.NoError(t, server.Stop())
	})
	return server.URI
}

func sumOfDir(t *testing.T, dir string) sum {
	t.Helper()
	store := openData(t, dir)
	defer func() { require.NoError(t, store.Close()) }()
	all, err := sumOf(t.Context(), store)
	require.NoError(t, err)
	return all
}

// lived is a stopped connector's directory with some pushes in it, and an instance.
func lived(t *testing.T) *server {
	t.Helper()
	s := serve(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	s.pushCredential(t)
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(28)).err)
	s.stop()
	s.buy(t)
	return s
}

// One server for all of it: it takes a while to start.
func TestADirectoryMovesIntoMongoAndBack(t *testing.T) {
	t.Parallel()
	uri, s := mongoServer(t), lived(t)
	want := sumOfDir(t, s.dir)
	require.EqualValues(t, 31, want["entities"].Count, "30 departments, 2 of them tombstones, and the application")

	require.EqualValues(t, 1, want["instances"].Count)
	moved := run(t, nil, "migrate", "--from", s.dir, "--to-mongo", uri, "--database", "orgsync_test_moved")
	require.NoError(t, moved.err, moved.out)
	require.Contains(t, moved.out, fmt.Sprintf("%d records moved; counts and hashes agree.", want.total()))
	require.NotContains(t, moved.out+moved.errOut, clientWords)

	again := run(t, nil, "migrate", "--from", s.dir, "--to-mongo", uri, "--database", "orgsync_test_moved")
	require.ErrorContains(t, again.err, "the store is not empty")

	back := filepath.Join(t.TempDir(), "back")
	environ := []string{"ORGSYNC_MONGO_URI=" + uri, "ORGSYNC_MONGO_DATABASE=orgsync_test_moved"}
	moved = run(t, environ, "migrate", "--to", back)
	require.NoError(t, moved.err, moved.out)
	require.Equal(t, want, sumOfDir(t, back))

	// With the keys the connector goes on where it was.
	for _, name := range []string{"admin-token", "app-private-key.pem", "app-public-key.pem", "encryption-key", "kit-access-key"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(back, name), text, 0o600))
	}
	next := (&server{dir: back}).restart(t)
	require.Len(t, listed[any](t, next, "/departments"), 28)
	_, secret := next.secret(t)
	require.Equal(t, clientWords, secret)
	require.NoError(t, next.pushFile(t, "full", "", "d.csv", departments(29)).err)
	require.Len(t, listed[any](t, next, "/departments"), 29)

	rotatedInMongo(t, environ, s.dir)
	interrupted(t, uri, s.dir)
}

// rotatedInMongo: replicas may be running, so the first run only makes the key,
// and the second seals with it.
func rotatedInMongo(t *testing.T, environ []string, dir string) {
	t.Helper()
	first := run(t, environ, "keys", "rotate", "--data-dir", dir)
	require.NoError(t, first.err)
	require.Contains(t, first.out, "Restart every replica, with both files in its data directory. Then run `orgsync keys rotate` again.")
	require.NotContains(t, first.out, "may go")
	second := run(t, environ, "keys", "rotate", "--data-dir", dir)
	require.NoError(t, second.err)
	require.Contains(t, second.out, "2 applications and instances looked at, 2 sealed anew")
	require.Contains(t, second.out, "may go")
	third := run(t, environ, "keys", "rotate", "--data-dir", dir)
	require.NoError(t, third.err)
	require.Contains(t, third.out, "0 sealed anew")
}

// interrupted: half of a migration is there. No connector starts on it, no other
// migration goes into it, the same goes on.
func interrupted(t *testing.T, uri, dir string) {
	const database = "orgsync_test_second"
	store, err := mongo.Open(t.Context(), uri, database, mongo.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	want := sumOfDir(t, dir)
	require.NoError(t, store.BeginLoad(t.Context(), want.name()))
	source := openData(t, dir)
	for record, err := range source.Dump(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, store.Load(t.Context(), []storage.Dumped{record}))
		break
	}
	require.NoError(t, source.Close())
	require.NoError(t, store.Close())

	keys := dataDir(t)
	r := run(t, []string{"ORGSYNC_MONGO_URI=" + uri, "ORGSYNC_MONGO_DATABASE=" + database}, "serve", "--listen", "127.0.0.1:0", "--data-dir", keys)
	require.ErrorContains(t, r.err, "a migration into this store has not ended")
	r = run(t, nil, "migrate", "--from-mongo", uri, "--to", filepath.Join(t.TempDir(), "x"), "--database", database)
	require.ErrorContains(t, r.err, "a migration into the source has not ended")
	r = run(t, nil, "migrate", "--from", lived(t).dir, "--to-mongo", uri, "--database", database)
	require.ErrorContains(t, r.err, "another load has not ended")
	r = run(t, nil, "migrate", "--from", dir, "--to-mongo", uri, "--database", database)
	require.NoError(t, r.err, r.out)
	require.Contains(t, r.out, "counts and hashes agree")
}

func TestWhatCannotBeMovedIsRefused(t *testing.T) {
	t.Parallel()
	running := serve(t)
	const nowhere = "mongodb://user:a-wrong-secret@127.0.0.1:1/"
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing named":      {nil, "want --from DIR and --to-mongo URI, or --from-mongo URI and --to DIR"},
		"two sources":        {[]string{"--from", "a", "--from-mongo", "b", "--to", "c"}, "want --from DIR and"},
		"no store there":     {[]string{"--from", t.TempDir(), "--to-mongo", nowhere}, "no store is there: no such file or directory"},
		"a directory in use": {[]string{"--from", running.dir, "--to-mongo", nowhere}, "is in use by another orgsync process; stop it"},
		"no MongoDB there":   {[]string{"--from", lived(t).dir, "--to-mongo", nowhere}, "MongoDB at 127.0.0.1:1 does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, append([]string{"migrate"}, c.args...)...)
			require.Equal(t, 1, r.code())
			require.ErrorContains(t, r.err, c.want)
			require.NotContains(t, r.err.Error()+r.out+r.errOut, "a-wrong-secret")
		})
	}
}

// leaky is a real store that loses one record on the way in.
type leaky struct {
	*embedded.Store
	lost bool
}

func (l *leaky) Load(ctx context.Context, records []storage.Dumped) error {
	kept := make([]storage.Dumped, 0, len(records))
	for i := range records {
		if records[i].Entity != nil && !l.lost {
			l.lost = true
			continue
		}
		kept = append(kept, records[i])
	}
	return l.Store.Load(ctx, kept)
}

// A record that was lost is noticed, and the target is not taken for whole.
func TestALostRecordIsNoticed(t *testing.T) {
	t.Parallel()
	source, target := openData(t, lived(t).dir), &leaky{Store: openData(t, t.TempDir())}
	t.Cleanup(func() {
		require.NoError(t, source.Close())
		require.NoError(t, target.Close())
	})
	var out strings.Builder
	require.ErrorContains(t, move(t.Context(), source, target, &out, &out), "the target differs from the source")
	require.Contains(t, out.String(), "false")
	name, err := target.Loading(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, name, "no connector starts on it")
	require.NoError(t, move(t.Context(), source, target, &out, &out), "a repeat brings it")
}
