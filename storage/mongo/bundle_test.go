package mongo_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
)

// clock is a time that only moves when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// replica is a store of its own, behind a proxy of its own, on a shared database.
type replica struct {
	*mongo.Store
	proxy *proxy
}

// bundle is a database with a clock for all its replicas.
type bundle struct {
	*testing.T
	database string
	clock    *clock
}

func newBundle(t *testing.T) *bundle {
	return &bundle{T: t, database: database(t), clock: newClock()}
}

// replica opens the database once more.
func (b *bundle) replica(owner string, timeout time.Duration) *replica {
	b.Helper()
	p := newProxy(b)
	options := quiet()
	options.Now, options.Owner, options.Timeout = b.clock.now, owner, timeout
	options.TurnTime = turnTime
	store, err := mongo.Open(b.Context(), p.uri, b.database, options)
	require.NoError(b, err)
	b.Cleanup(func() {
		p.set(nil)
		require.NoError(b, store.Close())
	})
	return &replica{Store: store, proxy: p}
}

// turnTime is longer than any turn of a test.
const turnTime = time.Minute

// long is a time that no test waits for, and no longer than a turn.
const long = 30 * time.Second

func recordFor(scope directory.Scope, kind directory.PushKind, at directory.SourceTime) storage.Record {
	return storage.Record{ID: mongo.NewID(), Scope: scope, Kind: kind, Flag: directory.FlagModify, SourceTime: at, ReceivedAt: time.UnixMilli(int64(at))}
}

// put pushes one department through the real planner.
func put(ctx context.Context, store *mongo.Store, scope directory.Scope, at directory.SourceTime, flag directory.Flag, code, name, parent string) error {
	push := &directory.Push{
		ID: mongo.NewID(), Scope: scope, Flag: flag, SourceTime: at, ReceivedAt: time.UnixMilli(int64(at)),
		Payload: &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}},
	}
	_, err := store.ApplyAtOnce(ctx, storage.RecordOf(push), []byte(code), planOf(push))
	return err
}

var planner = orgsync.New(directory.DefaultGuard)

func planOf(push *directory.Push) storage.PlanFunc {
	return func(ctx context.Context, view storage.View) (*directory.Plan, error) {
		return planner.Plan(ctx, view, push)
	}
}

// fullPush is a full push of codes, all at the root but for "code<parent".
func fullPush(scope directory.Scope, at directory.SourceTime, items ...directory.DepartmentItem) *directory.Push {
	return &directory.Push{
		ID: mongo.NewID(), Scope: scope, Flag: directory.FlagModify, SourceTime: at, ReceivedAt: time.UnixMilli(int64(at)),
		Raw: []byte("the body"), Payload: &directory.FullPush{Departments: items},
	}
}

// full takes a full push in.
func full(ctx context.Context, store *mongo.Store, push *directory.Push) error {
	if err := planner.Prepare(ctx, push); err != nil {
		return err
	}
	if err := store.Accept(ctx, storage.RecordOf(push), push.Raw); err != nil {
		return err
	}
	_, err := store.ApplyAccepted(ctx, push.ID, planOf(push))
	return err
}

func item(code, name, parent string) directory.DepartmentItem {
	return directory.DepartmentItem{Code: code, Name: name, ParentCode: parent}
}

// tree lists a scope's living departments as "code name parent", with a mark for
// a missing parent, and checks the counters against them.
func tree(t require.TestingT, store *mongo.Store, scope directory.Scope) []string {
	filter := storage.EntityFilter{Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID}
	var lines []string
	missing := 0
	for page := (storage.Page{}); ; {
		found, next, err := store.Departments(context.Background(), filter, page)
		require.NoError(t, err)
		for _, d := range found {
			line := d.Entity.Code + " " + d.Entity.Name + " " + d.Entity.ParentCode
			if d.Entity.ParentMissing {
				missing++
				line += " (missing)"
			}
			lines = append(lines, line)
		}
		if next == "" {
			break
		}
		page.Cursor = next
	}
	state, err := store.State(context.Background(), scope)
	require.NoError(t, err)
	require.Equal(t, []int{len(lines), missing}, []int{state.Departments, state.ParentMissing}, "counters of %s", scope)
	return lines
}

// feedOf reads the whole feed: each key's version, in order.
func feedOf(t require.TestingT, store *mongo.Store) (changes []storage.Change) {
	after := storage.Place{}
	for {
		part, next, err := store.Changes(context.Background(), after, 100)
		require.NoError(t, err)
		if len(part) == 0 {
			return changes
		}
		for _, c := range part {
			require.Greater(t, c.Seq, after.Seq)
			after.Seq = c.Seq
		}
		require.Equal(t, after.Seq, next.Seq)
		after = next
		changes = append(changes, part...)
	}
}
