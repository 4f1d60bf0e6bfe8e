package embedded

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

//go:embed instances.sql
var instancesSchema string

// CreateInstance implements storage.Instances.
func (s *Store) CreateInstance(ctx context.Context, instance directory.Instance, orders []string) (stored directory.Instance, created bool, err error) {
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		stored, created = directory.Instance{}, false
		for _, order := range orders {
			id, bound, err := boundTo(ctx, t, instance.Dataset, order)
			if err != nil {
				return err
			}
			if bound {
				if stored, err = readInstance(ctx, t, instance.Dataset, id); err != nil {
					return err
				}
				return bindOrders(ctx, t, instance.Dataset, id, orders)
			}
		}
		switch _, err := readInstance(ctx, t, instance.Dataset, instance.ID); {
		case err == nil:
			return fmt.Errorf("instance %s is of another order: %w", instance.ID, storage.ErrConflict)
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		instance.ChangedAt = t.now
		stored, created = instance, true
		if err := writeInstance(ctx, t, &stored); err != nil {
			return err
		}
		return bindOrders(ctx, t, instance.Dataset, instance.ID, orders)
	})
	if err != nil {
		return directory.Instance{}, false, err
	}
	return stored, created, nil
}

// ChangeInstance implements storage.Instances.
func (s *Store) ChangeInstance(ctx context.Context, dataset directory.Dataset, id, order string, change func(*directory.Instance, bool) (bool, error)) (stored directory.Instance, err error) {
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		if stored, err = readInstance(ctx, t, dataset, id); err != nil {
			return err
		}
		repeat := false
		if order != "" {
			owner, bound, err := boundTo(ctx, t, dataset, order)
			if err != nil {
				return err
			}
			if bound && owner != id {
				return fmt.Errorf("order of another instance: %w", storage.ErrConflict)
			}
			repeat = bound
		}
		changed, err := change(&stored, repeat)
		if err != nil {
			return err
		}
		if changed {
			stored.Version++
			stored.ChangedAt = t.now
			if err := writeInstance(ctx, t, &stored); err != nil {
				return err
			}
		}
		if order == "" || repeat {
			return nil
		}
		return bindOrders(ctx, t, dataset, id, []string{order})
	})
	if err != nil {
		return directory.Instance{}, err
	}
	return stored, nil
}

// Instance implements storage.Instances.
func (s *Store) Instance(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error) {
	return readInstance(ctx, s.api, dataset, id)
}

// Instances implements storage.Instances.
func (s *Store) Instances(ctx context.Context, f storage.InstanceFilter, page storage.Page) ([]directory.Instance, string, error) {
	after := []string{string(f.Dataset), ""}
	if page.Cursor != "" {
		var err error
		if after, err = storage.DecodeCursor(page.Cursor, 2); err != nil {
			return nil, "", err
		}
	}
	// One data set goes by its ids alone: a row of both would walk it from the start.
	where, args := "(dataset, id) > (?, ?)", anys(after)
	if f.Dataset != "" {
		where, args = "dataset = ? AND id > ?", []any{string(f.Dataset), after[1]}
	}
	limit := page.Size()
	found, err := s.queryInstances(ctx, where+" ORDER BY dataset, id LIMIT ?", append(args, limit+1)...)
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	last := found[limit-1]
	return found[:limit], storage.EncodeCursor(string(last.Dataset), last.ID), nil
}

// DueInstances implements storage.Instances.
func (s *Store) DueInstances(ctx context.Context, now time.Time, limit int) (due []directory.Instance, next time.Time, err error) {
	due, err = s.queryInstances(ctx, "due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT ?", millis(now), limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	var at int64
	err = s.read.QueryRowContext(ctx, "SELECT due_at FROM instances WHERE due_at > 0 AND due_at > ? ORDER BY due_at LIMIT 1", millis(now)).Scan(&at)
	if err != nil && !errors.Is(err, errNoRows) {
		return nil, time.Time{}, fmt.Errorf("find the next due instance: %w", err)
	}
	return due, fromMillis(at), nil
}

func (s *Store) queryInstances(ctx context.Context, where string, args ...any) ([]directory.Instance, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT data, version, changed_at FROM instances WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var found []directory.Instance
	for rows.Next() {
		instance, err := scanInstance(rows)
		if err != nil {
			return nil, fmt.Errorf("list instances: %w", err)
		}
		found = append(found, instance)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	return found, nil
}

func scanInstance(row interface{ Scan(...any) error }) (i directory.Instance, err error) {
	var data string
	var version, changed int64
	if err := row.Scan(&data, &version, &changed); err != nil {
		return i, err
	}
	if err := json.Unmarshal([]byte(data), &i); err != nil {
		return i, fmt.Errorf("stored instance: %w", err)
	}
	i.Version, i.ChangedAt = version, fromMillis(changed)
	return i, nil
}

func readInstance(ctx context.Context, q querier, dataset directory.Dataset, id string) (directory.Instance, error) {
	i, err := scanInstance(q.QueryRowContext(ctx, "SELECT data, version, changed_at FROM instances WHERE dataset = ? AND id = ?", string(dataset), id))
	switch {
	case errors.Is(err, errNoRows):
		return i, fmt.Errorf("instance %s: %w", id, storage.ErrNotFound)
	case err != nil:
		return i, fmt.Errorf("read instance %s: %w", id, err)
	}
	return i, nil
}

func writeInstance(ctx context.Context, t *tx, i *directory.Instance) error {
	data, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode instance: %w", err)
	}
	_, err = t.exec(ctx, "INSERT INTO instances (dataset, id, version, due_at, changed_at, data) VALUES (?, ?, ?, ?, ?, ?)"+
		" ON CONFLICT (dataset, id) DO UPDATE SET version = excluded.version, due_at = excluded.due_at, changed_at = excluded.changed_at, data = excluded.data",
		string(i.Dataset), i.ID, i.Version, millis(i.NextDue()), millis(i.ChangedAt), string(data))
	if err != nil {
		return fmt.Errorf("write instance %s: %w", i.ID, err)
	}
	return nil
}

func boundTo(ctx context.Context, t *tx, dataset directory.Dataset, order string) (id string, bound bool, err error) {
	err = t.QueryRowContext(ctx, "SELECT instance_id FROM instance_orders WHERE dataset = ? AND order_key = ?", string(dataset), order).Scan(&id)
	if errors.Is(err, errNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("find order: %w", err)
	}
	return id, true, nil
}

// bindOrders binds the orders that are not bound yet.
func bindOrders(ctx context.Context, t *tx, dataset directory.Dataset, id string, orders []string) error {
	for _, order := range orders {
		if _, err := t.exec(ctx, "INSERT INTO instance_orders (dataset, order_key, instance_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", string(dataset), order, id); err != nil {
			return fmt.Errorf("bind order to instance %s: %w", id, err)
		}
	}
	return nil
}
