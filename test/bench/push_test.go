package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

var scope = directory.Scope{Dataset: directory.Prod, InstanceID: "inst-1", TenantID: "tenant-1"}

// enterprise is n departments, eight to a parent.
func enterprise(n int) []directory.DepartmentItem {
	departments := make([]directory.DepartmentItem, n)
	for i := range departments {
		departments[i] = directory.DepartmentItem{Code: fmt.Sprintf("%08d", i), Name: fmt.Sprintf("研发中心部门%d", i)}
		if i > 0 {
			departments[i].ParentCode = fmt.Sprintf("%08d", (i-1)/8)
		}
	}
	return departments
}

func body(tb testing.TB, flag directory.Flag, at time.Time, payload directory.Payload) []byte {
	tb.Helper()
	return bodyOf(tb, scope, flag, at, payload)
}

func bodyOf(tb testing.TB, scope directory.Scope, flag directory.Flag, at time.Time, payload directory.Payload) []byte {
	tb.Helper()
	text, err := client.Body(scope, flag, directory.SourceTimeOf(at), payload)
	require.NoError(tb, err)
	return bytes.TrimSpace(text) // canonical, so that the floor may sign it as it is
}

// clientOf makes a client whose connections are kept, one for each worker.
func clientOf(tb testing.TB, s *server, workers int) *client.Client {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	tb.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(s.base, s.key, client.Options{HTTP: &http.Client{Transport: transport, Timeout: 10 * time.Minute}})
	require.NoError(tb, err)
	return c
}

// timed pushes a full list and returns how long it took from the request's
// first byte to its answer: signing it is the marketplace's work, not ours.
func timed(tb testing.TB, s *server, text []byte) time.Duration {
	tb.Helper()
	nonce, timestamp := uuid.NewString(), strconv.FormatInt(time.Now().UnixMilli(), 10)
	sign, err := marketplace.SignKit(s.key, nonce, timestamp, text)
	require.NoError(tb, err)
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, s.base+"/produceAPI/v2/allOrgSync", bytes.NewReader(text))
	require.NoError(tb, err)
	request.Header.Set("x-sign", sign)
	request.Header.Set("x-timestamp", timestamp)
	request.Header.Set("x-nonce", nonce)
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	require.NoError(tb, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	require.NoError(tb, err)
	require.Contains(tb, string(answer), "000000")
	return took
}

// BenchmarkFullPush pushes a whole enterprise to an empty program, then the
// same list again, from the request's first byte to 000000. The floor is
// SQLite writing the same rows in one transaction.
func BenchmarkFullPush(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	switch {
	case testing.Short():
		sizes = []int{1_000}
	case os.Getenv("BENCH_MILLION") != "":
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkFullPush(b, n) })
	}
}

func benchmarkFullPush(b *testing.B, n int) {
	departments := enterprise(n)
	now := time.Now()
	firstBody := body(b, directory.FlagModify, now, &directory.FullPush{Departments: departments})
	againBody := body(b, directory.FlagModify, now.Add(time.Second), &directory.FullPush{Departments: departments})
	// Small enterprises are measured often enough to be measured at all.
	rounds := max(1, 20_000/n)
	var floor, first, again time.Duration
	var peak float64
	for b.Loop() {
		for range rounds {
			floor += writeRows(b, departments)
			s := startProgram(b)
			first += timed(b, s, firstBody)
			again += timed(b, s, againBody)
			peak = max(peak, s.peakMB(b))
			s.stop(b.Context(), b)
		}
	}
	b.ReportMetric(float64(first)/float64(floor), "xfloor")
	b.ReportMetric(float64(again)/float64(first), "xfirst")
	b.ReportMetric(float64(first.Nanoseconds())/float64(b.N*rounds*n), "ns/department")
	b.ReportMetric(peak, "peakMB")
}

// BenchmarkIncremental creates departments one push each, with so many clients
// at once. The floor is a Gin handler that verifies the signature and commits
// one row.
func BenchmarkIncremental(b *testing.B) {
	pushes := 3000
	if testing.Short() {
		pushes = 200
	}
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%dclients", clients), func(b *testing.B) {
			var ours, floor time.Duration
			for b.Loop() {
				s := startProgram(b)
				ours += incremental(b, s, clients, pushes)
				s.stop(b.Context(), b)
				f := startFloor(b)
				floor += incremental(b, f, clients, pushes)
				f.stop(b.Context(), b)
			}
			b.ReportMetric(float64(b.N*pushes)/ours.Seconds(), "pushes/s")
			b.ReportMetric(float64(ours)/float64(floor), "xfloor")
		})
	}
}

func incremental(tb testing.TB, s *server, clients, pushes int) time.Duration {
	tb.Helper()
	c := clientOf(tb, s, clients)
	now := time.Now()
	bodies := make([][]byte, pushes)
	for i, d := range enterprise(pushes) {
		bodies[i] = body(tb, directory.FlagAdd, now.Add(time.Duration(i)*time.Millisecond), &directory.DepartmentPush{DepartmentItem: d})
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(pushes); i = next.Add(1) - 1 {
				answer, err := c.Push(tb.Context(), directory.SingleOrgSync, bodies[i])
				if err != nil || answer.Code != "000000" {
					tb.Errorf("push %d: %v %v", i, answer, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// The benchmarks measure what they say, so that they cannot rot unseen: one
// small round of each against the program and its floor.
func TestTheBenchmarksRun(t *testing.T) {
	t.Parallel()
	departments := enterprise(100)
	require.Positive(t, writeRows(t, departments))
	ours := startProgram(t)
	now := time.Now()
	require.Positive(t, timed(t, ours, body(t, directory.FlagModify, now, &directory.FullPush{Departments: departments})))
	require.Positive(t, timed(t, ours, body(t, directory.FlagModify, now.Add(time.Second), &directory.FullPush{Departments: departments})))
	require.Positive(t, ours.peakMB(t))
	for _, s := range []*server{startProgram(t), startFloor(t)} {
		require.Positive(t, incremental(t, s, 2, 20))
	}
	// Each change comes to each target that is well, whatever the others do.
	require.Len(t, newTown(t, 3, 3, false).latencies(30, 100), 30*3)
	require.Len(t, newTown(t, 3, 3, true).latencies(30, 100), 20*2)
}
