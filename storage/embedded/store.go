package embedded

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

//go:embed schema.sql
var schema string

//go:embed counts.sql
var countsSchema string

// schemaVersion is what this program reads and writes (PRAGMA user_version).
const schemaVersion = 9

// FileName is the database's name in its directory.
const FileName = "orgsync.db"

// lockFile is what the process that has the directory holds a lock on.
const lockFile = "orgsync.lock"

// lockPatience is how long a write waits for another program that has locked
// the database: a push is answered within 5 s, whatever is wrong with the store.
const lockPatience = 4 * time.Second

// maxIdleLog bounds the write-ahead log once it has been written back, in bytes.
const maxIdleLog = 16 << 20

// Options shape a store; the zero value serves.
type Options struct {
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
	// MaxPages bounds the database file in pages of 4 KiB, 0 for no bound.
	MaxPages int

	driver   string        // of database/sql; tests look over its shoulder
	patience time.Duration // default lockPatience
}

// Store is the embedded store. Its methods may be called from many goroutines.
type Store struct {
	options Options
	lock    *flock.Flock
	write   *sql.DB
	read    *pool
	api     *pool // of storage.Reader
	writer  *writer
	turns   turns
	scopes  scopeIDs
	leases  leases

	check check

	changed storage.Signal // to this process's listeners

	closing  sync.Once
	closeErr error
}

var _ storage.Store = (*Store)(nil)

// Open opens the database in dir, making both if need be. It fails if another
// process holds the database, if the file is none of ours, or if a newer
// program has written it.
func Open(ctx context.Context, dir string, options Options) (*Store, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.driver == "" {
		options.driver = "sqlite"
	}
	if options.patience <= 0 {
		options.patience = lockPatience
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w; set ORGSYNC_DATA_DIR to one that can be written", err)
	}
	lock, err := takeLock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	s := &Store{options: options, lock: lock}
	if err := s.open(ctx, filepath.Join(dir, FileName)); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// takeLock keeps two processes from sharing a database unknowingly.
func takeLock(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w; set ORGSYNC_DATA_DIR to a directory that can be written", err)
	}
	if !taken {
		return nil, fmt.Errorf("data directory %s is in use by another orgsync process; stop it, or set ORGSYNC_DATA_DIR to another directory", filepath.Dir(path))
	}
	return lock, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	unclean := endedUncleanly(path)
	// Made here so that it is never readable by others, not even for a moment.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if s.write, err = sql.Open(s.options.driver, dsn(path, false, s.options.patience)); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open database %s: %w; if it is none of ours, move it away or set ORGSYNC_DATA_DIR to another directory", path, err)
	}
	if err := migrate(ctx, conn, path); err != nil {
		return errors.Join(err, conn.Close())
	}
	if s.options.MaxPages > 0 {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", s.options.MaxPages)); err != nil {
			return errors.Join(fmt.Errorf("bound database: %w", err), conn.Close())
		}
	}
	if s.read, err = openPool(s.options.driver, dsn(path, true, s.options.patience), readers); err != nil {
		return errors.Join(fmt.Errorf("open database: %w", err), conn.Close())
	}
	if s.api, err = openPool(s.options.driver, dsn(path, true, s.options.patience), apiReaders); err != nil {
		return errors.Join(fmt.Errorf("open database: %w", err), conn.Close())
	}
	var seq int64
	if err := conn.QueryRowContext(ctx, "SELECT COALESCE(MAX(seq), 0) FROM scopes").Scan(&seq); err != nil {
		return errors.Join(fmt.Errorf("read database %s: %w", path, err), conn.Close())
	}
	s.writer = startWriter(conn, seq, s.options, s.changed.Announce)
	if unclean {
		s.check.start(s.options, path)
	}
	return nil
}

