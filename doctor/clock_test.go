package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/target/egress"
)

// at is a host whose clock is ahead of ours.
func at(t *testing.T, name string, ahead time.Duration) doctor.Host {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized) // tells the time all the same
	}))
	t.Cleanup(s.Close)
	return doctor.Host{Name: name, Route: egress.Route{URL: s.URL, AllowPrivate: true}}
}

func TestClocksAreCompared(t *testing.T) {
	t.Parallel()
	const minutes = 10 * time.Minute
	right, right2, late := at(t, "a", 0), at(t, "b", 0), at(t, "late", minutes)
	mute := doctor.Host{Name: "mute", Route: egress.Route{URL: "http://" + nowhere, AllowPrivate: true}}
	finds(t, doctor.CheckClock(nil, nil), want{doctor.OK, "nothing to compare with"})
	finds(t, doctor.CheckClock([]doctor.Host{mute}, nil), want{doctor.OK, "nothing to compare with"})
	finds(t, doctor.CheckClock([]doctor.Host{right, mute, right2}, nil), want{doctor.OK, "agrees with a, b"})
	finds(t, doctor.CheckClock([]doctor.Host{right, late, right2}, nil), want{doctor.Warning, "the clock of late is 10m0s later"})
	finds(t, doctor.CheckClock([]doctor.Host{right, late}, nil), want{doctor.Warning, "the clock of late is"})
	finds(t, doctor.CheckClock([]doctor.Host{late}, nil), want{doctor.Problem, "the clock of late is 10m0s later than this machine's clock"})
	finds(t, doctor.CheckClock([]doctor.Host{at(t, "soon", 15*time.Second)}, nil), want{doctor.Warning, "the clock of soon is"})
	// Ours is the one that is off.
	behind := func() time.Time { return time.Now().Add(minutes) }
	finds(t, doctor.CheckClock([]doctor.Host{right, right2}, behind), want{doctor.Problem, "the clocks of a, b are 10m0s earlier"})
}
