package mongo_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/mongo"
	usersync "github.com/openkoo/connector/userSync"
)

// trips counts the commands sent to the server.
type trips struct {
	mu    sync.Mutex
	names []string
}

func (c *trips) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.names = append(c.names, e.CommandName)
	}}
}

// of returns the commands that do sends.
func (c *trips) of(t *testing.T, do func() error) []string {
	t.Helper()
	c.mu.Lock()
	c.names = nil
	c.mu.Unlock()
	require.NoError(t, do())
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names
}

func counted(t *testing.T) (*mongo.Store, *trips) {
	t.Helper()
	counter := &trips{}
	options := quiet()
	options.Monitor = counter.monitor()
	options.TurnTime = time.Hour // a turn that lasts is extended, which is a trip more on a slow machine
	return openStore(t, database(t), options), counter
}

// An incremental push takes at most four round trips. One that could close a
// cycle, because something hangs under the department already, follows the way
// up from its new parent: a trip for each level.
func TestAnIncrementalPushTakesFourRoundTrips(t *testing.T) {
	t.Parallel()
	store, counter := counted(t)
	ctx := t.Context()
	accounts := authsync.New(usersync.Planner{}, secrets.Keyring{})
	at := directory.SourceTime(0)
	department := func(flag directory.Flag, code, name, parent string) func() error {
		return func() error {
			at++
			return put(ctx, store, acme, at, flag, code, name, parent)
		}
	}
	push := func(flag directory.Flag, payload directory.Payload) func() error {
		return func() error {
			at++
			p := &directory.Push{ID: mongo.NewID(), Scope: acme, Flag: flag, SourceTime: at, ReceivedAt: time.Now(), Payload: payload}
			_, err := store.ApplyAtOnce(ctx, storage.RecordOf(p), []byte("body"), func(ctx context.Context, v storage.View) (*directory.Plan, error) {
				if p.Kind() == directory.AuthSync || p.Kind() == directory.ApplicationSync {
					return accounts.Plan(ctx, v, p)
				}
				return planner.Plan(ctx, v, p)
			})
			return err
		}
	}
	users := make([]directory.UserItem, 100)
	for i := range users {
		users[i] = directory.UserItem{UserName: fmt.Sprintf("u%03d", i), Name: "n", OrgCode: "b", Role: "user", Enabled: true}
	}
	for _, step := range []struct {
		name   string
		do     func() error
		levels int // above the new parent, where the way up is followed
	}{
		{"the tenant", push(directory.FlagAdd, &directory.TenantPush{Code: "c", Name: "n", DomainName: "d"}), 0},
		{"the tenant again", push(directory.FlagAdd, &directory.TenantPush{Code: "c", Name: "n", DomainName: "d"}), 0},
		{"a department", department(directory.FlagAdd, "a", "first", ""), 0},
		{"one below it", department(directory.FlagAdd, "b", "second", "a"), 0},
		{"a child before its parent", department(directory.FlagAdd, "d", "third", "c"), 0},
		{"the parent", department(directory.FlagAdd, "c", "fourth", "b"), 1},
		{"a rename", department(directory.FlagModify, "b", "renamed", "a"), 0},
		{"a move", department(directory.FlagModify, "d", "third", "a"), 0},
		{"a repeat", department(directory.FlagModify, "d", "third", "a"), 0},
		{"an application", push(directory.FlagAdd, &directory.ApplicationPush{AppID: "app", ClientID: "cid", SealedSecret: []byte{1}}), 0},
		{"users", push(directory.FlagAdd, &directory.AuthPush{AppID: "app", Users: users}), 0},
		{"the users again", push(directory.FlagAdd, &directory.AuthPush{AppID: "app", Users: users}), 0},
		{"a grant withdrawn", push(directory.FlagCancel, &directory.AuthPush{AppID: "app", Users: users[:1]}), 0},
		{"a deletion with children and users", department(directory.FlagDelete, "b", "", ""), 0},
		{"a deletion of the unknown", department(directory.FlagDelete, "z", "", ""), 0},
	} {
		sent := counter.of(t, step.do)
		require.LessOrEqual(t, len(sent), 4+step.levels, "%s: %v", step.name, sent)
	}
	state, err := store.State(ctx, acme)
	require.NoError(t, err)
	require.Equal(t, []int{3, 1, 100, 1}, []int{state.Departments, state.ParentMissing, state.Users, state.Applications})
}

// A full push of n departments takes at most 3 + 2·n/1000 round trips, the
// thousands rounded up.
func TestAFullPushTakesFewRoundTrips(t *testing.T) {
	t.Parallel()
	list := func(n int, name string) []directory.DepartmentItem {
		items := make([]directory.DepartmentItem, n)
		for i := range items {
			parent := ""
			if i > 0 {
				parent = fmt.Sprintf("d%05d", (i-1)/8)
			}
			items[i] = item(fmt.Sprintf("d%05d", i), name, parent)
		}
		return items
	}
	at := directory.SourceTime(0)
	store, counter := counted(t)
	check := func(what string, scope directory.Scope, items []directory.DepartmentItem) {
		at++
		push := fullPush(scope, at, items...)
		sent := counter.of(t, func() error { return full(t.Context(), store, push) })
		bound := 3 + 2*((len(items)+999)/1000)
		require.LessOrEqual(t, len(sent), bound, "%s of %d: %v", what, len(items), sent)
		state, err := store.State(t.Context(), scope)
		require.NoError(t, err)
		require.Equal(t, len(items), state.Departments)
	}
	for _, n := range []int{1, 150, 2100} {
		scope := tenant("n%d", n)
		check("the first push", scope, list(n, "name"))
		check("one more", scope, list(n+1, "name"))
		if n < 1000 { // the test server finds each document by passing all
			check("the same again", scope, list(n+1, "name"))
			check("all renamed", scope, list(n+1, "new name"))
		}
	}
	store, counter = counted(t) // an empty one: it is slow where there is much
	known := tenant("known")
	require.NoError(t, put(t.Context(), store, known, at+1, directory.FlagAdd, "d00000", "name", ""))
	at++
	check("the first push to a known scope", known, list(150, "name"))
}

// A call of the base interface takes a handful of round trips, however many
// instances and orders there are.
func TestACallOfTheBaseInterfaceTakesFewRoundTrips(t *testing.T) {
	t.Parallel()
	store, counter := counted(t)
	ctx := t.Context()
	create := func(id string, orders ...string) func() error {
		return func() error {
			_, _, err := store.CreateInstance(ctx, bought(id, time.Time{}), orders)
			return err
		}
	}
	change := func(order string) func() error {
		return func() error {
			_, err := store.ChangeInstance(ctx, directory.Prod, "i-1", order, func(_ *directory.Instance, repeat bool) (bool, error) {
				return !repeat, nil
			})
			return err
		}
	}
	for _, step := range []struct {
		name string
		most int
		do   func() error
	}{
		{"a new instance", 6, create("i-1", "line")}, // order, instance, claim, make, read both back
		{"one of two orders", 8, create("i-2", "line 2", "product 2")},
		{"the same again", 2, create("i-3", "line")},
		{"a change", 2, change("")},
		{"a change by order", 4, change("upgrade")},
		{"its repeat", 1, change("upgrade")},
	} {
		sent := counter.of(t, step.do)
		require.LessOrEqual(t, len(sent), step.most, "%s: %v", step.name, sent)
	}
}
