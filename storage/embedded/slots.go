package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// The states of slots in the words of the indexes on them, slots_due and
// slots_dirty. A list of three would be a table to SQLite, made for every row.
const (
	isDue  = "(state = 1 OR state = 2 OR state = 8)"
	isOpen = "(state = 1 OR state = 2 OR state = 3)"
	atRest = "(state = 4 OR state = 7 OR state = 8)"
)

// dueScopes finds each scope with slots that are, or become, due behind the one
// before, and when its first of each kind does.
const (
	dueScopes = "WITH RECURSIVE c(scope) AS (SELECT MIN(scope) FROM slots INDEXED BY slots_due WHERE target = ?1 AND " + isDue +
		" UNION ALL SELECT (SELECT MIN(scope) FROM slots INDEXED BY slots_due WHERE target = ?1 AND scope > c.scope AND " + isDue + ") FROM c WHERE c.scope IS NOT NULL)" +
		" SELECT s.dataset, s.instance_id, s.tenant_id, MIN(" + firstDue + "1), 9e18), " + firstDue + "2), 9e18), " + firstDue + "3), 9e18), " + firstDue + "4), 9e18))" +
		" FROM c JOIN scopes s ON s.id = c.scope"
	firstDue = "COALESCE((SELECT MIN(due_at) FROM slots WHERE target = ?1 AND scope = s.id AND " + isDue + " AND kind = "
)

// DueScopes implements storage.Fanout. It costs a look-up for each scope with
// open slots, however many slots there are.
func (s *Store) DueScopes(ctx context.Context, targetName string, now time.Time) (due []directory.Scope, next time.Time, err error) {
	rows, err := s.read.QueryContext(ctx, dueScopes, targetName)
	if err != nil {
		return nil, next, fmt.Errorf("find due scopes of %s: %w", targetName, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var scope directory.Scope
		var at float64
		if err := rows.Scan(&scope.Dataset, &scope.InstanceID, &scope.TenantID, &at); err != nil {
			return nil, next, fmt.Errorf("find due scopes of %s: %w", targetName, err)
		}
		switch {
		case int64(at) <= millis(now):
			due = append(due, scope)
		case at < 8e18 && (next.IsZero() || int64(at) < millis(next)):
			next = fromMillis(int64(at))
		}
	}
	if err := advised(rows.Err()); err != nil {
		return nil, next, fmt.Errorf("find due scopes of %s: %w", targetName, err)
	}
	sortedScopes(due)
	return due, next, nil
}

const claimQuery = selectTasks + " WHERE t.target = ? AND t.scope = ? AND t.kind = ? AND " + isDue + " AND t.due_at <= ? ORDER BY t.due_at, t.key LIMIT ?"

// Claim implements storage.Fanout.
func (s *Store) Claim(ctx context.Context, lease storage.Lease, now time.Time, limit int, wanted func(storage.Task) bool) ([]storage.Task, error) {
	targetName, scope := lease.Target, lease.Scope
	var claimed []storage.Task
	var unread []string
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		if err := s.leases.check(lease, t.now); err != nil {
			return err
		}
		id, err := s.scopeOf(ctx, t, scope)
		if err != nil {
			return err
		}
		claimed, unread = nil, nil
		scan := newTaskScan(targetName, scope)
		for kind := storage.SlotDepartment; kind <= storage.SlotMembership && len(claimed) < limit; kind++ {
			from, bad, most := len(claimed), len(unread), limit-len(claimed)
			if wanted != nil {
				most = -1 // whatever stands before it
			}
			err := eachTask(ctx, t, scan, func(task storage.Task) {
				switch {
				case scan.unread:
					unread = append(unread, task.Key)
					return
				case wanted != nil && (len(claimed) == limit || !wanted(task)):
					return
				}
				if len(claimed) == cap(claimed) {
					claimed = slices.Grow(claimed, max(8, len(claimed))) // append grows long lists by a quarter
				}
				claimed = append(claimed, task)
			},
				claimQuery, targetName, id, uint8(kind), millis(now), most)
			if err != nil {
				return err
			}
			if err := markUncertain(ctx, t, targetName, id, kind, claimed[from:]); err != nil {
				return err
			}
			if err := bury(ctx, t, targetName, id, kind, unread[bad:]); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errUnknownScope) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("claim slots of %s at %s: %w", scope, targetName, err)
	}
	if len(unread) > 0 {
		s.options.Logger.Error("what is stored of some accounts cannot be read; they are dead letters until they are pushed again",
			"target", targetName, "scope", scope.String(), "count", len(unread), "first", unread[0])
	}
	return claimed, nil
}

