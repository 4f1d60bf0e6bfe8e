package fanout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
)

// failing treats requests whose method, path and body contain all of some
// texts.
func failing(fault targettest.Fault, texts ...string) func(targettest.Request) targettest.Fault {
	return func(r targettest.Request) targettest.Fault {
		for _, text := range texts {
			if !strings.Contains(r.Method+" "+r.Path+" "+r.Body, text) {
				return nil
			}
		}
		return fault
	}
}

func TestATransientFailureIsRetriedLaterAndLater(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(failing(targettest.Answer(500, "out of order"), "POST /Groups"))
	b.tree(acme, "a")
	b.start().settled()
	for attempt := 1; attempt <= 8; attempt++ {
		slot := b.slot("t", acme, storage.SlotDepartment, "a")
		require.Equal(t, storage.SlotRetrying, slot.State)
		require.Equal(t, attempt, slot.Attempts)
		require.Equal(t, string(target.Transient), slot.ErrorClass)
		require.Contains(t, slot.LastError, "status 500: out of order")
		wait := time.Second << (attempt - 1) // the jitter of this test draws the longest
		require.WithinDuration(t, b.clock.now().Add(wait), slot.DueAt, 2*time.Millisecond)
		b.until(slot.DueAt)
	}
	p.proxy.Heal()
	b.advance(time.Hour)
	b.synced("t", p, acme)
	slot := b.slot("t", acme, storage.SlotDepartment, "a")
	require.Zero(t, slot.Attempts)
	require.Empty(t, slot.LastError)
	require.False(t, slot.Uncertain)
}

func TestAStuckEntityBlocksNobodyElse(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(failing(targettest.Answer(500, ""), "POST /Groups", `/b"`))
	b.tree(acme, "a", "b<a", "c<b", "d<a")
	b.users(acme, directory.FlagAdd, "ann@b", "bob@d")
	b.start().settled()
	for _, code := range []string{"a", "c", "d"} {
		require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotDepartment, code).State)
	}
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotUser, "ann").State)
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, "bob").State)
	require.Equal(t, storage.SlotWaiting, b.slot("t", acme, storage.SlotMembership, "ann").State)
	require.Equal(t, storage.SlotWaiting, b.slot("t", acme, storage.SlotPlacement, "c").State)
	require.Equal(t, storage.SlotWaiting, b.slot("t", acme, storage.SlotPlacement, "b").State)
	p.proxy.Heal()
	b.advance(time.Minute)
	b.synced("t", p, acme)
}

func TestARefusedObjectIsADeadLetterUntilReplayed(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(failing(targettest.Answer(400, `{"detail":"no such title"}`), "/Users", "ann"))
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.start().settled()
	slot := b.slot("t", acme, storage.SlotUser, "ann")
	require.Equal(t, storage.SlotDead, slot.State)
	require.Equal(t, string(target.Permanent), slot.ErrorClass)
	require.Contains(t, slot.LastError, "no such title")
	require.Equal(t, storage.SlotWaiting, b.slot("t", acme, storage.SlotMembership, "ann").State)
	seen := len(p.sent(http.MethodPost, "/Users"))
	b.clock.advance(1000 * time.Hour)
	b.tree(acme, "a", "b") // wakes the runner for another reason
	b.settled()
	require.Len(t, p.sent(http.MethodPost, "/Users"), seen, "it is not tried again by itself")
	p.proxy.Heal()
	n, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "t", State: storage.SlotDead})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.settled()
	b.synced("t", p, acme)
}

