package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// sweepStep bounds what one write of a sweep removes.
const sweepStep = 500

// Sweep implements storage.Sweeper.
func (s *Store) Sweep(ctx context.Context, before storage.SweepTimes) (storage.Swept, error) {
	var swept storage.Swept
	steps := []struct {
		what   string
		before time.Time
		count  *int
		step   func(context.Context, *tx, int64) (int64, error)
	}{
		{"journal", before.Journal, &swept.Journal, sweepJournal},
		{"test data", before.TestData, &swept.TestData, s.sweepTestData},
		{"tombstones", before.Tombstones, &swept.Tombstones, sweepTombstones},
	}
	for _, sweep := range steps {
		if sweep.before.IsZero() {
			continue
		}
		for {
			var n int64
			err := s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
				n, err = sweep.step(ctx, t, millis(sweep.before))
				return err
			})
			if err != nil {
				return swept, fmt.Errorf("sweep %s: %w", sweep.what, err)
			}
			*sweep.count += int(n)
			if n < sweepStep {
				break
			}
		}
	}
	return swept, nil
}

// sweepJournal keeps what waits for a decision, however old.
func sweepJournal(ctx context.Context, t *tx, before int64) (int64, error) {
	return t.exec(ctx, "DELETE FROM journal WHERE rowid IN (SELECT rowid FROM journal WHERE received_at < ? AND phase = 'applied' AND result <> 'held' ORDER BY rowid LIMIT ?)",
		before, sweepStep)
}

// sweepTombstones keeps a tombstone until every target has been told of it: it
// is relayed, and none of its slots is open. Its slots go with it.
func sweepTombstones(ctx context.Context, t *tx, before int64) (int64, error) {
	rows, err := t.QueryContext(ctx, "SELECT scope, kind, key FROM entities e WHERE flags & 1 = 1 AND changed_at < ?"+
		" AND seq <= COALESCE((SELECT MIN(seq) FROM relays), seq)"+
		" AND NOT EXISTS (SELECT 1 FROM relays r JOIN slots t ON t.target = r.target AND t.scope = e.scope AND t.kind IN (1, 2, 3, 4) AND t.key = e.key"+
		" AND t.state <> 4 AND (e.kind = 3) = (t.kind IN (2, 4))) LIMIT ?", before, sweepStep)
	if err != nil {
		return 0, err
	}
	var dead []feedRow
	for rows.Next() {
		var c feedRow
		if err := rows.Scan(&c.scope, &c.kind, &c.key); err != nil {
			return 0, err
		}
		dead = append(dead, c)
	}
	if err := rows.Close(); err != nil {
		return 0, err
	}
	for _, c := range dead {
		if _, err := t.exec(ctx, "DELETE FROM entities WHERE scope = ? AND kind = ? AND key = ?", c.scope, c.kind, c.key); err != nil {
			return 0, err
		}
		slots := []storage.SlotKind{storage.SlotDepartment, storage.SlotPlacement}
		if c.kind == directory.KindUser {
			slots = []storage.SlotKind{storage.SlotUser, storage.SlotMembership}
		}
		for _, kind := range slots {
			if _, err := t.exec(ctx, "DELETE FROM slots WHERE target IN (SELECT target FROM relays) AND scope = ? AND kind = ? AND key = ?", c.scope, uint8(kind), c.key); err != nil {
				return 0, err
			}
		}
	}
	return int64(len(dead)), nil
}

// sweepTestData turns test entities that nobody changed for long into
// tombstones, by the normal way, so that targets follow.
func (s *Store) sweepTestData(ctx context.Context, t *tx, before int64) (int64, error) {
	rows, err := t.QueryContext(ctx, "SELECT e.scope, "+entityColumns+" FROM scopes s JOIN entities e ON e.scope = s.id WHERE s.dataset = 'test' AND e.flags & 1 = 0 AND e.changed_at < ? LIMIT ?",
		before, sweepStep)
	if err != nil {
		return 0, err
	}
	plans := make(map[int64]*directory.Plan)
	var n int64
	for rows.Next() {
		var e row
		var id int64
		if err := e.scan(rows, &id); err != nil {
			return 0, err
		}
		if plans[id] == nil {
			plans[id] = &directory.Plan{}
		}
		if err := expire(plans[id], &e); err != nil {
			return 0, err
		}
		n++
	}
	if err := rows.Close(); err != nil {
		return 0, err
	}
	for id, plan := range plans {
		if err := s.apply(ctx, t, id, plan); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// expire adds an entity's tombstone to a plan.
func expire(plan *directory.Plan, e *row) error {
	meta := e.meta()
	meta.Deleted = true
	meta.Version++
	switch e.kind {
	case directory.KindTenant:
		plan.Tenant = &directory.Tenant{Meta: meta}
	case directory.KindDepartment:
		d := e.department()
		if d.ParentMissing {
			plan.Delta.ParentMissing--
		}
		d.ParentMissing, d.Meta = false, meta
		plan.Departments = append(plan.Departments, d)
		plan.Delta.Departments--
	case directory.KindUser:
		var u directory.User
		if err := json.Unmarshal([]byte(e.data.String), &u); err != nil {
			return fmt.Errorf("stored user: %w", err)
		}
		plan.Users = append(plan.Users, directory.User{UserName: e.key, Grants: u.Grants, Meta: meta})
		plan.Delta.Users--
	case directory.KindApplication:
		plan.Applications = append(plan.Applications, directory.Application{AppID: e.key, Meta: meta})
		plan.Delta.Applications--
	}
	return nil
}
