package doctor_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
	"github.com/openkoo/connector/test/peers/redisserver"
)

// running is a connector that says what it is told.
type running struct {
	ready    error
	state    string
	stateErr error
}

func (r running) Ready(context.Context) error           { return r.ready }
func (r running) State(context.Context) (string, error) { return r.state, r.stateErr }

var nobody = running{ready: doctor.ErrNoServer}

// box makes a box with a key of its own.
func box(t *testing.T, fill byte) *secrets.Box {
	t.Helper()
	key := make([]byte, secrets.KeySize)
	for i := range key {
		key[i] = fill
	}
	b, err := secrets.NewBox(key)
	require.NoError(t, err)
	return b
}

// keep stores an application whose secret is sealed.
func keep(t *testing.T, store storage.Store, sealer *secrets.Box) {
	t.Helper()
	id, err := uuid.NewV7()
	require.NoError(t, err)
	record := storage.Record{
		ID: id.String(), Scope: directory.Scope{Dataset: directory.Prod, TenantID: "t1", InstanceID: "i1"},
		Kind: directory.ApplicationSync, Flag: directory.FlagAdd, SourceTime: 1, ReceivedAt: time.Now(),
	}
	plan := &directory.Plan{
		Result: directory.ResultApplied, Counts: directory.Counts{directory.ActionCreate: 1},
		Applications: []directory.Application{{
			AppID: "app", ClientID: "c", SealedSecret: sealer.Seal([]byte("client-secret"), secrets.ClientSecretPurpose),
			SecretFingerprint: sealer.Fingerprint([]byte("client-secret")), SecretScheme: "s", Meta: directory.Meta{Version: 1, SourceTime: 1},
		}},
		Delta: directory.Delta{Applications: 1},
	}
	_, err = store.ApplyAtOnce(t.Context(), record, []byte("raw"), func(context.Context, storage.View) (*directory.Plan, error) { return plan, nil })
	require.NoError(t, err)
}

func TestTheEmbeddedStoreIsLookedAt(t *testing.T) {
	t.Parallel()
	dir, right, wrong := t.TempDir(), box(t, 1), box(t, 2)
	finds(t, doctor.CheckEmbedded(filepath.Join(dir, "none"), right, nobody), want{doctor.OK, "nothing is stored"})
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	keep(t, store, right)

	// Beside the process that has it.
	finds(t, doctor.CheckEmbedded(dir, right, running{state: "synced"}),
		want{doctor.OK, "its sync state is synced"}, want{doctor.OK, "is whole"})
	finds(t, doctor.CheckEmbedded(dir, right, running{state: "degraded"}), want{doctor.Warning, "its sync state is degraded"})
	finds(t, doctor.CheckEmbedded(dir, right, nobody), want{doctor.Problem, "a process holds the data directory, and no connector answers"})
	finds(t, doctor.CheckEmbedded(dir, right, running{ready: errors.New("HTTP 503")}), want{doctor.Problem, "not ready: HTTP 503"})
	finds(t, doctor.CheckEmbedded(dir, right, running{stateErr: errors.New("401")}), want{doctor.Warning, "does not tell its sync state: 401"})

	require.NoError(t, store.Close())
	finds(t, doctor.CheckEmbedded(dir, right, nobody), want{doctor.OK, "orgsync.db is whole, schema "})
	findings := finds(t, doctor.CheckEmbedded(dir, wrong, nobody), want{doctor.Problem, "do not open 1 of the 1 client secrets"})
	keepsSecret(t, findings, "client-secret")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "orgsync.load"), []byte("a dump\n"), 0o600))
	finds(t, doctor.CheckEmbedded(dir, right, nobody), want{doctor.Problem, "a migration into this store has not ended"})
	require.NoError(t, os.Remove(filepath.Join(dir, "orgsync.load")))

	change(t, dir, "PRAGMA user_version = 999")
	finds(t, doctor.CheckEmbedded(dir, right, nobody), want{doctor.Problem, "written by a newer orgsync (schema 999"})
}

// change writes into a database behind everybody's back.
func change(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, embedded.FileName))
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestADamagedStoreIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	keep(t, store, box(t, 1))
	require.NoError(t, store.Close())
	path := filepath.Join(dir, embedded.FileName)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	const page = 4096
	require.Greater(t, len(whole), 8*page)
	spoilt := append([]byte(nil), whole...)
	for i := 5 * page; i < 7*page; i++ {
		spoilt[i] = 0xA5
	}
	require.NoError(t, os.WriteFile(path, spoilt, 0o600))
	findings := examined(t, doctor.CheckEmbedded(dir, box(t, 1), nobody))
	require.Equal(t, doctor.Problem, doctor.Worst(findings), "%+v", findings)
	for _, f := range findings {
		require.Contains(t, f.Next, "restore the last backup")
	}

	require.NoError(t, os.WriteFile(path, []byte("this is no database at all, only words of some length"), 0o600))
	finds(t, doctor.CheckEmbedded(dir, nil, nobody), want{doctor.Problem, "not a database"})
}

