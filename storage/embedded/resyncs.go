package embedded

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

//go:embed resyncs.sql
var resyncsSchema string

// SaveResync implements storage.Resyncs.
func (s *Store) SaveResync(ctx context.Context, resync storage.Resync, keep int) error {
	data, drifts, err := encodeResync(resync)
	if err != nil {
		return err
	}
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "INSERT INTO resyncs (target, id, data, drifts) VALUES (?1, ?2, ?3, ?4)"+
			" ON CONFLICT (target, id) DO UPDATE SET data = ?3, drifts = ?4", resync.Target, resync.ID, data, drifts)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, "DELETE FROM resyncs WHERE target = ?1 AND id <="+
			" (SELECT id FROM resyncs WHERE target = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)", resync.Target, keep)
		return err
	})
	if err != nil {
		return fmt.Errorf("save resync %s of %s: %w", resync.ID, resync.Target, err)
	}
	return nil
}

func encodeResync(resync storage.Resync) (data string, drifts []byte, err error) {
	if len(resync.Drifts) > 0 {
		text, err := json.Marshal(resync.Drifts)
		if err != nil {
			return "", nil, fmt.Errorf("encode resync: %w", err)
		}
		drifts = blob.Pack(text)
	}
	resync.Drifts = nil
	text, err := json.Marshal(resync)
	if err != nil {
		return "", nil, fmt.Errorf("encode resync: %w", err)
	}
	return string(text), drifts, nil
}

// Resyncs implements storage.Resyncs.
func (s *Store) Resyncs(ctx context.Context, targetName string, page storage.Page) ([]storage.Resync, string, error) {
	where, args := "target = ?", []any{targetName}
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND id < ?", append(args, parts[0])
	}
	limit := page.Size()
	rows, err := s.read.QueryContext(ctx, "SELECT data FROM resyncs WHERE "+where+" ORDER BY id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("list resyncs of %s: %w", targetName, err)
	}
	defer func() { _ = rows.Close() }()
	var all []storage.Resync
	for rows.Next() {
		var data string
		if err := rows.Scan(&data); err != nil {
			return nil, "", fmt.Errorf("list resyncs of %s: %w", targetName, err)
		}
		var one storage.Resync
		if err := json.Unmarshal([]byte(data), &one); err != nil {
			return nil, "", fmt.Errorf("stored resync of %s: %w", targetName, err)
		}
		all = append(all, one)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, "", fmt.Errorf("list resyncs of %s: %w", targetName, err)
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], storage.EncodeCursor(all[limit-1].ID), nil
}

// Resync implements storage.Resyncs.
func (s *Store) Resync(ctx context.Context, id string) (storage.Resync, error) {
	var data string
	var packed []byte
	err := s.read.QueryRowContext(ctx, "SELECT data, drifts FROM resyncs WHERE id = ?", id).Scan(&data, &packed)
	if errors.Is(err, errNoRows) {
		return storage.Resync{}, fmt.Errorf("resync %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return storage.Resync{}, fmt.Errorf("read resync %s: %w", id, err)
	}
	return decodeResync(id, data, packed)
}

func decodeResync(id, data string, packed []byte) (resync storage.Resync, err error) {
	if err := json.Unmarshal([]byte(data), &resync); err != nil {
		return resync, fmt.Errorf("stored resync %s: %w", id, err)
	}
	text, err := blob.Unpack(packed)
	if err != nil {
		return resync, fmt.Errorf("stored resync %s: %w", id, err)
	}
	if len(text) > 0 {
		err = json.Unmarshal(text, &resync.Drifts)
	}
	if err != nil {
		return resync, fmt.Errorf("stored resync %s: %w", id, err)
	}
	return resync, nil
}
