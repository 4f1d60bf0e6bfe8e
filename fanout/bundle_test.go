package fanout

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/targettest"
	usersync "github.com/openkoo/connector/userSync"
)

func TestMain(m *testing.M) {
	// A check of the law of convergence starts a store and two servers; -rapid.checks
	// asks for more.
	//
	// The draws are the same in every run, so that a red run means a change;
	// -rapid.seed asks for others.
	for name, value := range map[string]string{"rapid.checks": "30", "rapid.seed": "20261124"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	// go-redis looks for a server that is away once a second, and only then
	// finds out that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience bounds every wait of a test.
const patience = 5 * time.Minute

var (
	epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	acme  = directory.Scope{Dataset: directory.Prod, InstanceID: "i/1", TenantID: "acme"}
	other = directory.Scope{Dataset: directory.Prod, InstanceID: "i/1", TenantID: "other"}
)

// clock is a time that moves only when told to.
type clock struct {
	mu      sync.Mutex
	at      time.Time
	waiters map[chan time.Time]time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) wakeAt(at time.Time) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan time.Time, 1)
	if at.After(c.at) {
		c.waiters[wake] = at
	} else {
		wake <- c.at
	}
	return wake
}

// advance moves on, wakes those whose time has come, and tells whether there
// were any.
func (c *clock) advance(d time.Duration) (woken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	for wake, at := range c.waiters {
		if !at.After(c.at) {
			wake <- c.at
			delete(c.waiters, wake)
			woken = true
		}
	}
	return woken
}

// wakeRequest moves on to when the next request has its turn, if one waits for
// it. Its runner waits too, until a time of its own.
func (c *clock) wakeRequest(runner time.Time) {
	c.mu.Lock()
	var turn time.Time
	for _, at := range c.waiters {
		if !at.Equal(runner) && !at.After(c.at.Add(paceWait)) {
			turn = earliest(turn, at)
		}
	}
	wait := turn.Sub(c.at)
	c.mu.Unlock()
	if !turn.IsZero() {
		c.advance(wait)
	}
}

// peer is a SCIM server in process, behind a proxy that fails on demand.
type peer struct {
	*scimserver.Server
	proxy *targettest.Proxy
	url   string // of the server itself
}

// newPeer starts a peer and makes it a target.
func newPeer(t testing.TB, name string) (*peer, Target) {
	return peerOf(t, name, scimserver.Options{})
}

// bulky is a server that takes bulk requests.
var bulky = scimserver.Options{Bulk: scimserver.Bulk{MaxOperations: 1000, MaxPayload: 1 << 20}}

// peerOf is newPeer for a server of another kind.
func peerOf(t testing.TB, name string, options scimserver.Options) (*peer, Target) {
	options.Token = "token"
	server, err := scimserver.New(options)
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	p := &peer{Server: server, proxy: targettest.NewProxy(t, listening.URL), url: listening.URL}
	connector, err := scim.New(scim.Config{URL: p.proxy.URL, BearerToken: "token", Timeout: time.Minute, ShortRetries: -1, MembersPerChange: 5})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	return p, Target{Name: name, Type: "scim", Connector: connector}
}

// sent lists the requests of a method (empty: any) to paths of a prefix.
func (p *peer) sent(method, prefix string) []targettest.Request {
	return slices.DeleteFunc(p.proxy.Requests(), func(r targettest.Request) bool {
		return (method != "" && r.Method != method) || !strings.HasPrefix(r.Path, prefix)
	})
}

// writes lists the requests that change something.
func (p *peer) writes() []targettest.Request {
	return slices.DeleteFunc(p.proxy.Requests(), func(r targettest.Request) bool { return r.Method == http.MethodGet })
}

// bundle is a fan-out under test: the real store, a real way in, a clock.
type bundle struct {
	testing.TB
	store   *embedded.Store
	intake  *intake.Service
	clock   *clock
	targets []Target
	using   Store // what the fan-out sees of the store

	fanout *Fanout
	stop   func()
	serial time.Duration // makes each push later than the one before
	ids    int

	mu    sync.Mutex
	rests map[string]rest
	moved chan struct{}

	resyncs chan storage.Resync // those that ended
	logged  journal
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// rest is the latest pause of a target's runner.
type rest struct {
	count int
	pause
}

func newBundle(t testing.TB, targets ...Target) *bundle {
	b := &bundle{
		TB: t, clock: &clock{at: epoch, waiters: make(map[chan time.Time]time.Time)}, targets: targets,
		rests: make(map[string]rest), moved: make(chan struct{}), resyncs: make(chan storage.Resync, 16),
	}
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: b.clock.now})
	require.NoError(t, err)
	b.store, b.using = store, store
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	planners := intake.Planners(orgsync.New(directory.Guard{MaxDeletes: 1000, MaxPercent: 100}), authsync.New(usersync.Planner{}, nil))
	b.intake = intake.New(store, planners, nil, intake.Options{Now: b.clock.now, Logger: slog.New(slog.DiscardHandler)})
	return b
}

