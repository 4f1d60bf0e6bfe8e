package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/storage"
)

// countedStore counts how often it is asked.
type countedStore struct {
	asked atomic.Int32
	err   atomic.Pointer[error]
}

func (s *countedStore) Ping(ctx context.Context) error {
	s.asked.Add(1)
	if err := s.err.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// Whoever asks for readiness again and again does not make the store write as
// often, and a prober that hangs up does not make others think it is away.
func TestReadinessAsksTheStoreOnceASecond(t *testing.T) {
	t.Parallel()
	store, now := &countedStore{}, time.Unix(1, 0)
	w := newWorld(t, func(o *admin.Options) { o.Health, o.Now = store, func() time.Time { return now } })
	for range 5 {
		require.Equal(t, http.StatusOK, w.callWith("", "GET", "/readyz", "").Code)
	}
	require.Equal(t, int32(1), store.asked.Load())

	broken := errors.New("disk full")
	store.err.Store(&broken)
	now = now.Add(time.Second)
	for range 5 {
		require.Equal(t, http.StatusServiceUnavailable, w.callWith("", "GET", "/readyz", "").Code)
	}
	require.Equal(t, int32(2), store.asked.Load())

	store.err.Store(nil)
	now = now.Add(time.Second)
	require.Equal(t, http.StatusOK, w.callWith("", "GET", "/readyz", "").Code)
	now = now.Add(-time.Hour) // the clock was set
	require.Equal(t, http.StatusOK, w.callWith("", "GET", "/readyz", "").Code)
	require.Equal(t, int32(4), store.asked.Load())
}

// Readiness says that the database is damaged, and what to do.
func TestReady_SaysThatTheDatabaseIsDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *admin.Options) { o.Health = failing{fmt.Errorf("ping: %w", storage.ErrDamaged)} })
	require.Contains(t, w.problem(w.call(http.MethodGet, "/readyz", ""), http.StatusServiceUnavailable), "restore the data directory from a backup")
}

// failing is a store that fails.
type failing struct{ err error }

func (f failing) Ping(context.Context) error { return f.err }
