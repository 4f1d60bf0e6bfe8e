package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
)

// Guesses at the token are counted, and the log warns of them once a minute; it never has the guesses.
func TestAuthenticate_CountsAndTellsOfWrongTokens(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(o *admin.Options) { o.Registerer = registry })
	const words = "calls of the API without the admin token are refused"
	guess := func(n int) {
		for range n {
			require.Equal(t, http.StatusUnauthorized, w.callWith("Bearer a-guess", http.MethodGet, "/api/v1/pushes", "").Code)
		}
	}
	guess(3)
	require.Equal(t, 1, strings.Count(w.log.String(), words))
	w.clock = w.clock.Add(time.Minute)
	guess(1)
	require.Equal(t, 2, strings.Count(w.log.String(), words))
	require.Contains(t, w.log.String(), "count=3 remote=192.0.2.1")
	require.NotContains(t, w.log.String(), "a-guess")
	w.clock = w.clock.Add(-time.Hour) // set back
	guess(1)
	require.Equal(t, 3, strings.Count(w.log.String(), words))

	found, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.InDelta(t, 5, found[0].GetMetric()[0].GetCounter().GetValue(), 0)
}
