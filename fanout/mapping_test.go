package fanout

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/mapping"
	"github.com/openkoo/connector/target/scim"
)

// mapped is a mapping for a SCIM target.
func mapped(t testing.TB, user, department map[string]string) Mapping {
	m, err := mapping.Compile(scim.Config{}.Schema(), mapping.Rules{User: user, Department: department})
	require.NoError(t, err)
	return m
}

// restart runs the fan-out anew with another mapping for its one target.
func (b *bundle) restart(m Mapping) {
	b.Helper()
	b.stop()
	b.targets[0].Mapping = m
	b.start()
	b.settled()
}

// After a change of the mapping what comes out differently is sent, and nothing
// else; a start without a change sends nothing.
func TestAChangedMappingSendsWhatComesOutDifferently(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a", "b<a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@b", "eve@b")
	b.settled()
	b.synced("t", p, acme)

	p.proxy.Forget()
	rules := map[string]string{"userName": `user.userName == "ann" ? "ann@example.com" : user.signInName`}
	b.restart(mapped(t, rules, nil))
	require.Len(t, p.writes(), 1, "ann's name alone differs")
	user, _, groups := p.account(acme, "ann")
	require.Equal(t, "ann@example.com", user.UserName)
	require.Equal(t, 1, groups, "she stays a member")

	p.proxy.Forget()
	b.restart(mapped(t, rules, nil))
	require.Empty(t, p.writes())
	b.restart(mapped(t, rules, map[string]string{"displayName": `department.code + " " + department.name`}))
	require.Len(t, p.sent(http.MethodPatch, "/Groups"), 2)
	require.Len(t, p.writes(), 2)
	require.Equal(t, "b name of b", p.Snapshot().Groups[acme.ExternalID("b")].DisplayName)

	p.proxy.Forget()
	b.restart(nil)
	require.Len(t, p.writes(), 3, "back to how it was")
	b.synced("t", p, acme)
}

// What the sign-in names are made of is part of it.
func TestOtherSignInNamesAreSent(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	b.stop()
	b.targets[0].UserNames = Plain
	b.start()
	b.settled()
	user, _, _ := p.account(acme, "ann")
	require.Equal(t, "ann", user.UserName)
}

// An account that the mapping fails for is a dead letter that names the
// attribute, holds up nobody, and comes with the mapping put right.
func TestAnAccountThatCannotBeMappedIsADeadLetter(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.Mapping = mapped(t, map[string]string{"nickName": `split(user.name, " ")[user.userName == "bob" ? 7 : 1]`}, nil)
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.settled()
	require.Equal(t, 1, b.counts("t")[storage.SlotDead])
	dead := b.slot("t", acme, storage.SlotUser, "bob")
	require.Equal(t, "permanent", dead.ErrorClass)
	require.Contains(t, dead.LastError, "map user: permanent: attribute nickName: line 1, column")
	_, there, groups := p.account(acme, "ann")
	require.True(t, there)
	require.Equal(t, 1, groups)
	_, there, _ = p.account(acme, "bob")
	require.False(t, there)

	b.restart(mapped(t, map[string]string{"nickName": `user.userName`}, nil))
	_, there, groups = p.account(acme, "bob")
	require.True(t, there)
	require.Equal(t, 1, groups)
	b.synced("t", p, acme)
}

// A department that the mapping fails for keeps its members waiting, no others.
func TestADepartmentThatCannotBeMappedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.Mapping = mapped(t, nil, map[string]string{"displayName": `department.code == "b" ? "" : department.name`})
	b := newBundle(t, corp).start()
	b.tree(acme, "a", "b")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@b")
	b.settled()
	require.Contains(t, b.slot("t", acme, storage.SlotDepartment, "b").LastError, "attribute displayName: it is empty, and a value is needed")
	_, there, groups := p.account(acme, "ann")
	require.True(t, there)
	require.Equal(t, 1, groups)
	_, there, groups = p.account(acme, "bob")
	require.True(t, there)
	require.Zero(t, groups)
}

// The account of somebody who leaves is barred, whatever the mapping makes of
// what is left of it.
func TestALeaverIsBarredThoughTheMappingFails(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.OnDelete = Deactivate
	corp.Mapping = mapped(t, map[string]string{"userName": `split(user.name, " ")[1] + "@example.com"`}, nil)
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	user, _, _ := p.account(acme, "ann")
	require.True(t, user.Active)
	require.Equal(t, "ann@example.com", user.UserName)
	b.users(acme, directory.FlagDelete, "ann")
	b.settled()
	user, there, _ := p.account(acme, "ann")
	require.True(t, there)
	require.False(t, user.Active)
	require.Zero(t, b.counts("t")[storage.SlotDead])
}

// One enterprise with two instances has two accounts of one person at one
// target; a mapping keeps their sign-in names apart.
func TestTwoInstancesOfOneEnterpriseShareATarget(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.Mapping = mapped(t, map[string]string{"userName": `user.signInName + "." + origin.instanceId`}, nil)
	b := newBundle(t, corp).start()
	second := acme
	second.InstanceID = "i/2"
	for _, scope := range []directory.Scope{acme, second} {
		b.tree(scope, "a")
		b.users(scope, directory.FlagAdd, "ann@a")
	}
	b.settled()
	require.Empty(t, b.counts("t")[storage.SlotDead])
	first, _, _ := p.account(acme, "ann")
	other, _, _ := p.account(second, "ann")
	require.Equal(t, []string{"ann@acme.i/1", "ann@acme.i/2"}, []string{first.UserName, other.UserName})
}
