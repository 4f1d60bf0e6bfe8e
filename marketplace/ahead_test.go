package marketplace_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// A push from far in the future would make stale, for all time until then,
// whatever the marketplace says: it is refused and leaves nothing. A clock in
// the wrong zone is borne with, and debugging data is told as its seller likes.
func TestATimeStampFarAheadIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	ahead := func(by time.Duration) object {
		return h.validBodies(t)[directory.SingleOrgSync].with("timeStamp", directory.SourceTimeOf(houseBegins.Add(by)).Wire())
	}
	push := func(body object) answer {
		return h.do(t, h.newCall(directory.SingleOrgSync, body.json()).sign(t))
	}
	for _, by := range []time.Duration{25 * time.Hour, 200 * 365 * 24 * time.Hour} {
		got := push(ahead(by))
		require.Equal(t, "000002", got.ResultCode)
		require.Contains(t, got.ResultMsg, "timeStamp: in the future by ")
		require.Empty(t, h.stored(t).Changes)
	}
	require.Equal(t, "000000", push(ahead(200*365*24*time.Hour).with("testFlag", 1)).ResultCode)
	require.Equal(t, "000000", push(ahead(16*time.Hour)).ResultCode)
	require.Len(t, h.stored(t).Changes, 2)
}

func TestKitV1RefusesATimeStampFarAhead(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	far := directory.SourceTimeOf(p.now().Add(25 * time.Hour)).Wire()
	got := p.kitV1(directory.SingleOrgSync, strings.Replace(orgV1, "20260506150000000", far, 1), nil)
	require.Equal(t, "000002", got.Code)
	require.Contains(t, got.Message, "timeStamp: in the future by 25h0m0s")
}
