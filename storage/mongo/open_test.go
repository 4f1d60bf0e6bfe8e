package mongo_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
)

func planned(plan *directory.Plan) storage.PlanFunc {
	return func(context.Context, storage.View) (*directory.Plan, error) { return plan, nil }
}

func openThrough(t *testing.T, p *proxy, name string, opts mongo.Options) *mongo.Store {
	t.Helper()
	store, err := mongo.Open(t.Context(), p.uri, name, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.set(nil)
		require.NoError(t, store.Close())
	})
	return store
}

// notifier is the news of other replicas.
type notifier struct {
	heard chan struct{}
	sent  int
}

func (n *notifier) Notify(context.Context)    { n.sent++ }
func (n *notifier) Notified() <-chan struct{} { return n.heard }

// queue is a Locker that counts, or fails.
type queue struct {
	mu    sync.Mutex
	held  map[string]int
	times int
	err   error
}

func (q *queue) Lock(_ context.Context, name string) (func(), error) {
	if q.err != nil {
		return nil, q.err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.times++
	q.held[name]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.held[name]--
	}, nil
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const secret, nobody = "s3cr3t-p%40ss", "127.0.0.1:1"
	for name, test := range map[string]struct {
		uri, database string
		rule          func(command) fault
		says          []string
	}{
		"no URI":             {uri: "127.0.0.1:27017", database: "d", says: []string{"ORGSYNC_MONGO_URI", "mongodb://"}},
		"an empty URI":       {uri: "", database: "d", says: []string{"ORGSYNC_MONGO_URI", "mongodb://"}},
		"a bad option":       {uri: "mongodb://u:" + secret + "@127.0.0.1/?w=-1", database: "d", says: []string{"ORGSYNC_MONGO_URI"}},
		"a bad password":     {uri: "mongodb://u:" + "s3cr3t%zz" + "@127.0.0.1/", database: "d", says: []string{"ORGSYNC_MONGO_URI", "percent-encoded"}},
		"no database":        {uri: "mongodb://127.0.0.1/", says: []string{"ORGSYNC_MONGO_DATABASE"}},
		"nobody there":       {uri: "mongodb://u:" + secret + "@" + nobody + "/", database: "d", says: []string{nobody, "does not answer", "is it running"}},
		"no answer":          {database: "d", rule: func(c command) fault { return fault{hang: c.name == "ping"} }, says: []string{"does not answer"}},
		"the wrong password": {database: "d", rule: refuseFor("ping", 18, "Authentication failed."), says: []string{"refuses the user or password", "authSource"}},
		"no rights":          {database: "d", rule: refuseWrites(13, "not authorized"), says: []string{"does not let the user", "readWrite", "database d"}},
		"another's index":    {database: "d", rule: refuseFor("createIndexes", 86, "IndexKeySpecsConflict"), says: []string{"index of that name", "ORGSYNC_MONGO_DATABASE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.rule != nil {
				p := newProxy(t)
				p.set(test.rule)
				test.uri = p.uri
			}
			opts := quiet()
			opts.Timeout = 3 * time.Second
			if test.database != "" && test.rule != nil {
				test.database = database(t)
			}
			began := time.Now()
			_, err := mongo.Open(t.Context(), test.uri, test.database, opts)
			require.Error(t, err)
			for _, says := range test.says {
				if says != "database d" {
					require.ErrorContains(t, err, says)
				}
			}
			require.NotContains(t, err.Error(), "s3cr3t")
			require.NotContains(t, err.Error(), "p@ss")
			require.Less(t, time.Since(began), 30*time.Second)
		})
	}
}

func refuseFor(name string, code int32, message string) func(command) fault {
	return func(c command) fault {
		if c.name == name {
			return fault{code: code, message: message}
		}
		return fault{}
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	name := database(t)
	store, err := mongo.Open(t.Context(), server().URI, name, quiet())
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.NoError(t, store.Close(), "closing twice is harmless")
	client, err := driver.Connect(options.Client().ApplyURI(server().URI))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(context.Background())) }()
	_, err = client.Database(name).Collection("relays").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "schema"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: 999}}}})
	require.NoError(t, err)
	_, err = mongo.Open(t.Context(), server().URI, name, quiet())
	require.ErrorContains(t, err, "newer orgsync")
}

