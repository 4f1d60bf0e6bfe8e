package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

// ApplyAtOnce implements storage.Intake. It takes four round trips where
// planning reads once: open the turn, read, commit, write and close.
func (s *Store) ApplyAtOnce(ctx context.Context, record storage.Record, raw []byte, plan storage.PlanFunc) (*directory.Plan, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	doc := recordOf(&record)
	var err error
	if doc.Raw, err = s.cut(ctx, doc.Scope, doc.ID, "raw", blob.Pack(raw)); err != nil {
		if duplicate(err) {
			err = storage.ErrAlreadyExists
		}
		return nil, s.failed(err, "journal push %s", record.ID)
	}
	for {
		planned, err := s.applyNew(ctx, doc, record.Scope, &record, plan, nil)
		if !errors.Is(err, errTurnLost) || ctx.Err() != nil {
			return planned, err
		}
	}
}

// applyNew opens a turn, plans, and commits a document that the journal does
// not have yet. adjust may change what is going to be done.
func (s *Store) applyNew(ctx context.Context, doc recordDoc, scope directory.Scope, record *storage.Record, plan storage.PlanFunc, adjust func(*directory.Plan, *redo) error) (*directory.Plan, error) {
	t, err := s.open(ctx, scope, doc.ID)
	if err != nil {
		return nil, err
	}
	defer t.local()
	planned, err := t.plan(ctx, plan)
	if err != nil {
		if doc.Raw.Parts > 0 {
			_, partsErr := s.journal.DeleteMany(ctx, partsOf(doc.ID))
			err = errors.Join(err, partsErr)
		}
		t.abandon(ctx)
		return nil, err
	}
	r, err := t.redoOf(planned, record)
	if err == nil && adjust != nil {
		err = adjust(planned, r)
	}
	if err == nil {
		err = t.fill(ctx, &doc, planned, r)
	}
	if err != nil {
		t.abandon(ctx)
		return nil, s.failed(err, "journal push %s", doc.ID)
	}
	if err := t.commitNew(ctx, &doc); err != nil {
		return nil, s.failed(err, "journal push %s", doc.ID)
	}
	return planned, t.finish(ctx, planned, r)
}

// plan plans in the turn. A panic is the push's failure, nobody else's.
func (t *turn) plan(ctx context.Context, plan storage.PlanFunc) (planned *directory.Plan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: panic while planning: %v", p)
		}
	}()
	return plan(ctx, t.view())
}

// fill completes a push's document with what was planned.
func (t *turn) fill(ctx context.Context, doc *recordDoc, planned *directory.Plan, r *redo) error {
	counts, err := json.Marshal(planned.Counts)
	if err != nil {
		return fmt.Errorf("encode counts: %w", err)
	}
	decisions, err := decisionsOf(planned)
	if err != nil {
		return err
	}
	changes, err := r.pack()
	if err != nil {
		return err
	}
	if doc.Phase == string(storage.PhaseReceived) {
		doc.Phase = string(storage.PhaseApplied)
	}
	doc.AppliedAt, doc.Result, doc.Counts, doc.Turn = r.At, string(planned.Result), string(counts), t.number()
	if doc.Decisions, err = t.store.cut(ctx, doc.Scope, doc.ID, decisionsRole(t.number()), decisions); err != nil {
		return err
	}
	doc.Redo, err = t.store.cut(ctx, doc.Scope, doc.ID, redoRole(t.number()), changes)
	return err
}

// commitNew commits by inserting the push's document, unless the push was
// barred from this turn.
func (t *turn) commitNew(ctx context.Context, doc *recordDoc) error {
	_, err := t.store.journal.ReplaceOne(ctx, bson.D{
		{Key: "_id", Value: doc.ID}, {Key: "s", Value: doc.Scope}, {Key: "phase", Value: phaseBarred},
		{Key: "bar", Value: bson.D{{Key: "$lt", Value: t.number()}}},
	}, doc, options.Replace().SetUpsert(true))
	if !duplicate(err) {
		return err
	}
	var there recordDoc
	if err := t.store.journal.FindOne(ctx, bson.D{{Key: "_id", Value: doc.ID}},
		options.FindOne().SetProjection(withoutBodies)).Decode(&there); err != nil {
		return err
	}
	if there.Phase == phaseBarred {
		return errTurnLost
	}
	t.abandon(ctx)
	return storage.ErrAlreadyExists
}