func TestMongoIsLookedAt(t *testing.T) {
	t.Parallel()
	right := box(t, 1)
	database := "doctor_" + uuid.NewString()[:8]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, shared.Drop(ctx, database))
	})
	inspect := func(uri string) func(context.Context) (mongo.Inspection, error) {
		return func(ctx context.Context) (mongo.Inspection, error) { return mongo.Inspect(ctx, uri, database) }
	}
	// What tests run on is a single server that asks nobody for a password.
	alone := []want{{doctor.Warning, "without a user"}, {doctor.Warning, "a single server"}}
	finds(t, doctor.CheckMongo(inspect(shared.URI), right, nobody), alone...)

	store, err := mongo.Open(t.Context(), shared.URI, database, mongo.Options{})
	require.NoError(t, err)
	keep(t, store, right)
	require.NoError(t, store.Close())
	finds(t, doctor.CheckMongo(inspect(shared.URI), right, nobody), alone...)
	finds(t, doctor.CheckMongo(inspect(shared.URI), right, running{state: "held"}), append([]want{{doctor.Warning, "sync state is held"}}, alone...)...)
	finds(t, doctor.CheckMongo(inspect(shared.URI), box(t, 2), nobody), append(alone, want{doctor.Problem, "do not open 1 of the 1"})...)

	findings := finds(t, doctor.CheckMongo(inspect("mongodb://u:s3cr3t-pass@"+nowhere+"/"), right, nobody), want{doctor.Problem, "does not answer"})
	keepsSecret(t, findings, "s3cr3t-pass")
}

func TestWhatMongoSaysIsJudged(t *testing.T) {
	t.Parallel()
	well := mongo.Inspection{Version: "7.0.12", Replicated: true, Prepared: true, Schema: 1, Known: 1}
	judged := func(change func(*mongo.Inspection)) doctor.Check {
		found := well
		change(&found)
		return doctor.CheckMongo(func(context.Context) (mongo.Inspection, error) { return found, nil }, nil, nobody)
	}
	finds(t, judged(func(*mongo.Inspection) {}), want{doctor.OK, "MongoDB 7.0.12 answers"})
	finds(t, judged(func(i *mongo.Inspection) { i.Version = "4.2.1" }), want{doctor.Warning, "4.2.1 is older"})
	finds(t, judged(func(i *mongo.Inspection) { i.Version = "4.4.29" }), want{doctor.OK, "MongoDB 4.4.29 answers"})
	finds(t, judged(func(i *mongo.Inspection) { i.MissingRights = []string{"update", "remove"} }), want{doctor.Problem, "lacks the rights: update, remove"})
	finds(t, judged(func(i *mongo.Inspection) { i.MissingIndexes = []string{"slots.due"} }), want{doctor.Warning, "indexes are missing: slots.due"})
	finds(t, judged(func(i *mongo.Inspection) { i.Schema = 2 }), want{doctor.Problem, "newer orgsync (schema 2"})
	finds(t, judged(func(i *mongo.Inspection) { i.Clock = -10 * time.Minute }), want{doctor.Warning, "10m0s apart"})
}

func TestRedisIsLookedAt(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	check := func(url string) doctor.Check {
		return doctor.CheckRedis(func(ctx context.Context) (redis.Inspection, error) { return redis.Inspect(ctx, url) })
	}
	finds(t, check(server.URL), want{doctor.OK, "answers and forgets nothing"})

	options, err := goredis.ParseURL(server.URL)
	require.NoError(t, err)
	client := goredis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys, "looking leaves nothing behind")

	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	finds(t, check(server.URL), want{doctor.Warning, "maxmemory-policy allkeys-lru"})
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	require.NoError(t, client.ConfigSet(t.Context(), "requirepass", "right-password").Err())
	findings := finds(t, check(server.URL), want{doctor.Problem, "refuses the user or password"})
	findings = append(findings, finds(t, check("unix://:wrong-password@"+server.Socket), want{doctor.Problem, "refuses the user or password"})...)
	keepsSecret(t, findings, "wrong-password", "right-password")
	finds(t, check("unix://:right-password@"+server.Socket), want{doctor.OK, "answers"})

	server.Kill()
	finds(t, check("unix://:right-password@"+server.Socket), want{doctor.Problem, "does not answer"})
	finds(t, check("redis://"+nowhere+"/0"), want{doctor.Problem, "does not answer"})
	finds(t, check("http://x"), want{doctor.Problem, "is no Redis address"})
}

func TestWhatRedisSaysIsJudged(t *testing.T) {
	t.Parallel()
	judged := func(found redis.Inspection) doctor.Check {
		return doctor.CheckRedis(func(context.Context) (redis.Inspection, error) { return found, nil })
	}
	finds(t, judged(redis.Inspection{Version: "7.2.4"}), want{doctor.OK, "Redis 7.2.4"})
	finds(t, judged(redis.Inspection{Version: "5.0.7"}), want{doctor.Warning, "5.0.7 is older"})
	finds(t, judged(redis.Inspection{Version: "7.2.4", ReadOnly: true}), want{doctor.Problem, "read-only replica"})
}