// Some servers answer 500 to whatever they do not take. That others are taken
// meanwhile tells it from a server that is ill.
func TestWhatIsRefusedForEverBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	for _, othersAreTaken := range []bool{true, false} {
		p, scim := newPeer(t, "t")
		b := newBundle(t, scim)
		b.tree(acme, "a", "b")
		b.start().settled()
		p.proxy.Choose(failing(targettest.Answer(500, "NullPointerException"), "POST /Users"))
		b.users(acme, directory.FlagAdd, "ann@a")
		b.settled()
		for step := range 4 * maxInternalErrors {
			if b.slot("t", acme, storage.SlotUser, "ann").State == storage.SlotDead {
				break
			}
			if othersAreTaken {
				b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "b", Name: fmt.Sprint("name ", step)})
				b.settled()
			}
			b.advance(40 * time.Minute) // less than the time within which others must be taken
		}
		slot := b.slot("t", acme, storage.SlotUser, "ann")
		if !othersAreTaken {
			require.Equal(t, storage.SlotRetrying, slot.State, "the server may be ill")
			require.Greater(t, slot.Attempts, maxInternalErrors)
			continue
		}
		require.Equal(t, storage.SlotDead, slot.State)
		require.Equal(t, maxInternalErrors, slot.Attempts)
		require.Equal(t, string(target.Permanent), slot.ErrorClass)
		require.Contains(t, slot.LastError, "given up after 20 attempts")
		require.Contains(t, slot.LastError, "NullPointerException")
		require.True(t, slot.Uncertain, "it may have been created")
		p.proxy.Heal()
		_, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "t", State: storage.SlotDead})
		require.NoError(t, err)
		b.settled()
		b.synced("t", p, acme)
	}
}

func TestANewVersionRevivesADeadLetter(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(failing(targettest.Answer(400, ""), "POST /Groups", "bad name"))
	b.department(acme, directory.FlagAdd, directory.DepartmentItem{Code: "a", Name: "bad name"})
	b.start().settled()
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotDepartment, "a").State)
	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "a", Name: "good name"})
	b.settled()
	b.synced("t", p, acme)
}

func TestRetryAfterIsObeyedByAllSlots(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.start().settled()
	p.proxy.Next(targettest.Answer(429, "", "Retry-After", "100"))
	b.tree(acme, "a")
	b.settled()
	slot := b.slot("t", acme, storage.SlotDepartment, "a")
	require.Equal(t, storage.SlotRetrying, slot.State)
	require.Equal(t, string(target.RateLimited), slot.ErrorClass)
	require.Zero(t, slot.Attempts, "the target's limit is no fault of the slot")
	require.Equal(t, epoch.Add(100*time.Second), slot.DueAt)
	p.proxy.Forget()
	b.tree(other, "a")
	b.settled()
	b.clock.advance(99 * time.Second)
	b.tree(other, "a", "b")
	b.settled()
	require.Empty(t, p.proxy.Requests(), "nothing goes out in the meantime")
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	b.advance(time.Second)
	b.synced("t", p, acme, other)
}

func TestWithoutRetryAfterTheRestGrows(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.start().settled()
	p.proxy.Always(targettest.Answer(429, ""))
	b.tree(acme, "a")
	b.settled()
	for _, want := range []int{1, 2, 4, 8} {
		due := b.slot("t", acme, storage.SlotDepartment, "a").DueAt
		require.WithinDuration(t, b.clock.now().Add(seconds(want)), due, 10*time.Millisecond)
		b.until(due)
	}
	p.proxy.Heal()
	b.advance(time.Hour)
	b.synced("t", p, acme)
}

func TestATargetThatIsDownUsesUpNoAttempts(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Always(targettest.Answer(401, ""))
	codes := make([]string, 40)
	for i := range codes {
		codes[i] = "d" + string(rune('0'+i/10)) + string(rune('0'+i%10))
	}
	b.tree(acme, codes...)
	b.start().settled()
	require.Len(t, p.proxy.Requests(), 1, "the probe")
	status := b.fanout.Targets()[0]
	require.Equal(t, Down, status.State)
	require.Contains(t, status.LastError, "auth")

	p.proxy.Heal() // up, and down again in the middle
	p.proxy.Next(nil, nil, nil, nil)
	p.proxy.Forget()
	b.advance(time.Minute)
	b.synced("t", p, acme)

	p.proxy.Always(targettest.Answer(401, ""))
	for i := range codes {
		codes[i] += "<" + codes[(i+1)%2]
	}
	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "d00", Name: "renamed"})
	b.settled()
	require.Equal(t, Down, b.fanout.Targets()[0].State)
	slot := b.slot("t", acme, storage.SlotDepartment, "d00")
	require.Zero(t, slot.Attempts)
	require.NotEqual(t, storage.SlotDead, slot.State)
	for range 5 {
		p.proxy.Forget()
		b.until(b.fanout.Targets()[0].NextProbe)
		require.Len(t, p.proxy.Requests(), 1, "one probe, and nothing else")
	}
	p.proxy.Heal()
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	b.synced("t", p, acme)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
}

