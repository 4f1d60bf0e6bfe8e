package fanout

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/targettest"
)

// names are n accounts in a department: "u00@a".
func names(from, n int, place string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("u%02d", from+i) + place
	}
	return all
}

// limited is a bundle with one target of some limit and 40 accounts there.
func limited(t testing.TB, limit RemovalLimit, edit ...func(*Target)) (*bundle, *peer) {
	p, scim := newPeer(t, "t")
	scim.Removals = &limit
	for _, e := range edit {
		e(&scim)
	}
	b := newBundle(t, scim)
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, names(0, 40, "@a")...)
	b.start().settled()
	b.synced("t", p, acme)
	p.proxy.Forget()
	return b, p
}

func (b *bundle) decide(approve bool) int {
	b.Helper()
	count := b.count("t")
	n, err := b.fanout.Decide(b.Context(), storage.DeliveryFilter{Target: "t"}, storage.HeldDecision{Approved: approve, By: "ann", Reason: "I looked"})
	require.NoError(b, err)
	b.settledSince("t", count)
	return n
}

func TestAMassDeletionIsHeldWholeAndAllElseGoesOn(t *testing.T) {
	t.Parallel()
	b, p := limited(t, DefaultRemovals)
	b.users(acme, directory.FlagDelete, names(0, 21, "")...)
	b.settled()
	require.Empty(t, p.sent(http.MethodDelete, ""), "not even the first of them")
	require.Empty(t, p.sent(http.MethodPatch, ""), "they keep their department too")
	_, users := p.Counts()
	require.Equal(t, 40, users)
	require.Equal(t, storage.SlotCounts{storage.SlotHeld: 42, storage.SlotDelivered: 42}, b.counts("t"))
	require.True(t, b.fanout.Targets()[0].HeldSince.Equal(b.clock.now()))

	b.users(acme, directory.FlagModify, "u30@b")
	b.tree(other, "x")
	b.users(other, directory.FlagAdd, "bob@x")
	b.settled()
	b.users(other, directory.FlagDelete, "bob")
	b.settled()
	_, there, _ := p.account(other, "bob")
	require.False(t, there, "a leaver of another tenant does leave")
	user, _, _ := p.account(acme, "u30")
	require.Equal(t, "name of b", user.Department)

	b.users(acme, directory.FlagDelete, "u31")
	b.settled()
	_, there, _ = p.account(acme, "u31")
	require.True(t, there, "a mass deletion that comes in parts is one")

	require.Equal(t, 22, b.decide(true))
	b.synced("t", p, acme, other)
	_, users = p.Counts()
	require.Equal(t, 18, users)
	status := b.fanout.Targets()[0]
	require.Zero(t, status.HeldSince)
	require.Equal(t, &storage.HeldDecision{Approved: true, By: "ann", Reason: "I looked", At: b.clock.now().UTC(), Removals: 22}, status.LastDecision)
	_, err := b.fanout.Decide(t.Context(), storage.DeliveryFilter{Target: "t"}, storage.HeldDecision{Approved: true})
	require.ErrorIs(t, err, ErrNothingHeld)
	_, err = b.fanout.Decide(t.Context(), storage.DeliveryFilter{Target: "x"}, storage.HeldDecision{})
	require.ErrorIs(t, err, ErrUnknownTarget)
}

func TestAnApprovalIsNotForEver(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 3})
	b.users(acme, directory.FlagDelete, names(0, 5, "")...)
	b.settled()
	require.Equal(t, 5, b.decide(true))
	require.Len(t, p.sent(http.MethodDelete, ""), 5)
	b.users(acme, directory.FlagDelete, names(5, 5, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 5, "what comes later asks anew")
	b.users(acme, directory.FlagAdd, "u00@a")
	b.settled()
	require.Equal(t, 5, b.decide(true))
	b.synced("t", p, acme)
}

