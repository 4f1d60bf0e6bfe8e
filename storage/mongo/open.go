package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/openkoo/connector/storage"
)

// schemaVersion is what this program reads and writes.
const schemaVersion = 1

// The server's error codes that a person can do something about.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeIndexConflict        = 86
	codeIndexExists          = 85
)

// Open connects to the database that uri and database name, and makes its
// collections and indexes if need be. It fails within Options.Timeout and says
// what to do; no message holds the URI's password.
func Open(ctx context.Context, uri, database string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	secret := passwordOf(uri)
	s, err := connect(ctx, uri, database, opts)
	if err != nil {
		return nil, redact(err, secret)
	}
	return s, nil
}

// connect opens the store; its errors may hold the password.
func connect(ctx context.Context, uri, database string, opts Options) (*Store, error) {
	if database == "" {
		return nil, errors.New("ORGSYNC_MONGO_DATABASE is empty: name a database of the connector's own")
	}
	client, clientOptions, err := newClient(uri, opts)
	if err != nil {
		return nil, err
	}
	db := client.Database(database)
	s := &Store{
		options: opts, client: client,
		directory: db.Collection("directory"), feed: majority(db, "directory"),
		journal: db.Collection("journal"), slots: db.Collection("slots"), relays: db.Collection("relays"),
		resyncs:   db.Collection("resyncs"),
		instances: majority(db, "instances"), orders: majority(db, "orders"),
		sequencer: make(chan struct{}, 1), epoch: storage.NewEpoch(), partSize: partSize,
	}
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.prepare(ctx, clientOptions, database); err != nil {
		s.end()
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return nil, errors.Join(err, client.Disconnect(ended))
	}
	s.background.Add(1)
	go s.loop()
	return s, nil
}

// newClient makes a client whose calls are bounded in time and whose writes
// are on a majority of the servers. It does not connect yet.
func newClient(uri string, opts Options) (*driver.Client, *options.ClientOptions, error) {
	clientOptions := options.Client().ApplyURI(uri)
	if err := clientOptions.Validate(); err != nil {
		return nil, nil, fmt.Errorf("ORGSYNC_MONGO_URI is no MongoDB URI: %w; want mongodb://user:password@host:27017/?replicaSet=… or mongodb+srv://…, with special characters in the password percent-encoded", err)
	}
	clientOptions.
		SetAppName("orgsync").
		SetTimeout(opts.Timeout).
		SetConnectTimeout(opts.Timeout).
		SetServerSelectionTimeout(opts.Timeout).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority())
	if opts.Monitor != nil {
		clientOptions.SetMonitor(opts.Monitor)
	}
	client, err := driver.Connect(clientOptions)
	if err != nil {
		return nil, nil, fmt.Errorf("ORGSYNC_MONGO_URI: %w", err)
	}
	return client, clientOptions, nil
}

// prepare makes what the store needs in the database. It may run on many
// replicas at once.
func (s *Store) prepare(ctx context.Context, clientOptions *options.ClientOptions, database string) error {
	hosts := strings.Join(clientOptions.Hosts, ",")
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.client.Ping(ctx, readpref.Primary()); err != nil {
		return startError(err, hosts, database)
	}
	if err := s.checkSchema(ctx); err != nil {
		return startError(err, hosts, database)
	}
	for _, c := range indexed {
		if err := makeIndexes(ctx, s.client.Database(database).Collection(c.collection), c.indexes); err != nil {
			return startError(fmt.Errorf("make indexes of %s: %w", c.collection, err), hosts, database)
		}
	}
	if err := s.initFeed(ctx); err != nil {
		return startError(err, hosts, database)
	}
	return nil
}

// makeIndexes makes the indexes that are missing. Those that are there are not
// asked for again: an account that may only read and write can start then.
func makeIndexes(ctx context.Context, c *driver.Collection, wanted []indexSpec) error {
	for try := 1; ; try++ {
		there, err := c.Indexes().ListSpecifications(ctx)
		if err != nil {
			return err
		}
		var missing []driver.IndexModel
		for _, want := range wanted {
			if !slices.ContainsFunc(there, func(spec driver.IndexSpecification) bool { return spec.Name == want.name }) {
				missing = append(missing, driver.IndexModel{Keys: want.keys, Options: options.Index().SetName(want.name)})
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if _, err = c.Indexes().CreateMany(ctx, missing); err == nil || try == indexTries {
			return err
		}
		// Another replica that starts may be making the same.
	}
}

// indexTries bounds how often a start tries to make indexes.
const indexTries = 2

// checkSchema refuses a database that a newer program has written.
func (s *Store) checkSchema(ctx context.Context) error {
	var stored struct {
		Version int `bson:"version"`
	}
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: "schema"}},
		bson.D{{Key: "$setOnInsert", Value: bson.D{{Key: "version", Value: schemaVersion}}}}, options.UpdateOne().SetUpsert(true))
	if err != nil && !duplicate(err) { // another replica was first
		return err
	}
	if err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: "schema"}}).Decode(&stored); err != nil {
		return err
	}
	if stored.Version > schemaVersion {
		return fmt.Errorf("the database was written by a newer orgsync (schema %d, this one knows %d); use that program", stored.Version, schemaVersion)
	}
	return nil
}

