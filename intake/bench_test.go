package intake_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/directory/directorytest"
	"github.com/openkoo/connector/intake"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
	"github.com/openkoo/connector/orgsync"
	"github.com/openkoo/connector/storage/embedded"
)

// BenchmarkFullPush takes a full push from its body to the disk: all new, then
// the same again. peak-MB is the process's largest resident size meanwhile.
func BenchmarkFullPush(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if os.Getenv("ORGSYNC_BENCH_MILLION") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			body := fullBody(b, n)
			var first, again time.Duration
			peak := 0.0
			for b.Loop() {
				b.StopTimer()
				store, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{})
				require.NoError(b, err)
				service := intake.New(store, intake.Planners(orgsync.New(directory.DefaultGuard), nil), marketplace.Decode, intake.Options{})
				resetPeak(b)
				b.StartTimer()
				first += timed(b, service, body, directory.ResultApplied)
				peak = max(peak, peakMB(b))
				again += timed(b, service, body, directory.ResultUnchanged)
				b.StopTimer()
				require.NoError(b, store.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(first.Nanoseconds())/float64(b.N*n), "ns/department")
			b.ReportMetric(float64(again)/float64(first), "xfirst-again")
			b.ReportMetric(peak, "peak-MB")
		})
	}
}

func fullBody(b *testing.B, n int) []byte {
	b.Helper()
	payload := &directory.FullPush{Departments: make([]directory.DepartmentItem, n)}
	for i := range payload.Departments {
		parent := ""
		if i > 0 {
			parent = fmt.Sprintf("d%07d", i/8)
		}
		payload.Departments[i] = directory.DepartmentItem{Code: fmt.Sprintf("d%07d", i), Name: fmt.Sprintf("研发中心%d部", i), ParentCode: parent}
	}
	body, err := client.Body(directorytest.Scope, directory.FlagModify, 1, payload)
	require.NoError(b, err)
	return body
}

func timed(b *testing.B, service *intake.Service, body []byte, want directory.Result) time.Duration {
	b.Helper()
	began := time.Now()
	push, err := marketplace.Decode(directory.AllOrgSync, body)
	require.NoError(b, err)
	push.ID, push.ReceivedAt = uuid.NewString(), began
	result, err := service.Receive(b.Context(), push)
	require.NoError(b, err)
	require.Equal(b, want, result)
	return time.Since(began)
}

// resetPeak lets the kernel count the largest resident size anew.
func resetPeak(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	if runtime.GOOS == "linux" {
		require.NoError(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	}
}

// peakMB is the largest resident size since resetPeak; 0 where the kernel does
// not tell.
func peakMB(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	kb, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	require.NoError(b, err)
	return float64(kb) / 1024
}
