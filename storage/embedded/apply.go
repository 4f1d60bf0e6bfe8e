package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// The entity statement writes rows of eleven columns, many at a time.
const (
	entityWidth = 11
	bulkRows    = 128
)

func entityStatement(rows int) string {
	const one = "(?,?,?,?,?,?,?,?,?,?,?)"
	statement := make([]byte, 0, 300+rows*(len(one)+1))
	statement = append(statement, "INSERT INTO entities (scope, kind, key, name, parent, flags, version, seq, source_time, changed_at, data) VALUES "...)
	for i := range rows {
		if i > 0 {
			statement = append(statement, ',')
		}
		statement = append(statement, one...)
	}
	return string(append(statement, " ON CONFLICT (scope, kind, key) DO UPDATE SET name = excluded.name, parent = excluded.parent, flags = excluded.flags,"+
		" version = excluded.version, seq = excluded.seq, source_time = excluded.source_time, changed_at = excluded.changed_at, data = excluded.data"...))
}

var (
	oneEntity  = entityStatement(1)
	bulkEntity = entityStatement(bulkRows)
)

// bulk gathers entity rows into few statements.
type bulk struct {
	t    *tx
	args []any
}

func (b *bulk) add(ctx context.Context, args ...any) error {
	b.args = append(b.args, args...)
	if len(b.args) < entityWidth*bulkRows {
		return nil
	}
	_, err := b.t.exec(ctx, bulkEntity, b.args...)
	b.args = b.args[:0]
	return err
}

func (b *bulk) flush(ctx context.Context) error {
	for rest := b.args; len(rest) > 0; rest = rest[entityWidth:] {
		if _, err := b.t.exec(ctx, oneEntity, rest[:entityWidth]...); err != nil {
			return err
		}
	}
	b.args = nil
	return nil
}

// scopeID finds the scope's number, giving it one if it has none.
func (s *Store) scopeID(ctx context.Context, t *tx, scope directory.Scope) (int64, error) {
	if id, ok := s.scopes.id(scope); ok {
		return id, nil
	}
	var id int64
	err := t.QueryRowContext(ctx, "INSERT INTO scopes (dataset, tenant_id, instance_id) VALUES (?, ?, ?)"+
		" ON CONFLICT DO UPDATE SET dataset = excluded.dataset RETURNING id",
		string(scope.Dataset), scope.TenantID, scope.InstanceID).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("register scope %s: %w", scope, err)
	}
	// Not remembered yet: the job may be rolled back.
	return id, nil
}

// knownScope finds the number of a scope that is on disk.
func (s *Store) knownScope(ctx context.Context, q querier, scope directory.Scope) (int64, bool, error) {
	if id, ok := s.scopes.id(scope); ok {
		return id, true, nil
	}
	var id int64
	err := q.QueryRowContext(ctx, "SELECT id FROM scopes WHERE dataset = ? AND tenant_id = ? AND instance_id = ?",
		string(scope.Dataset), scope.TenantID, scope.InstanceID).Scan(&id)
	if errors.Is(err, errNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find scope %s: %w", scope, err)
	}
	return id, true, nil
}

// apply writes what a plan changes, and notes the push it came from (nil:
// none) as the scope's newest of its sort.
func (s *Store) apply(ctx context.Context, t *tx, id int64, plan *directory.Plan, from *directory.PushMark) error {
	if err := s.writeEntities(ctx, t, id, plan); err != nil {
		return err
	}
	for _, touch := range plan.Touched {
		if err := applyTouch(ctx, t, id, touch); err != nil {
			return err
		}
	}
	last := int64(0)
	if !plan.Empty() {
		last = t.w.seq.Load()
	}
	full, incremental, err := encodeMark(from)
	if err != nil {
		return err
	}
	d := plan.Delta
	_, err = t.exec(ctx, "UPDATE scopes SET departments = departments + ?, parent_missing = parent_missing + ?, users = users + ?,"+
		" applications = applications + ?, full_time = MAX(full_time, ?), full_digest = CASE WHEN ? THEN ? ELSE full_digest END, seq = MAX(seq, ?),"+
		" last_full = COALESCE(?, last_full), last_incremental = COALESCE(?, last_incremental) WHERE id = ?",
		d.Departments, d.ParentMissing, d.Users, d.Applications, int64(plan.FullTime), plan.FullTime != 0 || len(plan.Departments) > 0, plan.FullDigest, last, full, incremental, id)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if plan.HoldSet {
		if err := setHold(ctx, t, id, plan.Hold); err != nil {
			return err
		}
	}
	t.changed = t.changed || !plan.Empty()
	return nil
}

