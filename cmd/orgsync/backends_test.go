package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination/local"
)

// Whoever holds a scope's place in the queue and does not move keeps nobody's
// push waiting: the store is asked instead.
func TestAQueueThatStandsIsPassedBy(t *testing.T) {
	t.Parallel()
	port := local.New(local.Options{})
	t.Cleanup(func() { require.NoError(t, port.Close()) })
	locks := scopeLocks{port}
	leave, err := locks.Lock(t.Context(), "prod/i/acme")
	require.NoError(t, err)
	_, err = locks.Lock(t.Context(), "prod/i/acme")
	require.ErrorIs(t, err, errQueueStands)
	require.NoError(t, t.Context().Err())
	leave()
	leave, err = locks.Lock(t.Context(), "prod/i/acme")
	require.NoError(t, err, "who passed by is in nobody's way")
	leave()
}
