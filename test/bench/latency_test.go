package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/target/scim/scimserver"
)

// BenchmarkLatency adds accounts at an even pace. p50-ms and p99-ms are from
// a push's first byte until the target has what it changed; the aims are 50 and
// 250 at 100 changes a second.
func BenchmarkLatency(b *testing.B) {
	var all []time.Duration
	for b.Loop() {
		all = append(all, newTown(b, 1, 1, false).latencies(1000, 100)...)
	}
	slices.Sort(all)
	b.ReportMetric(millis(percentile(all, 50)), "p50-ms")
	b.ReportMetric(millis(percentile(all, 99)), "p99-ms")
}

// BenchmarkIsolation measures the changes of fifty tenants at five targets,
// then the same with one target dead and one tenant poisoned: xwell is the
// others' p99 then over that before, aim 1.5 at most.
func BenchmarkIsolation(b *testing.B) {
	tenants, changes := 50, 1000
	if testing.Short() {
		tenants, changes = 5, 100
	}
	var well, sick []time.Duration
	for b.Loop() {
		well = append(well, newTown(b, 5, tenants, false).latencies(changes, 50)...)
		sick = append(sick, newTown(b, 5, tenants, true).latencies(changes, 50)...)
	}
	slices.Sort(well)
	slices.Sort(sick)
	before, after := percentile(well, 99), percentile(sick, 99)
	b.ReportMetric(millis(before), "p99-ms")
	b.ReportMetric(millis(after), "p99-sick-ms")
	b.ReportMetric(float64(after)/float64(before), "xwell")
}

func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// town is a program with targets and tenants; if it is sick, the last target is
// dead and the first tenant poisoned: no target takes anything of it.
type town struct {
	testing.TB
	program *server
	client  *client.Client
	tenants int
	targets int // that are well
	sick    bool
	clock   time.Time

	mu      sync.Mutex
	sent    []time.Time // by change
	arrived []time.Duration
	missing int
	done    chan struct{}
}

func newTown(tb testing.TB, targets, tenants int, sick bool) *town {
	tb.Helper()
	t := &town{TB: tb, tenants: tenants, targets: targets, sick: sick, clock: time.Now().Add(-time.Hour), done: make(chan struct{})}
	settings := "targets:\n"
	for i := range targets {
		settings += fmt.Sprintf("  - {name: t%d, type: scim, url: %q, auth: {type: bearer, token: token}}\n", i, t.target(sick && i == targets-1))
	}
	if sick {
		t.targets--
	}
	t.program = startProgram(tb, settings)
	t.client = clientOf(tb, t.program, 8)
	t.open()
	return t
}

// target starts a SCIM server that tells of the changes that come to it.
func (t *town) target(dead bool) string {
	t.Helper()
	inner, err := scimserver.New(scimserver.Options{Token: "token"})
	require.NoError(t, err)
	listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil:
			return
		case dead: // it takes connections and never answers
			<-r.Context().Done()
			return
		case t.sick && strings.Contains(string(body), t.scope(0).ExternalID("")):
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		inner.ServeHTTP(w, r)
		t.note(body, time.Now())
	}))
	t.Cleanup(func() {
		listening.CloseClientConnections()
		listening.Close()
	})
	return listening.URL
}

func (t *town) scope(n int) directory.Scope {
	return directory.Scope{Dataset: directory.Prod, InstanceID: "inst-1", TenantID: fmt.Sprintf("tenant-%d", n)}
}

// changeMark is the name that a change gives an account.
var changeMark = regexp.MustCompile(`"change-(\d+)"`)

// note takes down when a change came to a target.
func (t *town) note(body []byte, at time.Time) {
	match := changeMark.FindSubmatch(body)
	if match == nil {
		return
	}
	n, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arrived = append(t.arrived, at.Sub(t.sent[n]))
	if t.missing--; t.missing == 0 {
		close(t.done)
	}
}

// open brings a first account of each tenant to each target that is well.
func (t *town) open() {
	t.Helper()
	t.expect(t.tenants)
	for n := range t.tenants {
		require.NoError(t, t.employ(t.Context(), n, fmt.Sprintf("first-%d", n)))
	}
	t.await()
}

// expect makes ready for changes that go around the tenants.
func (t *town) expect(changes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent, t.arrived, t.missing, t.done = make([]time.Time, changes), nil, 0, make(chan struct{})
	for i := range changes {
		if !t.sick || i%t.tenants != 0 {
			t.missing += t.targets
		}
	}
}

func (t *town) await() {
	t.Helper()
	select {
	case <-t.done:
	case <-time.After(5 * time.Minute):
		t.mu.Lock()
		defer t.mu.Unlock()
		require.FailNow(t, "changes do not come to the targets", "%d are missing", t.missing)
	}
}

// employ pushes a change: an account of its own, so that none overtakes another.
func (t *town) employ(ctx context.Context, change int, userName string) error {
	t.mu.Lock()
	t.clock = t.clock.Add(time.Second)
	text := bodyOf(t, t.scope(change%t.tenants), directory.FlagAdd, t.clock, &directory.AuthPush{AppID: "app", Users: []directory.UserItem{
		{UserName: userName, Name: fmt.Sprintf("change-%d", change), OrgCode: "0", Role: "user", Enabled: true},
	}})
	t.sent[change] = time.Now()
	t.mu.Unlock()
	answer, err := t.client.Push(ctx, directory.AuthSync, text)
	if err == nil && !answer.OK() {
		err = fmt.Errorf("%s: %s", answer.Code, answer.Message)
	}
	return err
}

// latencies sends so many changes at so many a second and returns how long each
// took to each target that is well, of each tenant that is.
func (t *town) latencies(changes, perSecond int) []time.Duration {
	t.Helper()
	t.expect(changes)
	pace := time.NewTicker(time.Second / time.Duration(perSecond))
	defer pace.Stop()
	group, ctx := errgroup.WithContext(t.Context())
	for i := range changes {
		<-pace.C
		group.Go(func() error { return t.employ(ctx, i, fmt.Sprintf("user-%d", i)) })
	}
	require.NoError(t, group.Wait())
	t.await()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.arrived
}
