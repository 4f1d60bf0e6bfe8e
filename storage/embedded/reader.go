package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

// entityScopes narrows scopes to those of a filter.
func entityScopes(f storage.EntityFilter) (string, []any) {
	return scopeWhere(f.Dataset, f.InstanceID, f.TenantID)
}

// States implements storage.Reader. Scopes go by tenant and instance, the
// order of their index.
func (s *Store) States(ctx context.Context, f storage.EntityFilter, page storage.Page) ([]directory.State, string, error) {
	limit := page.Size()
	where, args := entityScopes(f)
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 2)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND (tenant_id, instance_id) > (?, ?)", append(args, anys(parts)...)
	}
	rows, err := s.api.QueryContext(ctx, "SELECT "+stateColumns+" FROM scopes s WHERE "+where+" AND "+seenScope+
		" ORDER BY tenant_id, instance_id LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("list states: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var states []directory.State
	var unreadable storage.Unreadable
	for rows.Next() {
		state, part, err := scanState(rows)
		if err != nil {
			return nil, "", fmt.Errorf("list states: %w", err)
		}
		if part != nil {
			unreadable.Add("state of "+state.Scope.String(), part)
		}
		states = append(states, state)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, "", fmt.Errorf("list states: %w", err)
	}
	if len(states) <= limit {
		return states, "", unreadable.Err()
	}
	last := states[limit-1].Scope
	return states[:limit], storage.EncodeCursor(last.TenantID, last.InstanceID), unreadable.Err()
}

// list reads a page of one kind of entity, by tenant, instance and key. A page
// that goes on inside a scope reads the rest of that scope first.
func list[T any](ctx context.Context, s *Store, kind directory.Kind, f storage.EntityFilter, page storage.Page, decode func(*row) (T, error)) ([]storage.Scoped[T], string, error) {
	limit := page.Size()
	if page.Cursor == "" {
		found, err := listPart(ctx, s, kind, f, "", nil, limit+1, decode)
		return cutPage(found, limit, err)
	}
	parts, err := storage.DecodeCursor(page.Cursor, 3)
	if err != nil {
		return nil, "", err
	}
	found, err := listPart(ctx, s, kind, f, " AND s.tenant_id = ? AND s.instance_id = ? AND e.key > ?", anys(parts), limit+1, decode)
	if err == nil && len(found) <= limit {
		var rest []entry[T]
		rest, err = listPart(ctx, s, kind, f, " AND (s.tenant_id, s.instance_id) > (?, ?)", anys(parts[:2]), limit+1-len(found), decode)
		found = append(found, rest...)
	}
	return cutPage(found, limit, err)
}

// entry is an entity with its key, for the cursor behind it.
type entry[T any] struct {
	storage.Scoped[T]
	key    string
	unread error
}

func cutPage[T any](found []entry[T], limit int, err error) ([]storage.Scoped[T], string, error) {
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1]
		next = storage.EncodeCursor(last.Scope.TenantID, last.Scope.InstanceID, last.key)
	}
	page := make([]storage.Scoped[T], 0, len(found))
	var unreadable storage.Unreadable
	for i := range found {
		if err := found[i].unread; err != nil {
			unreadable.Add(fmt.Sprintf("%q of %s", found[i].key, found[i].Scope), err)
			continue
		}
		page = append(page, found[i].Scoped)
	}
	return page, next, unreadable.Err()
}

