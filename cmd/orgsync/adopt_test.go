package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// A push that the store could journal and no more is finished once the store is
// well again, not only after a restart; one under way is left alone.
func TestAPushLeftOpenIsFinishedWhileRunning(t *testing.T) {
	t.Parallel()
	a, err := newTestApp(t, map[string]any{})
	require.NoError(t, err)
	scope := directory.Scope{Dataset: directory.Prod, TenantID: "t"}
	accept := func(id, code string, at time.Time) {
		body := `{"instanceId":"","tenantId":"t","testFlag":0,"timeStamp":"20260102030405000","orgInfoList":[{"orgCode":"` + code + `","orgName":"n"}]}`
		record := storage.Record{ID: id, Scope: scope, Kind: directory.AllOrgSync, ReceivedAt: at, Size: len(body)}
		require.NoError(t, a.store.Accept(t.Context(), record, []byte(body)))
	}
	accept("left", "a", time.Now().Add(-time.Hour))
	accept("under way", "b", time.Now().Add(time.Hour))

	changed := a.store.Changed()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.adopt(ctx, time.Millisecond, time.Minute) }()
	<-changed
	stop()
	require.NoError(t, <-done)
	record, _, err := a.store.Push(t.Context(), "left")
	require.NoError(t, err)
	require.Equal(t, storage.PhaseApplied, record.Phase)
	record, _, err = a.store.Push(t.Context(), "under way")
	require.NoError(t, err)
	require.Equal(t, storage.PhaseReceived, record.Phase)
}