func TestTenFailuresInARowCloseTheGate(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(failing(targettest.Answer(500, ""), "POST"))
	codes := make([]string, 100)
	for i := range codes {
		codes[i] = "d" + string(rune('0'+i/10)) + string(rune('0'+i%10))
	}
	b.tree(acme, codes...)
	b.start().settled()
	require.Equal(t, Down, b.fanout.Targets()[0].State)
	posts := len(p.sent(http.MethodPost, ""))
	require.GreaterOrEqual(t, posts, breakAfter)
	require.LessOrEqual(t, posts, breakAfter+8, "but for those under way")
	for range 4 { // the probe succeeds, deliveries do not: the rests grow
		first := b.fanout.Targets()[0].NextProbe.Sub(b.clock.now())
		b.until(b.fanout.Targets()[0].NextProbe)
		require.Equal(t, Down, b.fanout.Targets()[0].State)
		require.Greater(t, b.fanout.Targets()[0].NextProbe.Sub(b.clock.now()), first)
	}
	p.proxy.Heal()
	b.advance(time.Hour)
	b.advance(time.Hour)
	b.synced("t", p, acme)
}

func TestOneDeadTargetBlocksNoOther(t *testing.T) {
	t.Parallel()
	dead, deadTarget := newPeer(t, "dead")
	well, wellTarget := newPeer(t, "well")
	dead.proxy.Always(dead.proxy.Hang)
	b := newBundle(t, deadTarget, wellTarget).start()
	b.tree(acme, "a")
	b.settledSince("well", 0)
	b.synced("well", well, acme)
	dead.proxy.Heal()
	b.stop()
	b.start()
	b.settledSince("dead", 0)
	b.synced("dead", dead, acme)
}

// crashing is a store whose process dies at the next outcome.
type crashing struct {
	Store
	died chan struct{}
	dead atomic.Bool
}

var errCrashed = errors.New("crashed")

func (c *crashing) Note(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return c.Settle(ctx, lease, slots)
}

func (c *crashing) Settle(context.Context, storage.Lease, []storage.Slot) error {
	if !c.dead.Swap(true) {
		close(c.died)
	}
	return errCrashed
}

// With one target dead and one tenant poisoned everywhere, every change of the
// others comes to every other target, and no clock has to move for it.
func TestADeadTargetAndAPoisonedTenantHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	const tenants = 12
	var peers []*peer
	var targets []Target
	for _, name := range []string{"dead", "one", "two"} {
		p, scim := newPeer(t, name)
		peers, targets = append(peers, p), append(targets, scim)
	}
	b := newBundle(t, targets...).start()
	scopes := []directory.Scope{acme}
	for i := range tenants {
		scopes = append(scopes, directory.Scope{Dataset: directory.Prod, InstanceID: "i/1", TenantID: fmt.Sprintf("tenant-%02d", i)})
	}
	for _, scope := range scopes {
		b.tree(scope, "a")
	}
	b.settled()
	peers[0].proxy.Always(targettest.Reset)
	for _, p := range peers[1:] {
		p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), acme.ExternalID("")))
	}
	poisoned := []string{"a"}
	for i := range 3 * breakAfter {
		poisoned = append(poisoned, fmt.Sprintf("p%02d<a", i))
	}
	b.tree(acme, poisoned...)
	for _, scope := range scopes[1:] {
		b.tree(scope, "a", "b<a")
	}
	b.settled()
	for i, name := range []string{"one", "two"} {
		require.Equal(t, Up, b.fanout.Targets()[i+1].State, name)
		groups, _ := peers[i+1].Counts()
		require.Equal(t, 1+2*tenants, groups, name)
		require.Equal(t, 3*breakAfter, b.counts(name)[storage.SlotRetrying], "%s: %s", name, b.openSlots(name))
	}
}