func (s *Store) writeEntities(ctx context.Context, t *tx, id int64, plan *directory.Plan) error {
	b := &bulk{t: t}
	now := millis(t.now)
	put := func(kind directory.Kind, key, name, parent string, flags int, m *directory.Meta, data any) error {
		if m.Deleted {
			flags |= flagDeleted
		}
		m.Seq, m.ChangedAt = t.nextSeq(), t.now
		return b.add(ctx, id, uint8(kind), key, name, parent, flags, m.Version, m.Seq, int64(m.SourceTime), now, data)
	}
	if tenant := plan.Tenant; tenant != nil {
		data, err := json.Marshal(tenant)
		if err != nil {
			return fmt.Errorf("encode tenant: %w", err)
		}
		if err := put(directory.KindTenant, "", tenant.Name, "", 0, &tenant.Meta, string(data)); err != nil {
			return fmt.Errorf("write tenant: %w", err)
		}
	}
	slices.SortFunc(plan.Departments, func(a, b directory.Department) int { return cmp.Compare(a.Code, b.Code) })
	for i := range plan.Departments {
		d := &plan.Departments[i]
		flags := 0
		if d.ParentMissing {
			flags = flagParentMissing
		}
		if err := put(directory.KindDepartment, d.Code, d.Name, d.ParentCode, flags, &d.Meta, nil); err != nil {
			return fmt.Errorf("write departments: %w", err)
		}
	}
	slices.SortFunc(plan.Users, func(a, b directory.User) int { return cmp.Compare(a.UserName, b.UserName) })
	for i := range plan.Users {
		u := &plan.Users[i]
		data, err := json.Marshal(u)
		if err != nil {
			return fmt.Errorf("encode user: %w", err)
		}
		if err := put(directory.KindUser, u.UserName, u.Name, u.OrgCode, 0, &u.Meta, string(data)); err != nil {
			return fmt.Errorf("write users: %w", err)
		}
	}
	slices.SortFunc(plan.Applications, func(a, b directory.Application) int { return cmp.Compare(a.AppID, b.AppID) })
	for i := range plan.Applications {
		a := &plan.Applications[i]
		data, err := json.Marshal(storage.Keep(a))
		if err != nil {
			return fmt.Errorf("encode application: %w", err)
		}
		if err := put(directory.KindApplication, a.AppID, a.ClientID, "", 0, &a.Meta, string(data)); err != nil {
			return fmt.Errorf("write applications: %w", err)
		}
	}
	if err := b.flush(ctx); err != nil {
		return fmt.Errorf("write entities: %w", err)
	}
	return nil
}

// applyTouch moves an entity's times on; version and place in the feed stay.
func applyTouch(ctx context.Context, t *tx, id int64, touch directory.Touch) error {
	query, args := "UPDATE entities SET source_time = ? WHERE scope = ? AND kind = ? AND key = ?", []any{int64(touch.SourceTime), id, touch.Kind, touch.Key}
	if touch.User != nil {
		data, err := json.Marshal(touch.User)
		if err != nil {
			return fmt.Errorf("encode user: %w", err)
		}
		query, args = "UPDATE entities SET data = ?, source_time = ? WHERE scope = ? AND kind = ? AND key = ?", append([]any{string(data)}, args...)
	}
	if _, err := t.exec(ctx, query, args...); err != nil {
		return fmt.Errorf("touch %s %q: %w", touch.Kind, touch.Key, err)
	}
	return nil
}

// setHold replaces the scope's hold; the push that held before is told so.
func setHold(ctx context.Context, t *tx, id int64, hold *directory.Hold) error {
	var before *string
	if err := t.QueryRowContext(ctx, "SELECT hold FROM scopes WHERE id = ?", id).Scan(&before); err != nil {
		return fmt.Errorf("read hold: %w", err)
	}
	if before != nil {
		var old directory.Hold // none, if it cannot be read
		_ = json.Unmarshal([]byte(*before), &old)
		if hold == nil || hold.PushID != old.PushID {
			_, err := t.exec(ctx, "UPDATE journal SET result = ? WHERE id = ? AND result = ?",
				string(directory.ResultReplaced), old.PushID, string(directory.ResultHeld))
			if err != nil {
				return fmt.Errorf("end replaced hold: %w", err)
			}
		}
	}
	var text any
	if hold != nil {
		hold.Since = t.now
		encoded, err := json.Marshal(hold)
		if err != nil {
			return fmt.Errorf("encode hold: %w", err)
		}
		text = string(encoded)
	}
	if _, err := t.exec(ctx, "UPDATE scopes SET hold = ? WHERE id = ?", text, id); err != nil {
		return fmt.Errorf("write hold: %w", err)
	}
	return nil
}

// encodeMark encodes the mark of a push for the column of its sort.
func encodeMark(mark *directory.PushMark) (full, incremental any, err error) {
	if mark == nil {
		return nil, nil, nil
	}
	text, err := json.Marshal(mark)
	if err != nil {
		return nil, nil, fmt.Errorf("encode mark: %w", err)
	}
	if mark.Kind == directory.AllOrgSync {
		return string(text), nil, nil
	}
	return nil, string(text), nil
}

func markOf(record storage.Record, result directory.Result) *directory.PushMark {
	return &directory.PushMark{
		ID: record.ID, Kind: record.Kind, Result: result, SourceTime: record.SourceTime, ReceivedAt: record.ReceivedAt,
	}
}