func TestARejectionKeepsTheObjectsUntilTheyChange(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 1})
	b.users(acme, directory.FlagDelete, "u00", "u01", "u02")
	b.settled()
	require.Equal(t, 3, b.decide(false))
	require.Equal(t, storage.SlotCounts{storage.SlotKept: 6, storage.SlotDelivered: 78}, b.counts("t"))
	for _, name := range []string{"u00", "u01", "u02"} {
		_, there, groups := p.account(acme, name)
		require.True(t, there)
		require.Equal(t, 1, groups)
	}
	p.proxy.Forget()
	b.tenant(acme, "acme") // makes the slots of all accounts due
	b.settled()
	require.Empty(t, p.sent(http.MethodDelete, ""), "the decision holds whatever makes the slot due")
	require.Equal(t, storage.SlotKept, b.slot("t", acme, storage.SlotUser, "u00").State)

	b.users(acme, directory.FlagAdd, "u00@b")
	n, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "t", State: storage.SlotKept, Key: "u01"})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	b.settled()
	user, _, groups := p.account(acme, "u00")
	require.True(t, user.Active, "who returns is as if never gone")
	require.Equal(t, "name of b", user.Department)
	require.Equal(t, 1, groups)
	_, there, _ := p.account(acme, "u01")
	require.False(t, there, "a replay asks anew, and one is within the limit")
	b.users(acme, directory.FlagAdd, "u02@a")
	b.settled()
	b.synced("t", p, acme)
}

func TestWhoReturnsIsHeldNoMore(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 1})
	b.users(acme, directory.FlagDelete, "u00", "u01")
	b.settled()
	require.NotZero(t, b.fanout.Targets()[0].HeldSince)
	b.users(acme, directory.FlagAdd, "u00@a", "u01@a")
	b.settled()
	b.synced("t", p, acme)
	require.Zero(t, b.fanout.Targets()[0].HeldSince)
	require.Empty(t, p.sent(http.MethodDelete, ""))
}

func TestTheHourIsCountedOverRestarts(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 3})
	for i := range 3 {
		b.users(acme, directory.FlagDelete, names(i, 1, "")...)
		b.settled()
	}
	require.Len(t, p.sent(http.MethodDelete, ""), 3)
	b.stop()
	b.start().settled()
	b.users(acme, directory.FlagDelete, "u10")
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 3)
	b.decide(true)
	require.Len(t, p.sent(http.MethodDelete, ""), 4, "an approval uses up nothing")
	b.clock.advance(time.Hour)
	b.users(acme, directory.FlagDelete, "u11", "u12", "u13")
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 7)
}

// A clock that ran ahead for a while must not have every removal held until it
// would have come there.
func TestWhatWasCountedInATimeToComeCountsNoMore(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 1})
	ahead := storage.RemovalCount{Slice: b.clock.now().AddDate(1, 0, 0).Unix() / int64(countedBy/time.Second), Count: 1}
	_, err := b.store.UpdateTarget(t.Context(), "t", func(record *storage.TargetRecord) error {
		record.Removals = append(record.Removals, ahead)
		return nil
	})
	require.NoError(t, err)
	b.users(acme, directory.FlagDelete, names(1, 1, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 1)
	b.users(acme, directory.FlagDelete, names(2, 1, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 1)
}

// With 100 % nothing is held, also of a tenant that has something held from
// before; that goes on waiting for its decision.
func TestALimitOfAllHoldsNothingBesideWhatIsHeld(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{})
	b.users(acme, directory.FlagDelete, names(1, 1, "")...)
	b.settled()
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, names(1, 1, "")[0]).State)
	b.stop()
	b.targets[0].Removals = &RemovalLimit{Percent: 100}
	b.start().settled()
	b.users(acme, directory.FlagDelete, names(2, 30, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 30)
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, names(1, 1, "")[0]).State)
}

// Who is in no group has no place there to be held: it would wait for a decision
// that nobody could give.
func TestWhoIsInNoGroupHasNoPlaceHeld(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, RemovalLimit{})
	b.users(acme, directory.FlagAdd, "loner@")
	b.settled()
	b.users(acme, directory.FlagDelete, "loner")
	b.settled()
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, "loner").State)
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, "loner").State)
	require.Equal(t, 1, b.decide(false))
	require.Empty(t, b.counts("t")[storage.SlotHeld])
}

// Where departments are no objects there is none to be removed.
func TestWhereThereAreNoDepartmentsNoneIsHeld(t *testing.T) {
	t.Parallel()
	_, corp := peerOf(t, "t", scimserver.Options{Quirks: scimserver.Quirks{NoGroups: true}})
	corp.Removals = &RemovalLimit{}
	b := newBundle(t, corp)
	b.tree(acme, "a", "b", "c")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.start().settled()
	b.tree(acme, "a")
	b.settled()
	require.Zero(t, b.counts("t")[storage.SlotHeld])
	b.users(acme, directory.FlagDelete, "ann")
	b.settled()
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, "ann").State)
}

