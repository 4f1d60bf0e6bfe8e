package restore_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/authsync"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/secrets"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	usersync "github.com/openkoo/connector/userSync"
)

func TestMain(m *testing.M) {
	// Each check writes a life to the disk, push by push; -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// clock moves a little with each step of a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Millisecond)
}

// bundle is a restore on a real store, with the intake that fills it.
type bundle struct {
	require.TestingT
	ctx    context.Context
	clock  *clock
	store  *embedded.Store
	intake *intake.Service
	*restore.Service
	log bytes.Buffer
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	// Not long after the times of the pushes, so that some are ahead of us.
	b := &bundle{TestingT: t, ctx: t.Context(), clock: &clock{at: time.UnixMilli(1004)}}
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: b.clock.now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	b.store = store
	logger := slog.New(slog.NewTextHandler(&b.log, nil))
	planners := intake.Planners(orgsync.New(directory.Guard{MaxDeletes: 1, MaxPercent: 10}), authsync.New(usersync.Planner{}, secrets.Keyring{}))
	b.intake = intake.New(store, planners, marketplace.Decode, intake.Options{Now: b.clock.now, Logger: logger})
	codec := restore.Codec{Decode: marketplace.Decode, Encode: client.Body}
	b.Service = restore.New(store, store, b.intake, codec, restore.Options{Now: b.clock.now, Logger: logger})
	return b
}

// receive takes a push in as the door does; nil if the door refuses it.
func (b *bundle) receive(scope directory.Scope, drawn *directory.Push) *directory.Push {
	return b.receiveAs(scope, drawn, drawn.SourceTime)
}

// receiveAs is receive for a push that counts as of another time than its body says.
func (b *bundle) receiveAs(scope directory.Scope, drawn *directory.Push, counts directory.SourceTime) *directory.Push {
	b.clock.tick()
	body, err := client.Body(scope, drawn.Flag, drawn.SourceTime, drawn.Payload)
	require.NoError(b, err)
	push, err := marketplace.Decode(drawn.Kind(), body)
	if err == nil {
		var id uuid.UUID
		id, err = uuid.NewV7()
		require.NoError(b, err)
		push.ID, push.ReceivedAt, push.SourceTime = id.String(), b.clock.now(), counts
		_, err = b.intake.Receive(b.ctx, push)
	}
	if err != nil {
		require.ErrorAs(b, err, new(*directory.InvalidError))
		return nil
	}
	return push
}

// full and put receive one push about departments of a scope.
func (b *bundle) full(scope directory.Scope, at directory.SourceTime, codes ...string) string {
	list := &directory.FullPush{}
	for _, code := range codes {
		list.Departments = append(list.Departments, directory.DepartmentItem{Code: code, Name: "name of " + code})
	}
	return b.receive(scope, &directory.Push{Flag: directory.FlagModify, SourceTime: at, Payload: list}).ID
}

func (b *bundle) put(scope directory.Scope, flag directory.Flag, at directory.SourceTime, code string) string {
	item := directory.DepartmentItem{Code: code, Name: "name of " + code}
	return b.receive(scope, &directory.Push{Flag: flag, SourceTime: at, Payload: &directory.DepartmentPush{DepartmentItem: item}}).ID
}

// living is what people see of a tree: each department's name and where it hangs.
func (b *bundle) living(scope directory.Scope) map[string]string {
	living := make(map[string]string)
	page := storage.Page{Limit: 1000}
	found, _, err := b.store.Departments(b.ctx, storage.EntityFilter{Dataset: scope.Dataset, InstanceID: &scope.InstanceID, TenantID: scope.TenantID}, page)
	require.NoError(b, err)
	for _, d := range found {
		living[d.Entity.Code] = d.Entity.Name + " under " + d.Entity.AttachedTo()
	}
	return living
}

// decide ends the hold of a scope, if there is one.
func (b *bundle) decide(scope directory.Scope, end func(ctx context.Context, pushID, by, reason string) (*directory.Plan, error)) {
	state, err := b.store.State(b.ctx, scope)
	require.NoError(b, err)
	if state.Hold == nil {
		return
	}
	b.clock.tick()
	_, err = end(b.ctx, state.Hold.PushID, "ann", "")
	require.NoError(b, err)
}

func (b *bundle) restore(id string) (restore.Outcome, error) {
	b.clock.tick()
	return b.Restore(b.ctx, restore.Request{PushID: id, By: "ann", Reason: "wrong export"})
}

// life is a random life of one tenant, with how it looked after each push.
type life struct {
	scope  directory.Scope
	pushes []string
	looked map[string]map[string]string
}

