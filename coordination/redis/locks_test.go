package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

// A server that did not answer when a lock was given back, or given up waiting
// for, frees it when it does answer, not a lease later.
func TestALockGivenBackToASilentServerIsFreeWhenItIsBack(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	name := prefix(t)
	// A lease as long as the test may last: what frees the lock is not its end.
	options := redis.Options{Prefix: name, Lease: time.Hour, OpTimeout: 2 * time.Second}
	one := open(t, server.URL, options)
	options.OpTimeout = 0
	other := open(t, server.URL, options)

	held, err := one.Acquire(t.Context(), "held", 0)
	require.NoError(t, err)
	server.Freeze()
	_, err = one.Acquire(t.Context(), "wanted", 0)
	require.ErrorIs(t, err, coordination.ErrUnavailable)
	held.Release()
	server.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, key := range []string{"held", "wanted"} {
		lease, err := other.Acquire(ctx, key, 0)
		require.NoError(t, err, key)
		lease.Release()
	}
}
