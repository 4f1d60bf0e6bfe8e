package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// querier reads: the writer's transaction or a reader.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// The flags of an entity row.
const (
	flagDeleted       = 1
	flagParentMissing = 2
)

// entityColumns are read by scanEntity.
const entityColumns = "e.kind, e.key, e.name, e.parent, e.flags, e.version, e.seq, e.source_time, e.changed_at, e.data"

// row is an entity as the table has it.
type row struct {
	kind               directory.Kind
	key, name, parent  string
	flags              int
	version, seq       int64
	sourceTime, change int64
	data               sql.NullString
}

func (e *row) scan(rows interface{ Scan(...any) error }, before ...any) error {
	return advised(rows.Scan(append(before, &e.kind, &e.key, &e.name, &e.parent, &e.flags, &e.version, &e.seq, &e.sourceTime, &e.change, &e.data)...))
}

func (e *row) meta() directory.Meta {
	return directory.Meta{
		Version: e.version, Seq: e.seq, SourceTime: directory.SourceTime(e.sourceTime),
		Deleted: e.flags&flagDeleted != 0, ChangedAt: fromMillis(e.change),
	}
}

func (e *row) department() directory.Department {
	return directory.Department{
		Code: e.key, Name: e.name, ParentCode: e.parent,
		ParentMissing: e.flags&flagParentMissing != 0, Meta: e.meta(),
	}
}

func (e *row) decode(into any) error {
	if err := json.Unmarshal([]byte(e.data.String), into); err != nil {
		return fmt.Errorf("stored %s %q: %w", e.kind, e.key, err)
	}
	return nil
}

// user is what the columns say alone if it fails, as tenant and application are.
func (e *row) user() (u directory.User, err error) {
	if err = e.decode(&u); err != nil {
		u = directory.User{}
	}
	u.UserName, u.Name, u.OrgCode, u.Meta = e.key, e.name, e.parent, e.meta()
	return u, err
}

func (e *row) tenant() (t directory.Tenant, err error) {
	if err = e.decode(&t); err != nil {
		t = directory.Tenant{}
	}
	t.Name, t.Meta = e.name, e.meta()
	return t, err
}

func (e *row) application() (directory.Application, error) {
	var kept storage.KeptApplication
	err := e.decode(&kept)
	if err != nil {
		kept = storage.KeptApplication{}
	}
	a := kept.Whole()
	a.AppID, a.Meta = e.key, e.meta()
	return a, err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// view is a scope as a querier sees it. id is 0 for a scope never seen.
type view struct {
	q     querier
	scope directory.Scope
	id    int64
}

var _ storage.View = view{}

func (v view) State(ctx context.Context) (directory.State, error) {
	state, err := readState(ctx, v.q, v.scope)
	if errors.Is(err, storage.ErrNotFound) {
		return directory.State{Scope: v.scope}, nil
	}
	return state, err
}

// seenScope tells scopes a push was applied to from those that only ever had
// one refused: the latter are not known to anybody.
const seenScope = "(last_full IS NOT NULL OR last_incremental IS NOT NULL)"

const stateColumns = "dataset, instance_id, tenant_id, full_time, full_digest, departments, parent_missing, users, applications, seq, hold, last_full, last_incremental"

func readState(ctx context.Context, q querier, scope directory.Scope) (directory.State, error) {
	state, _, err := scanState(q.QueryRowContext(ctx,
		"SELECT "+stateColumns+" FROM scopes WHERE dataset = ? AND tenant_id = ? AND instance_id = ? AND "+seenScope,
		string(scope.Dataset), scope.TenantID, scope.InstanceID))
	if errors.Is(err, sql.ErrNoRows) {
		return state, fmt.Errorf("scope %s: %w", scope, storage.ErrNotFound)
	}
	return state, err
}

// scanState leaves out what it cannot read of a state and returns why: no push
// of the scope would be taken any more, though the next one may write it anew.
func scanState(rows interface{ Scan(...any) error }) (s directory.State, unreadable, err error) {
	var hold, full, incremental sql.NullString
	err = rows.Scan(&s.Scope.Dataset, &s.Scope.InstanceID, &s.Scope.TenantID, &s.FullTime, &s.FullDigest,
		&s.Departments, &s.ParentMissing, &s.Users, &s.Applications, &s.Seq, &hold, &full, &incremental)
	if err != nil {
		return s, nil, advised(err)
	}
	return s, errors.Join(decodePart(hold, &s.Hold), decodePart(full, &s.LastFull), decodePart(incremental, &s.LastIncremental)), nil
}

// decodePart decodes a part of a state, nil if it is not there or cannot be read.
func decodePart[T any](text sql.NullString, into **T) error {
	if !text.Valid {
		return nil
	}
	part := new(T)
	if err := json.Unmarshal([]byte(text.String), &part); err != nil {
		return err
	}
	*into = part
	return nil
}

// one reads an entity by its key.
func (v view) one(ctx context.Context, kind directory.Kind, key string) (e row, ok bool, err error) {
	err = e.scan(v.q.QueryRowContext(ctx,
		"SELECT "+entityColumns+" FROM entities e WHERE scope = ? AND kind = ? AND key = ?", v.id, kind, key))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return e, false, nil
	case err != nil:
		return e, false, fmt.Errorf("read %s %q: %w", kind, key, err)
	}
	return e, true, nil
}

