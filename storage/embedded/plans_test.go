package embedded_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/openkoo/connector/storage/embedded"
)

// statements is every statement that the stores of this package's tests sent.
var statements = &recorder{seen: make(map[string]bool)}

func init() { sql.Register("sqlite-recorded", statements) }

// recorder is SQLite's driver with somebody listening.
type recorder struct {
	sqlite.Driver
	mu   sync.Mutex
	seen map[string]bool
}

func (r *recorder) Open(name string) (driver.Conn, error) {
	conn, err := r.Driver.Open(name)
	return &recordedConn{conn, r}, err
}

func (r *recorder) note(query string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[query] = true
}

type recordedConn struct {
	driver.Conn
	to *recorder
}

func (c *recordedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.to.note(query)
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *recordedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.to.note(query)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *recordedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.to.note(query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *recordedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

// allowed are the statements that may walk over many rows, and why.
var allowed = map[string]string{
	"SELECT key, name, parent, flags, version, seq, source_time, changed_at FROM entities WHERE scope": "a full push is compared with every department of its scope",
	"SELECT COUNT(*) FROM entities WHERE seq >":                                                        "the index on seq counts what a target is behind, no more",
	"slots SET marks = marks + 1":                                                                      "a renamed tenant makes all its users due",
	"FROM scopes s CROSS JOIN entities e ON e.scope = s.id WHERE":                                      "a page, in the order of the key it goes by",
	"FROM slots t WHERE t.target = ? AND t.scope = ?":                                                  "a page, in the order of the key it goes by",
	"FROM journal j JOIN scopes s ON s.id = j.scope WHERE 1":                                           "a page of the newest",
	"FROM scopes s CROSS JOIN journal j":                                                               "one tenant's own pushes",
	"SELECT MIN(dirty_since)":                                                                          "the first of an index",
	"AND state <> 8 AND due_at > ?2":                                                                   "the open slots of all targets, hourly: most are due soon",
	"SELECT MIN(due_at)":                                                                               "the first of an index",
	"SELECT (SELECT COUNT(*) FROM scopes)":                                                             "a load asks once whether the store is empty",
	"SELECT MIN(scope)":                                                                                "the first of an index",
	"SELECT MAX(failed_at)":                                                                            "the last of an index",
}

var (
	scans = regexp.MustCompile(`^SCAN (e|t|j|entities|slots|journal|instances|instance_orders)\b`)
	// A search that fixes the scope but not the key reads the whole scope.
	wide = regexp.MustCompile(`SEARCH (e|t|j|entities|slots|journal|instances|instance_orders) USING (COVERING )?(PRIMARY KEY|INDEX \w+) \((scope=\?|scope=\? AND kind=\?|target=\?|target=\? AND scope=\?|target=\? AND scope=\? AND kind=\?|dataset=\?)\)`)
)

// checkPlans asks SQLite how it would carry each statement out: none may cost
// more the more is stored.
func checkPlans(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	db := openRaw(t, filepath.Join(dir, embedded.FileName))
	defer func() { require.NoError(t, db.Close()) }()
	statements.mu.Lock()
	defer statements.mu.Unlock()
	require.Greater(t, len(statements.seen), 40)
	for query := range statements.seen {
		if !strings.HasPrefix(query, "SELECT") && !strings.HasPrefix(query, "UPDATE") && !strings.HasPrefix(query, "DELETE") {
			continue
		}
		for _, step := range explain(t, db, query) {
			if (scans.MatchString(step) || wide.MatchString(step)) && !mayWalk(query) {
				t.Errorf("%s\n  %s", query, step)
			}
		}
	}
}

func mayWalk(query string) bool {
	for part := range allowed {
		if strings.Contains(query, part) {
			return true
		}
	}
	return false
}

func explain(t *testing.T, db *sql.DB, query string) (steps []string) {
	t.Helper()
	highest := 0
	for _, mark := range regexp.MustCompile(`\?(\d+)`).FindAllStringSubmatch(query, -1) {
		highest = max(highest, int(mark[1][0]-'0'))
		if len(mark[1]) > 1 {
			highest = max(highest, int(mark[1][0]-'0')*10+int(mark[1][1]-'0'))
		}
	}
	if highest == 0 {
		highest = strings.Count(query, "?")
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, slices.Repeat([]any{nil}, highest)...)
	require.NoError(t, err, query)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}
