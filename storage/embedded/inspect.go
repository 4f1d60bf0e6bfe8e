package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// maxSealed bounds how many client secrets an inspection reads.
const maxSealed = 200

// Inspection is what a database shows of itself to somebody who only looks.
type Inspection struct {
	Found  bool // there is a database
	Locked bool // a process has the directory
	Schema int  // the database's; Known is this program's
	Known  int
	// Faults are what SQLite's own check of the file found, and Unchecked that
	// it did not end in time.
	Faults    []string
	Unchecked bool
	// Loading says that a migration into it has not ended.
	Loading bool
	// Sealed are client secrets as they are kept, some of them.
	Sealed [][]byte
}

// Inspect looks at the database in dir, which may be another process's, and
// changes nothing: neither is it made, nor brought to this program's schema.
func Inspect(ctx context.Context, dir string) (found Inspection, err error) {
	found.Known = schemaVersion
	if found.Locked, err = locked(filepath.Join(dir, lockFile)); err != nil {
		return found, err
	}
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return found, nil
		}
		return found, fmt.Errorf("inspect database: %w", err)
	}
	found.Found = true
	if _, err := os.Stat(filepath.Join(dir, loadFile)); err == nil {
		found.Loading = true
	}
	if err := found.open(ctx, path); err != nil {
		return found, fmt.Errorf("inspect database %s: %w", path, err)
	}
	return found, nil
}

// open reads the database. One that was closed is read as it lies there: to
// share it, SQLite would put files of its own beside it.
func (i *Inspection) open(ctx context.Context, path string) (err error) {
	lies := false
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		lies = !i.Locked
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+fmt.Sprintf("?mode=ro&immutable=%t&_pragma=query_only(1)&_pragma=busy_timeout(2000)", lies))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	err = i.read(ctx, db)
	if !lies {
		return err
	}
	// A process that has opened it meanwhile may have changed what was read.
	if taken, lockErr := locked(filepath.Join(filepath.Dir(path), lockFile)); taken || lockErr != nil {
		i.Locked, i.Unchecked, i.Faults = taken, true, nil
		return lockErr
	}
	return err
}

// locked reports whether a process holds the lock. It takes a lock of its own
// for as long as that takes.
func locked(path string) (bool, error) {
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY)) // which makes no file
	free, err := lock.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at lock file: %w", err)
	}
	return !free, lock.Close()
}

func (i *Inspection) read(ctx context.Context, db *sql.DB) error {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&i.Schema); err != nil {
		return err
	}
	if i.Schema == 0 || i.Schema > i.Known {
		return nil // nothing in it can be told
	}
	if err := i.readSealed(ctx, db); err != nil {
		return err
	}
	faults, err := texts(ctx, db, "PRAGMA quick_check(5)")
	if ctx.Err() != nil {
		i.Unchecked = true
		return nil
	}
	for _, fault := range faults {
		if fault != "ok" {
			i.Faults = append(i.Faults, fault)
		}
	}
	return err
}

// readSealed finds applications by their scopes: there is no index of kinds.
func (i *Inspection) readSealed(ctx context.Context, db *sql.DB) error {
	all, err := texts(ctx, db, fmt.Sprintf("SELECT e.data FROM scopes s JOIN entities e ON e.scope = s.id AND e.kind = %d"+
		" WHERE s.applications > 0 AND e.flags & 1 = 0 AND e.data IS NOT NULL LIMIT %d", directory.KindApplication, maxSealed))
	if err != nil {
		return err
	}
	for _, text := range all {
		var kept storage.KeptApplication
		if err := json.Unmarshal([]byte(text), &kept); err != nil {
			return fmt.Errorf("application: %w", err)
		}
		if len(kept.SealedSecret) > 0 {
			i.Sealed = append(i.Sealed, kept.SealedSecret)
		}
	}
	return nil
}

// texts reads a query's only column.
func texts(ctx context.Context, db *sql.DB, query string) (all []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, strings.TrimSpace(text))
	}
	return all, advised(rows.Err())
}