func (v view) Tenant(ctx context.Context) (directory.Tenant, bool, error) {
	return decoded(ctx, v, directory.KindTenant, "", (*row).tenant)
}

func (v view) Application(ctx context.Context, appID string) (directory.Application, bool, error) {
	return decoded(ctx, v, directory.KindApplication, appID, (*row).application)
}

func (v view) Department(ctx context.Context, code string) (directory.Department, bool, error) {
	return decoded(ctx, v, directory.KindDepartment, code, (*row).departmentOK)
}

func (e *row) departmentOK() (directory.Department, error) { return e.department(), nil }

func decoded[T any](ctx context.Context, v view, kind directory.Kind, key string, decode func(*row) (T, error)) (entity T, ok bool, err error) {
	e, ok, err := v.one(ctx, kind, key)
	if err != nil || !ok {
		return entity, false, err
	}
	// What the columns say is enough to plan with, and the push writes the rest
	// anew: one that cannot be read refuses no push.
	entity, _ = decode(&e)
	return entity, true, nil
}

func (v view) Departments(ctx context.Context) iter.Seq2[directory.Department, error] {
	return func(yield func(directory.Department, error) bool) {
		q := v.q
		if t, ok := q.(*tx); ok {
			q = t.w.conn // a statement of its own: the loop's body may ask the same
		}
		rows, err := q.QueryContext(ctx,
			"SELECT key, name, parent, flags, version, seq, source_time, changed_at FROM entities WHERE scope = ? AND kind = ? ORDER BY key",
			v.id, directory.KindDepartment)
		if err != nil {
			yield(directory.Department{}, fmt.Errorf("read departments of %s: %w", v.scope, err))
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var e row
			if err := rows.Scan(&e.key, &e.name, &e.parent, &e.flags, &e.version, &e.seq, &e.sourceTime, &e.change); err != nil {
				yield(directory.Department{}, fmt.Errorf("read departments of %s: %w", v.scope, err))
				return
			}
			if !yield(e.department(), nil) {
				return
			}
		}
		if err := advised(rows.Err()); err != nil {
			yield(directory.Department{}, fmt.Errorf("read departments of %s: %w", v.scope, err))
		}
	}
}

