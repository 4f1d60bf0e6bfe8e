package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

var _ storage.Loader = (*Store)(nil)

// loadFile names the load that has not ended; it stands beside the database.
const loadFile = "orgsync.load"

func (s *Store) loadPath() string { return filepath.Join(filepath.Dir(s.lock.Path()), loadFile) }

// Loading implements storage.Loader.
func (s *Store) Loading(context.Context) (string, error) {
	text, err := os.ReadFile(s.loadPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// BeginLoad implements storage.Loader.
func (s *Store) BeginLoad(ctx context.Context, name string) error {
	running, err := s.Loading(ctx)
	switch {
	case err != nil || running == name:
		return err
	case running != "":
		return fmt.Errorf("another load has not ended: %w", storage.ErrConflict)
	}
	var rows int
	err = s.read.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM scopes) + (SELECT COUNT(*) FROM journal) + (SELECT COUNT(*) FROM relays) + (SELECT COUNT(*) FROM targets) + (SELECT COUNT(*) FROM instances)").Scan(&rows)
	if err != nil {
		return fmt.Errorf("look whether the store is empty: %w", err)
	}
	if rows > 0 {
		return fmt.Errorf("the store is not empty: %w", storage.ErrConflict)
	}
	return os.WriteFile(s.loadPath(), []byte(name+"\n"), 0o600)
}

// EndLoad implements storage.Loader.
func (s *Store) EndLoad(ctx context.Context, name string) error {
	running, err := s.Loading(ctx)
	if err != nil {
		return err
	}
	if running != name {
		return fmt.Errorf("load %s is not under way: %w", name, storage.ErrConflict)
	}
	s.changed.Announce()
	return os.Remove(s.loadPath())
}

// Load implements storage.Loader.
func (s *Store) Load(ctx context.Context, records []storage.Dumped) error {
	return s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		for i := range records {
			if err := s.loadOne(ctx, t, &records[i]); err != nil {
				return fmt.Errorf("load %s: %w", records[i].Kind(), err)
			}
		}
		return nil
	})
}

func (s *Store) loadOne(ctx context.Context, t *tx, d *storage.Dumped) error {
	switch {
	case d.State != nil:
		return s.loadState(ctx, t, d.State)
	case d.Entity != nil:
		return s.loadEntity(ctx, t, d.Entity)
	case d.Push != nil:
		return s.loadPush(ctx, t, d.Push)
	case d.Slot != nil:
		return s.loadSlot(ctx, t, d.Slot)
	case d.Relay != nil:
		_, err := t.exec(ctx, "INSERT OR REPLACE INTO relays (target, seq, rendering, selection) VALUES (?, ?, ?, ?)",
			d.Relay.Target, d.Relay.Seq, d.Relay.Rendering, d.Relay.Selection)
		return err
	case d.Epoch != nil:
		return loadEpoch(ctx, t, d.Epoch)
	case d.Target != nil:
		return writeTarget(ctx, t, d.Target)
	case d.Instance != nil:
		if err := writeInstance(ctx, t, &d.Instance.Instance); err != nil {
			return err
		}
		return bindOrders(ctx, t, d.Instance.Dataset, d.Instance.ID, d.Instance.Orders)
	default:
		return errors.New("a record of no kind")
	}
}

func (s *Store) loadState(ctx context.Context, t *tx, d *storage.DumpedState) error {
	id, err := s.scopeID(ctx, t, d.Scope)
	if err != nil {
		return err
	}
	var texts [3]any
	for i, value := range []any{d.Hold, d.LastFull, d.LastIncremental} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if string(text) != "null" {
			texts[i] = string(text)
		}
	}
	t.w.loaded(d.Seq)
	_, err = t.exec(ctx, "UPDATE scopes SET full_time = ?, full_digest = ?, departments = ?, parent_missing = ?, users = ?, applications = ?,"+
		" seq = ?, hold = ?, last_full = ?, last_incremental = ? WHERE id = ?",
		int64(d.FullTime), d.FullDigest, d.Departments, d.ParentMissing, d.Users, d.Applications, d.Seq, texts[0], texts[1], texts[2], id)
	return err
}

func (s *Store) loadEntity(ctx context.Context, t *tx, d *storage.DumpedEntity) error {
	id, err := s.scopeID(ctx, t, d.Scope)
	if err != nil {
		return err
	}
	flags := 0
	if d.Deleted {
		flags |= flagDeleted
	}
	if d.ParentMissing {
		flags |= flagParentMissing
	}
	var data any
	if d.Data != "" {
		data = d.Data
	}
	t.w.loaded(d.Seq)
	_, err = t.exec(ctx, oneEntity, id, uint8(d.Kind), d.Key, d.Name, d.Parent, flags, d.Version, d.Seq, int64(d.SourceTime), millis(d.ChangedAt), data)
	return err
}

func (s *Store) loadPush(ctx context.Context, t *tx, d *storage.DumpedPush) error {
	id, err := s.scopeID(ctx, t, d.Scope)
	if err != nil {
		return err
	}
	counts := ""
	if d.Counts != nil {
		text, err := json.Marshal(d.Counts)
		if err != nil {
			return err
		}
		counts = string(text)
	}
	if _, err := t.exec(ctx, "DELETE FROM journal WHERE id = ?", d.ID); err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO journal (id, scope, kind, flag, source_time, received_at, applied_at, phase, result, counts, note, decided_at, size, decisions, raw)"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", d.ID, id, string(d.Record.Kind), int(d.Flag), int64(d.SourceTime), millis(d.ReceivedAt), millis(d.AppliedAt),
		string(d.Phase), string(d.Result), counts, d.Note, millis(d.DecidedAt), d.Size, blob.Pack(d.Decisions), blob.Pack(d.Raw))
	return err
}

func (s *Store) loadSlot(ctx context.Context, t *tx, d *storage.DumpedSlot) error {
	id, err := s.scopeID(ctx, t, d.Scope)
	if err != nil {
		return err
	}
	kind := uint8(d.Slot.Kind)
	// Not replaced: only deleting and inserting keeps the counts.
	if _, err := t.exec(ctx, "DELETE FROM slots WHERE target = ? AND scope = ? AND kind = ? AND key = ?", d.Target, id, kind, d.Key); err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO slots (target, scope, kind, key, state, desired, delivered, hash, remote_id, grp, uncertain, attempts, dirty_since, due_at,"+
		" marks, failed_at, error_class, last_error, delivered_at, cleared, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		d.Target, id, kind, d.Key, uint8(d.State), d.Desired, d.Delivered, d.Hash, d.RemoteID, d.Group, d.Uncertain, d.Attempts, millis(d.DirtySince), millis(d.DueAt),
		d.Marks, millis(d.FailedAt), d.ErrorClass, d.LastError, millis(d.DeliveredAt), d.Cleared, d.Kept)
	return err
}
