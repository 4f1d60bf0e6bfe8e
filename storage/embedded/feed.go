package embedded

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// feedSchema brings a database up to version 9.
//
//go:embed feed.sql
var feedSchema string

// beginEpoch begins an epoch of the feed, in the first transaction of this
// process that numbers changes.
func (w *writer) beginEpoch(ctx context.Context) error {
	if w.epochBegun || w.seq.Load() == w.found {
		return nil
	}
	if _, err := w.conn.ExecContext(ctx, "UPDATE feed_epochs SET until = ? WHERE until IS NULL", w.found); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, "INSERT INTO feed_epochs (id) VALUES (?)", storage.NewEpoch())
	return err
}

func loadEpoch(ctx context.Context, t *tx, d *storage.DumpedEpoch) error {
	until := sql.NullInt64{Int64: d.Until, Valid: d.Until != 0}
	_, err := t.exec(ctx, "INSERT OR REPLACE INTO feed_epochs (id, until) VALUES (?, ?)", d.ID, until)
	return err
}

func dumpEpoch(_ context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	d.Epoch = &storage.DumpedEpoch{}
	return d, rows.Scan(&d.Epoch.ID, &d.Epoch.Until)
}

// checkPlace refuses a place that is not in the feed.
func (s *Store) checkPlace(ctx context.Context, place storage.Place) error {
	last := sql.NullInt64{}
	if place.Epoch != "" {
		err := s.api.QueryRowContext(ctx, "SELECT until FROM feed_epochs WHERE id = ?", place.Epoch).Scan(&last)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return storage.ErrFeedSetBack
		case err != nil:
			return fmt.Errorf("read epochs of the change feed: %w", err)
		}
	}
	if !last.Valid {
		last.Int64 = s.writer.seq.Load()
	}
	if place.Seq > last.Int64 {
		return storage.ErrFeedSetBack
	}
	return nil
}

// epoch is the present one, empty before the first change.
func (s *Store) epoch(ctx context.Context) (id string, err error) {
	err = s.api.QueryRowContext(ctx, "SELECT id FROM feed_epochs WHERE until IS NULL").Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read epoch of the change feed: %w", err)
	}
	return id, nil
}

// Changes implements storage.Reader.
func (s *Store) Changes(ctx context.Context, after storage.Place, limit int) ([]storage.Change, storage.Place, error) {
	if err := s.checkPlace(ctx, after); err != nil {
		return nil, after, err
	}
	next := after
	changes, last, err := s.changesAfter(ctx, after.Seq, limit)
	leftOut, err := storage.Whole(err)
	if err != nil {
		return nil, after, err
	}
	next.Seq = last
	// Read last: an epoch that began meanwhile begins behind these changes.
	if next.Epoch, err = s.epoch(ctx); err == nil && leftOut != nil {
		err = leftOut
	}
	return changes, next, err
}

// changesAfter also returns the place of the last one, which may be left out.
func (s *Store) changesAfter(ctx context.Context, after int64, limit int) (changes []storage.Change, last int64, err error) {
	rows, err := s.api.QueryContext(ctx, "SELECT e.scope, "+entityColumns+" FROM entities e WHERE seq > ? ORDER BY seq LIMIT ?", after, storage.Page{Limit: limit}.Size())
	if err != nil {
		return nil, after, fmt.Errorf("read change feed: %w", err)
	}
	defer func() { _ = rows.Close() }()
	last = after
	var unreadable storage.Unreadable
	for rows.Next() {
		var e row
		var scopeID int64
		if err := e.scan(rows, &scopeID); err != nil {
			return nil, after, fmt.Errorf("read change feed: %w", err)
		}
		scope, err := s.scopeName(ctx, s.api, scopeID)
		if err != nil {
			return nil, after, err
		}
		last = e.seq
		change, err := e.feedEntry(scope)
		if err != nil {
			unreadable.Add(fmt.Sprintf("%s %q of %s", e.kind, e.key, scope), err)
			continue
		}
		changes = append(changes, change)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, after, fmt.Errorf("read change feed: %w", err)
	}
	return changes, last, unreadable.Err()
}

func (e *row) feedEntry(scope directory.Scope) (c storage.Change, err error) {
	c = storage.Change{Seq: e.seq, Scope: scope, Kind: e.kind, Key: e.key, Deleted: e.flags&flagDeleted != 0}
	switch e.kind {
	case directory.KindTenant:
		var t directory.Tenant
		t, err = e.tenant()
		c.Tenant = &t
	case directory.KindDepartment:
		d := e.department()
		c.Department = &d
	case directory.KindUser:
		var u directory.User
		u, err = e.user()
		c.User = &u
	case directory.KindApplication:
		var a directory.Application
		a, err = e.application()
		c.Application = &a
	}
	return c, err
}
