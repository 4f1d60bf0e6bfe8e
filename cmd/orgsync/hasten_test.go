package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Deliveries that a clock has put off for a month are due again at start.
func TestHasten_MakesDueWhatAWrongClockPutOff(t *testing.T) {
	t.Parallel()
	a, err := newTestApp(t, map[string]any{})
	require.NoError(t, err)
	scope := directory.Scope{Dataset: directory.Prod, TenantID: "t"}
	_, err = a.store.ApplyAtOnce(t.Context(), storage.Record{ID: "p", Scope: scope, Kind: directory.SingleOrgSync, ReceivedAt: time.Now()}, nil,
		func(context.Context, storage.View) (*directory.Plan, error) {
			return &directory.Plan{Result: directory.ResultApplied, Departments: []directory.Department{{Code: "a", Meta: directory.Meta{Version: 1}}}}, nil
		})
	require.NoError(t, err)
	_, _, err = a.store.Relay(t.Context(), "corp", storage.RelayOptions{}, 10)
	require.NoError(t, err)
	before, _, err := a.store.Deliveries(t.Context(), storage.DeliveryFilter{Target: "corp"}, storage.Page{})
	require.NoError(t, err)

	changed := a.store.Changed()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.hasten(ctx, func() time.Time { return time.Now().AddDate(0, -1, 0) }) }()
	<-changed
	stop()
	require.NoError(t, <-done)
	after, _, err := a.store.Deliveries(t.Context(), storage.DeliveryFilter{Target: "corp"}, storage.Page{})
	require.NoError(t, err)
	require.False(t, after[0].DueAt.Before(before[0].DueAt))
}
