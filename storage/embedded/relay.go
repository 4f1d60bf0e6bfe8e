package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// markSlots makes slots due for the versions of a list of keys and versions. A
// slot of an older version keeps what is known of the target's side and starts
// its attempts anew.
const markSlots = "INSERT" + undone + "INTO slots (target, scope, kind, key, state, desired, dirty_since, due_at)" +
	" SELECT ?1, ?2, ?3, c.value ->> 0, 1, c.value ->> 1, ?5, ?5 FROM json_each(?4) c WHERE true" + onMark

const onMark = " ON CONFLICT DO UPDATE SET desired = excluded.desired, marks = marks + 1, attempts = 0, state = 1, error_class = '', last_error = ''," +
	" dirty_since = CASE WHEN " + atRest + " THEN excluded.dirty_since ELSE dirty_since END, due_at = excluded.due_at" +
	" WHERE excluded.desired > desired"

// markUsers makes the slots of users due whose look depends on something else
// that changed. Only users already relayed have one; the others come by themselves.
const markUsers = "UPDATE" + undone + "slots SET marks = marks + 1, attempts = 0, state = 1, error_class = '', last_error = ''," +
	" dirty_since = CASE WHEN " + atRest + " THEN ? ELSE dirty_since END, due_at = ?" +
	" WHERE target = ? AND scope = ?"

// allUsers are those of a tenant; usersOf are those of a department, and their
// memberships but for those that are in its group and at rest: the group may
// have come, or gone, while a round decided without it. What is unheld waits for
// no decision.
const (
	allUsers = " AND kind = 2"
	unheld   = " AND state <> 6"
	usersOf  = unheld + " AND kind IN (2, 4) AND (kind = 2 OR state <> 4 OR grp <> ?) AND key IN (SELECT key FROM entities INDEXED BY entities_parent WHERE scope = ? AND kind = 3 AND parent = ? AND flags & 1 = 0)"
)

// Relay implements storage.Fanout.
func (s *Store) Relay(ctx context.Context, targetName string, options storage.RelayOptions, limit int) (int, []directory.Scope, error) {
	behind, err := s.behind(ctx, targetName)
	if err != nil || !behind {
		return 0, nil, err
	}
	read := 0
	touched := make(map[int64]directory.Scope)
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		if _, known, err := selectionOf(ctx, t, targetName); err != nil || known != options.Selection {
			return err
		}
		changes, cursor, err := s.nextChanges(ctx, t, targetName, limit)
		if err != nil || len(changes) == 0 {
			return err
		}
		read = len(changes)
		due := make(dueSlots)
		for _, c := range changes {
			scope, err := s.scopeName(ctx, t, c.scope)
			if err != nil {
				return err
			}
			if options.Match != nil && !options.Match(scope) {
				continue
			}
			if c.kind != directory.KindApplication {
				touched[c.scope] = scope
			}
			if err := relayOne(ctx, t, targetName, options, c, due); err != nil {
				return err
			}
		}
		if err := due.mark(ctx, t, targetName); err != nil {
			return err
		}
		_, err = t.exec(ctx, "INSERT INTO relays (target, seq) VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", targetName, cursor)
		return err
	})
	if err != nil {
		return 0, nil, fmt.Errorf("relay to %s: %w", targetName, err)
	}
	scopes := make([]directory.Scope, 0, len(touched))
	for _, scope := range touched {
		scopes = append(scopes, scope)
	}
	sortedScopes(scopes)
	return read, scopes, nil
}

// Select implements storage.Fanout.
func (s *Store) Select(ctx context.Context, targetName, selection string) (again bool, err error) {
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		seq, known, err := selectionOf(ctx, t, targetName)
		if err != nil || known == selection {
			return err
		}
		again = seq > 0
		_, err = t.exec(ctx, "INSERT INTO relays (target, seq, selection) VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET seq = 0, selection = excluded.selection",
			targetName, selection)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("select what is relayed to %s: %w", targetName, err)
	}
	return again, nil
}

// selectionOf is what the relay of a target lets through, and how far it came.
func selectionOf(ctx context.Context, q querier, targetName string) (seq int64, selection string, err error) {
	err = q.QueryRowContext(ctx, "SELECT seq, selection FROM relays WHERE target = ?", targetName).Scan(&seq, &selection)
	if errors.Is(err, errNoRows) {
		err = nil
	}
	return seq, selection, err
}

// behind asks a reader first, so that a target that has caught up costs the
// writer nothing.
func (s *Store) behind(ctx context.Context, targetName string) (behind bool, err error) {
	err = s.read.QueryRowContext(ctx,
		"SELECT EXISTS (SELECT 1 FROM entities WHERE seq > COALESCE((SELECT seq FROM relays WHERE target = ?), 0))", targetName).Scan(&behind)
	if err != nil {
		return false, fmt.Errorf("relay to %s: %w", targetName, err)
	}
	return behind, nil
}

// feedRow is a change as the relay needs it.
type feedRow struct {
	scope   int64
	kind    directory.Kind
	key     string
	version int64
}

