package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// rerenderStep bounds what one write makes pending.
const rerenderStep = 500

// Rerender implements storage.Fanout.
func (s *Store) Rerender(ctx context.Context, targetName, fingerprint string) (int, error) {
	var known string
	err := s.read.QueryRowContext(ctx, "SELECT rendering FROM relays WHERE target = ?", targetName).Scan(&known)
	if err != nil && !errors.Is(err, errNoRows) {
		return 0, fmt.Errorf("rendering of %s: %w", targetName, err)
	}
	if known == fingerprint {
		return 0, nil
	}
	total, more := 0, true
	for from := (place{}); more; {
		next := from
		var n int
		err := s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
			n, more, err = rerenderSome(ctx, t, targetName, &next)
			if err != nil || more {
				return err
			}
			_, err = t.exec(ctx, "INSERT INTO relays (target, seq, rendering) VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET rendering = excluded.rendering", targetName, fingerprint)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("rerender %s: %w", targetName, err)
		}
		from = next
		total += n
	}
	return total, nil
}

// rerenderOne makes one slot due. What it was cleared for has been done.
const rerenderOne = "UPDATE slots SET marks = marks + 1, attempts = 0, state = 1, error_class = '', last_error = '', cleared = CASE state WHEN 4 THEN 0 ELSE cleared END," +
	" dirty_since = CASE state WHEN 4 THEN ? ELSE dirty_since END, due_at = ? WHERE target = ? AND scope = ? AND kind = ? AND key = ?"

func rerenderSome(ctx context.Context, t *tx, targetName string, from *place) (n int, more bool, err error) {
	rows, err := t.QueryContext(ctx, "SELECT scope, kind, key, state FROM slots WHERE target = ? AND (scope, kind, key) > (?, ?, ?) ORDER BY scope, kind, key LIMIT ?",
		targetName, from.scope, from.kind, from.key, rerenderStep)
	if err != nil {
		return 0, false, err
	}
	places, seen, err := renderedPlaces(rows, from)
	if err != nil {
		return 0, false, err
	}
	now := millis(t.now)
	for _, at := range places {
		if _, err := t.exec(ctx, rerenderOne, now, now, targetName, at.scope, at.kind, at.key); err != nil {
			return 0, false, err
		}
	}
	t.changed = t.changed || len(places) > 0
	return len(places), seen == rerenderStep, nil
}

// renderedPlaces are those of the slots read that hold something rendered and
// are not to be sent anyway. from becomes the place of the last slot read.
func renderedPlaces(rows *sql.Rows, from *place) (places []place, seen int, err error) {
	for rows.Next() {
		var state uint8
		if err := rows.Scan(&from.scope, &from.kind, &from.key, &state); err != nil {
			return nil, 0, errors.Join(err, rows.Close())
		}
		seen++
		if from.kind <= 2 && (state == 4 || state == 5) { // departments and users, delivered or dead
			places = append(places, *from)
		}
	}
	return places, seen, errors.Join(advised(rows.Err()), rows.Close())
}