func TestTheShareIsOfWhatTheTargetHas(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 1, Percent: 10}) // of 42 objects: 4
	b.users(acme, directory.FlagDelete, names(0, 4, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 4)
	b.users(acme, directory.FlagDelete, "u10")
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 4)

	all, q := limited(t, RemovalLimit{Percent: 100})
	all.users(acme, directory.FlagDelete, names(0, 40, "")...)
	all.tree(acme, "b")
	all.settled()
	require.Len(t, q.sent(http.MethodDelete, ""), 41, "nothing is ever held")
	none, q := limited(t, RemovalLimit{})
	none.users(acme, directory.FlagDelete, "u00")
	none.settled()
	require.Empty(t, q.sent(http.MethodDelete, ""), "everything is held")
}

func TestTheShareGrowsWithTheTarget(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 1, Percent: 10}) // of 42 objects: 4
	b.users(acme, directory.FlagDelete, names(0, 4, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 4)
	b.users(acme, directory.FlagModify, names(40, 62, "@a")...) // of 100 objects: 10
	b.settled()
	b.users(acme, directory.FlagDelete, names(4, 6, "")...)
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 10)
	b.users(acme, directory.FlagDelete, "u10")
	b.settled()
	require.Len(t, p.sent(http.MethodDelete, ""), 10)
}

func TestTheShareDoesNotGrowWithWhatIsRemoved(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{Percent: 50}) // of 42 objects: 21
	for i := range 30 {
		b.users(acme, directory.FlagDelete, names(i, 1, "")...)
		b.settled()
	}
	require.Len(t, p.sent(http.MethodDelete, ""), 21)
}

func TestARemovalThatFailsCountsOnce(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 2})
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), http.MethodDelete))
	b.users(acme, directory.FlagDelete, "u00")
	b.settled()
	for range 5 {
		b.until(b.slot("t", acme, storage.SlotUser, "u00").DueAt)
	}
	p.proxy.Choose(failing(targettest.Answer(http.StatusUnauthorized, ""), http.MethodDelete))
	b.until(b.slot("t", acme, storage.SlotUser, "u00").DueAt)
	require.Equal(t, Down, b.fanout.Targets()[0].State)
	p.proxy.Heal()
	b.until(b.fanout.Targets()[0].NextProbe)
	_, there, _ := p.account(acme, "u00")
	require.False(t, there)
	b.users(acme, directory.FlagDelete, "u01")
	b.settled()
	_, there, _ = p.account(acme, "u01")
	require.False(t, there, "one of two was used up")
}

func TestDeactivationsCountAndComingBackDoesNot(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{PerHour: 2})
	active := func(name string) bool {
		user, _, _ := p.account(acme, name)
		return user.Active
	}
	b.users(acme, directory.FlagCancel, "u00", "u01")
	b.settled()
	require.False(t, active("u00"))
	b.users(acme, directory.FlagCancel, "u02")
	b.settled()
	require.True(t, active("u02"))
	b.users(acme, directory.FlagAdd, "u00@a")
	b.tenant(acme, "acme") // u01 is told of it, and was deactivated before
	b.settled()
	require.True(t, active("u00"))
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotUser, "u01").State)
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, "u02").State)
	require.Equal(t, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, "u02").State)
}

func TestADepartmentThatIsHeldKeepsItsPlaceAndMembers(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	scim.Removals = &RemovalLimit{PerHour: 1}
	b := newBundle(t, scim)
	b.tree(acme, "a", "b<a", "c<a", "d<c")
	b.users(acme, directory.FlagAdd, "ann@b")
	b.start().settled()
	before := p.picture()
	b.tree(acme, "a")
	b.users(acme, directory.FlagModify, "ann@b") // makes the membership due
	b.settled()
	require.Equal(t, before.groups, p.picture().groups)
	b.decide(false)
	require.Equal(t, before.groups, p.picture().groups)
	b.tree(acme, "a", "b<a", "c<a", "d<c")
	b.settled()
	b.synced("t", p, acme)
	b.tree(acme, "a", "b<a")
	b.settled()
	b.decide(true)
	b.synced("t", p, acme)
}

