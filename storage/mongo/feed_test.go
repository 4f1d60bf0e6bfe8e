package mongo_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// A reader that follows the feed while two replicas write, number and read it,
// misses no change: what it has seen last of each department is what is stored.
func TestAFollowerOfTheFeedMissesNothing(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	replicas := []*replica{b.replica("one", long), b.replica("two", long)}
	ctx := b.Context()
	writing := make(chan struct{})
	errs := make(chan error, 100)
	var writers sync.WaitGroup
	for i, r := range replicas {
		for worker := range 2 {
			writers.Go(func() {
				for n := range 10 {
					scope := tenant("t%d", n%2)
					code := fmt.Sprintf("%d-%d", (i+worker)%2, n%3)
					if err := put(ctx, r.Store, scope, directory.SourceTime(n+1), directory.FlagModify, code, fmt.Sprintf("name %d", n), ""); err != nil {
						errs <- err
					}
				}
			})
		}
	}
	go func() {
		writers.Wait()
		close(writing)
	}()
	seen := make(map[string]int64)
	follow := func(after storage.Place) storage.Place {
		changes, next, err := replicas[0].Changes(ctx, after, 7)
		require.NoError(b, err)
		for _, c := range changes {
			require.Greater(b, c.Seq, after.Seq)
			after.Seq = c.Seq
			key := c.Scope.String() + "/" + c.Key
			require.Greater(b, c.Department.Version, seen[key], "%s went back", key)
			seen[key] = c.Department.Version
		}
		require.Equal(b, after.Seq, next.Seq)
		return next
	}
	after, going := storage.Place{}, true
	for going {
		select {
		case <-writing:
			going = false
		default:
			after = follow(after)
		}
	}
	for last := int64(-1); last != after.Seq; {
		last = after.Seq
		after = follow(after)
	}
	close(errs)
	for err := range errs {
		require.NoError(b, err)
	}
	stored := make(map[string]int64)
	found, _, err := replicas[1].Departments(ctx, storage.EntityFilter{Dataset: directory.Prod}, storage.Page{})
	require.NoError(b, err)
	for _, d := range found {
		stored[d.Scope.String()+"/"+d.Entity.Code] = d.Entity.Version
	}
	require.Equal(b, stored, seen)
}

// Two replicas that relay for the same target make each slot once.
func TestTwoRelaysOfATargetMakeEachSlotOnce(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	one, two := b.replica("one", long), b.replica("two", long)
	ctx := b.Context()
	_, err := one.ApplyAtOnce(ctx, recordFor(acme, directory.SingleOrgSync, 1), nil, planned(newDepartments("a", "b", "c", "d", "e", "f", "g", "h")))
	require.NoError(b, err)
	total := 0
	var mu sync.Mutex
	var relays sync.WaitGroup
	for _, r := range []*replica{one, two, one, two} {
		relays.Go(func() {
			for {
				n, _, err := r.Relay(ctx, "t", storage.RelayOptions{Placements: true}, 3)
				if err != nil {
					b.Errorf("relay: %v", err)
					return
				}
				if n == 0 {
					return
				}
				mu.Lock()
				total += n
				mu.Unlock()
			}
		})
	}
	relays.Wait()
	require.Equal(b, 8, total)
	slots, _, err := one.Deliveries(ctx, storage.DeliveryFilter{Target: "t"}, storage.Page{})
	require.NoError(b, err)
	require.Len(b, slots, 16)
	for _, slot := range slots {
		require.Zero(b, slot.Marks, "%v was made due again", slot.SlotKey)
	}
}

// A relay that is cut off anywhere is made up for by the next.
func TestARelayCutOffAnywhereIsMadeUpFor(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	ctx := b.Context()
	plan := newDepartments("a")
	plan.Users = []directory.User{{UserName: "ann", OrgCode: "a", Meta: directory.Meta{Version: 1}}}
	_, err := r.ApplyAtOnce(ctx, recordFor(acme, directory.SingleOrgSync, 1), nil, planned(plan))
	require.NoError(b, err)
	for n := 1; n <= 8; n++ {
		for what, does := range map[string]fault{"request": {loseRequest: true}, "answer": {loseAnswer: true}} {
			target := fmt.Sprintf("%s-%d", what, n)
			r.proxy.once(n, does, anyOfOurs)
			_, _, _ = r.Relay(ctx, target, storage.RelayOptions{Placements: true}, 1)
			r.proxy.set(nil)
			for {
				read, _, err := r.Relay(ctx, target, storage.RelayOptions{Placements: true}, 1)
				require.NoError(b, err)
				if read == 0 {
					break
				}
			}
			counts, err := r.Counts(ctx, target, nil)
			require.NoError(b, err)
			require.Equal(b, storage.SlotCounts{storage.SlotPending: 4}, counts.Slots, target)
			require.Zero(b, counts.Unrelayed, target)
		}
	}
}