func listPart[T any](ctx context.Context, s *Store, kind directory.Kind, f storage.EntityFilter, from string, fromArgs []any, limit int, decode func(*row) (T, error)) ([]entry[T], error) {
	where, args := entityScopes(f)
	where, args = where+" AND e.kind = ?", append(args, kind)
	where, args = narrow(where+from, append(args, fromArgs...), f)
	index := ""
	if f.Parent != nil {
		index = "INDEXED BY entities_parent "
	}
	rows, err := s.api.QueryContext(ctx, "SELECT s.dataset, s.instance_id, s.tenant_id, "+entityColumns+
		" FROM scopes s CROSS JOIN entities e "+index+"ON e.scope = s.id WHERE "+where+" ORDER BY s.tenant_id, s.instance_id, e.key LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list entities: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var found []entry[T]
	for rows.Next() {
		var e row
		var one entry[T]
		if err := e.scan(rows, &one.Scope.Dataset, &one.Scope.InstanceID, &one.Scope.TenantID); err != nil {
			return nil, fmt.Errorf("list entities: %w", err)
		}
		one.key = e.key
		one.Entity, one.unread = decode(&e)
		found = append(found, one)
	}
	if err := advised(rows.Err()); err != nil {
		return nil, fmt.Errorf("list entities: %w", err)
	}
	return found, nil
}

func narrow(where string, args []any, f storage.EntityFilter) (string, []any) {
	if !f.Deleted {
		where += " AND e.flags & 1 = 0"
	}
	if f.Key != "" {
		where, args = where+" AND e.key = ?", append(args, f.Key)
	}
	if f.Parent != nil {
		where, args = where+" AND e.parent = ?", append(args, *f.Parent)
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

// Pushes implements storage.Reader.
func (s *Store) Pushes(ctx context.Context, f storage.PushFilter, page storage.Page) ([]storage.Record, string, error) {
	where, args := scopeWhere(f.Dataset, f.InstanceID, f.TenantID)
	if f.Kind != "" {
		where, args = where+" AND j.kind = ?", append(args, string(f.Kind))
	}
	switch {
	case f.Result == directory.ResultHeld:
		where += " AND j.result = 'held'" // the words of the index on them
	case f.Result != "":
		where, args = where+" AND j.result = ?", append(args, string(f.Result))
	}
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND j.id < ?", append(args, parts[0])
	}
	limit := page.Size()
	from := "journal j JOIN scopes s ON s.id = j.scope"
	if f.TenantID != "" {
		// By its own pushes, not by everybody's.
		from = "scopes s CROSS JOIN journal j INDEXED BY journal_scope ON j.scope = s.id"
	}
	rows, err := s.api.QueryContext(ctx, "SELECT "+recordColumns+" FROM "+from+" WHERE "+where+" ORDER BY j.id DESC LIMIT ?", append(args, limit+1)...)
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
	if err := advised(rows.Err()); err != nil {
		return nil, "", fmt.Errorf("list pushes: %w", err)
	}
	if len(records) > limit {
		return records[:limit], storage.EncodeCursor(records[limit-1].ID), nil
	}
	return records, "", nil
}

// Push implements storage.Reader.
func (s *Store) Push(ctx context.Context, id string) (storage.Record, []directory.Decision, error) {
	record, text, err := s.decided(ctx, id)
	if err != nil {
		return record, nil, err
	}
	var decisions []directory.Decision
	if len(text) > 0 {
		if err := json.Unmarshal(text, &decisions); err != nil {
			return record, nil, fmt.Errorf("stored decisions of push %s: %w", id, err)
		}
	}
	return record, decisions, nil
}

// PushPage implements storage.Reader.
func (s *Store) PushPage(ctx context.Context, id string, page storage.Page) (storage.Record, []directory.Decision, string, error) {
	record, text, err := s.decided(ctx, id)
	if err != nil {
		return record, nil, "", err
	}
	decisions, next, err := storage.DecodeDecisions(text, page)
	if err != nil {
		return record, nil, "", fmt.Errorf("decisions of push %s: %w", id, err)
	}
	return record, decisions, next, nil
}

// decided reads a push and its decisions, as JSON.
func (s *Store) decided(ctx context.Context, id string) (storage.Record, []byte, error) {
	var packed []byte
	record, _, err := s.record(ctx, s.api, id, &packed)
	if err != nil {
		return record, nil, err
	}
	text, err := blob.Unpack(packed)
	if err != nil {
		return record, nil, fmt.Errorf("push %s: %w", id, err)
	}
	return record, text, nil
}

// Body implements storage.Reader.
func (s *Store) Body(ctx context.Context, id string) ([]byte, error) {
	var packed []byte
	err := s.api.QueryRowContext(ctx, "SELECT raw FROM journal WHERE id = ?", id).Scan(&packed)
	if errors.Is(err, errNoRows) {
		err = storage.ErrNotFound
	}
	var raw []byte
	if err == nil {
		raw, err = blob.Unpack(packed)
	}
	if err != nil {
		return nil, fmt.Errorf("body of push %s: %w", id, err)
	}
	return raw, nil
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
