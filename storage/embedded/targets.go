package embedded

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openkoo/connector/storage"
)

//go:embed targets.sql
var targetsSchema string

// Target implements storage.Targets.
func (s *Store) Target(ctx context.Context, targetName string) (storage.TargetRecord, error) {
	return readTarget(ctx, s.read, targetName)
}

func readTarget(ctx context.Context, q querier, targetName string) (storage.TargetRecord, error) {
	var record storage.TargetRecord
	var data string
	err := q.QueryRowContext(ctx, "SELECT data FROM targets WHERE name = ?", targetName).Scan(&data)
	if err == nil {
		err = json.Unmarshal([]byte(data), &record)
	}
	record.Name = targetName
	if err != nil && !errors.Is(err, errNoRows) {
		return record, fmt.Errorf("read record of target %s: %w", targetName, err)
	}
	return record, nil
}

// UpdateTarget implements storage.Targets.
func (s *Store) UpdateTarget(ctx context.Context, targetName string, change func(*storage.TargetRecord) error) (record storage.TargetRecord, err error) {
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		var err error
		if record, err = readTarget(ctx, t, targetName); err != nil {
			return err
		}
		if err := change(&record); err != nil {
			return err
		}
		record.Revision++
		return writeTarget(ctx, t, &record)
	})
	return record, err
}

func writeTarget(ctx context.Context, t *tx, record *storage.TargetRecord) error {
	data, err := json.Marshal(record)
	if err == nil {
		_, err = t.exec(ctx, "INSERT INTO targets VALUES (?, ?) ON CONFLICT DO UPDATE SET data = excluded.data", record.Name, string(data))
	}
	if err != nil {
		return fmt.Errorf("write record of target %s: %w", record.Name, err)
	}
	return nil
}

// Objects implements storage.Targets.
func (s *Store) Objects(ctx context.Context, targetName string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT COALESCE(SUM(objects), 0) FROM slot_counts WHERE target = ?", targetName).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count objects at %s: %w", targetName, err)
	}
	return n, nil
}

// Holds implements storage.Targets.
func (s *Store) Holds(ctx context.Context, filter storage.DeliveryFilter) (bool, error) {
	filter.State = storage.SlotHeld
	places, err := s.deliveryPlaces(ctx, filter)
	return len(places) > 0, err
}

// DecideHeld implements storage.Targets. It goes by key in small writes.
func (s *Store) DecideHeld(ctx context.Context, filter storage.DeliveryFilter, approve bool) (removals int, err error) {
	filter.State = storage.SlotHeld
	outcome := " SET state = 7, kept = desired, dirty_since = 0"
	if approve {
		outcome = " SET state = 1, due_at = ?1, cleared = desired"
	}
	err = s.eachSlot(ctx, filter, func(ctx context.Context, t *tx, place deliveryPlace, slot *storage.Slot) error {
		n, err := t.exec(ctx, "UPDATE slots"+outcome+" WHERE target = ?2 AND scope = ?3 AND kind = ?4 AND key = ?5 AND state = 6 AND ?1 > 0",
			millis(t.now), place.target, place.id, uint8(slot.Kind), slot.Key)
		if slot.Kind == storage.SlotDepartment || slot.Kind == storage.SlotUser {
			removals += int(n)
		}
		return err
	})
	if err != nil {
		return removals, fmt.Errorf("decide removals held for %s: %w", filter.Target, err)
	}
	return removals, nil
}