// Outcomes that are cut off anywhere can be settled again.
func TestASettlementCutOffAnywhereCanBeRepeated(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	r := b.replica("one", long)
	ctx := b.Context()
	plan := newDepartments("a")
	plan.Users = []directory.User{{UserName: "ann", OrgCode: "a", Meta: directory.Meta{Version: 1}}}
	_, err := r.ApplyAtOnce(ctx, recordFor(acme, directory.SingleOrgSync, 1), nil, planned(plan))
	require.NoError(b, err)
	for n := 1; n <= 4; n++ {
		target := fmt.Sprint("t", n)
		_, _, err := r.Relay(ctx, target, storage.RelayOptions{}, 100)
		require.NoError(b, err)
		lease, err := r.Lease(ctx, target, acme, "one", time.Minute)
		require.NoError(b, err)
		tasks, err := r.Claim(ctx, lease, b.clock.now(), 100, nil)
		require.NoError(b, err)
		var member, group storage.Slot
		for _, task := range tasks {
			switch task.Kind {
			case storage.SlotDepartment:
				group = task.Slot
				group.State, group.Delivered, group.RemoteID, group.Uncertain = storage.SlotDelivered, group.Desired, "r", false
			case storage.SlotMembership:
				member = task.Slot
				member.State, member.Group, member.Uncertain = storage.SlotWaiting, "a", false
			}
		}
		require.NoError(b, r.Settle(ctx, lease, []storage.Slot{member}))
		r.proxy.once(n, fault{loseAnswer: true}, anyOfOurs)
		_ = r.Settle(ctx, lease, []storage.Slot{group})
		r.proxy.set(nil)
		require.NoError(b, r.Settle(ctx, lease, []storage.Slot{group}))
		found, err := r.Lookup(ctx, target, acme, storage.SlotMembership, []string{"ann"})
		require.NoError(b, err)
		require.Equal(b, storage.SlotPending, found["ann"].State, "it waited for the group, which is there")
	}
}

// Changes and replays by another replica wake this one's listeners: by looking,
// and at once where there is a notifier.
func TestOtherReplicasAreHeard(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	writer := b.replica("writer", long)
	looking := quiet()
	looking.PollInterval = 20 * time.Millisecond
	polls := openStore(b, b.database, looking)
	hears := quiet()
	news := &notifier{heard: make(chan struct{}, 1)}
	hears.Notifier = news
	told := openStore(b, b.database, hears)
	wait := func(what string, heard <-chan struct{}, do func()) {
		do()
		select {
		case <-heard:
		case <-time.After(time.Minute):
			require.Fail(b, what)
		}
	}
	wait("a change", polls.Changed(), func() {
		require.NoError(b, put(b.Context(), writer.Store, acme, 1, directory.FlagAdd, "a", "n", ""))
	})
	_, _, err := writer.Relay(b.Context(), "t", storage.RelayOptions{}, 10)
	require.NoError(b, err)
	kill(b, writer, "t")
	wait("a replay", polls.Changed(), func() {
		n, err := writer.Replay(b.Context(), storage.DeliveryFilter{Target: "t"})
		require.NoError(b, err)
		require.Equal(b, 1, n)
	})
	wait("news", told.Changed(), func() { news.heard <- struct{}{} })
	require.NoError(b, put(b.Context(), told, acme, 2, directory.FlagAdd, "b", "n", ""))
	require.Equal(b, 1, news.sent)
}

// kill makes a dead letter of all of a target's slots in acme.
func kill(b *bundle, r *replica, target string) {
	b.Helper()
	lease, err := r.Lease(b.Context(), target, acme, "killer", time.Minute)
	require.NoError(b, err)
	tasks, err := r.Claim(b.Context(), lease, b.clock.now(), 100, nil)
	require.NoError(b, err)
	var slots []storage.Slot
	for _, task := range tasks {
		task.State, task.LastError = storage.SlotDead, "no"
		slots = append(slots, task.Slot)
	}
	require.NoError(b, r.Settle(b.Context(), lease, slots))
}

// A turn left open by a replica that died is settled by another that merely
// runs, without any push coming.
func TestATurnLeftOpenIsSettledInTheBackground(t *testing.T) {
	t.Parallel()
	name := database(t)
	p := newProxy(t)
	dying := quiet()
	dying.TurnTime, dying.Timeout = 3*time.Second, 3*time.Second
	store := openThrough(t, p, name, dying)
	p.set(func(c command) fault { return fault{hang: carryOut(c)} })
	require.Error(t, put(t.Context(), store, acme, 1, directory.FlagAdd, "a", "n", ""))
	alive := quiet()
	alive.PollInterval, alive.Timeout, alive.TurnTime = 50*time.Millisecond, 5*time.Second, 5*time.Second
	other := openStore(t, name, alive)
	require.Eventually(t, func() bool {
		_, err := other.State(t.Context(), acme)
		return err == nil
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, []string{"a n "}, tree(t, other, acme))
	p.set(nil)
}

var errQueue = errors.New("no queue")