func TestACrashBetweenSendAndSettleMakesNothingTwice(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tree(acme, "a", "b<a")
	b.users(acme, directory.FlagAdd, "ann@b", "bob@b")
	for crash := range 3 { // after the groups were sent, the accounts, the members
		b.crash(crash)
	}
	b.start().settled()
	b.synced("t", p, acme)
}

// crash runs the fan-out on a store that dies after so many outcomes.
func (b *bundle) crash(left int) {
	b.Helper()
	store := &crashing{Store: b.store, died: make(chan struct{})}
	b.using = &crashingAfter{crashing: store, left: left}
	b.start()
	b.settledOr("t", 0, store.died)
	b.stop()
	b.using = b.store
}

func TestACrashAmongMovesLeavesNobodyInBothDepartments(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b", "c")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	b.stop()
	p.proxy.Forget()
	b.users(acme, directory.FlagModify, "ann@b")
	b.crash(2) // the account and the intent are on disk, the move is not
	require.Len(t, p.sent(http.MethodPatch, "/Groups"), 2)
	b.users(acme, directory.FlagModify, "ann@c")
	b.start().settled()
	b.synced("t", p, acme)
}

// crashingAfter dies at a note or outcome to come.
type crashingAfter struct {
	*crashing
	mu   sync.Mutex
	left int
}

func (c *crashingAfter) Note(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return c.alive().Note(ctx, lease, slots)
}

func (c *crashingAfter) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return c.alive().Settle(ctx, lease, slots)
}

// alive is the store for one write more.
func (c *crashingAfter) alive() Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left >= 0 {
		return c.crashing.Store
	}
	return c.crashing
}

func TestAnUnansweredChangeIsSentAgainEvenIfTheEntityWentBack(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	rename := func(name string) {
		b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "a", Name: name})
	}
	rename("first")
	b.settled()
	p.proxy.Next(targettest.LoseAnswer)
	rename("second")
	b.settled()
	rename("first")
	b.settled()
	b.synced("t", p, acme)
}

func TestAnUnansweredMoveLeavesNobodyInBothDepartments(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b", "c")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	p.proxy.Choose(failing(targettest.LoseAnswer, "PATCH /Groups"))
	b.users(acme, directory.FlagModify, "ann@b")
	b.settled()
	p.proxy.Heal()
	b.users(acme, directory.FlagModify, "ann@c")
	b.settled()
	b.synced("t", p, acme)
}

func TestAMoveWithoutAnAnswerIsNotForgottenWithTheGroupMovedFrom(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	p.proxy.Choose(failing(targettest.LoseAnswer, "PATCH /Groups"))
	b.users(acme, directory.FlagModify, "ann@b")
	b.settled()
	p.proxy.Heal()
	b.department(acme, directory.FlagDelete, item("a"))
	b.settled()
	b.users(acme, directory.FlagModify, "ann@a")
	b.settled()
	b.advance(time.Minute)
	b.synced("t", p, acme)
	b.department(acme, directory.FlagAdd, item("a"))
	b.settled()
	b.synced("t", p, acme)
}

// A round decides on a member's way by what the store has then. The
// department may come back while that round is still under way.
func TestADepartmentThatComesBackDuringARoundGetsItsMembersBack(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	b.department(acme, directory.FlagDelete, item("b"))
	b.settled()
	removing, goOn := make(chan struct{}), make(chan struct{})
	var first sync.Once
	p.proxy.Choose(failing(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		first.Do(func() { close(removing) })
		<-goOn
		forward.ServeHTTP(w, r)
	}, "PATCH /Groups", `"remove"`))
	b.users(acme, directory.FlagModify, "ann@b")
	<-removing
	b.department(acme, directory.FlagAdd, item("b"))
	b.relayed("t")
	close(goOn)
	b.settled()
	b.synced("t", p, acme)
}

func TestAMoveCutShortIsFinished(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(429, "", "Retry-After", "5"), "PATCH /Groups", `"remove"`))
	b.users(acme, directory.FlagModify, "ann@b", "bob@b")
	b.settled()
	require.Equal(t, storage.SlotRetrying, b.slot("t", acme, storage.SlotMembership, "ann").State)
	p.proxy.Heal()
	b.advance(5 * time.Second)
	b.synced("t", p, acme)
}