// finish carries a committed push out. If that fails, the push is finished by
// whoever opens the scope next.
func (t *turn) finish(ctx context.Context, planned *directory.Plan, r *redo) error {
	if err := t.store.carryOut(ctx, &t.doc, r); err != nil {
		return t.store.failed(err, "push %s is journaled and will be finished, but not by now", t.push)
	}
	if !planned.Empty() {
		t.store.tell(ctx)
	}
	return nil
}

// ApplyAccepted implements storage.Intake.
func (s *Store) ApplyAccepted(ctx context.Context, pushID string, plan storage.PlanFunc) (*directory.Plan, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	record, ok := s.accepted.take(pushID)
	if !ok {
		doc, err := s.find(ctx, pushID, withoutBodies)
		if err != nil {
			return nil, err
		}
		if doc.Phase == string(storage.PhaseApplied) {
			return nil, fmt.Errorf("push %s is applied: %w", pushID, storage.ErrConflict)
		}
		if record, err = doc.record(); err != nil {
			return nil, err
		}
	}
	for {
		planned, err := s.applyAccepted(ctx, record, plan)
		if !errors.Is(err, errTurnLost) || ctx.Err() != nil {
			return planned, err
		}
	}
}

func (s *Store) applyAccepted(ctx context.Context, record storage.Record, plan storage.PlanFunc) (*directory.Plan, error) {
	t, err := s.open(ctx, record.Scope, record.ID)
	if err != nil {
		return nil, err
	}
	defer t.local()
	held, stop := t.keep(ctx)
	defer stop()
	doc := recordOf(&record)
	planned, err := t.plan(held, plan)
	if lost := context.Cause(held); errors.Is(lost, errTurnLost) {
		return nil, lost
	}
	if err != nil {
		if !errors.Is(err, storage.ErrLater) {
			if dropErr := s.dropRefused(ctx, &doc); dropErr != nil {
				err = errors.Join(err, dropErr)
			}
		}
		t.abandon(ctx)
		return nil, err
	}
	r, err := t.redoOf(planned, &record)
	if err == nil {
		err = t.fill(held, &doc, planned, r)
	}
	if err != nil {
		t.abandon(ctx)
		return nil, s.failed(err, "journal what push %s changes", record.ID)
	}
	// From here on it does no harm to lose the turn: another carries out what is
	// committed, and a commit in a lost turn fails.
	committed, err := t.commitAccepted(ctx, &doc)
	if err != nil || !committed {
		return s.otherOutcome(ctx, t, record.ID, err)
	}
	return planned, t.finish(ctx, planned, r)
}

// commitAccepted commits a push that was accepted. It reports false if the push
// is not there to be committed in this turn.
func (t *turn) commitAccepted(ctx context.Context, doc *recordDoc) (bool, error) {
	result, err := t.store.journal.UpdateOne(ctx, bson.D{
		{Key: "_id", Value: doc.ID}, {Key: "s", Value: doc.Scope}, {Key: "phase", Value: string(storage.PhaseReceived)},
		{Key: "bar", Value: bson.D{{Key: "$lt", Value: t.number()}}},
	}, set(bson.D{
		{Key: "phase", Value: doc.Phase}, {Key: "applied", Value: doc.AppliedAt}, {Key: "result", Value: doc.Result},
		{Key: "counts", Value: doc.Counts}, {Key: "decisions", Value: doc.Decisions}, {Key: "redo", Value: doc.Redo}, {Key: "turn", Value: doc.Turn},
	}))
	return err == nil && result.MatchedCount == 1, err
}

// otherOutcome finds out why a push could not be committed. Another replica may
// have applied it in the meantime: then its outcome is the push's.
func (s *Store) otherOutcome(ctx context.Context, t *turn, pushID string, err error) (*directory.Plan, error) {
	if err != nil {
		return nil, s.failed(err, "commit push %s", pushID)
	}
	record, decisions, err := s.Push(ctx, pushID)
	switch {
	case err != nil:
		t.abandon(ctx)
		return nil, err
	case record.Phase != storage.PhaseApplied:
		return nil, errTurnLost
	}
	t.abandon(ctx)
	return &directory.Plan{Result: record.Result, Counts: record.Counts, Decisions: decisions}, nil
}

// unfinishedBatch bounds how many ids are read ahead.
const unfinishedBatch = 100

