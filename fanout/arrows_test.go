package fanout

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/targettest"
)

// witness is a store that notes which state each slot goes over to which, by
// looking at all of them after each write.
type witness struct {
	Store
	reader storage.Reader

	mu     sync.Mutex
	states map[storage.SlotKey]storage.SlotState
	seen   map[string]bool // "pending --> delivered"
}

// look compares all slots with how they were.
func (w *witness) look(ctx context.Context, write func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := write(); err != nil {
		return err
	}
	slots, _, err := w.reader.Deliveries(context.WithoutCancel(ctx), storage.DeliveryFilter{}, storage.Page{Limit: 1000})
	for i := range slots {
		before, known := w.states[slots[i].SlotKey]
		switch {
		case !known:
			w.seen[arrow("[*]", slots[i].State.String())] = true
		case before != slots[i].State:
			w.seen[arrow(before.String(), slots[i].State.String())] = true
		}
		w.states[slots[i].SlotKey] = slots[i].State
	}
	return err
}

func arrow(from, to string) string { return from + " --> " + to }

func (w *witness) Relay(ctx context.Context, name string, options storage.RelayOptions, limit int) (read int, scopes []directory.Scope, err error) {
	err = w.look(ctx, func() (err error) {
		read, scopes, err = w.Store.Relay(ctx, name, options, limit)
		return err
	})
	return read, scopes, err
}

func (w *witness) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	return w.look(ctx, func() error { return w.Store.Settle(ctx, lease, slots) })
}

func (w *witness) Replay(ctx context.Context, filter storage.DeliveryFilter) (n int, err error) {
	err = w.look(ctx, func() (err error) {
		n, err = w.Store.Replay(ctx, filter)
		return err
	})
	return n, err
}

func (w *witness) DecideHeld(ctx context.Context, filter storage.DeliveryFilter, approve bool) (n int, err error) {
	err = w.look(ctx, func() (err error) {
		n, err = w.Store.DecideHeld(ctx, filter, approve)
		return err
	})
	return n, err
}