func (b *bundle) live(r *rapid.T, scope directory.Scope) life {
	l := life{scope: scope, looked: make(map[string]map[string]string)}
	enterprise := rapid.SampledFrom([]directorytest.Enterprise{directorytest.Small, directorytest.Knotted}).Draw(r, "enterprise")
	for _, drawn := range enterprise.Pushes(r, rapid.IntRange(1, 14).Draw(r, "pushes")) {
		push := b.receive(scope, drawn)
		if push == nil {
			continue
		}
		l.pushes = append(l.pushes, push.ID)
		l.looked[push.ID] = b.living(scope)
		switch rapid.IntRange(0, 3).Draw(r, "decision") {
		case 0:
			b.decide(scope, b.intake.Approve)
		case 1:
			b.decide(scope, b.intake.Reject)
		}
	}
	return l
}

func tenant(n int) directory.Scope {
	return directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf("t%d", n)}
}

// A restore brings back exactly what stood after the push, whatever came before
// it and since: stale pushes, held ones, approvals, rejections, cycles. Twice is
// once, and the tenant's life goes on.
func TestARestoreBringsBackWhatStoodAfterThePush(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	lives := 0
	rapid.Check(t, func(r *rapid.T) {
		lives++
		b.TestingT = r
		l := b.live(r, tenant(lives))
		if len(l.pushes) == 0 {
			return
		}
		for range rapid.IntRange(1, 3).Draw(r, "restores") {
			to := rapid.SampledFrom(l.pushes).Draw(r, "to")
			dry, err := b.Restore(b.ctx, restore.Request{PushID: to, By: "ann", DryRun: true})
			require.NoError(r, err)
			outcome, err := b.restore(to)
			require.NoError(r, err)
			require.Equal(r, dry.Counts, outcome.Counts, "the dry run says what is done")
			require.Equal(r, dry.Result, outcome.Result)
			b.decide(l.scope, b.intake.Approve)
			require.Equal(r, l.looked[to], b.living(l.scope))
			require.Len(r, l.looked[to], outcome.Departments)

			again, err := b.restore(to)
			require.NoError(r, err)
			require.Equal(r, directory.ResultUnchanged, again.Result, "twice is once")
			l.pushes, l.looked[outcome.PushID] = append(l.pushes, again.PushID), l.looked[to]
			l.looked[again.PushID] = l.looked[to]
		}
		b.clock.tick()
		b.put(l.scope, directory.FlagAdd, max(2000, directory.SourceTimeOf(b.clock.now())), "later")
		require.Contains(r, b.living(l.scope), "later", "later pushes go on")
	})
}

// Where the journal does not reach far enough back, a restore says so; it never
// brings back something else.
func TestARestoreFromAShortJournalIsRightOrRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	lives := 0
	rapid.Check(t, func(r *rapid.T) {
		lives++
		b.TestingT = r
		began := b.clock.now()
		l := b.live(r, tenant(lives))
		if len(l.pushes) == 0 {
			return
		}
		steps := int(b.clock.now().Sub(began) / time.Millisecond)
		swept := began.Add(time.Duration(rapid.IntRange(0, steps).Draw(r, "swept")) * time.Millisecond)
		_, err := b.store.Sweep(b.ctx, storage.SweepTimes{Journal: swept})
		require.NoError(r, err)
		to := rapid.SampledFrom(l.pushes).Draw(r, "to")
		before := b.living(l.scope)
		if _, err := b.restore(to); err != nil {
			if _, _, gone := b.store.Push(b.ctx, to); gone != nil {
				require.ErrorIs(r, err, storage.ErrNotFound)
			} else {
				require.ErrorIs(r, err, restore.ErrRefused)
			}
			require.Equal(r, before, b.living(l.scope), "a refusal changes nothing")
			return
		}
		b.decide(l.scope, b.intake.Approve)
		require.Equal(r, l.looked[to], b.living(l.scope))
	})
}

// A push from the future counts as of when it came, also when it is read again.
func TestARestoreTakesTheTimesThatCounted(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	scope := tenant(1)
	b.full(scope, 1, "a", "b")
	ahead := &directory.DepartmentPush{DepartmentItem: directory.DepartmentItem{Code: "c", Name: "name of c"}}
	b.receiveAs(scope, &directory.Push{Flag: directory.FlagAdd, SourceTime: 9000, Payload: ahead}, 2)
	gone := b.put(scope, directory.FlagDelete, 3, "c")
	want := b.living(scope)
	require.Len(t, want, 2)
	b.full(scope, 4, "a", "b", "d")
	_, err := b.restore(gone)
	require.NoError(t, err)
	require.Equal(t, want, b.living(scope))
}

// A wrong export deleted what the guard held and somebody approved: going back
// to the push itself undoes the approval, to the one before it all of it.
func TestARestoreUndoesAnApproval(t *testing.T) {
	t.Parallel()
	b, scope := newBundle(t), tenant(1)
	good := b.full(scope, 1, "a", "b", "c", "d")
	wrong := b.full(scope, 2, "new")
	b.decide(scope, b.intake.Approve)
	require.Len(t, b.living(scope), 1)

	outcome, err := b.restore(wrong)
	require.NoError(t, err)
	require.Equal(t, directory.Counts{directory.ActionRestore: 4, directory.ActionUnchanged: 1}, outcome.Counts)
	require.Len(t, b.living(scope), 5)

	outcome, err = b.restore(good)
	require.NoError(t, err)
	require.Equal(t, directory.ResultApplied, outcome.Result, "one deletion the guard lets pass")
	require.Len(t, b.living(scope), 4)
}