// Unfinished implements storage.Intake. A push that another replica is about to
// apply is among them: ApplyAccepted sorts that out.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[storage.UnfinishedPush, error] {
	return func(yield func(storage.UnfinishedPush, error) bool) {
		ctx, cancel := perOperation(ctx)
		defer cancel()
		after := ""
		for {
			var docs []recordDoc
			cursor, err := s.journal.Find(ctx, bson.D{
				{Key: "phase", Value: string(storage.PhaseReceived)}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
			}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(unfinishedBatch).SetProjection(withoutDecisions))
			if err == nil {
				err = cursor.All(ctx, &docs)
			}
			if err != nil {
				yield(storage.UnfinishedPush{}, s.failed(err, "find unfinished pushes"))
				return
			}
			if len(docs) == 0 {
				return
			}
			for i := range docs {
				push, err := s.unfinished(ctx, &docs[i])
				if !yield(push, err) || (err != nil && push.Record.ID == "") {
					return
				}
			}
			after = docs[len(docs)-1].ID
		}
	}
}

var withoutDecisions = bson.D{{Key: "decisions", Value: 0}, {Key: "redo", Value: 0}, {Key: "raw.b", Value: 0}}

// unfinished reads a push with its body. An error of the server comes without
// the record: the others would meet it too.
func (s *Store) unfinished(ctx context.Context, doc *recordDoc) (push storage.UnfinishedPush, err error) {
	if push.Record, err = doc.record(); err != nil {
		return push, err
	}
	body, err := s.find(ctx, doc.ID, bson.D{{Key: "decisions", Value: 0}, {Key: "redo", Value: 0}})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.UnfinishedPush{}, err
	}
	if err == nil {
		push.Raw, err = s.join(ctx, doc.ID, "raw", body.Raw)
	}
	switch {
	case ofServer(err):
		return storage.UnfinishedPush{}, s.failed(err, "read body of push %s", doc.ID)
	case err != nil:
		return push, fmt.Errorf("its body is damaged: %w", err)
	}
	return push, nil
}

// ofServer reports whether an error says something of the server or the way to
// it, and not of what is stored.
func ofServer(err error) bool {
	var refused driver.ServerError
	return driver.IsNetworkError(err) || driver.IsTimeout(err) || errors.As(err, &refused) || errors.Is(err, context.Canceled)
}

// Preview implements storage.Intake. It takes a turn: what it reads belongs
// together.
func (s *Store) Preview(ctx context.Context, scope directory.Scope, plan storage.PlanFunc) (*directory.Plan, error) {
	if _, err := s.State(ctx, scope); err != nil {
		return nil, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	t, err := s.open(ctx, scope, "preview-"+newID())
	if err != nil {
		return nil, err
	}
	defer t.local()
	held, stop := t.keep(ctx)
	defer stop()
	planned, err := t.plan(held, plan)
	t.abandon(ctx)
	return planned, err
}

// Decide implements storage.Intake.
func (s *Store) Decide(ctx context.Context, pushID, note string, plan func(context.Context, storage.View, directory.Hold) (*directory.Plan, error)) (*directory.Plan, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	pushed, err := s.find(ctx, pushID, withoutBodies)
	if err != nil {
		return nil, err
	}
	if pushed.Note != "" {
		note = pushed.Note + "; " + note
	}
	decide := func(ctx context.Context, v storage.View) (*directory.Plan, error) {
		state, err := v.State(ctx)
		if err != nil {
			return nil, err
		}
		if state.Hold == nil || state.Hold.PushID != pushID {
			return nil, fmt.Errorf("push %s holds no deletions (any more): %w", pushID, storage.ErrConflict)
		}
		planned, err := plan(ctx, v, *state.Hold)
		if err != nil {
			return nil, err
		}
		planned.HoldSet, planned.Hold = true, nil
		return planned, nil
	}
	planned, err := s.applyInner(ctx, pushed.scope(), "decide", decide, func(planned *directory.Plan, r *redo) error {
		r.Effects = []effect{{ID: pushID, Result: string(planned.Result), Note: note, DecidedAt: r.At}}
		return r.State.remark(pushID, planned.Result)
	})
	if err != nil {
		return nil, err
	}
	return planned, nil
}

// applyInner applies a plan that is no push's.
func (s *Store) applyInner(ctx context.Context, scope directory.Scope, what string, plan storage.PlanFunc, adjust func(*directory.Plan, *redo) error) (*directory.Plan, error) {
	for {
		doc := recordDoc{ID: what + "-" + newID(), Scope: scope.String(), Place: placeOf(scope), Kind: what, Phase: phaseInner}
		planned, err := s.applyNew(ctx, doc, scope, nil, plan, adjust)
		if !errors.Is(err, errTurnLost) || ctx.Err() != nil {
			return planned, err
		}
	}
}