func dsn(path string, readOnly bool, patience time.Duration) string {
	query := url.Values{}
	query.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()))
	query.Add("_pragma", "journal_mode(WAL)")
	query.Add("_pragma", "synchronous(FULL)")
	query.Add("_pragma", "temp_store(MEMORY)")
	if readOnly {
		query.Add("_pragma", "query_only(1)")
		query.Add("_pragma", "cache_size(-8000)")
	} else {
		query.Add("_pragma", "cache_size(-64000)")
		// Fewer checkpoints in the middle of a bulk load, whose log is cut down
		// again after it.
		query.Add("_pragma", "wal_autocheckpoint(4000)")
		query.Add("_pragma", fmt.Sprintf("journal_size_limit(%d)", maxIdleLog))
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

const (
	// decidedAt brings a database up to version 3: a decision has its own time.
	decidedAt = "ALTER TABLE journal ADD COLUMN decided_at INTEGER NOT NULL DEFAULT 0;"
	// rendering brings it up to version 5: the fingerprint of how a target's
	// slots were rendered.
	rendering = "ALTER TABLE relays ADD COLUMN rendering TEXT NOT NULL DEFAULT '';"
	// selection brings it up to version 7: what a target's relay lets through.
	selection = "ALTER TABLE relays ADD COLUMN selection TEXT NOT NULL DEFAULT '';"
)

func migrate(ctx context.Context, conn *sql.Conn, path string) error {
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("%s is not a database of ours: %w; move it away or set ORGSYNC_DATA_DIR", path, err)
	}
	switch {
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return fmt.Errorf("%s was written by a newer orgsync (schema %d, this one knows %d); use that program", path, version, schemaVersion)
	}
	// What each version added: the directory, the base interface, decisions,
	// targets, mappings, resyncs, selections, cheaper counts,
	// epochs of the feed.
	missing := strings.Join([]string{schema, instancesSchema, decidedAt, targetsSchema, rendering, resyncsSchema, selection, countsSchema, feedSchema}[max(version, 0):], "")
	statements := "BEGIN IMMEDIATE;" + missing + fmt.Sprintf("PRAGMA user_version = %d; COMMIT;", schemaVersion)
	if _, err := conn.ExecContext(ctx, statements); err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("create schema in %s: %w", path, err)
	}
	return nil
}

// Close waits for the write under way and closes the database.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.check.stop()
		s.writer.close()
		s.closeErr = s.closeFiles()
	})
	return s.closeErr
}

func (s *Store) closeFiles() error {
	var errs []error
	for _, connections := range []*pool{s.read, s.api} {
		if connections != nil {
			errs = append(errs, connections.Close())
		}
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// Ping reports whether the database can be read and written. It writes a page,
// with what is in it: a full disk shows by nothing less. For a page there may be
// room where there is none for a push: once a write has found none, Ping asks for
// as much as a push does.
func (s *Store) Ping(ctx context.Context) error {
	if s.check.damaged.Load() {
		return fmt.Errorf("ping: %w", storage.ErrDamaged)
	}
	if s.writer.full.Load() {
		if err := s.probeRoom(ctx); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
	}
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
		return err
	})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	var one int
	if err := s.read.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// roomProbe is what a push may need, in bytes, with room to spare.
const roomProbe = 256 << 10

// probeRoom writes as much as a push, and takes it away again. It is a journal
// entry of no scope, which nobody is shown.
func (s *Store) probeRoom(ctx context.Context) error {
	const id = "room"
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "INSERT OR REPLACE INTO journal (id, scope, kind, flag, source_time, received_at, size, raw, note, phase, result, counts, decisions, applied_at)"+
			" VALUES (?, 0, '', 0, 0, 0, 0, zeroblob(?), '', ?, '', '', NULL, 1)", id, roomProbe, string(storage.PhaseApplied))
		return err
	})
	if err != nil {
		return err
	}
	s.writer.full.Store(false)
	// A commit of its own: what comes and goes in one is never written.
	return s.writer.do(context.WithoutCancel(ctx), func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM journal WHERE id = ?", id)
		return err
	})
}

// Changed implements storage.Wakeups.
func (s *Store) Changed() <-chan struct{} { return s.changed.Changed() }

// scopeIDs remembers the numbers of scopes; they never change.
type scopeIDs struct {
	mu     sync.RWMutex
	byName map[directory.Scope]int64
	byID   map[int64]directory.Scope
}

func (c *scopeIDs) id(scope directory.Scope) (int64, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, ok := c.byName[scope]
	return id, ok
}

func (c *scopeIDs) name(id int64) (directory.Scope, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	scope, ok := c.byID[id]
	return scope, ok
}

func (c *scopeIDs) add(id int64, scope directory.Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil {
		c.byName, c.byID = make(map[directory.Scope]int64), make(map[int64]directory.Scope)
	}
	c.byName[scope], c.byID[id] = id, scope
}
