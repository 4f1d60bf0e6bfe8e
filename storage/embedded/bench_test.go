package embedded_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
)

var benchScope = directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: "t"}

// fullPlan creates n departments, eight to a parent.
func fullPlan(n int, prefix string) *directory.Plan {
	plan := &directory.Plan{Result: directory.ResultApplied, Departments: make([]directory.Department, n), Delta: directory.Delta{Departments: n}}
	for i := range plan.Departments {
		parent := ""
		if i > 0 {
			parent = fmt.Sprintf("%s/%07d", prefix, i/8)
		}
		plan.Departments[i] = directory.Department{
			Code: fmt.Sprintf("%s/%07d", prefix, i), Name: "研发中心部门", ParentCode: parent,
			Meta: directory.Meta{Version: 1, SourceTime: 1},
		}
	}
	return plan
}

func openRaw(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-64000)&_pragma=wal_autocheckpoint(4000)&_pragma=temp_store(MEMORY)")
	require.NoError(tb, err)
	db.SetMaxOpenConns(1)
	return db
}

// floorDB is a database of the store's own schema, written without the store.
func floorDB(tb testing.TB) *sql.DB {
	tb.Helper()
	dir := tb.TempDir()
	store, err := embedded.Open(context.Background(), dir, embedded.Options{})
	require.NoError(tb, err)
	require.NoError(tb, store.Close())
	return openRaw(tb, filepath.Join(dir, embedded.FileName))
}

const floorRow = "INSERT INTO entities (scope, kind, key, name, parent, flags, version, seq, source_time, changed_at) VALUES (?,?,?,?,?,?,?,?,?,?)"

// floor writes the rows of a plan in one plain transaction, one statement a
// row, with one row of journal.
func floor(tb testing.TB, db *sql.DB, plan *directory.Plan, id string, seq int64) time.Duration {
	tb.Helper()
	ctx := context.Background()
	began := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(tb, err)
	stmt, err := tx.PrepareContext(ctx, floorRow)
	require.NoError(tb, err)
	for i := range plan.Departments {
		d := &plan.Departments[i]
		if _, err := stmt.ExecContext(ctx, 1, 2, d.Code, d.Name, d.ParentCode, 0, 1, seq+int64(i)+1, 1, 1); err != nil {
			require.NoError(tb, err)
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO journal (id, scope, kind, flag, source_time, received_at, phase, size) VALUES (?,1,'x',1,1,1,'applied',1)", id)
	require.NoError(tb, err)
	require.NoError(tb, tx.Commit())
	return time.Since(began)
}

func BenchmarkFullPlan(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if os.Getenv("ORGSYNC_BENCH_MILLION") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var bare, ours time.Duration
			for b.Loop() {
				db := floorDB(b)
				bare += floor(b, db, fullPlan(n, "d"), "1", 0)
				require.NoError(b, db.Close())

				store, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{})
				require.NoError(b, err)
				plan := fullPlan(n, "d")
				record := storage.Record{ID: "1", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
				began := time.Now()
				require.NoError(b, store.Accept(b.Context(), record, nil))
				_, err = store.ApplyAccepted(b.Context(), "1", func(context.Context, storage.View) (*directory.Plan, error) { return plan, nil })
				require.NoError(b, err)
				ours += time.Since(began)
				require.NoError(b, store.Close())
			}
			b.ReportMetric(float64(ours)/float64(bare), "xfloor")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*n), "ns/department")
		})
	}
}

func BenchmarkReadDepartments(b *testing.B) {
	const n = 100_000
	store, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{})
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	record := storage.Record{ID: "0", Scope: benchScope, Kind: directory.AllOrgSync, ReceivedAt: time.Now()}
	require.NoError(b, store.Accept(b.Context(), record, nil))
	_, err = store.ApplyAccepted(b.Context(), "0", func(context.Context, storage.View) (*directory.Plan, error) { return fullPlan(n, "d"), nil })
	require.NoError(b, err)
	id := 0
	for b.Loop() {
		id++
		record.ID = fmt.Sprint(id)
		require.NoError(b, store.Accept(b.Context(), record, nil))
		_, err := store.ApplyAccepted(b.Context(), record.ID, func(ctx context.Context, v storage.View) (*directory.Plan, error) {
			seen := 0
			for _, err := range v.Departments(ctx) {
				if err != nil {
					return nil, err
				}
				seen++
			}
			require.Equal(b, n, seen)
			return &directory.Plan{Result: directory.ResultUnchanged}, nil
		})
		require.NoError(b, err)
	}
}

func BenchmarkIncremental(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			store, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{})
			require.NoError(b, err)
			defer func() { require.NoError(b, store.Close()) }()
			var next atomic.Int64
			b.ResetTimer()
			began := time.Now()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						id := fmt.Sprintf("%08d", i)
						record := storage.Record{ID: id, Scope: benchScope, Kind: directory.SingleOrgSync, ReceivedAt: began}
						if _, err := store.ApplyAtOnce(context.Background(), record, nil, func(context.Context, storage.View) (*directory.Plan, error) {
							return fullPlan(1, id), nil
						}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			ours := time.Since(began)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/ours.Seconds(), "commits/s")

			db := floorDB(b)
			defer func() { require.NoError(b, db.Close()) }()
			rows := min(b.N, 500)
			var bare time.Duration
			for i := range rows {
				id := fmt.Sprintf("%08d", i)
				bare += floor(b, db, fullPlan(1, id), id, int64(i))
			}
			b.ReportMetric((float64(ours)/float64(b.N))/(float64(bare)/float64(rows)), "xfloor")
		})
	}
}
