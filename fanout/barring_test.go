package fanout

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/targettest"
)

// A target that refuses what an account looks like now would refuse that it is
// barred along with it: the leaver must lose the access all the same.
func TestALeaverIsBarredThoughTheTargetRefusesTheRest(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method != http.MethodGet && strings.Contains(r.Body, "boss") {
			return targettest.Answer(http.StatusConflict, `{"detail":"there is a boss"}`)
		}
		return nil
	})
	b.push(acme, directory.FlagModify, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{
		{UserName: "ann", Name: "Name ann", OrgCode: "a", Role: "user", Enabled: true, Position: "boss"},
	}})
	b.settled()
	b.advance(time.Minute)
	require.Equal(t, storage.SlotDead, b.slot("t", acme, storage.SlotUser, "ann").State)

	b.users(acme, directory.FlagCancel, "ann")
	b.settled()
	user, there, _ := p.account(acme, "ann")
	require.True(t, there)
	require.False(t, user.Active)
	slot := b.slot("t", acme, storage.SlotUser, "ann")
	require.Equal(t, storage.SlotDelivered, slot.State)

	p.proxy.Heal()
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	b.synced("t", p, acme)
}

// What looks like a target that is down may be the answer to one object alone,
// such as a receiver's 404 for an account that it does not know. It must not
// close the gate for all others for ever.
func TestAnObjectThatClosesTheGateAgainAndAgainIsAlone(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.settled()
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodPost && (strings.Contains(r.Body, `"ann@`) || strings.Contains(r.Body, `"bob@`)) {
			return targettest.Answer(http.StatusPermanentRedirect, "", "Location", "http://elsewhere.example/")
		}
		return nil
	})
	b.users(acme, directory.FlagAdd, "ann@a", "bob@a")
	b.settled()
	require.Equal(t, Down, b.fanout.Targets()[0].State)
	for range 40 {
		b.advance(time.Minute)
	}
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	for _, name := range []string{"ann", "bob"} {
		slot := b.slot("t", acme, storage.SlotUser, name)
		require.Equal(t, storage.SlotRetrying, slot.State)
		require.Positive(t, slot.Attempts)
		require.Contains(t, slot.LastError, "redirects")
	}
	b.users(acme, directory.FlagAdd, "eve@a")
	b.settled()
	_, there, _ := p.account(acme, "eve")
	require.True(t, there, "at once")
	p.proxy.Heal()
	b.advance(2 * time.Hour)
	b.synced("t", p, acme)
}
