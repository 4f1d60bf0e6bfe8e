package directory_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// wide is a list of n departments, eight to a parent.
func wide(n int) []directory.DepartmentItem {
	items := make([]directory.DepartmentItem, n)
	for i := range items {
		parent := ""
		if i > 0 {
			parent = fmt.Sprintf("d%07d", i/8)
		}
		items[i] = directory.DepartmentItem{Code: fmt.Sprintf("d%07d", i), Name: fmt.Sprintf("研发中心%d部", i), ParentCode: parent}
	}
	return items
}

// BenchmarkPlanFull is what deciding costs, reading and writing aside: of
// departments that are all new, and all there already.
func BenchmarkPlanFull(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if os.Getenv("ORGSYNC_BENCH_MILLION") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		items := wide(n)
		list := &directory.FullPush{Departments: items}
		push := fullOf(2)
		created, err := directory.PlanFull(b.Context(), push, list, &stored{}, directory.DefaultGuard)
		require.NoError(b, err)
		for name, view := range map[string]*stored{
			"new":       {},
			"unchanged": {departments: created.Departments, state: directory.State{Departments: n}},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for b.Loop() {
					if err := list.Check(); err != nil {
						b.Fatal(err)
					}
					if _, err := directory.PlanFull(b.Context(), push, list, view, directory.DefaultGuard); err != nil {
						b.Fatal(err)
					}
				}
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/department")
				b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N*n), "B/department")
			})
		}
	}
}