// startError says what is wrong with the server or the account.
func startError(err error, hosts, database string) error {
	var refused driver.ServerError
	switch {
	case errors.As(err, &refused) && (refused.HasErrorCode(codeIndexConflict) || refused.HasErrorCode(codeIndexExists)):
		return fmt.Errorf("database %s has an index of that name that is not ours: %w; use a database of the connector's own (ORGSYNC_MONGO_DATABASE)", database, err)
	case errors.As(err, &refused) && refused.HasErrorCode(codeUnauthorized):
		return fmt.Errorf("MongoDB at %s does not let the user of ORGSYNC_MONGO_URI do this in database %s: %w; grant it readWrite there", hosts, database, err)
	case errors.As(err, &refused) && refused.HasErrorCode(codeAuthenticationFailed), strings.Contains(err.Error(), "auth error"):
		return fmt.Errorf("MongoDB at %s refuses the user or password of ORGSYNC_MONGO_URI: %w; check both, and authSource", hosts, err)
	case errors.Is(err, context.Canceled):
		return err
	case driver.IsTimeout(err), driver.IsNetworkError(err), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("MongoDB at %s does not answer: %w; is it running, is the address right, does a firewall stand between?", hosts, err)
	default:
		return fmt.Errorf("prepare MongoDB database %s at %s: %w", database, hosts, err)
	}
}

// passwordOf finds the password in a URI, be it well formed or not.
func passwordOf(uri string) string {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		rest = uri
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return ""
	}
	_, password, _ := strings.Cut(rest[:at], ":")
	return password
}

// redactedError is an error whose message has lost a secret.
type redactedError struct {
	message string
	err     error
}

func (e *redactedError) Error() string { return e.message }

// Is keeps the classes of the error, though not its text.
func (e *redactedError) Is(target error) bool { return errors.Is(e.err, target) }

// redact takes a password out of a message, as written and as decoded.
func redact(err error, password string) error {
	message := err.Error()
	forms := []string{password}
	if plain, uerr := url.QueryUnescape(password); uerr == nil {
		forms = append(forms, plain)
	}
	if plain, uerr := url.PathUnescape(password); uerr == nil {
		forms = append(forms, plain)
	}
	for _, form := range forms {
		if form != "" {
			message = strings.ReplaceAll(message, form, "xxxxx")
		}
	}
	if message == err.Error() {
		return err
	}
	return &redactedError{message: message, err: err}
}

// indexSpec is an index the store needs.
type indexSpec struct {
	name string
	keys bson.D
}

// index names an index over keys, those with a minus descending.
func index(name string, keys ...string) indexSpec {
	spec := make(bson.D, 0, len(keys))
	for _, key := range keys {
		order := 1
		if strings.HasPrefix(key, "-") {
			key, order = key[1:], -1
		}
		spec = append(spec, bson.E{Key: key, Value: order})
	}
	return indexSpec{name: name, keys: spec}
}

// The indexes beside _id, which is every document's key. docs/operations.md
// says what each is for.
var (
	directoryIndexes = []indexSpec{
		index("tenant", "ds", "k", "ten", "inst", "key"),
		index("parent", "s", "k", "parent"),
		index("feed", "seq", "at", "n"),
	}
	journalIndexes = []indexSpec{
		index("tenant", "ten", "-_id"),
		index("phase", "phase", "applied"),
	}
	slotIndexes = []indexSpec{
		index("tenant", "t", "s", "state", "k", "due", "key"),
		index("due", "t", "state", "due", "s"),
		index("group", "t", "s", "grp"),
		index("dirty", "t", "dirty"),
		index("failed", "t", "failed"),
	}
	resyncIndexes = []indexSpec{
		index("target", "t", "-_id"),
	}
	instanceIndexes = []indexSpec{
		index("due", "due"),
	}
)

// indexed are the collections with the indexes they need.
var indexed = []struct {
	collection string
	indexes    []indexSpec
}{{"directory", directoryIndexes}, {"journal", journalIndexes}, {"slots", slotIndexes}, {"instances", instanceIndexes}, {"resyncs", resyncIndexes}}

var _ storage.Health = (*Store)(nil)
