package fanout

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// choose runs the fan-out anew for other scopes of its one target.
func (b *bundle) choose(name string, scopes ...directory.Scope) {
	b.Helper()
	b.stop()
	wanted := make(map[directory.Scope]bool)
	for _, scope := range scopes {
		wanted[scope] = true
	}
	b.targets[0].Selection, b.targets[0].Match = name, func(scope directory.Scope) bool { return wanted[scope] }
	b.start().settled()
}

// A tenant that a target is to have from now on is sent whole, though nobody
// pushes it again; of the tenants that it has nothing is sent.
func TestATenantThatIsChosenLaterIsSentWhole(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.choose("acme", acme)
	b.tree(acme, "a", "b<a")
	b.users(acme, directory.FlagAdd, "ann@b")
	b.tree(other, "x", "y<x")
	b.users(other, directory.FlagAdd, "bob@y", "eve@x")
	b.settled()
	b.synced("t", p, acme)

	p.proxy.Forget()
	b.choose("both", acme, other)
	b.synced("t", p, acme, other)
	require.Len(t, p.sent("POST", ""), 4, "two departments and two accounts")
	p.proxy.Forget()
	b.choose("both", acme, other)
	require.Empty(t, p.writes())
}

// What a target has of a tenant that it is to have no more stays as it is, and
// follows again, whatever happened meanwhile, when the tenant is chosen again.
func TestATenantThatIsChosenNoMoreIsLeftAlone(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.choose("both", acme, other)
	b.tree(acme, "a")
	b.tree(other, "x")
	b.users(other, directory.FlagAdd, "bob@x", "eve@x")
	b.settled()
	b.synced("t", p, acme, other)

	b.choose("acme", acme)
	b.users(other, directory.FlagCancel, "bob")
	b.users(other, directory.FlagDelete, "eve")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	for _, name := range []string{"bob", "eve"} {
		user, there, _ := p.account(other, name)
		require.True(t, there)
		require.True(t, user.Active)
	}
	_, there, _ := p.account(acme, "ann")
	require.True(t, there)
	_, err := b.store.Sweep(t.Context(), storage.SweepTimes{Tombstones: b.clock.now().Add(1)})
	require.NoError(t, err)

	b.choose("both", acme, other)
	b.synced("t", p, acme, other)
	user, _, _ := p.account(other, "bob")
	require.False(t, user.Active)
}

// What became of an account by a policy is what the policy says now, also after
// it was changed: who was left to sign in no longer is.
func TestAChangedPolicyIsAppliedToWhatIsThere(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.OnRevoke, corp.OnDelete, corp.Removals = Keep, Keep, &RemovalLimit{PerHour: 1}
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a", "eve@a")
	b.settled()
	b.users(acme, directory.FlagCancel, "ann")
	b.settled()
	user, _, _ := p.account(acme, "ann")
	require.True(t, user.Active)
	p.proxy.Forget()

	b.stop()
	b.targets[0].OnRevoke = Deactivate
	b.start().settled()
	user, _, _ = p.account(acme, "ann")
	require.False(t, user.Active)
	require.Len(t, p.writes(), 1)

	// Her deactivation was within the limit; her deletion is another removal.
	b.stop()
	b.targets[0].OnRevoke = Delete
	b.start().settled()
	_, there, _ := p.account(acme, "ann")
	require.True(t, there)
	require.Equal(t, storage.SlotHeld, b.slot("t", acme, storage.SlotUser, "ann").State)
	require.Equal(t, 1, b.decide(true))
	_, there, _ = p.account(acme, "ann")
	require.False(t, there)
}

// A target that is taken out of the configuration and put back follows what
// happened meanwhile, deletions too, however long it was away.
func TestATargetThatIsPutBackFollows(t *testing.T) {
	t.Parallel()
	p, away := newPeer(t, "away")
	q, stays := newPeer(t, "stays")
	b := newBundle(t, away, stays).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a", "eve@b")
	b.settled()
	b.synced("away", p, acme)
	b.stop()
	b.targets = []Target{stays}
	b.start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagDelete, "ann")
	b.users(acme, directory.FlagCancel, "bob")
	b.settled()
	b.synced("stays", q, acme)
	_, err := b.store.Sweep(t.Context(), storage.SweepTimes{Tombstones: b.clock.now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	b.stop()
	b.targets = []Target{away, stays}
	b.start().settled()
	b.synced("away", p, acme)
	_, there, _ := p.account(acme, "ann")
	require.False(t, there)
}