// start runs the fan-out until the test ends or halts it.
func (b *bundle) start() *bundle {
	b.Helper()
	f, err := New(b.using, b.targets, Options{
		Now: b.clock.now, At: b.clock.wakeAt, Logger: slog.New(slog.NewTextHandler(&b.logged, nil)),
		Jitter:  func(n time.Duration) time.Duration { return n - 1 },
		resting: b.noteRest, resynced: func(r storage.Resync) { b.resyncs <- r },
	})
	require.NoError(b, err)
	b.mu.Lock()
	clear(b.rests)
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	b.fanout = f
	b.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b, <-ended)
	})
	b.Cleanup(b.stop)
	return b
}

func (b *bundle) noteRest(name string, p pause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rests[name] = rest{b.rests[name].count + 1, p}
	close(b.moved)
	b.moved = make(chan struct{})
}

// count is how often a target's runner has rested.
func (b *bundle) count(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rests[name].count
}

// settledSince waits until a runner has rested more than after times, with
// nothing under way and nothing new in the store.
func (b *bundle) settledSince(name string, after int) { b.settledOr(name, after, nil) }

// settledOr waits for that, or for the store's death.
func (b *bundle) settledOr(name string, after int, died <-chan struct{}) {
	b.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		r, moved := b.rests[name], b.moved
		b.mu.Unlock()
		if r.count > after && r.rounds == 0 && r.changed == b.store.Changed() && !b.wakes(name, r) {
			return
		}
		select {
		case <-moved:
		case <-died:
			return
		case <-time.After(50 * time.Millisecond):
			// A request that a 429 has slowed waits for its turn by a clock that
			// nobody else moves.
			if r.rounds > 0 {
				b.clock.wakeRequest(r.until)
			}
		case <-deadline:
			require.FailNow(b, "the fan-out does not come to rest", "%s: %+v", name, r)
		}
	}
}

// wakes reports that a runner that rests is about to wake: its time has come,
// or its gate has a word for it. Moving the clock on then would take the lease
// of the round that it is about to begin.
func (b *bundle) wakes(name string, r rest) bool {
	due := !r.until.IsZero() && !r.until.After(b.clock.now())
	return due || len(b.fanout.byName[name].gate.changed) > 0
}

// settled waits until every target has done what can be done now.
func (b *bundle) settled() {
	b.Helper()
	for _, t := range b.targets {
		b.settledSince(t.Name, 0)
	}
}

// advance lets time pass and waits for what comes of it, if it wakes the one
// target.
func (b *bundle) advance(d time.Duration) {
	b.Helper()
	require.Len(b, b.targets, 1)
	b.settled()
	name := b.targets[0].Name
	b.mu.Lock()
	latest := b.rests[name]
	b.mu.Unlock()
	b.clock.advance(d)
	if !latest.until.IsZero() && !latest.until.After(b.clock.now()) {
		b.settledSince(name, latest.count)
	}
}

// until advances to a time as the store keeps it, in whole milliseconds.
func (b *bundle) until(at time.Time) {
	b.Helper()
	b.advance(at.Sub(b.clock.now()) + time.Millisecond)
}

// push takes a push in, later than all before.
func (b *bundle) push(scope directory.Scope, flag directory.Flag, payload directory.Payload) {
	b.Helper()
	b.serial += time.Second
	b.ids++
	_, err := b.intake.Receive(b.Context(), &directory.Push{
		ID: fmt.Sprintf("push-%06d", b.ids), Scope: scope, Flag: flag,
		SourceTime: directory.SourceTimeOf(epoch.Add(b.serial)), ReceivedAt: b.clock.now(), Payload: payload,
	})
	require.NoError(b, err)
}

// tree pushes all departments: "code<parent" or "code", named after the code.
func (b *bundle) tree(scope directory.Scope, departments ...string) {
	b.Helper()
	full := &directory.FullPush{}
	for _, text := range departments {
		full.Departments = append(full.Departments, item(text))
	}
	b.push(scope, directory.FlagModify, full)
}

func item(text string) directory.DepartmentItem {
	code, parent, _ := strings.Cut(text, "<")
	return directory.DepartmentItem{Code: code, Name: "name of " + code, ParentCode: parent}
}

func (b *bundle) department(scope directory.Scope, flag directory.Flag, d directory.DepartmentItem) {
	b.Helper()
	b.push(scope, flag, &directory.DepartmentPush{DepartmentItem: d})
}

// users pushes accounts: "name@department".
func (b *bundle) users(scope directory.Scope, flag directory.Flag, users ...string) {
	b.Helper()
	push := &directory.AuthPush{AppID: "app"}
	for _, text := range users {
		name, code, _ := strings.Cut(text, "@")
		push.Users = append(push.Users, directory.UserItem{UserName: name, Name: "Name " + name, OrgCode: code, Role: "user", Enabled: true})
	}
	b.push(scope, flag, push)
}

// slot reads one slot.
func (b *bundle) slot(name string, scope directory.Scope, kind storage.SlotKind, key string) storage.Slot {
	b.Helper()
	found, err := b.store.Lookup(b.Context(), name, scope, kind, []string{key})
	require.NoError(b, err)
	require.Contains(b, found, key)
	return found[key].Slot
}