func (s *Store) nextChanges(ctx context.Context, t *tx, targetName string, limit int) (changes []feedRow, cursor int64, err error) {
	rows, err := t.QueryContext(ctx,
		"SELECT scope, kind, key, version, seq FROM entities WHERE seq > COALESCE((SELECT seq FROM relays WHERE target = ?), 0) ORDER BY seq LIMIT ?",
		targetName, limit)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c feedRow
		if err := rows.Scan(&c.scope, &c.kind, &c.key, &c.version, &cursor); err != nil {
			return nil, 0, err
		}
		changes = append(changes, c)
	}
	return changes, cursor, advised(rows.Err())
}

// dueSlots gathers the slots that changes make due, by where they are.
type dueSlots map[dueKind][]any

// dueKind is the slots of one kind in a scope.
type dueKind struct {
	scope int64
	kind  storage.SlotKind
}

// add notes the slots of a change of an entity.
func (d dueSlots) add(c feedRow, kinds ...storage.SlotKind) {
	for _, kind := range kinds {
		place := dueKind{c.scope, kind}
		d[place] = append(d[place], [2]any{c.key, c.version})
	}
}

// mark makes them due.
func (d dueSlots) mark(ctx context.Context, t *tx, targetName string) error {
	for place, slots := range d {
		list, err := json.Marshal(slots)
		if err != nil {
			return fmt.Errorf("encode keys: %w", err)
		}
		if _, err := t.exec(ctx, markSlots, targetName, place.scope, uint8(place.kind), string(list), millis(t.now)); err != nil {
			return err
		}
	}
	return nil
}

// relayOne notes the slots of one change, and makes those due whose look
// depends on it.
func relayOne(ctx context.Context, t *tx, targetName string, options storage.RelayOptions, c feedRow, due dueSlots) error {
	now := millis(t.now)
	switch c.kind {
	case directory.KindDepartment:
		due.add(c, storage.SlotDepartment)
		if options.Placements {
			due.add(c, storage.SlotPlacement)
		}
		// What its users look like holds the department's name.
		_, err := t.exec(ctx, markUsers+usersOf, now, now, targetName, c.scope, c.key, c.scope, c.key)
		return err
	case directory.KindUser:
		due.add(c, storage.SlotUser, storage.SlotMembership)
	case directory.KindTenant:
		_, err := t.exec(ctx, markUsers+unheld+allUsers, now, now, targetName, c.scope)
		return err
	case directory.KindApplication:
	}
	return nil
}

// someUsers are those of a tenant between two keys.
const someUsers = unheld + allUsers + " AND key > ? AND key <= ?"

// MarkUsers implements storage.Fanout.
func (s *Store) MarkUsers(ctx context.Context, targetName string, scope directory.Scope, after string, limit int) (last string, err error) {
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		last = ""
		id, known, err := s.knownScope(ctx, t, scope)
		if err != nil || !known {
			return err
		}
		err = t.QueryRowContext(ctx, "SELECT COALESCE(MAX(key), '') FROM (SELECT key FROM slots WHERE target = ? AND scope = ? AND kind = 2 AND key > ? ORDER BY key LIMIT ?)",
			targetName, id, after, limit).Scan(&last)
		if err != nil || last == "" {
			return err
		}
		t.changed = true
		now := millis(t.now)
		_, err = t.exec(ctx, markUsers+someUsers, now, now, targetName, id, after, last)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("mark the users of %s at %s: %w", scope, targetName, err)
	}
	return last, nil
}

// scopeName finds the scope of a number.
func (s *Store) scopeName(ctx context.Context, q querier, id int64) (directory.Scope, error) {
	if scope, ok := s.scopes.name(id); ok {
		return scope, nil
	}
	var scope directory.Scope
	err := q.QueryRowContext(ctx, "SELECT dataset, instance_id, tenant_id FROM scopes WHERE id = ?", id).
		Scan(&scope.Dataset, &scope.InstanceID, &scope.TenantID)
	if err != nil {
		return scope, fmt.Errorf("scope %d: %w", id, err)
	}
	return scope, nil
}

// Tenant implements storage.Fanout.
func (s *Store) Tenant(ctx context.Context, scope directory.Scope) (directory.Tenant, bool, error) {
	v, ok, err := s.readView(ctx, scope)
	if err != nil || !ok {
		return directory.Tenant{}, false, err
	}
	return v.Tenant(ctx)
}

// readView is a scope as the readers see it.
func (s *Store) readView(ctx context.Context, scope directory.Scope) (view, bool, error) {
	id, ok, err := s.knownScope(ctx, s.read, scope)
	return view{q: s.read, scope: scope, id: id}, ok, err
}

// State implements storage.Reader.
func (s *Store) State(ctx context.Context, scope directory.Scope) (directory.State, error) {
	return readState(ctx, s.api, scope)
}

var errUnknownScope = errors.New("scope is not known")

// scopeOf is the number of a scope that slots exist of.
func (s *Store) scopeOf(ctx context.Context, q querier, scope directory.Scope) (int64, error) {
	id, ok, err := s.knownScope(ctx, q, scope)
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", scope, errUnknownScope)
	}
	return id, err
}

// sortedScopes orders scopes, so that results do not depend on a map.
func sortedScopes(scopes []directory.Scope) {
	slices.SortFunc(scopes, func(a, b directory.Scope) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		default:
			return 0
		}
	})
}