// The guard holds a restore that would delete much, as any full push; the
// journal keeps who restored, and who approved.
func TestARestoreIsGuardedAndAudited(t *testing.T) {
	t.Parallel()
	b, scope := newBundle(t), tenant(1)
	small := b.full(scope, 1, "a", "b")
	b.full(scope, 2, "a", "b", "c", "d", "e")
	outcome, err := b.restore(small)
	require.NoError(t, err)
	require.Equal(t, directory.ResultHeld, outcome.Result)
	require.Len(t, b.living(scope), 5)
	b.clock.tick()
	_, err = b.intake.Approve(t.Context(), outcome.PushID, "bob", "I am sure")
	require.NoError(t, err)
	require.Len(t, b.living(scope), 2)
	record, _, err := b.store.Push(t.Context(), outcome.PushID)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(record.Note, "restored to push "+small+" by ann: wrong export; approved by bob at "), record.Note)
	require.Equal(t, b.clock.now().UTC(), record.DecidedAt.UTC())
	require.Contains(t, b.log.String(), "audit: departments restored")
	require.Contains(t, b.log.String(), "by=ann")
}

// A push that says nothing of departments names a moment as well as any.
func TestAnyPushNamesAMoment(t *testing.T) {
	t.Parallel()
	b, scope := newBundle(t), tenant(1)
	b.full(scope, 1, "a", "b")
	named := b.receive(scope, &directory.Push{Flag: directory.FlagAdd, SourceTime: 2, Payload: &directory.TenantPush{Code: "acme", Name: "ACME", DomainName: "acme"}})
	b.put(scope, directory.FlagDelete, 3, "b")
	outcome, err := b.restore(named.ID)
	require.NoError(t, err)
	require.Equal(t, directory.Counts{directory.ActionRestore: 1, directory.ActionUnchanged: 1}, outcome.Counts)
	require.Equal(t, map[string]string{"a": "name of a under ", "b": "name of b under "}, b.living(scope))
}

func TestWhatCannotBeRestoredIsRefused(t *testing.T) {
	t.Parallel()
	b, scope := newBundle(t), tenant(1)
	_, err := b.restore("nobody")
	require.ErrorIs(t, err, storage.ErrNotFound)

	test := scope
	test.Dataset = directory.Test
	debug := b.full(test, 1, "a")
	_, err = b.restore(debug)
	require.ErrorIs(t, err, restore.ErrRefused)
	require.ErrorContains(t, err, "test data")

	open := storage.Record{ID: "open", Scope: scope, Kind: directory.AllOrgSync, ReceivedAt: b.clock.now()}
	require.NoError(t, b.store.Accept(t.Context(), open, nil))
	_, err = b.restore("open")
	require.ErrorIs(t, err, restore.ErrRefused)
	require.ErrorContains(t, err, "not applied yet")

	b.put(scope, directory.FlagAdd, 5, "a")
	b.clock.tick()
	_, err = b.store.Sweep(t.Context(), storage.SweepTimes{Journal: b.clock.now()})
	require.NoError(t, err)
	last := b.put(scope, directory.FlagAdd, 6, "b")
	_, err = b.restore(last)
	require.ErrorIs(t, err, restore.ErrRefused)
	require.ErrorContains(t, err, "does not reach far enough back")
}

// An approval of before its time was noted cannot be put in order: a later full
// push to begin from is needed.
func TestAnApprovalOfUnknownTimeIsNotGuessed(t *testing.T) {
	t.Parallel()
	b, scope := newBundle(t), tenant(1)
	b.full(scope, 1, "a", "b", "c")
	b.full(scope, 2)
	b.put(scope, directory.FlagAdd, 3, "d")
	b.decide(scope, b.intake.Approve)
	last := b.put(scope, directory.FlagAdd, 4, "e")
	journal := undated{b.store}
	undatedService := restore.New(journal, b.store, b.intake, restore.Codec{Decode: marketplace.Decode, Encode: client.Body}, restore.Options{Now: b.clock.now})
	_, err := undatedService.Restore(t.Context(), restore.Request{PushID: last, By: "ann"})
	require.ErrorIs(t, err, restore.ErrRefused)
	require.ErrorContains(t, err, "when push")
	_, err = b.restore(last)
	require.NoError(t, err)
}

// undated is a journal whose decisions have no time.
type undated struct{ restore.Journal }

func (u undated) Pushes(ctx context.Context, f storage.PushFilter, p storage.Page) ([]storage.Record, string, error) {
	records, cursor, err := u.Journal.Pushes(ctx, f, p)
	for i := range records {
		records[i].DecidedAt = time.Time{}
	}
	return records, cursor, err
}
