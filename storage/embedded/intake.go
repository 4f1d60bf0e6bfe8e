package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

var errNoRows = sql.ErrNoRows

// Accept implements storage.Intake.
func (s *Store) Accept(ctx context.Context, record storage.Record, raw []byte) error {
	packed := blob.Pack(raw)
	write := s.writer.do
	if len(packed) > largeRaw {
		write = s.writer.doLong
	}
	return write(ctx, func(ctx context.Context, t *tx) error {
		id, err := s.scopeID(ctx, t, record.Scope)
		if err != nil {
			return err
		}
		return insertRecord(ctx, t, id, record, packed, outcome{phase: storage.PhaseReceived})
	})
}

// outcome is how far a push has come, and what became of it.
type outcome struct {
	phase          storage.Phase
	result, counts string
	decisions      []byte
	appliedAt      int64
}

// outcomeOf is that of an applied push, its decisions packed already.
func outcomeOf(t *tx, plan *directory.Plan, decisions []byte) (outcome, error) {
	counts, err := json.Marshal(plan.Counts)
	if err != nil {
		return outcome{}, fmt.Errorf("encode counts: %w", err)
	}
	return outcome{storage.PhaseApplied, string(plan.Result), string(counts), decisions, millis(t.now)}, nil
}

func insertRecord(ctx context.Context, t *tx, id int64, r storage.Record, packed []byte, o outcome) error {
	n, err := t.exec(ctx, "INSERT INTO journal (id, scope, kind, flag, source_time, received_at, size, raw, note, phase, result, counts, decisions, applied_at)"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		r.ID, id, string(r.Kind), int(r.Flag), int64(r.SourceTime), millis(r.ReceivedAt), r.Size, packed, r.Note,
		string(o.phase), o.result, o.counts, o.decisions, o.appliedAt)
	if err != nil {
		return fmt.Errorf("journal push %s: %w", r.ID, err)
	}
	if n == 0 {
		return fmt.Errorf("journal push %s: %w", r.ID, storage.ErrAlreadyExists)
	}
	return nil
}

// finishRecord notes what became of a push that was journaled before.
func finishRecord(ctx context.Context, t *tx, id string, o outcome) error {
	_, err := t.exec(ctx, "UPDATE journal SET phase = ?, result = ?, counts = ?, decisions = ?, applied_at = ? WHERE id = ?",
		string(o.phase), o.result, o.counts, o.decisions, o.appliedAt, id)
	if err != nil {
		return fmt.Errorf("finish record of push %s: %w", id, err)
	}
	return nil
}

// packDecisions encodes what happened to each entity, outside the writer.
func packDecisions(decisions []directory.Decision) ([]byte, error) {
	if len(decisions) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(decisions)
	if err != nil {
		return nil, fmt.Errorf("encode decisions: %w", err)
	}
	return blob.Pack(text), nil
}

// ApplyAtOnce implements storage.Intake.
func (s *Store) ApplyAtOnce(ctx context.Context, record storage.Record, raw []byte, plan storage.PlanFunc) (*directory.Plan, error) {
	release := s.turns.share(record.Scope)
	defer release()
	packed := blob.Pack(raw)
	var planned *directory.Plan
	var id int64
	err := s.writer.do(ctx, func(ctx context.Context, t *tx) (err error) {
		if id, err = s.scopeID(ctx, t, record.Scope); err != nil {
			return err
		}
		if planned, err = plan(ctx, view{q: t, scope: record.Scope, id: id}); err != nil {
			return err
		}
		decisions, err := packDecisions(planned.Decisions)
		if err != nil {
			return err
		}
		o, err := outcomeOf(t, planned, decisions)
		if err != nil {
			return err
		}
		if err := insertRecord(ctx, t, id, record, packed, o); err != nil {
			return err
		}
		return s.apply(ctx, t, id, planned, markOf(record, planned.Result))
	})
	if err != nil {
		return nil, err
	}
	s.scopes.add(id, record.Scope)
	return planned, nil
}

