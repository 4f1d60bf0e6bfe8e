package fanout

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// at runs the fan-out anew with its one target at another address.
func (b *bundle) at(address string, of Target) {
	b.Helper()
	b.stop()
	b.targets[0].Address, b.targets[0].Connector = address, of.Connector
	b.start().settled()
}

// The ids of one server are other people's at another: where a target's url is
// set to another server nothing may be changed there before somebody says so.
func TestATargetOfAnotherAddressIsPausedBeforeItHarmsStrangers(t *testing.T) {
	t.Parallel()
	before, one := newPeer(t, "t")
	after, two := newPeer(t, "t")
	for _, name := range []string{"stranger", "guest"} {
		after.tamper(t, "POST", "/Users", map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": name})
	}
	one.Address = "one.example/scim"
	b := newBundle(t, one).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.settled()
	b.synced("t", before, acme)

	after.proxy.Forget()
	b.at("two.example/scim", two)
	b.users(acme, directory.FlagDelete, "ann")
	b.settled()
	require.Empty(t, after.proxy.Requests())
	status := b.fanout.Targets()[0]
	require.Equal(t, Paused, status.State)
	require.Contains(t, status.Reason, "its address was one.example/scim and is two.example/scim now")
	b.at("two.example/scim", two)
	require.Equal(t, Paused, b.fanout.Targets()[0].State, "a restart does not free it")

	b.at("one.example/scim", one)
	require.Equal(t, Up, b.fanout.Targets()[0].State, "it is back where it was")
	b.synced("t", before, acme)
	require.Empty(t, after.sent(http.MethodDelete, ""))

	b.at("same.example/scim", one)
	require.Equal(t, Paused, b.fanout.Targets()[0].State)
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	b.users(acme, directory.FlagAdd, "eve@a")
	b.settled()
	b.synced("t", before, acme)
	b.at("same.example/scim", one)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
}

// Who resumes a target that he has paused himself is told first that it is led
// elsewhere; and what he has paused stays so wherever it is.
func TestAPauseOfAnOperatorHidesNoOtherAddress(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.Address = "one.example"
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.settled()
	require.NoError(t, b.fanout.Pause(t.Context(), "t", "orgsync", "a new certificate"))
	b.at("one.example", corp)
	require.Equal(t, "a new certificate", b.fanout.Targets()[0].Reason)
	b.at("two.example", corp)
	require.Equal(t, "a new certificate", b.fanout.Targets()[0].Reason)
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	status := b.fanout.Targets()[0]
	require.Equal(t, Paused, status.State)
	require.Contains(t, status.Reason, "its address was one.example")
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	b.tree(acme, "a", "b")
	b.settled()
	b.synced("t", p, acme)
}

// A target that has nothing of us yet may be anywhere.
func TestAnEmptyTargetMayMove(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.Address = "one.example"
	b := newBundle(t, corp).start()
	b.settled()
	b.at("two.example", corp)
	b.tree(acme, "a")
	b.settled()
	b.synced("t", p, acme)
	b.at("three.example", corp)
	require.Equal(t, Paused, b.fanout.Targets()[0].State)
}