func (v view) Around(ctx context.Context, code, parentCode string) (directory.Surroundings, error) {
	var around directory.Surroundings
	err := v.each(ctx, "WHERE scope = ? AND kind = ? AND key IN (?, ?)",
		[]any{v.id, directory.KindDepartment, code, parentCode}, func(e *row) error {
			if e.key == code {
				around.Self, around.Known = e.department(), true
			}
			if e.key == parentCode {
				around.ParentLives = e.flags&flagDeleted == 0
			}
			return nil
		})
	if err != nil {
		return around, err
	}
	around.Children, err = v.children(ctx, code)
	return around, err
}

// children are the living departments whose parent is code.
func (v view) children(ctx context.Context, code string) ([]directory.Department, error) {
	var children []directory.Department
	err := v.each(ctx, byParent+" AND flags & 1 = 0 ORDER BY key",
		[]any{v.id, directory.KindDepartment, code}, func(e *row) error {
			children = append(children, e.department())
			return nil
		})
	return children, err
}

func (v view) UsersIn(ctx context.Context, codes []string) (map[string]int, error) {
	users := make(map[string]int)
	err := inChunks(codes, func(chunk []string) error {
		rows, err := v.q.QueryContext(ctx,
			"SELECT parent, COUNT(*) FROM entities INDEXED BY entities_parent WHERE scope = ? AND kind = ? AND parent IN ("+marks(len(chunk))+") AND flags & 1 = 0 GROUP BY parent",
			append([]any{v.id, directory.KindUser}, anys(chunk)...)...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var code string
			var n int
			if err := rows.Scan(&code, &n); err != nil {
				return err
			}
			users[code] = n
		}
		return advised(rows.Err())
	})
	if err != nil {
		return nil, fmt.Errorf("count users of %s: %w", v.scope, err)
	}
	return users, nil
}

func (v view) Users(ctx context.Context, names []string) (map[string]directory.User, error) {
	users := make(map[string]directory.User, len(names))
	err := inChunks(names, func(chunk []string) error {
		args := append([]any{v.id, directory.KindUser}, anys(chunk)...)
		return v.each(ctx, "WHERE scope = ? AND kind = ? AND key IN ("+marks(len(chunk))+")", args, func(e *row) error {
			u, _ := e.user() // as decoded does
			users[u.UserName] = u
			return nil
		})
	})
	return users, err
}

// byParent goes by the index on parents. SQLite, which knows nothing of how
// many there are, would read the whole scope instead.
const byParent = "INDEXED BY entities_parent WHERE scope = ? AND kind = ? AND parent = ?"

// each reads the entities of a condition.
func (v view) each(ctx context.Context, where string, args []any, do func(*row) error) error {
	rows, err := v.q.QueryContext(ctx, "SELECT "+entityColumns+" FROM entities e "+where, args...)
	if err != nil {
		return fmt.Errorf("read entities of %s: %w", v.scope, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var e row
		if err := e.scan(rows); err != nil {
			return fmt.Errorf("read entities of %s: %w", v.scope, err)
		}
		if err := do(&e); err != nil {
			return err
		}
	}
	if err := advised(rows.Err()); err != nil {
		return fmt.Errorf("read entities of %s: %w", v.scope, err)
	}
	return nil
}

// chunkSizes are the lengths of IN lists, so that few statements serve all.
var chunkSizes = []int{1, 8, 64, 512}

// inChunks calls do with pieces whose lengths are of chunkSizes, the last one
// padded by repeating its last key.
func inChunks(keys []string, do func([]string) error) error {
	for len(keys) > 0 {
		size := chunkSizes[len(chunkSizes)-1]
		for _, n := range chunkSizes {
			if len(keys) <= n {
				size = n
				break
			}
		}
		chunk := keys[:min(size, len(keys))]
		keys = keys[len(chunk):]
		if missing := size - len(chunk); missing > 0 {
			padded := make([]string, size)
			for i := copy(padded, chunk); i < size; i++ {
				padded[i] = chunk[len(chunk)-1]
			}
			chunk = padded
		}
		if err := do(chunk); err != nil {
			return err
		}
	}
	return nil
}

func marks(n int) string { return strings.Repeat("?,", n-1) + "?" }

func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}
