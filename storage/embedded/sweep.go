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

// Sweep implements storage.Sweeper.
func (s *Store) Sweep(ctx context.Context, before storage.SweepTimes) (storage.Swept, error) {
	var swept storage.Swept
	steps := []struct {
		what   string
		before time.Time
		count  *int
		step   func(context.Context, *tx, int64, *place) (done int, more bool, err error)
	}{
		{"journal", before.Journal, &swept.Journal, sweepJournal},
		{"test data", before.TestData, &swept.TestData, s.sweepTestData},
		{"tombstones", before.Tombstones, &swept.Tombstones, sweepTombstones},
	}
	for _, sweep := range steps {
		if sweep.before.IsZero() {
			continue
		}
		var from place
		for more := true; more; {
			var n int
			next := from
			err := s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
				n, more, err = sweep.step(ctx, t, millis(sweep.before), &next)
				return err
			})
			if err != nil {
				return swept, fmt.Errorf("sweep %s: %w", sweep.what, err)
			}
			*sweep.count += n
			from = next
		}
	}
	return swept, nil
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
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
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
// tombstones, by the normal way, so that targets follow. Departments that stay
// lose a parent that goes.
func (s *Store) sweepTestData(ctx context.Context, t *tx, before int64, from *place) (n int, more bool, err error) {
	rows, err := t.QueryContext(ctx, "SELECT e.scope, "+entityColumns+" FROM scopes s CROSS JOIN entities e ON e.scope = s.id"+
		" WHERE s.dataset = 'test' AND s.id >= ? AND e.flags & 1 = 0 AND e.changed_at < ? AND (e.scope, e.kind, e.key) > (?, ?, ?)"+
		" ORDER BY s.id, e.kind, e.key LIMIT ?",
		from.scope, before, from.scope, from.kind, from.key, sweepStep)
	if err != nil {
		return 0, false, err
	}
	plans := make(map[int64]*directory.Plan)
	for rows.Next() {
		var e row
		var id int64
		err := e.scan(rows, &id)
		if err == nil {
			if plans[id] == nil {
				plans[id] = &directory.Plan{}
			}
			err = expire(plans[id], &e)
		}
		if err != nil {
			return 0, false, errors.Join(err, rows.Close())
		}
		n++
		from.scope, from.kind, from.key = id, e.kind, e.key
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, false, err
	}
	for id, plan := range plans {
		if err := detach(ctx, t, id, plan, before); err != nil {
			return 0, false, err
		}
		if err := s.apply(ctx, t, id, plan, nil); err != nil {
			return 0, false, err
		}
	}
	return n, n == sweepStep, nil
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
		u, err := e.user()
		if err != nil {
			return err
		}
		plan.ExpireUser(u)
	case directory.KindApplication:
		plan.ExpireApplication(directory.Application{AppID: e.key, Meta: e.meta()})
	}
	return nil
}
