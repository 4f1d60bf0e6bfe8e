package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// deliveryPlace is a target and a scope that has slots a filter may match.
type deliveryPlace struct {
	target string
	id     int64
	scope  directory.Scope
}

// slotPlace is a slot's place in its target and scope.
type slotPlace struct {
	kind storage.SlotKind
	key  string
}

// deliveryPlaces finds in the counters where matching slots can be, so that a
// rare state among a million slots is found without passing them all.
func (s *Store) deliveryPlaces(ctx context.Context, f storage.DeliveryFilter) ([]deliveryPlace, error) {
	where, args := scopeWhere(f.Dataset, f.InstanceID, f.TenantID)
	if f.Target != "" {
		where, args = where+" AND c.target = ?", append(args, f.Target)
	}
	if f.State != 0 {
		where += " AND c." + f.State.String() + " > 0"
	}
	rows, err := s.api.QueryContext(ctx, "SELECT c.target, s.id, s.dataset, s.instance_id, s.tenant_id"+
		" FROM slot_counts c JOIN scopes s ON s.id = c.scope WHERE "+where+" ORDER BY c.target, s.id", args...)
	if err != nil {
		return nil, fmt.Errorf("find slots: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var places []deliveryPlace
	for rows.Next() {
		var p deliveryPlace
		if err := rows.Scan(&p.target, &p.id, &p.scope.Dataset, &p.scope.InstanceID, &p.scope.TenantID); err != nil {
			return nil, fmt.Errorf("find slots: %w", err)
		}
		places = append(places, p)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, fmt.Errorf("find slots: %w", err)
	}
	return places, nil
}

// slotsAt reads the matching slots of one place by kind and key.
func (s *Store) slotsAt(ctx context.Context, f storage.DeliveryFilter, place deliveryPlace, after slotPlace, limit int) ([]storage.Slot, error) {
	where, args := "t.target = ? AND t.scope = ?", []any{place.target, place.id}
	switch {
	case f.Kind == 0:
		where, args = where+" AND (t.kind, t.key) > (?, ?)", append(args, uint8(after.kind), after.key)
	case f.Kind < after.kind:
		return nil, nil
	case f.Kind > after.kind:
		where, args = where+" AND t.kind = ?", append(args, uint8(f.Kind))
	default: // in these words, so that a page begins where the last one ended
		where, args = where+" AND t.kind = ? AND t.key > ?", append(args, uint8(f.Kind), after.key)
	}
	if f.State != 0 {
		where, args = where+" AND t.state = ?", append(args, uint8(f.State))
		if f.State != storage.SlotDelivered {
			where += " AND t.state <> 4" // the words of the index on the others
		}
	}
	if f.Key != "" {
		where, args = where+" AND t.kind IN (1, 2, 3, 4) AND t.key = ?", append(args, f.Key)
	}
	rows, err := s.api.QueryContext(ctx, "SELECT "+slotColumns+" FROM slots t WHERE "+where+" ORDER BY t.kind, t.key LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("read slots: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var slots []storage.Slot
	for rows.Next() {
		slot := storage.Slot{SlotKey: storage.SlotKey{Target: place.target, Scope: place.scope}}
		var id int64
		var times [3]int64
		if err := rows.Scan(slotInto(&slot, &id, &times)...); err != nil {
			return nil, fmt.Errorf("read slots: %w", err)
		}
		setTimes(&slot, times)
		slots = append(slots, slot)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, fmt.Errorf("read slots: %w", err)
	}
	return slots, nil
}

// Deliveries implements storage.Reader.
func (s *Store) Deliveries(ctx context.Context, f storage.DeliveryFilter, page storage.Page) ([]storage.Slot, string, error) {
	var from deliveryPlace
	var after slotPlace
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 4)
		if err != nil {
			return nil, "", err
		}
		id, idErr := strconv.ParseInt(parts[1], 10, 64)
		kind, kindErr := strconv.ParseUint(parts[2], 10, 8)
		if idErr != nil || kindErr != nil {
			return nil, "", storage.ErrBadCursor
		}
		from, after = deliveryPlace{target: parts[0], id: id}, slotPlace{storage.SlotKind(kind), parts[3]}
	}
	limit := page.Size()
	places, err := s.deliveryPlaces(ctx, f)
	if err != nil {
		return nil, "", err
	}
	var slots []storage.Slot
	var lastID int64
	for _, place := range places {
		if place.target < from.target || place.target == from.target && place.id < from.id {
			continue
		}
		start := slotPlace{}
		if place.target == from.target && place.id == from.id {
			start = after
		}
		part, err := s.slotsAt(ctx, f, place, start, limit+1-len(slots))
		if err != nil {
			return nil, "", err
		}
		if slots = append(slots, part...); len(slots) <= limit {
			if len(part) > 0 {
				lastID = place.id
			}
			continue
		}
		if len(part) > 1 {
			lastID = place.id
		}
		last := slots[limit-1]
		return slots[:limit], storage.EncodeCursor(last.Target, strconv.FormatInt(lastID, 10), strconv.Itoa(int(last.Kind)), last.Key), nil
	}
	return slots, "", nil
}

// Counts implements storage.Reader.
func (s *Store) Counts(ctx context.Context, targetName string, scope *directory.Scope) (storage.TargetCounts, error) {
	counts := storage.TargetCounts{Slots: make(storage.SlotCounts)}
	where, args := "target = ?", []any{targetName}
	feed, feedArgs := "seq > COALESCE((SELECT seq FROM relays WHERE target = ?), 0)", []any{targetName}
	if scope != nil {
		id, err := s.scopeOf(ctx, s.api, *scope)
		if errors.Is(err, errUnknownScope) {
			return counts, nil
		}
		if err != nil {
			return counts, err
		}
		where, args = where+" AND scope = ?", append(args, id)
		feed, feedArgs = feed+" AND scope = ?", append(feedArgs, id)
	}
	// The feed first: a change that becomes a slot in between is then counted
	// twice, never not at all, so that nothing looks synced that is not.
	if err := s.api.QueryRowContext(ctx, "SELECT COUNT(*) FROM entities WHERE "+feed, feedArgs...).Scan(&counts.Unrelayed); err != nil {
		return counts, fmt.Errorf("count unrelayed changes of %s: %w", targetName, err)
	}
	if err := s.countStates(ctx, where, args, counts.Slots); err != nil {
		return counts, fmt.Errorf("count slots of %s: %w", targetName, err)
	}
	return counts, s.troubles(ctx, where, args, &counts)
}

// The counts of many targets, ?1, in many scopes, ?2. Those of the feed are read
// first, as in Counts.
const (
	unrelayedOf = "SELECT n.value, e.scope, COUNT(*) FROM json_each(?1) n CROSS JOIN entities e INDEXED BY entities_seq" +
		" WHERE e.seq > COALESCE((SELECT seq FROM relays WHERE target = n.value), 0) AND e.scope IN (" + keysOf + "2)) GROUP BY n.value, e.scope"
	troubled = "c.pending + c.retrying + c.waiting + c.dead > 0"
	oldestOf = "CASE WHEN " + troubled + " THEN (SELECT MIN(dirty_since) FROM slots WHERE target = c.target AND scope = c.scope AND " + isOpen + ") END"
	failedOf = "CASE WHEN " + troubled + " THEN (SELECT last_error FROM slots WHERE target = c.target AND scope = c.scope AND last_error <> '' AND failed_at > 0 ORDER BY failed_at DESC LIMIT 1) END"
	countsOf = " FROM slot_counts c WHERE c.target IN (" + keysOf + "1)) AND c.scope IN (" + keysOf + "2))"
)

// CountsOf implements storage.Reader.
func (s *Store) CountsOf(ctx context.Context, targetNames []string, scopes []directory.Scope) (map[storage.CountsKey]storage.TargetCounts, error) {
	found := make(map[storage.CountsKey]storage.TargetCounts, len(targetNames)*len(scopes))
	named := make(map[int64]directory.Scope, len(scopes))
	ids := make([]int64, 0, len(scopes))
	for _, scope := range scopes {
		id, ok, err := s.knownScope(ctx, s.api, scope)
		if err != nil {
			return nil, err
		}
		if ok {
			named[id], ids = scope, append(ids, id)
		}
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("count slots: %w", err)
	}
	targets := listOf(targetNames)
	if err := s.countUnrelayed(ctx, targets, string(list), named, found); err != nil {
		return nil, fmt.Errorf("count unrelayed changes: %w", err)
	}
	if err := s.countPlaces(ctx, targets, string(list), named, found); err != nil {
		return nil, fmt.Errorf("count slots: %w", err)
	}
	return found, nil
}

func (s *Store) countUnrelayed(ctx context.Context, targets, ids string, named map[int64]directory.Scope, found map[storage.CountsKey]storage.TargetCounts) error {
	rows, err := s.api.QueryContext(ctx, unrelayedOf, targets, ids)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key storage.CountsKey
		var id int64
		var counts storage.TargetCounts
		if err := rows.Scan(&key.Target, &id, &counts.Unrelayed); err != nil {
			return err
		}
		key.Scope = named[id]
		found[key] = counts
	}
	return advised(rows.Err())
}