// relayed waits until the fan-out has taken note of all that was pushed, though
// a round may be under way.
func (b *bundle) relayed(name string) {
	b.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		moved := b.moved
		b.mu.Unlock()
		counts, err := b.store.Counts(b.Context(), name, nil)
		require.NoError(b, err)
		if counts.Unrelayed == 0 {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			require.FailNow(b, "the change is not relayed", name)
		}
	}
}

// counts is how many slots of a target are in which state.
func (b *bundle) counts(name string) storage.SlotCounts {
	b.Helper()
	counts, err := b.store.Counts(b.Context(), name, nil)
	require.NoError(b, err)
	require.Zero(b, counts.Unrelayed)
	return counts.Slots
}

// synced asserts that the target has just what the store has.
func (b *bundle) synced(name string, p *peer, scopes ...directory.Scope) {
	b.Helper()
	for state, n := range b.counts(name) {
		require.Equal(b, storage.SlotDelivered, state, "%d slots: %s", n, b.openSlots(name))
	}
	have := p.picture()
	want := b.wanted(scopes, have)
	require.Equal(b, want, have)
	groups, users := p.Counts()
	require.Len(b, want.groups, groups, "one group for each department")
	require.Len(b, want.users, users, "one account for each user")
}

func (b *bundle) openSlots(name string) string {
	for _, state := range []storage.SlotState{storage.SlotPending, storage.SlotRetrying, storage.SlotWaiting, storage.SlotDead} {
		slots, _, err := b.store.Deliveries(b.Context(), storage.DeliveryFilter{Target: name, State: state}, storage.Page{Limit: 3})
		require.NoError(b, err)
		if len(slots) > 0 {
			text, err := json.Marshal(slots)
			require.NoError(b, err)
			return string(text)
		}
	}
	return "none"
}

// picture is a directory by external id: names and members, sorted.
type picture struct {
	groups map[string]string
	users  map[string]string
}

// picture is what the server has.
func (p *peer) picture() picture {
	snapshot := p.Snapshot()
	have := picture{map[string]string{}, map[string]string{}}
	for id, g := range snapshot.Groups {
		slices.Sort(g.Groups)
		slices.Sort(g.Users)
		have.groups[id] = fmt.Sprintf("%s groups=%v users=%v", g.DisplayName, g.Groups, g.Users)
	}
	for id, u := range snapshot.Users {
		have.users[id] = fmt.Sprintf("%s active=%t in %s", u.UserName, u.Active, u.Department)
	}
	return have
}

// wanted is what a target with the default settings is to have. An account
// without a grant may be there, barred, or never have been made.
func (b *bundle) wanted(scopes []directory.Scope, have picture) picture {
	b.Helper()
	want := picture{map[string]string{}, map[string]string{}}
	for _, scope := range scopes {
		filter := storage.EntityFilter{Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID}
		departments, _, err := b.store.Departments(b.Context(), filter, storage.Page{Limit: 1000})
		require.NoError(b, err)
		users, _, err := b.store.Users(b.Context(), filter, storage.Page{Limit: 1000})
		require.NoError(b, err)
		names := make(map[string]string)
		for _, d := range departments {
			names[d.Entity.Code] = d.Entity.Name
		}
		groups, members := map[string][]string{}, map[string][]string{}
		for _, d := range departments {
			parent := d.Entity.AttachedTo()
			groups[parent] = append(groups[parent], scope.ExternalID(d.Entity.Code))
		}
		for _, u := range users {
			id := scope.ExternalID(u.Entity.UserName)
			if _, there := have.users[id]; !there && !u.Entity.Granted() {
				continue
			}
			members[u.Entity.OrgCode] = append(members[u.Entity.OrgCode], id)
			want.users[id] = fmt.Sprintf("%s@%s active=%t in %s", u.Entity.UserName, scope.TenantID, u.Entity.Active(), names[u.Entity.OrgCode])
		}
		for _, d := range departments {
			slices.Sort(groups[d.Entity.Code])
			slices.Sort(members[d.Entity.Code])
			want.groups[scope.ExternalID(d.Entity.Code)] = fmt.Sprintf("%s groups=%v users=%v", d.Entity.Name, groups[d.Entity.Code], members[d.Entity.Code])
		}
	}
	return want
}

// tenant pushes the enterprise itself.
func (b *bundle) tenant(scope directory.Scope, code string) {
	b.Helper()
	b.push(scope, directory.FlagModify, &directory.TenantPush{OrderID: "o", Code: code, Name: "企业", DomainName: code + ".example.com"})
}

// clockUntil lets time pass at each rest of a target until something is so.
func (b *bundle) clockUntil(name string, so func() bool) {
	b.Helper()
	deadline := time.After(patience)
	for !so() {
		b.mu.Lock()
		moved := b.moved
		b.mu.Unlock()
		b.clock.advance(time.Second)
		select {
		case <-moved:
		case <-deadline:
			require.FailNow(b, "it does not come to be", name)
		}
	}
}
