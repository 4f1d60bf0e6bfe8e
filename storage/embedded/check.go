package embedded

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"sync/atomic"

	sqlite3 "modernc.org/sqlite/lib"
)

// endedUncleanly reports whether the process that had the database last was cut
// off: one that closes it leaves no log behind.
func endedUncleanly(path string) bool {
	log, err := os.Stat(path + "-wal")
	return err == nil && log.Size() > 0
}

// check looks for damage in the database file beside what else goes on: it reads
// all of it, which takes a while.
type check struct {
	damaged atomic.Bool
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (c *check) start(options Options, path string) {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.running.Go(func() {
		faults, err := quickCheck(ctx, options, path)
		if ctx.Err() != nil {
			return
		}
		if len(faults) == 0 && !isCode(err, sqlite3.SQLITE_CORRUPT) {
			if err != nil {
				options.Logger.Warn("cannot check the database file for damage after an unclean end", "error", err)
			}
			return
		}
		c.damaged.Store(true)
		options.Logger.Error("the database file is damaged: stop the connector and restore the data directory from a backup", "faults", faults, "error", err)
	})
}

// quickCheck lists what is wrong with the file, some of it.
func quickCheck(ctx context.Context, options Options, path string) (faults []string, err error) {
	db, err := sql.Open(options.driver, dsn(path, true, options.patience))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	said, err := texts(ctx, db, "PRAGMA quick_check(5)")
	for _, fault := range said {
		if fault != "ok" {
			faults = append(faults, fault)
		}
	}
	return faults, err
}

func (c *check) stop() {
	if c.cancel != nil {
		c.cancel()
	}
	c.running.Wait()
}