func (s *Store) countPlaces(ctx context.Context, targets, ids string, named map[int64]directory.Scope, found map[storage.CountsKey]storage.TargetCounts) error {
	states := storage.SlotStates()
	columns, numbers := make([]string, len(states)), make([]int, len(states))
	var key storage.CountsKey
	var id int64
	var oldest sql.NullInt64
	var failed sql.NullString
	into := []any{&key.Target, &id, &oldest, &failed}
	for i, state := range states {
		columns[i], into = state.String(), append(into, &numbers[i]) // the columns have the states' names
	}
	rows, err := s.api.QueryContext(ctx, "SELECT c.target, c.scope, "+oldestOf+", "+failedOf+", "+strings.Join(columns, ", ")+countsOf, targets, ids)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		key.Scope = named[id]
		counts := found[key]
		counts.Slots, counts.Oldest, counts.LastError = make(storage.SlotCounts), fromMillis(oldest.Int64), failed.String
		for i, state := range states {
			if numbers[i] > 0 {
				counts.Slots[state] = numbers[i]
			}
		}
		found[key] = counts
	}
	return advised(rows.Err())
}

// countStates adds up the counters of the places that match.
func (s *Store) countStates(ctx context.Context, where string, args []any, counts storage.SlotCounts) error {
	states := storage.SlotStates()
	sums, into := make([]string, len(states)), make([]any, len(states))
	numbers := make([]int, len(states))
	for i, state := range states {
		sums[i], into[i] = "COALESCE(SUM("+state.String()+"), 0)", &numbers[i] // the columns have the states' names
	}
	err := s.api.QueryRowContext(ctx, "SELECT "+strings.Join(sums, ", ")+" FROM slot_counts WHERE "+where, args...).Scan(into...)
	for i, state := range states {
		if numbers[i] > 0 {
			counts[state] = numbers[i]
		}
	}
	return err
}