// Many replicas may start on an empty database at once, and an account that may
// not make indexes can use one that has them.
func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	name := database(t)
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(func() {
			store, err := mongo.Open(t.Context(), server().URI, name, quiet())
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	starts.Wait()
	p := newProxy(t)
	p.set(refuseFor("createIndexes", 13, "not authorized"))
	openThrough(t, p, name, quiet())
}

// The queue of writers is asked for each push, and may fail.
func TestTheQueueOfWritersIsOptional(t *testing.T) {
	t.Parallel()
	for _, q := range []*queue{{held: make(map[string]int)}, {err: errQueue}} {
		opts := quiet()
		opts.Locker = q
		store := openStore(t, database(t), opts)
		require.NoError(t, put(t.Context(), store, acme, 1, directory.FlagAdd, "a", "n", ""))
		require.NoError(t, put(t.Context(), store, acme, 2, directory.FlagAdd, "b", "n", ""))
		require.Equal(t, []string{"a n ", "b n "}, tree(t, store, acme))
		if q.err == nil {
			require.Equal(t, 2, q.times)
			require.Zero(t, q.held[acme.String()])
		}
	}
}

// What is too long for one document is kept in parts, and goes with its push.
func TestWhatIsLongIsKeptInParts(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	r.CutParts(64)
	body := make([]byte, 1000)
	_, err := rand.Read(body) // does not compress
	require.NoError(b, err)
	record := recordFor(acme, directory.AllOrgSync, 1)
	record.Size = len(body)
	require.NoError(b, r.Accept(b.Context(), record, body))
	require.ErrorIs(b, r.Accept(b.Context(), record, make([]byte, 1000)), storage.ErrAlreadyExists)
	var bodies [][]byte
	for push, err := range r.Unfinished(b.Context()) {
		require.NoError(b, err)
		bodies = append(bodies, push.Raw)
	}
	require.Equal(b, [][]byte{body}, bodies)
	plan := newDepartments("a", "b", "c")
	for _, d := range plan.Departments {
		plan.Decisions = append(plan.Decisions, directory.Decision{Kind: directory.KindDepartment, Key: d.Code, Action: directory.ActionCreate, Reason: rand.Text()})
	}
	// Cut off after its commit, so that another replica reads the changes again.
	r.proxy.once(1, fault{loseRequest: true}, func(c command) bool { return c.on("directory") && (c.name == "insert" || c.name == "update") })
	_, err = r.ApplyAccepted(b.Context(), record.ID, planned(plan))
	require.ErrorContains(b, err, "will be finished")
	r.proxy.set(nil)
	b.clock.advance(turnTime)
	other := b.replica("other", long)
	_, err = other.Sweep(b.Context(), storage.SweepTimes{})
	require.NoError(b, err)
	require.Len(b, tree(b, other.Store, acme), 3)
	_, decisions, err := other.Push(b.Context(), record.ID)
	require.NoError(b, err)
	require.Equal(b, plan.Decisions, decisions)
	require.Greater(b, journalSize(b), 1+len(body)/64)

	refused := recordFor(acme, directory.AllOrgSync, 2)
	refused.Size = len(body)
	require.NoError(b, r.Accept(b.Context(), refused, body))
	_, err = r.ApplyAccepted(b.Context(), refused.ID, func(context.Context, storage.View) (*directory.Plan, error) { return nil, errLooked })
	require.ErrorIs(b, err, errLooked)
	_, err = r.ApplyAtOnce(b.Context(), recordFor(acme, directory.SingleOrgSync, 3), body, func(context.Context, storage.View) (*directory.Plan, error) { return nil, errLooked })
	require.ErrorIs(b, err, errLooked)
	b.clock.advance(time.Hour)
	swept, err := r.Sweep(b.Context(), storage.SweepTimes{Journal: b.clock.now()})
	require.NoError(b, err)
	require.Equal(b, 1, swept.Journal)
	require.Zero(b, journalSize(b), "a part is left")
}

// What the store commits by itself shows in no list, and is swept.
func TestInnerCommitsAreNobodysPushes(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	test := directory.Scope{Dataset: directory.Test, TenantID: "t"}
	require.NoError(b, put(b.Context(), r.Store, test, 1, directory.FlagAdd, "a", "n", ""))
	b.clock.advance(time.Hour)
	swept, err := r.Sweep(b.Context(), storage.SweepTimes{TestData: b.clock.now()})
	require.NoError(b, err)
	require.Equal(b, 1, swept.TestData)
	pushes, _, err := r.Pushes(b.Context(), storage.PushFilter{}, storage.Page{})
	require.NoError(b, err)
	require.Len(b, pushes, 1)
	require.Equal(b, 2, journalSize(b))
	b.clock.advance(2 * time.Hour)
	_, err = r.Sweep(b.Context(), storage.SweepTimes{})
	require.NoError(b, err)
	require.Equal(b, 1, journalSize(b))
}

func journalSize(b *bundle) int {
	b.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(server().URI))
	require.NoError(b, err)
	defer func() { require.NoError(b, client.Disconnect(context.Background())) }()
	n, err := client.Database(b.database).Collection("journal").CountDocuments(b.Context(), bson.D{})
	require.NoError(b, err)
	return int(n)
}

func TestNoKeyIsTakenForAnother(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	parts := []string{"", "a", "a/b", "a%2Fb", "/", "%", "lease/", "#", "2/", "中"}
	for _, instance := range parts {
		for _, tenantID := range parts {
			for _, key := range parts {
				for kind := directory.KindTenant; kind <= directory.KindApplication; kind++ {
					scope := directory.Scope{Dataset: directory.Prod, InstanceID: instance, TenantID: tenantID}
					id := mongo.EntityID(scope.String(), kind, key)
					what := fmt.Sprintf("%q %q %d %q", instance, tenantID, kind, key)
					require.Empty(t, seen[id], "%s and %s have the _id %s", what, seen[id], id)
					require.NotEqual(t, scope.String(), id)
					require.Equal(t, 4, strings.Count(id, "/"))
					seen[id] = what
				}
			}
		}
	}
}