func TestWhatIsHeldIsHeldForOneTenantIfAskedSo(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{})
	b.tree(other, "x", "y")
	b.settled()
	b.tree(other, "x")
	b.users(acme, directory.FlagDelete, "u00")
	b.settled()
	filter := storage.DeliveryFilter{Target: "t", TenantID: other.TenantID}
	n, err := b.fanout.Decide(t.Context(), filter, storage.HeldDecision{Approved: true, By: "ann"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NotZero(t, b.fanout.Targets()[0].HeldSince, "the other tenant's waits on")
	_, there, _ := p.account(acme, "u00")
	require.True(t, there)
}

func TestAnAccountIsDeactivatedFirstAndDeletedLater(t *testing.T) {
	t.Parallel()
	b, p := limited(t, DefaultRemovals, func(t *Target) { t.DeleteAfter, t.OnRevoke = 72*time.Hour, Delete })
	b.users(acme, directory.FlagDelete, "u00", "u01")
	b.users(acme, directory.FlagCancel, "u02")
	b.settled()
	for _, name := range []string{"u00", "u01", "u02"} {
		user, there, groups := p.account(acme, name)
		require.True(t, there)
		require.False(t, user.Active)
		require.Zero(t, groups)
		slot := b.slot("t", acme, storage.SlotUser, name)
		require.Equal(t, storage.SlotLeaving, slot.State)
		require.Equal(t, b.clock.now().Add(72*time.Hour), slot.DueAt)
	}
	sent := len(p.writes())
	b.clock.advance(time.Hour)
	b.tenant(acme, "acme")
	b.settled()
	require.Equal(t, epoch.Add(72*time.Hour), b.slot("t", acme, storage.SlotUser, "u00").DueAt)
	require.Empty(t, p.sent(http.MethodDelete, ""))
	require.Greater(t, len(p.writes()), sent)

	b.users(acme, directory.FlagAdd, "u01@a")
	b.settled()
	user, _, groups := p.account(acme, "u01")
	require.True(t, user.Active, "who returns in the grace is reactivated")
	require.Equal(t, 1, groups)
	b.until(b.slot("t", acme, storage.SlotUser, "u00").DueAt)
	require.Len(t, p.sent(http.MethodDelete, "/Users"), 2)
	b.clock.advance(1000 * time.Hour)
	b.tree(acme, "a")
	b.settled()
	b.synced("t", p, acme)
}

// TestLawNoMoreIsRemovedThanTheLimit whatever is pushed, fails, and restarts.
func TestLawNoMoreIsRemovedThanTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		tb := judged{t, rt}
		p, scim := newPeer(tb, "t")
		limit := rapid.IntRange(0, 4).Draw(rt, "limit")
		scim.Removals = &RemovalLimit{PerHour: limit}
		b := newBundle(tb, scim)
		b.tree(acme, "a")
		b.users(acme, directory.FlagAdd, names(0, 12, "@a")...)
		b.start().settled()
		var removed []time.Time
		have := 13
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			from := rapid.IntRange(0, 11).Draw(rt, "from")
			some := names(from, min(12-from, rapid.IntRange(1, 3).Draw(rt, "some")), "@a")
			flag := rapid.SampledFrom([]directory.Flag{directory.FlagDelete, directory.FlagDelete, directory.FlagCancel, directory.FlagAdd}).Draw(rt, "flag")
			b.users(acme, flag, some...)
			if rapid.IntRange(0, 4).Draw(rt, "restart") == 0 {
				b.stop()
				b.start()
			}
			b.settled()
			now := 1
			for _, u := range p.Snapshot().Users {
				if u.Active {
					now++
				}
			}
			for range have - now {
				removed = append(removed, b.clock.now())
			}
			have = now
			recent := 0
			for _, at := range removed {
				if b.clock.now().Sub(at) < time.Hour-countedBy {
					recent++
				}
			}
			require.LessOrEqual(rt, recent, limit)
			b.clock.advance(time.Duration(rapid.IntRange(0, 40).Draw(rt, "minutes")) * time.Minute)
		}
	})
}

// A freeze bars all accounts of an instance at once, whatever the limit; a
// release that deletes them does not.
func TestAFreezeIsNotHeldAndADeletionOnReleaseIs(t *testing.T) {
	t.Parallel()
	b, p := limited(t, RemovalLimit{}, func(t *Target) { t.OnRelease = Delete })
	b.bought(acme)
	active := func() (n int) {
		for _, u := range p.Snapshot().Users {
			if u.Active {
				n++
			}
		}
		return n
	}
	b.stands(acme, directory.StandingFrozen)
	b.settled()
	require.Zero(t, active())
	b.stands(acme, directory.GoodStanding)
	b.settled()
	require.Equal(t, 40, active())
	b.stands(acme, directory.StandingReleased)
	b.settled()
	_, users := p.Counts()
	require.Equal(t, 40, users)
	require.Equal(t, 40, b.decide(true))
	_, users = p.Counts()
	require.Zero(t, users)
}
