package fanout

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/targettest"
)

// refusing is a bundle with a target that refuses whatever is to be changed.
func refusing(t *testing.T, status int) (*bundle, *peer) {
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim)
	p.proxy.Choose(func(r targettest.Request) targettest.Fault {
		if r.Method == http.MethodGet {
			return nil
		}
		return targettest.Answer(status, "")
	})
	codes := make([]string, 100)
	for i := range codes {
		codes[i] = fmt.Sprintf("d%02d", i)
	}
	b.tree(acme, codes...)
	b.start().settled()
	return b, p
}

func TestATargetThatRefusesEverythingIsQuarantined(t *testing.T) {
	t.Parallel()
	b, p := refusing(t, http.StatusBadRequest)
	status := b.fanout.Targets()[0]
	require.Equal(t, Quarantined, status.State)
	require.Contains(t, status.Reason, "20 objects in a row refused")
	require.Equal(t, b.clock.now().Add(trialFirst), status.NextProbe)
	dead := b.counts("t")[storage.SlotDead]
	require.LessOrEqual(t, dead, defaultQuarantineAfter-1, "not every slot becomes a dead letter")

	b.stop()
	b.start().settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State, "a restart does not free it")
	for trial := 1; trial <= 3; trial++ {
		p.proxy.Forget()
		b.until(b.fanout.Targets()[0].NextProbe)
		b.settled()
		require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
		require.NotEmpty(t, p.writes(), "it is tried with what waits")
		require.LessOrEqual(t, len(p.writes()), 8, "and left when it fails")
		require.Equal(t, dead, b.counts("t")[storage.SlotDead])
		require.Equal(t, trialFirst<<trial, b.fanout.Targets()[0].NextProbe.Sub(b.clock.now()).Round(time.Second))
	}
	p.proxy.Heal()
	b.until(b.fanout.Targets()[0].NextProbe)
	b.settled()
	require.Equal(t, Up, b.fanout.Targets()[0].State, "it leaves by itself")
	_, err := b.store.Replay(t.Context(), storage.DeliveryFilter{Target: "t", State: storage.SlotDead})
	require.NoError(t, err)
	b.settled()
	b.synced("t", p, acme)
}

func TestAQuarantineEndsAtOnceWhenResumed(t *testing.T) {
	t.Parallel()
	b, p := refusing(t, http.StatusForbidden)
	b.clockUntil("t", func() bool { return b.fanout.Targets()[0].State == Quarantined })
	require.Less(t, b.counts("t")[storage.SlotDead], defaultQuarantineAfter)
	p.proxy.Heal()
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	b.converge("t")
	b.synced("t", p, acme)
}

func TestOneTenantsRefusalsAreItsOwn(t *testing.T) {
	t.Parallel()
	g, c := newTestGate()
	refuse := func(scope directory.Scope, n int) (quarantined bool) {
		for range n {
			_, quarantined = g.refused(scope, 20)
		}
		return quarantined
	}
	g.took(other)
	require.False(t, refuse(acme, 100), "the target took another's just before")
	c.advance(takenLately)
	require.True(t, refuse(acme, 1), "that was long ago")

	g, _ = newTestGate()
	g.took(acme)
	require.False(t, refuse(acme, 19))
	g.took(acme)
	require.False(t, refuse(acme, 19), "not in a row")
	require.True(t, refuse(acme, 1), "what it took of the same tenant is no excuse")

	g, _ = newTestGate()
	g.took(other)
	require.False(t, refuse(acme, 19))
	require.True(t, refuse(standingScope("i", "third"), 1), "of two tenants")
}

func TestAQuarantinedTargetThatNothingWaitsForIsFreedWhenItAnswers(t *testing.T) {
	t.Parallel()
	_, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.settled()
	count := b.count("t")
	require.NoError(t, b.fanout.byName["t"].halted(t.Context(), storage.Stop{State: storage.StopQuarantined, NextTrial: epoch.Add(time.Minute)}))
	b.settledSince("t", count)
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
	b.until(epoch.Add(time.Minute))
	b.settled()
	require.Equal(t, Up, b.fanout.Targets()[0].State)
}

// That a target can be read says nothing about whether it takes anything.
func TestAListThatIsReadDoesNotSpeakForATargetThatRefuses(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	corp.QuarantineAfter = 2
	b := newBundle(t, corp).start()
	b.tree(acme, "a")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, ""), "POST /Users"))
	b.users(acme, directory.FlagAdd, "ann@a")
	b.settled()
	require.Equal(t, Up, b.fanout.Targets()[0].State)
	require.Equal(t, storage.ResyncDone, b.resync(ResyncOptions{DryRun: true}).State)
	b.users(acme, directory.FlagAdd, "bob@a")
	b.settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
}

// A target that takes no departments is quarantined for it, and would end every
// trial at the next department: leavers must be barred there all the same.
func TestALeaverIsBarredThoughNoDepartmentIsTaken(t *testing.T) {
	t.Parallel()
	p, corp := newPeer(t, "t")
	b := newBundle(t, corp).start()
	b.users(acme, directory.FlagAdd, "ann@d01")
	b.settled()
	p.proxy.Choose(failing(targettest.Answer(http.StatusBadRequest, ""), "POST /Groups"))
	codes := make([]string, 3*defaultQuarantineAfter)
	for i := range codes {
		codes[i] = fmt.Sprintf("d%02d", i)
	}
	b.tree(acme, codes...)
	b.settled()
	require.Equal(t, Quarantined, b.fanout.Targets()[0].State)
	b.users(acme, directory.FlagCancel, "ann")
	b.settled()
	b.until(b.fanout.Targets()[0].NextProbe)
	b.settled()
	user, there, _ := p.account(acme, "ann")
	require.True(t, there)
	require.False(t, user.Active)
}