func TestAShutdownAmongMembersForgetsNone(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	codes, users := make([]string, 26), make([]string, 26)
	for i := range codes {
		codes[i] = string(rune('a' + i))
		users[i] = "user" + codes[i] + "@" + codes[i]
	}
	b.tree(acme, codes...)
	b.users(acme, directory.FlagAdd, users...)
	reached := make(chan struct{}, 1)
	p.proxy.Choose(failing(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		select {
		case reached <- struct{}{}:
		default:
		}
		p.proxy.Hang(w, r, forward)
	}, "PATCH /Groups"))
	b.start()
	select {
	case <-reached:
	case <-time.After(patience):
		require.Fail(t, "no member is sent")
	}
	b.stop()
	p.proxy.Heal()
	b.start()
	b.settledSince("t", 0)
	b.synced("t", p, acme)
}

func TestWhatIsGoneAtTheTargetIsMadeAnewWithItsMembers(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.tree(acme, "a", "b<a", "c<b")
	b.users(acme, directory.FlagAdd, "ann@b")
	b.settled()
	remove := func(kind storage.SlotKind, key, path string) {
		p.remove(t, path, b.slot("t", acme, kind, key).RemoteID)
	}
	remove(storage.SlotDepartment, "b", "/Groups/")
	b.department(acme, directory.FlagModify, directory.DepartmentItem{Code: "b", Name: "renamed", ParentCode: "a"})
	b.settled()
	b.synced("t", p, acme)

	remove(storage.SlotDepartment, "b", "/Groups/")
	b.users(acme, directory.FlagAdd, "bob@b") // finds out that the group is gone
	b.settled()
	b.advance(time.Minute)
	b.synced("t", p, acme)

	remove(storage.SlotUser, "ann", "/Users/")
	b.tenant(acme, "acme")
	b.settled()
	b.synced("t", p, acme)
}

func TestADepartmentThatIsThereAndNotThereIsNotAskedForInALoop(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	gone := targettest.Answer(http.StatusNotFound, "")
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if strings.Contains(r.Body, `"members"`) || (r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/Groups/")) {
			return gone
		}
		return nil
	})
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.start().settled()
	slot := b.slot("t", acme, storage.SlotMembership, "ann")
	require.Equal(t, storage.SlotRetrying, slot.State)
	require.Equal(t, string(target.Gone), slot.ErrorClass)
	require.Less(t, len(p.proxy.Requests()), 20)
	p.proxy.Heal()
	b.advance(time.Minute)
	b.synced("t", p, acme)
}

func TestARefusedMemberDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a", "cid@a", "dan@a")
	p.proxy.Next(nil, nil, nil, nil, nil, nil) // the probe, the group and the accounts
	b.start().settled()
	ann := b.slot("t", acme, storage.SlotUser, "ann").RemoteID
	b.tree(acme, "a", "b")
	p.proxy.Choose(failing(targettest.Answer(400, ""), "PATCH /Groups", `"add"`, `"`+ann+`"`))
	b.users(acme, directory.FlagModify, "ann@b", "bob@b", "cid@b", "dan@b")
	b.settled()
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotMembership, "ann").State)
	for _, name := range []string{"bob", "cid", "dan"} {
		require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, name).State, name)
	}
	p.proxy.Heal()
	_, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "t"})
	require.NoError(t, err)
	b.settled()
	b.synced("t", p, acme)
}

func TestAFailingStoreIsTriedAgain(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	b.tree(acme, "a")
	store := &crashing{Store: b.store, died: make(chan struct{})}
	flaky := &flaky{Store: b.store, crashed: store}
	b.using = flaky
	b.start()
	<-store.died
	flaky.well.Store(true)
	b.clock.advance(storeRetry)
	b.clockUntil("t", func() bool { return b.counts("t")[storage.SlotDelivered] == 2 })
	b.synced("t", p, acme)
}

// flaky fails to settle until it is well.
type flaky struct {
	Store
	crashed *crashing
	well    atomic.Bool
}

func (f *flaky) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	if f.well.Load() {
		return f.Store.Settle(ctx, lease, slots)
	}
	return f.crashed.Settle(ctx, lease, slots)
}
