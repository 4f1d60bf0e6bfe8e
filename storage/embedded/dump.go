package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

var _ storage.Dumper = (*Store)(nil)

// Dump implements storage.Dumper.
func (s *Store) Dump(ctx context.Context) iter.Seq2[storage.Dumped, error] {
	return func(yield func(storage.Dumped, error) bool) {
		for _, part := range []struct {
			query string
			scan  func(context.Context, *sql.Rows) (storage.Dumped, error)
		}{
			{"SELECT " + stateColumns + " FROM scopes WHERE " + seenScope, dumpState},
			{"SELECT e.scope, " + entityColumns + " FROM entities e", s.dumpEntity},
			{"SELECT " + recordColumns + ", j.raw, j.decisions FROM journal j JOIN scopes s ON s.id = j.scope", dumpPush},
			{"SELECT t.target, t.failed_at, " + slotColumns + " FROM slots t", s.dumpSlot},
			{"SELECT target, seq, rendering, selection FROM relays", dumpRelay},
			{"SELECT id, COALESCE(until, 0) FROM feed_epochs", dumpEpoch},
			{"SELECT data FROM targets", dumpTarget},
			{"SELECT i.data, i.version, i.changed_at, (SELECT json_group_array(order_key) FROM" +
				" (SELECT order_key FROM instance_orders o WHERE o.dataset = i.dataset AND o.instance_id = i.id ORDER BY order_key)) FROM instances i", dumpInstance},
		} {
			if !s.dumpPart(ctx, part.query, part.scan, yield) {
				return
			}
		}
	}
}

func (s *Store) dumpPart(ctx context.Context, query string, scan func(context.Context, *sql.Rows) (storage.Dumped, error), yield func(storage.Dumped, error) bool) bool {
	rows, err := s.read.QueryContext(ctx, query)
	if err != nil {
		yield(storage.Dumped{}, fmt.Errorf("dump: %w", err))
		return false
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		record, err := scan(ctx, rows)
		if err != nil {
			yield(storage.Dumped{}, fmt.Errorf("dump: %w", err))
			return false
		}
		if !yield(record, nil) {
			return false
		}
	}
	if err := advised(rows.Err()); err != nil {
		yield(storage.Dumped{}, fmt.Errorf("dump: %w", err))
		return false
	}
	return true
}

func dumpState(_ context.Context, rows *sql.Rows) (storage.Dumped, error) {
	state, _, err := scanState(rows)
	return storage.Dumped{State: &storage.DumpedState{State: state, FullDigest: state.FullDigest}}, err
}

func (s *Store) dumpEntity(ctx context.Context, rows *sql.Rows) (storage.Dumped, error) {
	var e row
	var id int64
	if err := e.scan(rows, &id); err != nil {
		return storage.Dumped{}, err
	}
	scope, err := s.scopeName(ctx, s.read, id)
	return storage.Dumped{Entity: &storage.DumpedEntity{
		Scope: scope, Kind: e.kind, Key: e.key, Name: e.name, Parent: e.parent, ParentMissing: e.flags&flagParentMissing != 0,
		Deleted: e.flags&flagDeleted != 0, Version: e.version, Seq: e.seq, SourceTime: directory.SourceTime(e.sourceTime),
		ChangedAt: fromMillis(e.change), Data: e.data.String,
	}}, err
}

func dumpPush(_ context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	d.Push = &storage.DumpedPush{}
	var raw, decisions []byte
	if d.Push.Record, _, err = scanRecord(rows, &raw, &decisions); err != nil {
		return d, err
	}
	if d.Push.Raw, err = blob.Unpack(raw); err != nil {
		return d, fmt.Errorf("push %s: %w", d.Push.ID, err)
	}
	if d.Push.Decisions, err = blob.Unpack(decisions); err != nil {
		return d, fmt.Errorf("push %s: %w", d.Push.ID, err)
	}
	return d, nil
}

func (s *Store) dumpSlot(ctx context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	var slot storage.Slot
	var id, failed int64
	var times [3]int64
	if err := rows.Scan(append([]any{&slot.Target, &failed}, slotInto(&slot, &id, &times)...)...); err != nil {
		return d, err
	}
	if slot.State == storage.SlotDelivered {
		times[0] = 0 // it is not dirty
	}
	setTimes(&slot, times)
	slot.Scope, err = s.scopeName(ctx, s.read, id)
	d.Slot = &storage.DumpedSlot{Slot: slot, Hash: slot.Hash, Marks: slot.Marks, Cleared: slot.Cleared, Kept: slot.Kept, FailedAt: fromMillis(failed)}
	return d, err
}

func dumpRelay(_ context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	d.Relay = &storage.DumpedRelay{}
	return d, rows.Scan(&d.Relay.Target, &d.Relay.Seq, &d.Relay.Rendering, &d.Relay.Selection)
}

func dumpTarget(_ context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	var data string
	if err := rows.Scan(&data); err != nil {
		return d, err
	}
	d.Target = &storage.TargetRecord{}
	return d, json.Unmarshal([]byte(data), d.Target)
}

func dumpInstance(_ context.Context, rows *sql.Rows) (d storage.Dumped, err error) {
	var data, orders string
	var version, changed int64
	if err := rows.Scan(&data, &version, &changed, &orders); err != nil {
		return d, err
	}
	d.Instance = &storage.DumpedInstance{}
	if err := json.Unmarshal([]byte(data), &d.Instance.Instance); err != nil {
		return d, fmt.Errorf("stored instance: %w", err)
	}
	d.Instance.Version, d.Instance.ChangedAt = version, fromMillis(changed)
	return d, json.Unmarshal([]byte(orders), &d.Instance.Orders)
}