// ApplyAccepted implements storage.Intake.
func (s *Store) ApplyAccepted(ctx context.Context, pushID string, plan storage.PlanFunc) (*directory.Plan, error) {
	record, scopeID, err := s.record(ctx, s.read, pushID)
	if err != nil {
		return nil, err
	}
	s.scopes.add(scopeID, record.Scope)
	defer s.turns.take(record.Scope)()
	// Again, in the scope's turn: another may have applied it while we waited.
	if record, scopeID, err = s.record(ctx, s.read, pushID); err != nil {
		return nil, err
	}
	if record.Phase == storage.PhaseApplied {
		return nil, fmt.Errorf("push %s is applied: %w", pushID, storage.ErrConflict)
	}
	planned, err := s.planAside(ctx, record.Scope, scopeID, plan)
	if errors.Is(err, storage.ErrLater) {
		return nil, err
	}
	if err != nil {
		if dropErr := s.dropRecord(ctx, pushID); dropErr != nil {
			return nil, errors.Join(err, dropErr)
		}
		return nil, err
	}
	decisions, err := packDecisions(planned.Decisions)
	if err != nil {
		return nil, err
	}
	err = s.writer.doLong(ctx, func(ctx context.Context, t *tx) error {
		o, err := outcomeOf(t, planned, decisions)
		if err != nil {
			return err
		}
		if err := finishRecord(ctx, t, pushID, o); err != nil {
			return err
		}
		return s.apply(ctx, t, scopeID, planned, markOf(record, planned.Result))
	})
	if err != nil {
		return nil, err
	}
	return planned, nil
}

// planAside plans on a reader, in a transaction of its own: one moment.
func (s *Store) planAside(ctx context.Context, scope directory.Scope, id int64, plan storage.PlanFunc) (planned *directory.Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: panic while planning: %v", p)
		}
	}()
	reader, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin read: %w", err)
	}
	defer func() { _ = reader.Rollback() }()
	return plan(ctx, view{q: reader, scope: scope, id: id})
}

// dropRecord removes a push that turned out to be refused: nothing of it stays.
func (s *Store) dropRecord(ctx context.Context, id string) error {
	err := s.writer.do(context.WithoutCancel(ctx), func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM journal WHERE id = ? AND phase = ?", id, string(storage.PhaseReceived))
		return err
	})
	if err != nil {
		return fmt.Errorf("drop refused push %s: %w", id, err)
	}
	return nil
}

// Unfinished implements storage.Intake.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[storage.UnfinishedPush, error] {
	return func(yield func(storage.UnfinishedPush, error) bool) {
		after := ""
		for {
			var packed []byte
			record, _, err := scanRecord(s.read.QueryRowContext(ctx,
				"SELECT "+recordColumns+", j.raw FROM journal j JOIN scopes s ON s.id = j.scope WHERE j.phase = 'received' AND j.id > ? ORDER BY j.id LIMIT 1", after), &packed)
			if errors.Is(err, errNoRows) {
				return
			}
			if err != nil {
				yield(storage.UnfinishedPush{}, fmt.Errorf("read unfinished push: %w", err))
				return
			}
			push := storage.UnfinishedPush{Record: record}
			if push.Raw, err = blob.Unpack(packed); err != nil {
				err = fmt.Errorf("its body is damaged: %w", err)
			}
			if !yield(push, err) {
				return
			}
			after = record.ID
		}
	}
}

// Preview implements storage.Intake.
func (s *Store) Preview(ctx context.Context, scope directory.Scope, plan storage.PlanFunc) (*directory.Plan, error) {
	var id int64
	err := s.read.QueryRowContext(ctx, "SELECT id FROM scopes WHERE dataset = ? AND tenant_id = ? AND instance_id = ?",
		string(scope.Dataset), scope.TenantID, scope.InstanceID).Scan(&id)
	if errors.Is(err, errNoRows) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("scope %s: %w", scope, err)
	}
	return s.planAside(ctx, scope, id, plan)
}

