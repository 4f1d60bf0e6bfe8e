package embedded

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

const maxPage = 1000

func pageLimit(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}

// A cursor names the last entry of a page: its parts, joined and encoded.
func encodeCursor(parts ...string) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic("cursor: " + err.Error()) // strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeCursor(cursor string, n int) ([]string, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, storage.ErrBadCursor
	}
	var parts []string
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != n {
		return nil, storage.ErrBadCursor
	}
	return parts, nil
}

// numbered is a scope with its number.
type numbered struct {
	id    int64
	scope directory.Scope
}

// matchingScopes lists the scopes of a filter from a number on, by number.
func (s *Store) matchingScopes(ctx context.Context, f storage.EntityFilter, from int64, limit int) ([]numbered, error) {
	where, args := []string{"dataset = ?", "id >= ?"}, []any{string(f.Dataset), from}
	if f.TenantID != "" {
		where, args = append(where, "tenant_id = ?"), append(args, f.TenantID)
	}
	if f.InstanceID != nil {
		where, args = append(where, "instance_id = ?"), append(args, *f.InstanceID)
	}
	rows, err := s.read.QueryContext(ctx, "SELECT id, dataset, instance_id, tenant_id FROM scopes WHERE "+strings.Join(where, " AND ")+" ORDER BY id LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list scopes: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []numbered
	for rows.Next() {
		var n numbered
		if err := rows.Scan(&n.id, &n.scope.Dataset, &n.scope.InstanceID, &n.scope.TenantID); err != nil {
			return nil, fmt.Errorf("list scopes: %w", err)
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// States implements storage.Reader.
func (s *Store) States(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]directory.State, string, error) {
	limit := pageLimit(page.Limit)
	from := int64(0)
	if page.Cursor != "" {
		parts, err := decodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		if from, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
			return nil, "", storage.ErrBadCursor
		}
	}
	scopes, err := s.matchingScopes(ctx, f, from, limit+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(scopes) > limit {
		next = encodeCursor(strconv.FormatInt(scopes[limit].id, 10))
		scopes = scopes[:limit]
	}
	states := make([]directory.State, 0, len(scopes))
	for _, n := range scopes {
		_, state, err := scanState(s.read.QueryRowContext(ctx, "SELECT "+stateColumns+" FROM scopes WHERE id = ?", n.id))
		if err != nil {
			return nil, "", fmt.Errorf("read state of %s: %w", n.scope, err)
		}
		states = append(states, state)
	}
	return states, next, nil
}

// scopesPerStep bounds the scopes looked through at once for a page.
const scopesPerStep = 500

// list reads a page of one kind of entity, by scope and key.
func list[T any](ctx context.Context, s *Store, kind directory.Kind, f storage.EntityFilter, page storage.Page, decode func(*row) (T, error)) ([]storage.Scoped[T], string, error) {
	limit := pageLimit(page.Limit)
	from, after := int64(0), ""
	resumed := page.Cursor != ""
	if resumed {
		parts, err := decodeCursor(page.Cursor, 2)
		if err != nil {
			return nil, "", err
		}
		if from, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
			return nil, "", storage.ErrBadCursor
		}
		after = parts[1]
	}
	var found []storage.Scoped[T]
	var last int64
	for {
		scopes, err := s.matchingScopes(ctx, f, from, scopesPerStep)
		if err != nil {
			return nil, "", err
		}
		for _, n := range scopes {
			where, args := "scope = ? AND kind = ?", []any{n.id, kind}
			if resumed && n.id == from {
				where, args = where+" AND key > ?", append(args, after)
			}
			resumed = false
			where, args = narrow(where, args, f)
			v := view{q: s.read, scope: n.scope, id: n.id}
			err := v.each(ctx, where+" ORDER BY key LIMIT ?", append(args, limit+1-len(found)), func(e *row) error {
				if len(found) == limit { // one more than fits: there is a next page
					found = append(found, storage.Scoped[T]{})
					return nil
				}
				entity, err := decode(e)
				found = append(found, storage.Scoped[T]{Scope: n.scope, Entity: entity})
				last, after = n.id, e.key
				return err
			})
			if err != nil {
				return nil, "", err
			}
			if len(found) > limit {
				return found[:limit], encodeCursor(strconv.FormatInt(last, 10), after), nil
			}
		}
		if len(scopes) < scopesPerStep {
			return found, "", nil
		}
		from = scopes[len(scopes)-1].id + 1
	}
}

func narrow(where string, args []any, f storage.EntityFilter) (string, []any) {
	if !f.Deleted {
		where += " AND flags & 1 = 0"
	}
	if f.Key != "" {
		where, args = where+" AND key = ?", append(args, f.Key)
	}
	if f.Parent != nil {
		where, args = where+" AND parent = ?", append(args, *f.Parent)
	}
	return where, args
}

// Tenants implements storage.Reader.
func (s *Store) Tenants(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Tenant], string, error) {
	return list(ctx, s, directory.KindTenant, f, page, (*row).tenant)
}

// Departments implements storage.Reader.
func (s *Store) Departments(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Department], string, error) {
	return list(ctx, s, directory.KindDepartment, f, page, (*row).departmentOK)
}