// troubles finds the oldest open slot and the newest error: a look-up for each
// scope that has such slots.
func (s *Store) troubles(ctx context.Context, where string, args []any, counts *storage.TargetCounts) error {
	const scopes = "(SELECT target, scope FROM slot_counts WHERE pending + retrying + waiting + dead > 0 AND "
	var oldest *int64
	err := s.api.QueryRowContext(ctx, "SELECT MIN((SELECT MIN(dirty_since) FROM slots WHERE target = c.target AND scope = c.scope AND "+isOpen+")) FROM "+
		scopes+where+") c", args...).Scan(&oldest)
	if err != nil {
		return fmt.Errorf("find oldest slot: %w", err)
	}
	if oldest != nil {
		counts.Oldest = fromMillis(*oldest)
	}
	err = s.api.QueryRowContext(ctx, "SELECT t.last_error FROM "+scopes+where+") c CROSS JOIN slots t ON t.target = c.target AND t.scope = c.scope AND t.last_error <> '' AND t.failed_at > 0"+
		" AND t.failed_at = (SELECT MAX(failed_at) FROM slots WHERE target = c.target AND scope = c.scope AND last_error <> '')"+
		" ORDER BY t.failed_at DESC LIMIT 1", args...).Scan(&counts.LastError)
	if err != nil && !errors.Is(err, errNoRows) {
		return fmt.Errorf("find last error: %w", err)
	}
	return nil
}