// Decide implements storage.Intake.
func (s *Store) Decide(ctx context.Context, pushID, note string, plan func(context.Context, storage.View, directory.Hold) (*directory.Plan, error)) (*directory.Plan, error) {
	record, scopeID, err := s.record(ctx, s.read, pushID)
	if err != nil {
		return nil, err
	}
	defer s.turns.take(record.Scope)()
	planned, err := s.planAside(ctx, record.Scope, scopeID, func(ctx context.Context, v storage.View) (*directory.Plan, error) {
		state, err := v.State(ctx)
		if err != nil {
			return nil, err
		}
		if state.Hold == nil || state.Hold.PushID != pushID {
			return nil, fmt.Errorf("push %s holds no deletions (any more): %w", pushID, storage.ErrConflict)
		}
		return plan(ctx, v, *state.Hold)
	})
	if err != nil {
		return nil, err
	}
	err = s.writer.doLong(ctx, func(ctx context.Context, t *tx) error {
		// The decided push's own result comes first: clearing the hold below
		// would call it replaced.
		if _, err := t.exec(ctx, "UPDATE journal SET result = ?, note = CASE note WHEN '' THEN ? ELSE note || '; ' || ? END, decided_at = ? WHERE id = ?",
			string(planned.Result), note, note, millis(t.now), pushID); err != nil {
			return fmt.Errorf("note decision: %w", err)
		}
		if _, err := t.exec(ctx, "UPDATE scopes SET last_full = json_set(last_full, '$.result', ?) WHERE id = ? AND CASE WHEN json_valid(last_full) THEN json_extract(last_full, '$.id') END = ?",
			string(planned.Result), scopeID, pushID); err != nil {
			return fmt.Errorf("note decision: %w", err)
		}
		planned.HoldSet, planned.Hold = true, nil
		return s.apply(ctx, t, scopeID, planned, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("decide push %s: %w", pushID, err)
	}
	return planned, nil
}

const recordColumns = "j.id, j.scope, s.dataset, s.instance_id, s.tenant_id, j.kind, j.flag, j.source_time, j.received_at, j.applied_at, j.phase, j.result, j.counts, j.note, j.decided_at, j.size"

func scanRecord(rows interface{ Scan(...any) error }, more ...any) (r storage.Record, scopeID int64, err error) {
	var received, applied, decided int64
	var counts string
	into := []any{&r.ID, &scopeID, &r.Scope.Dataset, &r.Scope.InstanceID, &r.Scope.TenantID, &r.Kind, &r.Flag, &r.SourceTime,
		&received, &applied, &r.Phase, &r.Result, &counts, &r.Note, &decided, &r.Size}
	if err := rows.Scan(append(into, more...)...); err != nil {
		return r, 0, advised(err)
	}
	r.ReceivedAt, r.AppliedAt, r.DecidedAt = fromMillis(received), fromMillis(applied), fromMillis(decided)
	if counts != "" {
		if err := json.Unmarshal([]byte(counts), &r.Counts); err != nil {
			r.Counts = nil // they are only shown
		}
	}
	return r, scopeID, nil
}

func (s *Store) record(ctx context.Context, q querier, id string, more ...any) (storage.Record, int64, error) {
	columns := recordColumns
	if len(more) > 0 {
		columns += ", j.decisions"
	}
	record, scopeID, err := scanRecord(q.QueryRowContext(ctx,
		"SELECT "+columns+" FROM journal j JOIN scopes s ON s.id = j.scope WHERE j.id = ?", id), more...)
	if errors.Is(err, errNoRows) {
		return record, 0, fmt.Errorf("push %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return record, 0, fmt.Errorf("read push %s: %w", id, err)
	}
	return record, scopeID, nil
}
