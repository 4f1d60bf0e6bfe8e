package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// sweepStep bounds what one write of a sweep removes.
const sweepStep = 500

// place is how far a sweep has come: nothing is looked at twice, though much
// of it has to be kept.
type place struct {
	at    int64 // changed_at of a tombstone
	scope int64
	kind  directory.Kind
	key   string
}

// sweepFunc does one step of a sweep, in a write, and reports whether there is more.
type sweepFunc func(ctx context.Context, t *tx, before int64, from *place) (done int, more bool, err error)

// Sweep implements storage.Sweeper.
func (s *Store) Sweep(ctx context.Context, before storage.SweepTimes) (swept storage.Swept, err error) {
	for _, step := range []struct {
		what   string
		before time.Time
		count  *int
		sweep  func(context.Context, int64) (int, error)
	}{
		{"journal", before.Journal, &swept.Journal, s.inSteps(sweepJournal)},
		{"test data", before.TestData, &swept.TestData, s.sweepTestData},
		{"tombstones", before.Tombstones, &swept.Tombstones, s.inSteps(sweepTombstones)},
	} {
		if step.before.IsZero() {
			continue
		}
		if *step.count, err = step.sweep(ctx, millis(step.before)); err != nil {
			return swept, fmt.Errorf("sweep %s: %w", step.what, err)
		}
	}
	return swept, nil
}

// inSteps makes a sweep of its steps.
func (s *Store) inSteps(step sweepFunc) func(context.Context, int64) (int, error) {
	return func(ctx context.Context, before int64) (total int, err error) {
		var from place
		for more := true; more; {
			var n int
			if n, more, err = s.sweepOnce(ctx, step, before, &from); err != nil {
				return total, err
			}
			total += n
		}
		return total, nil
	}
}

// sweepOnce does one step, and moves from on if it is on disk.
func (s *Store) sweepOnce(ctx context.Context, step sweepFunc, before int64, from *place) (n int, more bool, err error) {
	next := *from
	err = s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
		n, more, err = step(ctx, t, before, &next)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	*from = next
	return n, more, nil
}

// sweepJournal keeps what waits for a decision, however old.
func sweepJournal(ctx context.Context, t *tx, before int64, _ *place) (int, bool, error) {
	n, err := t.exec(ctx, "DELETE FROM journal WHERE rowid IN (SELECT rowid FROM journal WHERE applied_at < ? AND phase = 'applied' AND result <> 'held' ORDER BY applied_at LIMIT ?)",
		before, sweepStep)
	return int(n), n == sweepStep, err
}

// sweepTombstones keeps a tombstone until every target has been told of it: it
// is relayed, and none of its slots is open, or was passed over because the
// target does not want the tenant (any more). Its slots go with it.
func sweepTombstones(ctx context.Context, t *tx, before int64, from *place) (n int, more bool, err error) {
	rows, err := t.QueryContext(ctx, "SELECT changed_at, scope, kind, key, "+
		"seq <= COALESCE((SELECT MIN(seq) FROM relays), seq)"+
		" AND NOT EXISTS (SELECT 1 FROM relays r CROSS JOIN slots t ON t.target = r.target AND t.scope = e.scope AND t.kind IN (1, 2, 3, 4) AND t.key = e.key"+
		" AND (+t.state <> 4 OR t.kind < 3 AND t.desired < e.version) AND (e.kind = 3) = (t.kind IN (2, 4)))"+
		" FROM entities e WHERE flags & 1 = 1 AND changed_at < ? AND (changed_at, scope, kind, key) > (?, ?, ?, ?)"+
		" ORDER BY changed_at, scope, kind, key LIMIT ?", before, from.at, from.scope, from.kind, from.key, sweepStep)
	if err != nil {
		return 0, false, err
	}
	var told []place
	seen := 0
	for rows.Next() {
		var free bool
		if err := rows.Scan(&from.at, &from.scope, &from.kind, &from.key, &free); err != nil {
			return 0, false, errors.Join(err, rows.Close())
		}
		seen++
		if free {
			told = append(told, *from)
		}
	}
	if err := errors.Join(advised(rows.Err()), rows.Close()); err != nil {
		return 0, false, err
	}
	for _, dead := range told {
		if err := removeEntity(ctx, t, dead); err != nil {
			return 0, false, err
		}
	}
	return len(told), seen == sweepStep, nil
}

