package fanout

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// disabling asks to be sent nothing more, while it is on.
type disabling struct {
	target.Connector
	on atomic.Bool
}

func (d *disabling) PutDepartment(ctx context.Context, department target.Department) (string, error) {
	if d.on.Load() {
		return "", &target.Error{Class: target.Disabled, Op: "put department", Status: http.StatusGone}
	}
	return d.Connector.PutDepartment(ctx, department)
}

func TestAPauseOutlastsARestart(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.settled()
	require.NoError(t, b.fanout.Pause(t.Context(), "t", "ann", "a new certificate"))
	b.stop()
	p.proxy.Forget()
	b.tree(acme, "a")
	b.start().settled()
	status := b.fanout.Targets()[0]
	require.Equal(t, Paused, status.State)
	require.Equal(t, []string{"ann", "a new certificate"}, []string{status.By, status.Reason})
	require.True(t, status.Since.Equal(epoch))
	require.Empty(t, p.proxy.Requests())
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	b.synced("t", p, acme)
	status = b.fanout.Targets()[0]
	require.Equal(t, Up, status.State)
	require.Empty(t, status.By+status.Reason)
}

func TestATargetThatAskedForNothingMoreGetsNothingUntilResumed(t *testing.T) {
	t.Parallel()
	p, scim := newPeer(t, "t")
	connector := &disabling{Connector: scim.Connector}
	connector.on.Store(true)
	scim.Connector = connector
	b := newBundle(t, scim)
	b.tree(acme, "a", "b", "c")
	b.start().settled()
	require.Equal(t, Disabled, b.fanout.Targets()[0].State)
	require.Contains(t, b.fanout.Targets()[0].Reason, "410")
	for _, code := range []string{"a", "b", "c"} {
		require.Zero(t, b.slot("t", acme, storage.SlotDepartment, code).Attempts)
	}
	connector.on.Store(false)
	b.stop()
	p.proxy.Forget()
	b.start().settled()
	require.Equal(t, Disabled, b.fanout.Targets()[0].State, "a restart does not resume it")
	require.Empty(t, p.proxy.Requests())
	count := b.count("t")
	require.NoError(t, b.fanout.Resume(t.Context(), "t"))
	b.settledSince("t", count)
	b.synced("t", p, acme)
}

// forgetful is a store that keeps no record of targets.
type forgetful struct{ Store }

var errForgetful = errors.New("the disk is full")

func (forgetful) UpdateTarget(context.Context, string, func(*storage.TargetRecord) error) (storage.TargetRecord, error) {
	return storage.TargetRecord{}, errForgetful
}

func TestAStopThatCannotBeKeptIsAnErrorOrHoldsHere(t *testing.T) {
	t.Parallel()
	_, scim := newPeer(t, "t")
	connector := &disabling{Connector: scim.Connector}
	connector.on.Store(true)
	scim.Connector = connector
	b := newBundle(t, scim)
	b.using = forgetful{b.store}
	b.start().settled()
	require.ErrorIs(t, b.fanout.Pause(t.Context(), "t", "ann", ""), errForgetful)
	require.Equal(t, Up, b.fanout.Targets()[0].State, "nobody is told that it is paused")
	b.tree(acme, "a")
	b.settled()
	require.Equal(t, Disabled, b.fanout.Targets()[0].State, "its word holds as long as the process")
}

// TestReplicasSeeWhatStopsATarget within seconds, and its end.
func TestReplicasSeeWhatStopsATarget(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	one, other := b.join(nil), b.join(nil)
	b.delivered(b.enterprises(0, 1))
	require.NoError(t, one.fanout.Pause(t.Context(), "t", "ann", ""))
	sees := func(state State) {
		require.Eventually(t, func() bool { return other.fanout.Targets()[0].State == state }, patience, 5*time.Millisecond)
	}
	sees(Paused)
	require.Equal(t, "ann", other.fanout.Targets()[0].By)
	require.NoError(t, other.fanout.Resume(t.Context(), "t"))
	sees(Up)
	b.delivered(4 + b.enterprises(1, 2))
	b.redis.Kill() // the store alone tells
	require.NoError(t, one.fanout.Pause(t.Context(), "t", "bob", ""))
	sees(Paused)
	late := b.join(nil)
	require.Eventually(t, func() bool { return late.fanout.Targets()[0].State == Paused }, patience, 5*time.Millisecond)
}

func TestAnOlderRecordIsNotTakenOver(t *testing.T) {
	t.Parallel()
	_, scim := newPeer(t, "t")
	b := newBundle(t, scim).start()
	b.settled()
	require.NoError(t, b.fanout.Pause(t.Context(), "t", "ann", ""))
	r := b.fanout.byName["t"]
	r.adopt(storage.TargetRecord{Name: "t"})
	require.Equal(t, Paused, r.status().State)
	b.push(acme, directory.FlagModify, &directory.FullPush{})
	b.settled()
}
