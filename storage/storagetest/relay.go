package storagetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var relayTests = map[string]func(*bundle){
	"another rendering makes what was delivered or is dead pending, once": func(b *bundle) {
		n, err := b.store.Rerender(b.ctx, "t", "first")
		require.NoError(b, err)
		require.Zero(b, n, "there is nothing yet")
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1), department("b", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{Placements: true})
		b.relay("other", storage.RelayOptions{})
		b.deliver("other", acme)
		var outcomes []storage.Slot
		for _, task := range b.claim("t", acme) {
			slot := delivered(task.Slot)
			if slot.Kind == storage.SlotDepartment && slot.Key == "b" {
				slot.State, slot.LastError = storage.SlotDead, "no"
			}
			outcomes = append(outcomes, slot)
		}
		b.settle(outcomes...)
		b.deliver("t", acme) // what waited for their remote ids
		before := b.slot("t", acme, storage.SlotUser, "ann")
		n, err = b.store.Rerender(b.ctx, "t", "first")
		require.NoError(b, err)
		require.Zero(b, n, "they are rendered so")

		changed := b.store.Changed()
		n, err = b.store.Rerender(b.ctx, "t", "second")
		require.NoError(b, err)
		require.Equal(b, 3, n)
		<-changed
		b.reopen()
		n, err = b.store.Rerender(b.ctx, "t", "second")
		require.NoError(b, err)
		require.Zero(b, n)
		due := b.claim("t", acme)
		require.Len(b, due, 3, "no placement, no membership")
		after := b.slot("t", acme, storage.SlotUser, "ann")
		require.Equal(b, before.RemoteID, after.RemoteID)
		require.Equal(b, before.Hash, after.Hash)
		require.Greater(b, after.Marks, before.Marks)
		require.Empty(b, b.claim("other", acme))
		require.Zero(b, b.relay("t", storage.RelayOptions{Placements: true}), "the relay stays where it was")
		n, err = b.store.Rerender(b.ctx, "other", "")
		require.NoError(b, err)
		require.Zero(b, n, "none before, and none now")
	},

	"each target reads the whole feed once, a new one too": func(b *bundle) {
		b.apply(acme, departments("a", "b", "c", "d"))
		n, scopes, err := b.store.Relay(b.ctx, "one", storage.RelayOptions{}, 3)
		require.NoError(b, err)
		require.Equal(b, 3, n)
		require.Equal(b, []directory.Scope{acme}, scopes)
		b.reopen()
		require.Equal(b, 1, b.relay("one", storage.RelayOptions{}))
		require.Zero(b, b.relay("one", storage.RelayOptions{}))
		counts, err := b.store.Counts(b.ctx, "two", nil)
		require.NoError(b, err)
		require.Equal(b, 4, counts.Unrelayed)
		require.Equal(b, 4, b.relay("two", storage.RelayOptions{}))
		require.Len(b, b.claim("two", acme), 4)
	},

	"only wanted scopes make slots": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.apply(debug, departments("b"))
		b.relay("t", storage.RelayOptions{Match: func(s directory.Scope) bool { return s.Dataset == directory.Prod }})
		require.Len(b, b.claim("t", acme), 1)
		require.Empty(b, b.claim("t", debug))
	},

	"another selection reads the feed again, and leaves what is there": func(b *bundle) {
		only := storage.RelayOptions{Selection: "acme", Match: func(s directory.Scope) bool { return s == acme }}
		again, err := b.store.Select(b.ctx, "t", only.Selection)
		require.NoError(b, err)
		require.False(b, again, "nothing was read")
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "", 1)}, Delta: directory.Delta{Users: 1}})
		b.apply(other, departments("x"))
		b.relay("t", only)
		b.deliver("t", acme)
		require.Empty(b, b.claim("t", other))
		again, err = b.store.Select(b.ctx, "t", only.Selection)
		require.NoError(b, err)
		require.False(b, again)

		all := storage.RelayOptions{Selection: "all"}
		again, err = b.store.Select(b.ctx, "t", all.Selection)
		require.NoError(b, err)
		require.True(b, again)
		b.reopen()
		counts, err := b.store.Counts(b.ctx, "t", nil)
		require.NoError(b, err)
		require.Equal(b, 2, counts.Unrelayed)
		require.Zero(b, b.relay("t", only), "a replica of the old selection passes nothing over any more")
		require.Zero(b, b.relay("t", storage.RelayOptions{}))
		require.Equal(b, 2, b.relay("t", all))
		require.Len(b, b.claim("t", other), 1)
		require.Empty(b, b.claim("t", acme), "it has them")

		again, err = b.store.Select(b.ctx, "t", "")
		require.NoError(b, err)
		require.True(b, again)
		require.Equal(b, 2, b.relay("t", storage.RelayOptions{}))
	},

	"what waits for a decision is not made due by what it looks like": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		var held []storage.Slot
		for _, task := range b.claim("t", acme) {
			if slot := delivered(task.Slot); slot.Key == "ann" {
				slot.State = storage.SlotHeld
				held = append(held, slot)
			}
		}
		b.settle(held...)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 2)}, Tenant: &directory.Tenant{Name: "n", Meta: directory.Meta{Version: 1}}})
		b.relay("t", storage.RelayOptions{})
		_, err := b.store.Rerender(b.ctx, "t", "another")
		require.NoError(b, err)
		last, err := b.store.MarkUsers(b.ctx, "t", acme, "", 10)
		require.NoError(b, err)
		require.Equal(b, "ann", last)
		require.Equal(b, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, "ann").State)
		require.Equal(b, storage.SlotHeld, b.slot("t", acme, storage.SlotMembership, "ann").State)
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "a", 2)}})
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotUser, "ann").State)
	},

	"another rendering asks anew for a removal that was made": func(b *bundle) {
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "", 1), user("bob", "", 1)}})
		b.relay("t", storage.RelayOptions{})
		for _, task := range b.claim("t", acme) {
			slot := delivered(task.Slot)
			slot.Cleared = slot.Desired
			if slot.Key == "bob" {
				slot.State = storage.SlotDead // it has not been made
			}
			b.settle(slot)
		}
		b.deliver("t", acme)
		_, err := b.store.Rerender(b.ctx, "t", "another")
		require.NoError(b, err)
		require.Zero(b, b.slot("t", acme, storage.SlotUser, "ann").Cleared)
	},

	"placements are made where asked for": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{Placements: true})
		var kinds []storage.SlotKind
		for _, task := range b.claim("t", acme) {
			kinds = append(kinds, task.Kind)
			require.Equal(b, task.Kind.Entity() == directory.KindUser, task.User != nil)
			require.Equal(b, task.Kind.Entity() == directory.KindDepartment, task.Department != nil)
		}
		require.Equal(b, []storage.SlotKind{storage.SlotDepartment, storage.SlotUser, storage.SlotPlacement, storage.SlotMembership}, kinds)
	},

	"a changed department or tenant makes its users due": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1), department("b", "", 1)},
			Users: []directory.User{user("ann", "a", 1), user("bob", "b", 1)}})
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotUser, "ann").State)
		require.Equal(b, storage.SlotDelivered, b.slot("t", acme, storage.SlotUser, "bob").State)
		b.deliver("t", acme)
		b.apply(acme, &directory.Plan{Tenant: &directory.Tenant{Name: "n", Meta: directory.Meta{Version: 1}}})
		b.relay("t", storage.RelayOptions{})
		require.Len(b, b.claim("t", acme), 2)
		tenant, ok, err := b.store.Tenant(b.ctx, acme)
		require.NoError(b, err)
		require.True(b, ok)
		require.Equal(b, "n", tenant.Name)
	},

	"the users of a scope are made due again, some at a time": func(b *bundle) {
		plan := &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Delta: directory.Delta{Departments: 1}}
		for _, name := range hostile {
			plan.Users = append(plan.Users, user(name, "a", 1))
		}
		b.apply(acme, plan)
		b.apply(other, &directory.Plan{Users: []directory.User{user("ann", "a", 1)}, Delta: directory.Delta{Users: 1}})
		for _, target := range []string{"t", "another"} {
			b.relay(target, storage.RelayOptions{})
			b.deliver(target, acme)
			b.deliver(target, other)
		}
		before := b.slot("t", acme, storage.SlotUser, hostile[0])
		var calls, marked int
		for after := ""; ; calls++ {
			last, err := b.store.MarkUsers(b.ctx, "t", acme, after, 3)
			require.NoError(b, err)
			counts, err := b.store.Counts(b.ctx, "t", &acme)
			require.NoError(b, err)
			require.LessOrEqual(b, counts.Slots[storage.SlotPending], marked+3)
			if marked, after = counts.Slots[storage.SlotPending], last; last == "" {
				break
			}
		}
		require.Equal(b, (len(hostile)+2)/3, calls)
		require.Equal(b, len(hostile), marked)
		after := b.slot("t", acme, storage.SlotUser, hostile[0])
		require.Greater(b, after.Marks, before.Marks, "what is under way does not count as delivered")
		require.Equal(b, before.RemoteID, after.RemoteID)
		require.Equal(b, before.Hash, after.Hash)
		for _, task := range b.claim("t", acme) {
			require.Equal(b, storage.SlotUser, task.Kind)
		}
		require.Empty(b, b.claim("t", other))
		require.Empty(b, b.claim("another", acme))
		last, err := b.store.MarkUsers(b.ctx, "t", directory.Scope{Dataset: directory.Prod, TenantID: "nobody"}, "", 3)
		require.NoError(b, err)
		require.Empty(b, last)
	},

	"a new version revives a dead letter": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		task := b.claim("t", acme)[0]
		task.State, task.Attempts, task.LastError = storage.SlotDead, 3, "no"
		b.settle(task.Slot)
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		slot := b.slot("t", acme, storage.SlotDepartment, "a")
		require.Equal(b, storage.SlotPending, slot.State)
		require.Zero(b, slot.Attempts)
		require.EqualValues(b, 2, slot.Desired)
	},
}