func removeEntity(ctx context.Context, t *tx, dead place) error {
	if _, err := t.exec(ctx, "DELETE FROM entities WHERE scope = ? AND kind = ? AND key = ?", dead.scope, dead.kind, dead.key); err != nil {
		return err
	}
	slots := []storage.SlotKind{storage.SlotDepartment, storage.SlotPlacement}
	if dead.kind == directory.KindUser {
		slots = []storage.SlotKind{storage.SlotUser, storage.SlotMembership}
	}
	for _, kind := range slots {
		if _, err := t.exec(ctx, "DELETE FROM slots WHERE target IN (SELECT target FROM relays) AND scope = ? AND kind = ? AND key = ?", dead.scope, uint8(kind), dead.key); err != nil {
			return err
		}
	}
	return nil
}

// sweepTestData turns test entities that nobody changed for long into
// tombstones, by the normal way, so that targets follow. A scope in which a
// full push is being planned is left for the next sweep: what is planned holds
// only for what it was planned from.
func (s *Store) sweepTestData(ctx context.Context, before int64) (total int, err error) {
	scopes, err := s.testScopes(ctx)
	if err != nil {
		return 0, err
	}
	for id, scope := range scopes {
		from := place{scope: id}
		for more := true; more; {
			release, free := s.turns.tryShare(scope)
			if !free {
				break
			}
			var n int
			n, more, err = s.sweepOnce(ctx, s.expireSome, before, &from)
			release()
			if err != nil {
				return total, err
			}
			total += n
		}
	}
	return total, nil
}

// testScopes are the scopes of debugging data by number.
func (s *Store) testScopes(ctx context.Context) (map[int64]directory.Scope, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, tenant_id, instance_id FROM scopes WHERE dataset = 'test'")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	scopes := make(map[int64]directory.Scope)
	for rows.Next() {
		var id int64
		scope := directory.Scope{Dataset: directory.Test}
		if err := rows.Scan(&id, &scope.TenantID, &scope.InstanceID); err != nil {
			return nil, err
		}
		scopes[id] = scope
	}
	return scopes, advised(rows.Err())
}

// expireSome expires the next entities of the scope of from. Departments that
// stay lose a parent that goes.
func (s *Store) expireSome(ctx context.Context, t *tx, before int64, from *place) (n int, more bool, err error) {
	rows, err := t.QueryContext(ctx, "SELECT "+entityColumns+" FROM entities e"+
		" WHERE e.scope = ? AND e.flags & 1 = 0 AND e.changed_at < ? AND (e.kind, e.key) > (?, ?) ORDER BY e.kind, e.key LIMIT ?",
		from.scope, before, from.kind, from.key, sweepStep)
	if err != nil {
		return 0, false, err
	}
	plan := &directory.Plan{}
	for rows.Next() {
		var e row
		err := e.scan(rows)
		if err == nil {
			err = expire(plan, &e)
		}
		if err != nil {
			return 0, false, errors.Join(err, rows.Close())
		}
		n++
		from.kind, from.key = e.kind, e.key
	}
	if err := errors.Join(advised(rows.Err()), rows.Close()); err != nil || n == 0 {
		return 0, false, err
	}
	if err := detach(ctx, t, from.scope, plan, before); err != nil {
		return 0, false, err
	}
	return n, n == sweepStep, s.apply(ctx, t, from.scope, plan, nil)
}

// detach adds to a plan the departments that outlive their expiring parents.
func detach(ctx context.Context, t *tx, id int64, plan *directory.Plan, before int64) error {
	v := view{q: t, id: id}
	for _, parent := range slices.Clone(plan.Departments) {
		children, err := v.children(ctx, parent.Code)
		if err != nil {
			return err
		}
		for _, child := range children {
			if child.ParentMissing || millis(child.ChangedAt) < before {
				continue
			}
			child.ParentMissing = true
			child.Version++
			plan.Departments = append(plan.Departments, child)
			plan.Delta.ParentMissing++
		}
	}
	return nil
}

// expire adds an entity's tombstone to a plan.
func expire(plan *directory.Plan, e *row) error {
	switch e.kind {
	case directory.KindTenant:
		plan.ExpireTenant(directory.Tenant{Meta: e.meta()})
	case directory.KindDepartment:
		plan.ExpireDepartment(e.department())
	case directory.KindUser:
		u, _ := e.user() // its name is enough
		plan.ExpireUser(u)
	case directory.KindApplication:
		plan.ExpireApplication(directory.Application{AppID: e.key, Meta: e.meta()})
	}
	return nil
}
