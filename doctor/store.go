package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
)

// Server is the connector that runs on the same configuration, if one does.
type Server interface {
	// Ready asks whether it takes pushes. It fails with ErrNoServer where none
	// answers.
	Ready(ctx context.Context) error
	// State is its sync state over all tenants.
	State(ctx context.Context) (string, error)
}

// ErrNoServer means that no connector runs where one was looked for.
var ErrNoServer = errors.New("no connector answers")

const (
	restore      = "Stop the connector and restore the last backup (docs/operations.md); what was pushed since comes again with the next full push."
	useThat      = "Use that program, or a newer one."
	endMigration = "Run the same `orgsync migrate` again: it goes on where it stopped."
)

// CheckEmbedded looks at the embedded store in dir. What a running connector
// knows better, it is asked for.
func CheckEmbedded(dir string, opener Opener, server Server) Check {
	return Check{Name: "store", Run: func(ctx context.Context, notes *Notes) {
		found, err := embedded.Inspect(ctx, dir)
		if err != nil {
			notes.Problemf("See whether the file is what it should be, and may be read by the user that runs orgsync. "+restore, "%s", err)
			return
		}
		if found.Locked {
			askServer(ctx, server, "a process holds the data directory", notes)
		}
		if !found.Found {
			notes.OKf("nothing is stored in %s yet", dir)
			return
		}
		if found.Loading {
			notes.Problemf(endMigration, "a migration into this store has not ended")
		}
		judgeSchema(found.Schema, found.Known, notes)
		for _, fault := range found.Faults {
			notes.Problemf(restore, "the database is damaged: %s", fault)
		}
		if found.Unchecked {
			notes.Warnf("Give it longer with --timeout, or run it when the disk is less busy.", "the check of the database file did not end in time: nothing is known of its integrity")
		}
		opens(opener, found.Sealed, secrets.ClientSecretPurpose, notes)
		if !notes.unwell() {
			notes.OKf("%s is whole, schema %d", embedded.FileName, found.Schema)
		}
	}}
}

// judgeSchema notes a store that this program cannot serve.
func judgeSchema(schema, known int, notes *Notes) {
	if schema > known {
		notes.Problemf(useThat, "the store was written by a newer orgsync (schema %d, this one knows %d)", schema, known)
	}
}

// askServer asks a connector that should be running.
func askServer(ctx context.Context, server Server, because string, notes *Notes) {
	const look = "See whether it is an orgsync, and where it listens: --url or the setting listen must name that."
	if err := server.Ready(ctx); err != nil {
		if errors.Is(err, ErrNoServer) {
			notes.Problemf(look, "%s, and %s", because, err)
			return
		}
		notes.Problemf("Look at its log: it says what it waits for.", "the connector that runs is not ready: %s", err)
		return
	}
	state, err := server.State(ctx)
	switch {
	case err != nil:
		notes.Warnf("Give the right token with --token-file.", "the connector that runs is ready, and does not tell its sync state: %s", err)
	case state == "degraded", state == "held":
		notes.Warnf("`orgsync status` says where and why.", "the connector that runs is ready; its sync state is %s", state)
	default:
		notes.OKf("the connector that runs is ready; its sync state is %s", state)
	}
}

// oldestMongo is the oldest version that the store is made for.
var oldestMongo = [2]int{4, 4}

// CheckMongo looks at the store in MongoDB.
func CheckMongo(inspect func(ctx context.Context) (mongo.Inspection, error), opener Opener, server Server) Check {
	return Check{Name: "store", Run: func(ctx context.Context, notes *Notes) {
		found, err := inspect(ctx)
		if err != nil {
			notes.Problemf("Until then every push is answered 000005.", "%s", err)
			return
		}
		if err := server.Ready(ctx); !errors.Is(err, ErrNoServer) {
			askServer(ctx, server, "", notes)
		}
		judgeMongo(&found, notes)
		opens(opener, found.Sealed, secrets.ClientSecretPurpose, notes)
		if !notes.unwell() {
			notes.OKf("MongoDB %s answers, with the rights and indexes that are needed", found.Version)
		}
	}}
}

func judgeMongo(found *mongo.Inspection, notes *Notes) {
	if len(found.MissingRights) > 0 {
		notes.Problemf("Grant the user of mongoUri readWrite on the database.", "the user of mongoUri lacks the rights: %s", strings.Join(found.MissingRights, ", "))
	}
	if found.Anonymous {
		notes.Warnf("Switch authorization on and name a user in mongoUri.", "MongoDB lets everybody in without a user")
	}
	if !found.Replicated {
		notes.Warnf("Run it as a replica set of three: what is accepted must outlive one machine.", "MongoDB is a single server, not a replica set")
	}
	if v := release(found.Version); slices.Compare(v[:], oldestMongo[:]) < 0 {
		notes.Warnf("Upgrade it.", "MongoDB %s is older than what orgsync is made for (%d.%d)", found.Version, oldestMongo[0], oldestMongo[1])
	}
	if found.Clock.Abs() > smallSkew {
		notes.Warnf(setClocks, "the clock of MongoDB's server and this machine's are %s apart", rough(found.Clock.Abs()))
	}
	judgeSchema(found.Schema, found.Known, notes)
	if len(found.MissingIndexes) > 0 {
		notes.Warnf("Start orgsync once with a user that may make indexes; without them pushes grow slow.", "indexes are missing: %s", strings.Join(found.MissingIndexes, ", "))
	}
}

// release is the first two numbers of a version, 0 where it has none.
func release(version string) (numbers [2]int) {
	_, _ = fmt.Sscanf(version, "%d.%d", &numbers[0], &numbers[1])
	return numbers
}

// oldestRedis is the oldest major version that the coordination is made for.
const oldestRedis = 6

// CheckRedis looks at the server by which replicas coordinate.
func CheckRedis(inspect func(ctx context.Context) (redis.Inspection, error)) Check {
	return Check{Name: "redis", Run: func(ctx context.Context, notes *Notes) {
		found, err := inspect(ctx)
		if err != nil {
			notes.Problemf("Start it, or correct redisUrl (ORGSYNC_REDIS_URL). Until then replicas go on without it: right, and slower.", "%s", err)
			return
		}
		if found.ReadOnly {
			notes.Problemf("Name the primary in redisUrl.", "the server of redisUrl is a read-only replica")
		}
		if found.Major() < oldestRedis {
			notes.Warnf("Upgrade it to 6.0 or later.", "Redis %s is older than what orgsync is made for", found.Version)
		}
		if !slices.Contains([]string{"", "noeviction"}, found.Eviction) {
			notes.Warnf("Set maxmemory-policy to noeviction, or give orgsync a server of its own: a lock or a nonce that is evicted is forgotten.",
				"Redis forgets keys when it is full (maxmemory-policy %s)", found.Eviction)
		}
		if !notes.unwell() {
			notes.OKf("Redis %s answers and forgets nothing", found.Version)
		}
	}}
}