// bury makes slots dead letters whose entity cannot be read: half of it is not
// to be delivered. The push that writes it anew makes them due again.
func bury(ctx context.Context, t *tx, targetName string, id int64, kind storage.SlotKind, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := t.exec(ctx, "UPDATE slots SET state = 5, failed_at = ?5, error_class = ?6, last_error = ?7"+ofKind,
		targetName, id, uint8(kind), listOf(keys), millis(t.now), storage.ErrorClassUnreadable, storage.UnreadableEntity)
	return err
}

// keysOf begins the list of the keys of a parameter (see listOf): one statement
// for all costs a fraction of one for each.
const keysOf = "SELECT value FROM json_each(?"

const (
	ofKind       = " WHERE target = ?1 AND scope = ?2 AND kind = ?3 AND key IN (" + keysOf + "4))"
	readRemotes  = "SELECT key, remote_id FROM slots" + ofKind
	setUncertain = "UPDATE slots SET uncertain = 1" + ofKind + " AND uncertain = 0"
)

// listOf is a list of keys as one parameter.
func listOf(keys []string) string {
	text, err := json.Marshal(keys)
	if err != nil {
		panic("embedded: " + err.Error()) // strings always marshal
	}
	return string(text)
}

// markUncertain marks claimed tasks of one kind: from now on they may be sent.
func markUncertain(ctx context.Context, t *tx, targetName string, id int64, kind storage.SlotKind, claimed []storage.Task) error {
	var keys []string
	for i := range claimed {
		if !claimed[i].Uncertain {
			keys = append(keys, claimed[i].Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	_, err := t.exec(ctx, setUncertain, targetName, id, uint8(kind), listOf(keys))
	return err
}

const (
	ofKeys      = " WHERE t.target = ?1 AND t.scope = ?2 AND t.kind = ?3 AND t.key IN (" + keysOf + "4))"
	lookupTasks = selectTasks + ofKeys
	lookupSlots = "SELECT " + slotColumns + " FROM slots t" + ofKeys
)

// Lookup implements storage.Fanout.
func (s *Store) Lookup(ctx context.Context, targetName string, scope directory.Scope, kind storage.SlotKind, keys []string) (map[string]storage.Task, error) {
	found := make(map[string]storage.Task, len(keys))
	id, ok, err := s.knownScope(ctx, s.read, scope)
	if err != nil || !ok {
		return found, err
	}
	err = eachTask(ctx, s.read, newTaskScan(targetName, scope), func(task storage.Task) { found[task.Key] = task },
		lookupTasks, targetName, id, uint8(kind), listOf(keys))
	return found, err
}

// Slots implements storage.Fanout.
func (s *Store) Slots(ctx context.Context, targetName string, scope directory.Scope, kind storage.SlotKind, keys []string) (map[string]storage.Slot, error) {
	found := make(map[string]storage.Slot, len(keys))
	id, ok, err := s.knownScope(ctx, s.read, scope)
	if err != nil || !ok {
		return found, err
	}
	err = eachTask(ctx, s.read, newSlotScan(targetName, scope), func(task storage.Task) { found[task.Key] = task.Slot },
		lookupSlots, targetName, id, uint8(kind), listOf(keys))
	return found, err
}

const noteSlot = "UPDATE slots SET uncertain = 1, hash = ? WHERE target = ? AND scope = ? AND kind = ? AND key = ?"

// Note implements storage.Fanout. It touches no index and no counter.
func (s *Store) Note(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		if err := s.leases.check(lease, t.now); err != nil {
			return err
		}
		id, err := s.scopeOf(ctx, t, lease.Scope)
		if err != nil {
			return err
		}
		for i := range slots {
			slot := &slots[i]
			if err := covers(lease, slot); err != nil {
				return err
			}
			if _, err := t.exec(ctx, noteSlot, slot.Hash, slot.Target, id, uint8(slot.Kind), slot.Key); err != nil {
				return fmt.Errorf("%s %q: %w", slot.Kind, slot.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	return nil
}

// covers reports a slot that a lease is not for.
func covers(lease storage.Lease, slot *storage.Slot) error {
	if slot.Target != lease.Target || slot.Scope != lease.Scope {
		return fmt.Errorf("%s %q of %s at %s: the lease is for %s at %s", slot.Kind, slot.Key, slot.Scope, slot.Target, lease.Scope, lease.Target)
	}
	return nil
}

// Settle implements storage.Fanout.
func (s *Store) Settle(ctx context.Context, lease storage.Lease, slots []storage.Slot) error {
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		if err := s.leases.check(lease, t.now); err != nil {
			return err
		}
		return s.settleAll(ctx, t, lease, slots)
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// settleSlot writes an outcome. If the slot was made due again meanwhile (a new
// version, or a department or tenant its look depends on) it stays pending, due
// at once, with what is known of the target's side.
const settleSlot = "UPDATE" + undone + "slots SET" +
	" state = CASE WHEN " + overtaken + " THEN 1 ELSE ?2 END," +
	" attempts = CASE WHEN " + overtaken + " THEN 0 ELSE ?3 END," +
	" due_at = CASE WHEN " + overtaken + " THEN due_at ELSE ?4 END," +
	" error_class = CASE WHEN " + overtaken + " THEN '' ELSE ?5 END," +
	" last_error = CASE WHEN " + overtaken + " THEN '' ELSE ?6 END," +
	" failed_at = CASE WHEN ?6 <> '' AND ?2 <> 3 THEN ?7 ELSE 0 END," +
	" dirty_since = CASE WHEN " + overtaken + " THEN dirty_since WHEN ?2 = 4 OR ?2 = 7 OR ?2 = 8 THEN 0 WHEN " + atRest + " THEN ?7 ELSE dirty_since END," +
	" delivered = ?8, hash = ?9, remote_id = ?10, grp = ?11, uncertain = ?12, delivered_at = ?13, cleared = ?19" +
	" WHERE target = ?14 AND scope = ?15 AND kind = ?16 AND key = ?17"

const overtaken = "(desired > ?1 OR marks > ?18)"

// undone is for statements on slots, which have triggers: what one that fails
// has done is undone with its job (see writer.one), so SQLite need not keep a
// journal of each.
const undone = " OR FAIL "

func (s *Store) settleAll(ctx context.Context, t *tx, lease storage.Lease, slots []storage.Slot) error {
	id, err := s.scopeOf(ctx, t, lease.Scope)
	if err != nil {
		return err
	}
	remotes, err := remoteIDs(ctx, t, lease, id, slots)
	if err != nil {
		return err
	}
	moved := make(map[storage.SlotKind][]string) // whose remote id changed
	for i := range slots {
		slot := &slots[i]
		if err := covers(lease, slot); err != nil {
			return err
		}
		before, object := remotes[slot.SlotKey]
		if !object { // what is settled later than its object is not woken by it
			if err := wakeOwnPlaces(ctx, t, lease.Target, id, moved); err != nil {
				return err
			}
		}
		if err := settleOne(ctx, t, slot, id); err != nil {
			return fmt.Errorf("%s %q: %w", slot.Kind, slot.Key, err)
		}
		if !object || before == slot.RemoteID {
			continue
		}
		remotes[slot.SlotKey] = slot.RemoteID
		moved[slot.Kind] = append(moved[slot.Kind], slot.Key)
		if slot.Kind == storage.SlotDepartment {
			if err := wakeMembers(ctx, t, slot, id); err != nil {
				return fmt.Errorf("wake members of %q: %w", slot.Key, err)
			}
		}
	}
	return wakeOwnPlaces(ctx, t, lease.Target, id, moved)
}

// remoteIDs reads the remote ids of the objects among slots, departments and
// users, as they are before the outcomes.
func remoteIDs(ctx context.Context, t *tx, lease storage.Lease, id int64, slots []storage.Slot) (map[storage.SlotKey]string, error) {
	keys := make(map[storage.SlotKind][]string)
	for i := range slots {
		if kind := slots[i].Kind; kind == storage.SlotDepartment || kind == storage.SlotUser {
			keys[kind] = append(keys[kind], slots[i].Key)
		}
	}
	remotes := make(map[storage.SlotKey]string)
	for kind, list := range keys {
		rows, err := t.QueryContext(ctx, readRemotes, lease.Target, id, uint8(kind), listOf(list))
		if err != nil {
			return nil, fmt.Errorf("read remote ids: %w", err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			key, remote := storage.SlotKey{Target: lease.Target, Scope: lease.Scope, Kind: kind}, ""
			if err := rows.Scan(&key.Key, &remote); err != nil {
				return nil, fmt.Errorf("read remote ids: %w", err)
			}
			remotes[key] = remote
		}
		if err := advised(rows.Err()); err != nil {
			return nil, fmt.Errorf("read remote ids: %w", err)
		}
	}
	return remotes, nil
}

func settleOne(ctx context.Context, t *tx, slot *storage.Slot, id int64) error {
	_, err := t.exec(ctx, settleSlot, slot.Desired, uint8(slot.State), slot.Attempts, millis(slot.DueAt), slot.ErrorClass, slot.LastError,
		millis(t.now), slot.Delivered, slot.Hash, slot.RemoteID, slot.Group, slot.Uncertain, millis(slot.DeliveredAt),
		slot.Target, id, uint8(slot.Kind), slot.Key, slot.Marks, slot.Cleared)
	return err
}

// wake makes slots due that are at rest. byGroup names the index: without
// statistics the planner would pass all slots of the scope for each department.
const (
	wake = " SET state = 1, due_at = ?1, error_class = '', last_error = ''," +
		" dirty_since = CASE WHEN state = 4 THEN ?1 ELSE dirty_since END WHERE target = ?2 AND scope = ?3"
	byGroup    = "UPDATE slots INDEXED BY slots_group"
	wakeOwn    = "UPDATE slots" + wake + " AND kind = ?4 AND key IN (" + keysOf + "5)) AND state IN (3, 4, 5)"
	wakeGroup  = byGroup + wake + " AND grp = ?4 AND grp <> '' AND state IN (3, 4)"
	emptyGroup = byGroup + " SET delivered = 0 WHERE target = ? AND scope = ? AND grp = ? AND grp <> '' AND kind IN (3, 4)"
)

// wakeOwnPlaces makes due the places in groups of objects whose remote ids
// changed, and empties the list of them.
func wakeOwnPlaces(ctx context.Context, t *tx, targetName string, id int64, moved map[storage.SlotKind][]string) error {
	for kind, keys := range moved {
		member := storage.SlotPlacement
		if kind == storage.SlotUser {
			member = storage.SlotMembership
		}
		woken, err := t.exec(ctx, wakeOwn, millis(t.now), targetName, id, uint8(member), listOf(keys))
		if err != nil {
			return fmt.Errorf("wake places: %w", err)
		}
		t.changed = t.changed || woken > 0
	}
	clear(moved)
	return nil
}

// wakeMembers makes due the members of a department whose remote id changed,
// and what waits for it. A group that left the target has no members any more;
// what else is known of where they are stays.
func wakeMembers(ctx context.Context, t *tx, slot *storage.Slot, id int64) error {
	woken, err := t.exec(ctx, wakeGroup, millis(t.now), slot.Target, id, slot.Key)
	t.changed = t.changed || woken > 0
	if err == nil && slot.RemoteID == "" {
		_, err = t.exec(ctx, emptyGroup, slot.Target, id, slot.Key)
	}
	return err
}

// replayStep bounds what one write of a replay makes due.
const replayStep = 500

// Replay implements storage.Fanout. It goes by key in small writes, so that a
// slot that dies again meanwhile is not replayed for ever.
func (s *Store) Replay(ctx context.Context, filter storage.DeliveryFilter) (int, error) {
	states := []storage.SlotState{storage.SlotRetrying, storage.SlotDead}
	if filter.State != 0 {
		if !slices.Contains(append(states, storage.SlotKept, storage.SlotPending), filter.State) {
			return 0, nil
		}
		states = []storage.SlotState{filter.State}
	}
	total := 0
	for _, state := range states {
		filter.State = state
		err := s.eachSlot(ctx, filter, func(ctx context.Context, t *tx, place deliveryPlace, slot *storage.Slot) error {
			n, err := t.exec(ctx, "UPDATE slots SET state = 1, attempts = 0, due_at = ?, error_class = '', last_error = '', kept = 0,"+
				" dirty_since = CASE state WHEN 7 THEN ? ELSE MIN(dirty_since, ?) END WHERE target = ? AND scope = ? AND kind = ? AND key = ? AND state IN (1, 2, 5, 7)",
				millis(t.now), millis(t.now), millis(t.now), place.target, place.id, uint8(slot.Kind), slot.Key)
			total += int(n)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("replay: %w", err)
		}
	}
	return total, nil
}

// farAhead finds open slots that are due after a moment.
const farAhead = "SELECT target, scope, kind, key FROM slots INDEXED BY slots_due WHERE " + isDue + " AND state <> 8 AND due_at > ?2 LIMIT ?3"

// Hasten implements storage.Fanout.
func (s *Store) Hasten(ctx context.Context, latest time.Time) (total int, err error) {
	for n := int64(replayStep); n == replayStep; total += int(n) {
		err := s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
			n, err = t.exec(ctx, "UPDATE slots SET due_at = ?1, dirty_since = MIN(dirty_since, ?1) WHERE (target, scope, kind, key) IN ("+farAhead+")",
				millis(t.now), millis(latest), replayStep)
			t.changed = t.changed || n > 0
			return err
		})
		if err != nil {
			return total, fmt.Errorf("make slots due that a wrong clock has put off: %w", err)
		}
	}
	return total, nil
}

// eachSlot runs do for every slot that matches, a few in one write, and tells
// who listens. do must check that the slot is still what it was read as.
func (s *Store) eachSlot(ctx context.Context, filter storage.DeliveryFilter, do func(context.Context, *tx, deliveryPlace, *storage.Slot) error) error {
	places, err := s.deliveryPlaces(ctx, filter)
	if err != nil {
		return err
	}
	for _, place := range places {
		for after, more := (slotPlace{}), true; more; {
			slots, err := s.slotsAt(ctx, filter, place, after, replayStep)
			if err != nil {
				return err
			}
			if more = len(slots) > 0; !more {
				break
			}
			err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
				for i := range slots {
					if err := do(ctx, t, place, &slots[i]); err != nil {
						return err
					}
				}
				t.changed = true
				return nil
			})
			if err != nil {
				return err
			}
			last := slots[len(slots)-1]
			after = slotPlace{last.Kind, last.Key}
		}
	}
	return nil
}
