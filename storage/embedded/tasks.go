package embedded

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// slotColumns are read by scanTask, the entity's columns behind them.
const slotColumns = "t.scope, t.kind, t.key, t.state, t.desired, t.delivered, t.hash, t.remote_id, t.grp, t.uncertain, t.attempts," +
	" t.marks, t.cleared, t.kept, t.dirty_since, t.due_at, t.error_class, t.last_error, t.delivered_at"

// selectTasks joins slots with the entities they deliver: kinds 1 and 3 are
// departments, 2 and 4 users.
const selectTasks = "SELECT " + slotColumns + ", e.name, e.parent, e.flags, e.version, e.seq, e.source_time, e.changed_at, e.data FROM slots t" +
	" LEFT JOIN entities e ON e.scope = t.scope AND e.kind = CASE t.kind WHEN 2 THEN 3 WHEN 4 THEN 3 ELSE 2 END AND e.key = t.key"

func slotInto(slot *storage.Slot, scope *int64, times *[3]int64) []any {
	return []any{scope, &slot.Kind, &slot.Key, &slot.State, &slot.Desired, &slot.Delivered, &slot.Hash, &slot.RemoteID, &slot.Group,
		&slot.Uncertain, &slot.Attempts, &slot.Marks, &slot.Cleared, &slot.Kept, &times[0], &times[1], &slot.ErrorClass, &slot.LastError, &times[2]}
}

func setTimes(slot *storage.Slot, times [3]int64) {
	slot.DirtySince, slot.DueAt, slot.DeliveredAt = fromMillis(times[0]), fromMillis(times[1]), fromMillis(times[2])
}

// taskScan reads tasks, or slots alone, row by row and all into the same place:
// a scope may have thousands.
type taskScan struct {
	task                  storage.Task
	name, parent          sql.NullString
	flags, version, seq   sql.NullInt64
	sourceTime, changedAt sql.NullInt64
	data                  sql.NullString
	scope                 int64
	times                 [3]int64
	into                  []any
	// unread says of the row read last that its user's data cannot be read. Those
	// of a tombstone are not needed.
	unread bool
}

func newSlotScan(targetName string, scope directory.Scope) *taskScan {
	s := &taskScan{}
	s.task.Target, s.task.Scope = targetName, scope
	s.into = slotInto(&s.task.Slot, &s.scope, &s.times)
	return s
}

func newTaskScan(targetName string, scope directory.Scope) *taskScan {
	s := newSlotScan(targetName, scope)
	s.into = append(s.into, &s.name, &s.parent, &s.flags, &s.version, &s.seq, &s.sourceTime, &s.changedAt, &s.data)
	return s
}

func (s *taskScan) next(rows *sql.Rows) (storage.Task, error) {
	if err := rows.Scan(s.into...); err != nil {
		return storage.Task{}, fmt.Errorf("read slot: %w", err)
	}
	setTimes(&s.task.Slot, s.times)
	task := s.task
	s.unread = false
	if !s.version.Valid {
		return task, nil
	}
	e := row{
		kind: task.Kind.Entity(), key: task.Key, name: s.name.String, parent: s.parent.String, flags: int(s.flags.Int64),
		version: s.version.Int64, seq: s.seq.Int64, sourceTime: s.sourceTime.Int64, change: s.changedAt.Int64, data: s.data,
	}
	if e.kind == directory.KindDepartment {
		d := e.department()
		task.Department = &d
		return task, nil
	}
	u, err := e.user()
	task.User, s.unread = &u, err != nil && !u.Deleted
	return task, nil
}

// eachTask calls do with every task that a query reads.
func eachTask(ctx context.Context, q querier, scan *taskScan, do func(storage.Task), query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read slots: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		task, err := scan.next(rows)
		if err != nil {
			return err
		}
		do(task)
	}
	if err := advised(rows.Err()); err != nil {
		return fmt.Errorf("read slots: %w", err)
	}
	return nil
}