var slotTests = map[string]func(*bundle){
	"a claim leaves its mark on disk": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		require.False(b, b.claim("t", acme)[0].Uncertain)
		b.reopen()
		require.True(b, b.claim("t", acme)[0].Uncertain)
	},

	"delivered slots are done": func(b *bundle) {
		b.apply(acme, departments("a", "b"))
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, 2, b.deliver("t", acme))
		b.reopen()
		require.Empty(b, b.claim("t", acme))
		slot := b.slot("t", acme, storage.SlotDepartment, "a")
		require.Equal(b, "remote-a", slot.RemoteID)
		require.True(b, slot.DirtySince.IsZero())
		due, next, err := b.store.DueScopes(b.ctx, "t", b.clock.now())
		require.NoError(b, err)
		require.Empty(b, due)
		require.True(b, next.IsZero())
	},

	"a retry is due at its time": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		due, _, err := b.store.DueScopes(b.ctx, "t", b.clock.now())
		require.NoError(b, err)
		require.Equal(b, []directory.Scope{acme}, due)
		task := b.claim("t", acme)[0]
		task.State, task.Attempts, task.LastError, task.DueAt = storage.SlotRetrying, 1, "late", b.clock.now().Add(time.Minute)
		b.settle(task.Slot)
		require.Empty(b, b.claim("t", acme))
		due, next, err := b.store.DueScopes(b.ctx, "t", b.clock.now())
		require.NoError(b, err)
		require.Empty(b, due)
		require.True(b, next.Equal(task.DueAt))
		counts, err := b.store.Counts(b.ctx, "t", &acme)
		require.NoError(b, err)
		require.Equal(b, "late", counts.LastError)
		require.True(b, counts.Oldest.Equal(epoch))
		b.clock.advance(time.Minute)
		again := b.claim("t", acme)
		require.Len(b, again, 1)
		require.Equal(b, 1, again[0].Attempts)
	},

	"a note is of the hash and the doubt alone": func(b *bundle) {
		b.apply(acme, departments("a", "b"))
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		before := b.slot("t", acme, storage.SlotDepartment, "a")
		other := b.slot("t", acme, storage.SlotDepartment, "b")
		noted := before
		noted.Hash, noted.State, noted.RemoteID, noted.Attempts, noted.Delivered = "about to be", storage.SlotRetrying, "", 3, 0
		require.NoError(b, b.store.Note(b.ctx, b.lease("t", acme), []storage.Slot{noted}))
		before.Hash, before.Uncertain = noted.Hash, true
		require.Equal(b, before, b.slot("t", acme, storage.SlotDepartment, "a"))
		require.Equal(b, other, b.slot("t", acme, storage.SlotDepartment, "b"))
		require.Error(b, b.store.Note(b.ctx, b.lease("u", acme), []storage.Slot{noted}), "the lease is for another target")
	},

	"an outcome overtaken by a new version stays pending": func(b *bundle) {
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		task := b.claim("t", acme)[0]
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		b.settle(delivered(task.Slot))
		slot := b.slot("t", acme, storage.SlotDepartment, "a")
		require.Equal(b, storage.SlotPending, slot.State)
		require.Equal(b, "remote-a", slot.RemoteID)
		require.EqualValues(b, 1, slot.Delivered)
		require.EqualValues(b, 2, slot.Desired)
		require.Len(b, b.claim("t", acme), 1)
	},

	"an outcome overtaken by a renamed department stays pending": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		var ann storage.Slot
		for _, task := range b.claim("t", acme) {
			if task.Kind == storage.SlotUser {
				ann = task.Slot
			}
		}
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 2)}})
		b.relay("t", storage.RelayOptions{})
		b.settle(delivered(ann))
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotUser, "ann").State)
	},

	"what waits for a group is due when the group comes, and when it is lost": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		tasks := b.claimed("t", acme)
		group, member := tasks[storage.SlotDepartment].Slot, tasks[storage.SlotMembership].Slot
		member.State, member.Group, member.Hash = storage.SlotWaiting, "a", ""
		b.settle(member, delivered(tasks[storage.SlotUser].Slot))
		b.settle(delivered(group))
		woken := b.slot("t", acme, storage.SlotMembership, "ann")
		require.Equal(b, storage.SlotPending, woken.State)
		woken.Group = "a"
		b.settle(delivered(woken))

		lost := b.slot("t", acme, storage.SlotDepartment, "a")
		lost.RemoteID, lost.State, lost.DueAt = "", storage.SlotRetrying, b.clock.now()
		b.settle(lost)
		member = b.slot("t", acme, storage.SlotMembership, "ann")
		require.Equal(b, storage.SlotPending, member.State)
		require.Zero(b, member.Delivered)
		require.Equal(b, "h", member.Hash, "it may be in other groups too")
		require.True(b, member.DirtySince.Equal(epoch))
	},

	"an object of a new remote id takes its own place in a group along": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{Placements: true})
		for _, kind := range []storage.SlotKind{storage.SlotDepartment, storage.SlotUser} {
			member := storage.SlotPlacement
			if kind == storage.SlotUser {
				member = storage.SlotMembership
			}
			for _, state := range []storage.SlotState{storage.SlotWaiting, storage.SlotDelivered, storage.SlotDead} {
				key := map[storage.SlotKind]string{storage.SlotDepartment: "a", storage.SlotUser: "ann"}[kind]
				place := b.slot("t", acme, member, key)
				place.State, place.Group, place.Attempts = state, "elsewhere", 3
				object := b.slot("t", acme, kind, key)
				object.State, object.RemoteID = storage.SlotDelivered, "r-"+state.String()
				b.settle(place)
				b.settle(object)
				woken := b.slot("t", acme, member, key)
				require.Equal(b, storage.SlotPending, woken.State, "%s of %s", state, kind)
				require.Equal(b, 3, woken.Attempts, "what fails again and again is to be known")
				b.settle(place, object)
				require.Equal(b, state, b.slot("t", acme, member, key).State, "the same id wakes nobody")
			}
		}
	},

	"members of a group made anew are due": func(b *bundle) {
		b.apply(acme, &directory.Plan{Departments: []directory.Department{department("a", "", 1)}, Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		member := b.slot("t", acme, storage.SlotMembership, "ann")
		member.Group = "a"
		b.settle(member)
		group := b.slot("t", acme, storage.SlotDepartment, "a")
		group.RemoteID = "another"
		b.settle(group)
		member = b.slot("t", acme, storage.SlotMembership, "ann")
		require.Equal(b, storage.SlotPending, member.State)
		require.Equal(b, "h", member.Hash)
	},

	"a department that comes or goes makes the memberships without a group due": func(b *bundle) {
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "a", 1), user("bob", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		placed := b.slot("t", acme, storage.SlotMembership, "bob")
		placed.Group = "a"
		b.settle(placed)
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotMembership, "ann").State)
		require.Equal(b, storage.SlotDelivered, b.slot("t", acme, storage.SlotMembership, "bob").State)
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotUser, "bob").State)
	},

	"an outcome overtaken by the department of a member stays pending": func(b *bundle) {
		b.apply(acme, &directory.Plan{Users: []directory.User{user("ann", "a", 1)}})
		b.relay("t", storage.RelayOptions{})
		b.deliver("t", acme)
		elsewhere := b.slot("t", acme, storage.SlotMembership, "ann")
		elsewhere.Group, elsewhere.State = "b", storage.SlotRetrying
		b.settle(elsewhere)
		alone := b.claimed("t", acme)[storage.SlotMembership].Slot // for lack of a department
		b.apply(acme, departments("a"))
		b.relay("t", storage.RelayOptions{})
		alone.Hash, alone.Group, alone.State = "", "", storage.SlotDelivered
		b.settle(alone)
		require.Equal(b, storage.SlotPending, b.slot("t", acme, storage.SlotMembership, "ann").State)
	},

	"dead letters are replayed, and only they": func(b *bundle) {
		b.apply(acme, departments("a", "b", "c", "d"))
		b.relay("t", storage.RelayOptions{})
		var slots []storage.Slot
		for _, task := range b.claim("t", acme) {
			slot := task.Slot
			slot.State, slot.LastError = storage.SlotDead, "no"
			if slot.Key == "d" {
				slot = delivered(slot)
			}
			slots = append(slots, slot)
		}
		b.settle(slots...)
		listed := pages(b, func(p storage.Page) ([]storage.Slot, string, error) {
			p.Limit = 2
			if p.Cursor != "" {
				p.Limit = 3
			}
			return b.store.Deliveries(b.ctx, storage.DeliveryFilter{Target: "t", State: storage.SlotDead}, storage.Page{Limit: 3, Cursor: p.Cursor})
		})
		require.Len(b, listed, 3)
		n, err := b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t", Key: "a"})
		require.NoError(b, err)
		require.Equal(b, 1, n)
		heard := b.store.Changed()
		n, err = b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t", State: storage.SlotDead})
		require.NoError(b, err)
		require.Equal(b, 2, n)
		<-heard
		require.Len(b, b.claim("t", acme), 3)
		n, err = b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t", State: storage.SlotDelivered})
		require.NoError(b, err)
		require.Zero(b, n)
	},

	"deliveries page over targets and scopes": func(b *bundle) {
		b.apply(acme, departments("a", "b", "c", "d"))
		b.apply(other, departments("x", "y"))
		for _, target := range []string{"t", "u"} {
			b.relay(target, storage.RelayOptions{Placements: true})
		}
		list := func(f storage.DeliveryFilter) int {
			seen := make(map[storage.SlotKey]bool)
			for _, slot := range pages(b, func(p storage.Page) ([]storage.Slot, string, error) { return b.store.Deliveries(b.ctx, f, p) }) {
				require.False(b, seen[slot.SlotKey], "%v twice", slot.SlotKey)
				seen[slot.SlotKey] = true
			}
			return len(seen)
		}
		require.Equal(b, 24, list(storage.DeliveryFilter{}))
		require.Equal(b, 12, list(storage.DeliveryFilter{Target: "t"}))
		require.Equal(b, 8, list(storage.DeliveryFilter{TenantID: "other"}))
		require.Equal(b, 12, list(storage.DeliveryFilter{Kind: storage.SlotPlacement}))
		require.Equal(b, 2, list(storage.DeliveryFilter{Target: "u", Key: "x"}))
		require.Zero(b, list(storage.DeliveryFilter{State: storage.SlotDead}))
	},
}