// drawn are the arrows of a diagram in docs/state-machine.md, by its heading.
// An arrow from a state to itself cannot be seen in the states alone.
func drawn(t *testing.T, heading string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "state-machine.md"))
	require.NoError(t, err)
	diagram := regexp.MustCompile("(?s)## " + heading + "\n.*?```mermaid\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, diagram, heading)
	arrows := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(\S+) --> (\w+)`).FindAllSubmatch(diagram[1], -1) {
		if string(m[1]) != string(m[2]) {
			arrows[arrow(string(m[1]), string(m[2]))] = true
		}
	}
	return arrows
}

// remove takes an object from the target behind the connector's back.
func (p *peer) remove(t *testing.T, path, id string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.proxy.URL+path+id, http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer token")
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNoContent, response.StatusCode)
}

// TestEveryArrowOfASlotIsWalked and none that is not drawn.
func TestEveryArrowOfASlotIsWalked(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	scim.Removals, scim.DeleteAfter = &RemovalLimit{PerHour: 1}, 72*time.Hour
	b := newBundle(t, scim)
	w := &witness{Store: b.using, reader: b.store, states: make(map[storage.SlotKey]storage.SlotState), seen: make(map[string]bool)}
	b.using = w
	replay := func(state storage.SlotState) {
		count := b.count("t")
		_, err := w.Replay(t.Context(), storage.DeliveryFilter{Target: "t", State: state})
		require.NoError(t, err)
		b.settledSince("t", count)
	}
	// Delivered at once, waiting for a department, failing, and refused.
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), "POST /Groups", "name of b"))
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@b", "cid@a", "dan@a", "eve@a")
	b.start().settled()
	b.until(b.slot("t", acme, storage.SlotDepartment, "b").DueAt)
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, ""), "POST /Groups", "name of b"))
	b.until(b.slot("t", acme, storage.SlotDepartment, "b").DueAt) // retrying, then dead
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), "POST /Groups", "name of b"))
	replay(storage.SlotDead)
	p.proxy.Heal()
	b.until(b.slot("t", acme, storage.SlotDepartment, "b").DueAt)
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, ""), "/Users", "newest"))
	b.push(acme, directory.FlagModify, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{{UserName: "ann", Name: "newest", OrgCode: "a", Role: "user", Enabled: true}}})
	b.settled()
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotUser, "ann").State)
	p.proxy.Heal()
	b.users(acme, directory.FlagModify, "ann@a")
	b.settled()
	// A retry overtaken by a newer version, and one whose group goes meanwhile.
	rename := func(name string) {
		user := directory.UserItem{UserName: "ann", Name: name, OrgCode: "a", Role: "user", Enabled: true}
		b.push(acme, directory.FlagModify, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{user}})
		b.settled()
	}
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), "/Users", "slow"))
	rename("slow")
	p.proxy.Heal()
	rename("quick")
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), http.MethodPatch, "/Groups"))
	b.users(acme, directory.FlagAdd, "fay@b")
	b.settled()
	retried := b.slot("t", acme, storage.SlotMembership, "fay")
	p.remove(t, "/Groups/", b.slot("t", acme, storage.SlotDepartment, "b").RemoteID)
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), "POST /Groups"))
	b.users(acme, directory.FlagAdd, "gus@b") // finds out that the group is gone
	b.settled()
	b.until(retried.DueAt)
	p.proxy.Heal()
	b.until(b.slot("t", acme, storage.SlotDepartment, "b").DueAt)
	// Over the limit: held; come back, approved, rejected.
	b.users(acme, directory.FlagDelete, "cid", "dan")
	b.settled()
	b.users(acme, directory.FlagAdd, "dan@a")
	b.settled()
	b.decide(true)
	b.users(acme, directory.FlagDelete, "dan", "eve")
	b.settled()
	b.decide(false)
	b.tenant(acme, "acme") // kept, and still so
	b.settled()
	b.users(acme, directory.FlagAdd, "dan@a", "eve@a")
	b.settled()
	// Leaving: come back, and gone.
	b.users(acme, directory.FlagDelete, "bob")
	b.settled()
	require.Equal(t, storage.SlotLeaving, b.slot("t", acme, storage.SlotUser, "bob").State)
	b.users(acme, directory.FlagAdd, "bob@b")
	b.settled()
	b.clock.advance(time.Hour)
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), "/Users"))
	b.users(acme, directory.FlagDelete, "fay") // not even deactivated at once
	b.settled()
	p.proxy.Heal()
	b.until(b.slot("t", acme, storage.SlotUser, "fay").DueAt)
	b.clock.advance(time.Hour)
	b.users(acme, directory.FlagDelete, "gus")
	b.settled()
	b.until(b.slot("t", acme, storage.SlotUser, "cid").DueAt)
	p.proxy.Choose(failing(targettest.Answer(http.StatusInternalServerError, ""), http.MethodDelete))
	b.until(b.slot("t", acme, storage.SlotUser, "fay").DueAt)
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, ""), http.MethodDelete))
	b.until(b.slot("t", acme, storage.SlotUser, "gus").DueAt)
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotUser, "gus").State)
	p.proxy.Heal()
	b.converge("t")
	b.synced("t", p, acme)

	w.mu.Lock()
	defer w.mu.Unlock()
	want := drawn(t, "States of a slot")
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(w.seen)))
}

// TestEveryArrowOfTheGateIsWalked, each by the runner itself.
func TestEveryArrowOfTheGateIsWalked(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	connector := &disabling{Connector: scim.Connector}
	scim.Connector, scim.QuarantineAfter = connector, 3
	b := newBundle(t, scim).start()
	b.settled()
	seen := map[string]bool{arrow("[*]", "up"): true}
	at := Up
	becomes := func(state State) {
		t.Helper()
		require.Equal(t, state, b.fanout.Targets()[0].State)
		seen[arrow(string(at), string(state))] = true
		at = state
	}
	steer := func(do func() error) {
		t.Helper()
		count := b.count("t")
		require.NoError(t, do())
		b.settledSince("t", count)
	}
	pause := func() { steer(func() error { return b.fanout.Pause(t.Context(), "t", "ann", "") }); becomes(Paused) }
	resume := func() { steer(func() error { return b.fanout.Resume(t.Context(), "t") }); becomes(Up) }
	serial := 0
	change := func() {
		serial++
		b.tree(acme, fmt.Sprintf("d%d", serial), "x", "y", "z")
		b.settled()
	}
	pause()
	resume()
	p.proxy.Always(targettest.Answer(http.StatusUnauthorized, ""))
	change()
	becomes(Down)
	pause()
	p.proxy.Heal()
	resume()
	p.proxy.Always(targettest.Answer(http.StatusUnauthorized, ""))
	change()
	becomes(Down)
	p.proxy.Heal()
	b.until(b.fanout.Targets()[0].NextProbe)
	becomes(Up)
	p.proxy.Next(targettest.Answer(http.StatusTooManyRequests, "", "Retry-After", "30"))
	change()
	open, _, until := b.fanout.byName["t"].gate.open()
	require.False(t, open)
	seen[arrow("up", "resting")] = true
	b.until(until)
	b.settled()
	require.True(t, isOpen(b.fanout.byName["t"].gate))
	seen[arrow("resting", "up")] = true
	connector.on.Store(true)
	change()
	becomes(Disabled)
	connector.on.Store(false)
	resume()
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodGet {
			return nil
		}
		return targettest.Answer(http.StatusBadRequest, "")
	})
	b.tree(acme, "p", "q", "r", "s", "t")
	b.settled()
	becomes(Quarantined)
	p.proxy.Heal()
	b.until(b.fanout.Targets()[0].NextProbe)
	b.settled()
	becomes(Up)
	require.Equal(t, slices.Sorted(maps.Keys(drawn(t, "The gate of a target"))), slices.Sorted(maps.Keys(seen)))
}
