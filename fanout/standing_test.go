package fanout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// bought keeps the instance of a scope.
func (b *bundle) bought(scope directory.Scope) {
	b.Helper()
	_, created, err := b.store.CreateInstance(b.Context(), directory.Instance{Dataset: scope.Dataset, ID: scope.InstanceID, Provisioned: true}, []string{"order of " + scope.InstanceID})
	require.NoError(b, err)
	require.True(b, created)
}

// stands makes the instance of a scope stand so, and has the targets told.
func (b *bundle) stands(scope directory.Scope, standing directory.Standing) {
	b.Helper()
	b.changes(scope, standing)
	require.NoError(b, b.fanout.Spread(b.Context(), scope.Dataset, scope.InstanceID))
}

func (b *bundle) changes(scope directory.Scope, standing directory.Standing) {
	b.Helper()
	_, err := b.store.ChangeInstance(b.Context(), scope.Dataset, scope.InstanceID, "", func(i *directory.Instance, _ bool) (bool, error) {
		i.Frozen, i.Released = standing == directory.StandingFrozen, standing == directory.StandingReleased
		return true, nil
	})
	require.NoError(b, err)
}

// standingScope is a tenant of an instance of its own.
func standingScope(instanceID, tenantID string) directory.Scope {
	return directory.Scope{Dataset: directory.Prod, InstanceID: instanceID, TenantID: tenantID}
}

func TestPoliciesDecideWhatBecomesOfAFrozenInstance(t *testing.T) {
	t.Parallel()
	const frozen, released = directory.StandingFrozen, directory.StandingReleased
	for name, c := range map[string]struct {
		onFreeze, onRelease Policy
		standing            directory.Standing
		there, active       bool
	}{
		"frozen, by default deactivated":   {standing: frozen, there: true},
		"frozen, deactivated":              {onFreeze: Deactivate, onRelease: Nothing, standing: frozen, there: true},
		"frozen, nothing":                  {onFreeze: Nothing, onRelease: Deactivate, standing: frozen, there: true, active: true},
		"released, by default deactivated": {standing: released, there: true},
		"released, by default as frozen":   {onFreeze: Nothing, standing: released, there: true, active: true},
		"released, deactivated":            {onFreeze: Nothing, onRelease: Deactivate, standing: released, there: true},
		"released, deleted":                {onRelease: Delete, standing: released},
		"released, nothing":                {onRelease: Nothing, standing: released, there: true, active: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, scim := newPeer(t, "t")
			scim.OnFreeze, scim.OnRelease = c.onFreeze, c.onRelease
			b := newBundle(t, scim).start()
			bystander := standingScope("another instance", "elsewhere")
			for _, scope := range []directory.Scope{acme, bystander} {
				b.bought(scope)
				b.tree(scope, "a")
				b.users(scope, directory.FlagAdd, "ann@a", "bob@a")
			}
			b.settled()
			b.synced("t", p, acme, bystander)

			b.stands(acme, c.standing)
			b.settled()
			user, there, _ := p.account(acme, "ann")
			require.Equal(t, c.there, there)
			require.Equal(t, c.active, user.Active)
			spared, _, _ := p.account(bystander, "ann")
			require.True(t, spared.Active)

			b.stands(acme, directory.GoodStanding)
			b.settled()
			b.synced("t", p, acme, bystander)
		})
	}
}

// What the marketplace pushes while an instance is frozen is kept, and reaches
// the target when it is resumed.
func TestPushesToAFrozenInstanceReachTheTargetWhenItIsResumed(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.bought(acme)
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a", "cid@a")
	b.settled()
	b.stands(acme, directory.StandingFrozen)
	b.settled()
	made := len(p.sent(http.MethodPost, "/Users"))

	b.users(acme, directory.FlagAdd, "new@b", "ann@b")
	b.users(acme, directory.FlagCancel, "bob")
	b.users(acme, directory.FlagDelete, "cid")
	b.settled()
	require.Len(t, p.sent(http.MethodPost, "/Users"), made, "nobody is made only to be barred")
	_, there, _ := p.account(acme, "cid")
	require.False(t, there, "a deletion is one")
	moved, _, _ := p.account(acme, "ann")
	require.False(t, moved.Active)

	b.stands(acme, directory.GoodStanding)
	b.settled()
	b.synced("t", p, acme)
	revoked, _, _ := p.account(acme, "bob")
	require.False(t, revoked.Active, "it is not the freeze that bars him")
}

// A standing that has not changed costs no request.
func TestASpreadWithoutAChangeSendsNothing(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.bought(acme)
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.settled()
	b.stands(acme, directory.StandingFrozen)
	b.settled()
	sent := len(p.writes())
	b.stands(acme, directory.StandingFrozen)
	b.settled()
	require.Len(t, p.writes(), sent)
}

// marksCut is a store that fails in the middle of marking.
type marksCut struct {
	Store
	left int
}

var errCut = errors.New("cut off")

func (s *marksCut) MarkUsers(ctx context.Context, targetName string, scope directory.Scope, after string, limit int) (string, error) {
	if s.left--; s.left < 0 {
		return "", errCut
	}
	return s.Store.MarkUsers(ctx, targetName, scope, after, min(limit, 2))
}

// A spread that was cut off says so, and is whole when it is done again.
func TestASpreadCutOffIsDoneAgain(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	cut := &marksCut{Store: b.using, left: 2}
	b.using = cut
	b.start()
	b.bought(acme)
	b.tree(acme, "a")
	for n := range 7 {
		b.users(acme, directory.FlagAdd, fmt.Sprintf("u%d@a", n))
	}
	b.settled()
	b.changes(acme, directory.StandingFrozen)
	require.ErrorIs(t, b.fanout.Spread(t.Context(), acme.Dataset, acme.InstanceID), errCut)
	b.settled()
	cut.left = 1000
	require.NoError(t, b.fanout.Spread(t.Context(), acme.Dataset, acme.InstanceID))
	b.settled()
	for id, user := range p.Snapshot().Users {
		require.False(t, user.Active, id)
	}
	require.Empty(t, b.counts("t")[storage.SlotPending])
}

func TestUnknownStandingPoliciesAreRefused(t *testing.T) {
	t.Parallel()
	_, scim := newPeer(t, "t")
	scim.OnFreeze = Delete
	scim.OnRelease = Keep
	_, err := New(nil, []Target{scim}, Options{})
	require.ErrorContains(t, err, `onFreeze: "delete": want deactivate or nothing`)
	require.ErrorContains(t, err, `onRelease: "keep": want deactivate, delete or nothing`)
}