// Users implements storage.Reader.
func (s *Store) Users(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.User], string, error) {
	return list(ctx, s, directory.KindUser, f, page, (*row).user)
}

// Applications implements storage.Reader.
func (s *Store) Applications(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]storage.Scoped[directory.Application], string, error) {
	return list(ctx, s, directory.KindApplication, f, page, (*row).application)
}

// Changes implements storage.Reader.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]storage.Change, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT e.scope, "+entityColumns+" FROM entities e WHERE seq > ? ORDER BY seq LIMIT ?", after, pageLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("read change feed: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var changes []storage.Change
	for rows.Next() {
		var e row
		var scopeID int64
		if err := e.scan(rows, &scopeID); err != nil {
			return nil, fmt.Errorf("read change feed: %w", err)
		}
		scope, err := s.scopeName(ctx, s.read, scopeID)
		if err != nil {
			return nil, err
		}
		change, err := e.feedEntry(scope)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read change feed: %w", err)
	}
	return changes, nil
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

// Pushes implements storage.Reader.
func (s *Store) Pushes(ctx context.Context, f storage.PushFilter, page storage.Page) ([]storage.Record, string, error) {
	where, args := scopeWhere(f.Dataset, f.InstanceID, f.TenantID)
	if f.Kind != "" {
		where, args = where+" AND j.kind = ?", append(args, string(f.Kind))
	}
	if f.Result != "" {
		where, args = where+" AND j.result = ?", append(args, string(f.Result))
	}
	if page.Cursor != "" {
		parts, err := decodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND j.id < ?", append(args, parts[0])
	}
	limit := pageLimit(page.Limit)
	rows, err := s.read.QueryContext(ctx, "SELECT "+recordColumns+" FROM journal j JOIN scopes s ON s.id = j.scope WHERE "+where+" ORDER BY j.id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("list pushes: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var records []storage.Record
	for rows.Next() {
		record, _, err := scanRecord(rows)
		if err != nil {
			return nil, "", fmt.Errorf("list pushes: %w", err)
		}
		records = append(records, record)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list pushes: %w", err)
	}
	if len(records) > limit {
		return records[:limit], encodeCursor(records[limit-1].ID), nil
	}
	return records, "", nil
}

// Push implements storage.Reader.
func (s *Store) Push(ctx context.Context, id string) (storage.Record, []directory.Decision, error) {
	var packed []byte
	record, _, err := s.record(ctx, s.read, id, &packed)
	if err != nil {
		return record, nil, err
	}
	text, err := unpack(packed)
	if err != nil {
		return record, nil, fmt.Errorf("push %s: %w", id, err)
	}
	var decisions []directory.Decision
	if len(text) > 0 {
		if err := json.Unmarshal(text, &decisions); err != nil {
			return record, nil, fmt.Errorf("stored decisions of push %s: %w", id, err)
		}
	}
	return record, decisions, nil
}

// scopeWhere narrows scopes s; empty members match all.
func scopeWhere(dataset directory.Dataset, instanceID *string, tenantID string) (string, []any) {
	where, args := "1", []any(nil)
	if dataset != "" {
		where, args = where+" AND s.dataset = ?", append(args, string(dataset))
	}
	if tenantID != "" {
		where, args = where+" AND s.tenant_id = ?", append(args, tenantID)
	}
	if instanceID != nil {
		where, args = where+" AND s.instance_id = ?", append(args, *instanceID)
	}
	return where, args
}

func deliveryWhere(f storage.DeliveryFilter) (string, []any) {
	where, args := scopeWhere(f.Dataset, f.InstanceID, f.TenantID)
	if f.Target != "" {
		where, args = where+" AND t.target = ?", append(args, f.Target)
	}
	if f.State != 0 {
		where, args = where+" AND t.state = ?", append(args, uint8(f.State))
	}
	if f.Kind != 0 {
		where, args = where+" AND t.kind = ?", append(args, uint8(f.Kind))
	}
	if f.Key != "" {
		where, args = where+" AND t.key = ?", append(args, f.Key)
	}
	return where, args
}

// Deliveries implements storage.Reader.
func (s *Store) Deliveries(ctx context.Context, f storage.DeliveryFilter, page storage.Page) ([]storage.Slot, string, error) {
	where, args := deliveryWhere(f)
	if page.Cursor != "" {
		parts, err := decodeCursor(page.Cursor, 4)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND (t.target, t.scope, t.kind, t.key) > (?, CAST(? AS INTEGER), CAST(? AS INTEGER), ?)", append(args, anys(parts)...)
	}
	limit := pageLimit(page.Limit)
	rows, err := s.read.QueryContext(ctx, "SELECT t.target, s.dataset, s.instance_id, s.tenant_id, "+slotColumns+
		" FROM slots t JOIN scopes s ON s.id = t.scope WHERE "+where+" ORDER BY t.target, t.scope, t.kind, t.key LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var slots []storage.Slot
	var ids []int64
	for rows.Next() {
		var slot storage.Slot
		var id int64
		var times [3]int64
		into := append([]any{&slot.Target, &slot.Scope.Dataset, &slot.Scope.InstanceID, &slot.Scope.TenantID}, slotInto(&slot, &id, &times)...)
		if err := rows.Scan(into...); err != nil {
			return nil, "", fmt.Errorf("list deliveries: %w", err)
		}
		setTimes(&slot, times)
		slots, ids = append(slots, slot), append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	if len(slots) <= limit {
		return slots, "", nil
	}
	last := slots[limit-1]
	return slots[:limit], encodeCursor(last.Target, strconv.FormatInt(ids[limit-1], 10), strconv.Itoa(int(last.Kind)), last.Key), nil
}

// Counts implements storage.Reader.
func (s *Store) Counts(ctx context.Context, targetName string, scope *directory.Scope) (storage.TargetCounts, error) {
	counts := storage.TargetCounts{Slots: make(storage.SlotCounts)}
	where, args := "target = ?", []any{targetName}
	feed, feedArgs := "seq > COALESCE((SELECT seq FROM relays WHERE target = ?), 0)", []any{targetName}
	if scope != nil {
		id, err := s.scopeOf(ctx, s.read, *scope)
		if errors.Is(err, errUnknownScope) {
			return counts, nil
		}
		if err != nil {
			return counts, err
		}
		where, args = where+" AND scope = ?", append(args, id)
		feed, feedArgs = feed+" AND scope = ?", append(feedArgs, id)
	}
	rows, err := s.read.QueryContext(ctx, "SELECT state, SUM(n) FROM slot_counts WHERE "+where+" GROUP BY state", args...)
	if err != nil {
		return counts, fmt.Errorf("count slots of %s: %w", targetName, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var state storage.SlotState
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return counts, fmt.Errorf("count slots of %s: %w", targetName, err)
		}
		if n > 0 {
			counts.Slots[state] = n
		}
	}
	if err := rows.Err(); err != nil {
		return counts, fmt.Errorf("count slots of %s: %w", targetName, err)
	}
	if err := s.read.QueryRowContext(ctx, "SELECT COUNT(*) FROM entities WHERE "+feed, feedArgs...).Scan(&counts.Unrelayed); err != nil {
		return counts, fmt.Errorf("count unrelayed changes of %s: %w", targetName, err)
	}
	return counts, s.troubles(ctx, where, args, &counts)
}

// troubles finds the oldest open slot and the newest error.
func (s *Store) troubles(ctx context.Context, where string, args []any, counts *storage.TargetCounts) error {
	var oldest *int64
	if err := s.read.QueryRowContext(ctx, "SELECT MIN(dirty_since) FROM slots WHERE state IN (1, 2) AND "+where, args...).Scan(&oldest); err != nil {
		return fmt.Errorf("find oldest slot: %w", err)
	}
	if oldest != nil {
		counts.Oldest = fromMillis(*oldest)
	}
	err := s.read.QueryRowContext(ctx, "SELECT last_error FROM slots WHERE state IN (2, 3, 5) AND state <> 3 AND "+where+" LIMIT 1", args...).Scan(&counts.LastError)
	if err != nil && !errors.Is(err, errNoRows) {
		return fmt.Errorf("find last error: %w", err)
	}
	return nil
}
