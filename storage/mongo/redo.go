package mongo

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

// redo is all that a push changes, as after-images: carrying it out twice, or
// by two replicas at once, comes to the same.
type redo struct {
	At      int64      `bson:"at"`
	State   stateDoc   `bson:"state"`
	Effects []effect   `bson:"effects,omitempty"`
	Touches []touchDoc `bson:"touches,omitempty"`
	// writes follow the encoded redo, one document after the other.
	writes []entityWrite
}

// touchDoc moves an entity's times on and changes nothing else.
type touchDoc struct {
	ID         string `bson:"id"`
	SourceTime int64  `bson:"st"`
	Data       string `bson:"data,omitempty"` // empty: stays
}

// redoOf makes the redo of a plan for a turn. record is the push's, nil for
// what the store does by itself.
func (t *turn) redoOf(plan *directory.Plan, record *storage.Record) (*redo, error) {
	at := fromMillis(max(millis(t.store.options.Now()), t.doc.At))
	state, effects, err := t.doc.after(plan, at)
	if err != nil {
		return nil, err
	}
	if record != nil {
		if err := state.mark(record, plan.Result); err != nil {
			return nil, err
		}
	}
	touches, err := touchesOf(t.doc.ID, plan.Touched)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(plan.Departments, func(a, b directory.Department) int { return cmp.Compare(a.Code, b.Code) })
	slices.SortFunc(plan.Users, func(a, b directory.User) int { return cmp.Compare(a.UserName, b.UserName) })
	slices.SortFunc(plan.Applications, func(a, b directory.Application) int { return cmp.Compare(a.AppID, b.AppID) })
	w := entityWriter{scope: t.doc.ID, place: placeOf(t.scope), turn: t.number(), at: at}
	if err := w.all(plan); err != nil {
		return nil, err
	}
	return &redo{At: millis(at), State: state, Effects: effects, Touches: touches, writes: w.docs}, nil
}

func touchesOf(scope string, touched []directory.Touch) ([]touchDoc, error) {
	touches := make([]touchDoc, 0, len(touched))
	for _, touch := range touched {
		doc := touchDoc{ID: entityID(scope, touch.Kind, touch.Key), SourceTime: int64(touch.SourceTime)}
		if touch.User != nil {
			text, err := json.Marshal(touch.User)
			if err != nil {
				return nil, fmt.Errorf("encode user: %w", err)
			}
			doc.Data = string(text)
		}
		touches = append(touches, doc)
	}
	return touches, nil
}

// pack encodes a redo for the journal.
func (r *redo) pack() ([]byte, error) {
	plain, err := bson.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode changes: %w", err)
	}
	size := len(plain)
	for i := range r.writes {
		size += len(r.writes[i].raw)
	}
	plain = slices.Grow(plain, size-len(plain))
	for i := range r.writes {
		plain = append(plain, r.writes[i].raw...)
	}
	return blob.Pack(plain), nil
}

var errRedo = errors.New("the journal's list of changes is damaged")

// unpackRedo reads what pack wrote, unpacked.
func unpackRedo(plain []byte) (*redo, error) {
	var head bson.Raw
	rest := plain
	next := func() (doc bson.Raw, err error) {
		if len(rest) < 5 {
			return nil, errRedo
		}
		n := binary.LittleEndian.Uint32(rest)
		if n < 5 || uint64(n) > uint64(len(rest)) {
			return nil, errRedo
		}
		doc, rest = bson.Raw(rest[:n]), rest[n:]
		if err := doc.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", errRedo, err)
		}
		return doc, nil
	}
	head, err := next()
	if err != nil {
		return nil, err
	}
	var r redo
	if err := bson.Unmarshal(head, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRedo, err)
	}
	for len(rest) > 0 {
		doc, err := next()
		if err != nil {
			return nil, err
		}
		id, ok := doc.Lookup("_id").StringValueOK()
		if !ok {
			return nil, errRedo
		}
		version, _ := doc.Lookup("v").AsInt64OK()
		r.writes = append(r.writes, entityWrite{id: id, created: version == 1, raw: doc})
	}
	return &r, nil
}

// readRedo reads what a committed push changes.
func (s *Store) readRedo(ctx context.Context, record *recordDoc) (*redo, error) {
	plain, err := s.join(ctx, record.ID, redoRole(record.Turn), record.Redo)
	if err != nil {
		return nil, fmt.Errorf("changes of push %s: %w", record.ID, err)
	}
	r, err := unpackRedo(plain)
	if err != nil {
		return nil, fmt.Errorf("changes of push %s: %w", record.ID, err)
	}
	return r, nil
}

// redoRole and decisionsRole name parts. A push that starts over has new ones.
func redoRole(turn int64) string      { return fmt.Sprintf("redo-%d", turn) }
func decisionsRole(turn int64) string { return fmt.Sprintf("decisions-%d", turn) }

const (
	// writeBatch bounds what one request writes.
	writeBatch = 1000
	// insertFrom is how many new entities make an own run of inserts worth its
	// round trips: a server inserts faster than it upserts.
	insertFrom = 2 * writeBatch
	// writeTries bounds how often a batch is cut down to what is still to be
	// written, after another replica wrote a part of it.
	writeTries = 4
)

// carryOut writes what a committed push changes, and closes its turn. doc says
// which turn; it may have been carried out before, in part or wholly.
func (s *Store) carryOut(ctx context.Context, doc *scopeDoc, r *redo) error {
	if err := s.writeEffects(ctx, r.Effects); err != nil {
		return err
	}
	writes, err := s.insertNew(ctx, doc, r.writes)
	if err != nil {
		return err
	}
	b := batch{store: s, scope: doc}
	for i := range writes {
		b.writes = append(b.writes, writes[i])
		if len(b.writes) == writeBatch && i < len(writes)-1 {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
	}
	for i := range r.Touches {
		if len(b.writes)+len(b.touches) == writeBatch {
			if err := b.flush(ctx); err != nil {
				return err
			}
		}
		b.touches = append(b.touches, r.Touches[i])
	}
	b.closing = set(bson.D{{Key: "state", Value: r.State}, {Key: "at", Value: r.At}, {Key: "seen", Value: true}, {Key: "open", Value: ""}})
	return b.flush(ctx)
}

// writeEffects writes what became of other pushes' holds.
func (s *Store) writeEffects(ctx context.Context, effects []effect) error {
	for _, e := range effects {
		filter := bson.D{{Key: "_id", Value: e.ID}}
		fields := bson.D{{Key: "result", Value: e.Result}}
		if e.IfHeld {
			filter = append(filter, bson.E{Key: "result", Value: string(directory.ResultHeld)})
		} else {
			fields = append(fields, bson.E{Key: "note", Value: e.Note}, bson.E{Key: "decided", Value: e.DecidedAt})
		}
		if _, err := s.journal.UpdateOne(ctx, filter, set(fields)); err != nil {
			return fmt.Errorf("note what became of push %s: %w", e.ID, err)
		}
	}
	return nil
}

// insertNew inserts entities that are new, if they are many or the scope has
// none yet, and returns what is left to write. What turns out to be there is
// left, too.
func (s *Store) insertNew(ctx context.Context, doc *scopeDoc, writes []entityWrite) ([]entityWrite, error) {
	var fresh, left []entityWrite
	for i := range writes {
		if writes[i].created {
			fresh = append(fresh, writes[i])
		} else {
			left = append(left, writes[i])
		}
	}
	if len(fresh) < insertFrom && doc.Turn > 1 {
		return writes, nil
	}
	for part := range slices.Chunk(fresh, writeBatch) {
		docs := make([]any, len(part))
		for i := range part {
			docs[i] = part[i].raw
		}
		_, err := s.directory.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		switch {
		case duplicate(err):
			left = append(left, part...)
		case err != nil:
			return nil, fmt.Errorf("insert entities of %s: %w", doc.ID, err)
		}
	}
	return left, nil
}

// batch gathers writes to the directory.
type batch struct {
	store   *Store
	scope   *scopeDoc
	writes  []entityWrite
	touches []touchDoc
	// closing is the update that ends the turn, last of all; nil for none.
	closing bson.D
}

// flush writes the batch. What a later turn has written already is left alone.
func (b *batch) flush(ctx context.Context) error {
	for try := 1; ; try++ {
		models := b.models()
		if len(models) == 0 {
			return nil
		}
		_, err := b.store.directory.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(b.closing != nil))
		if err == nil {
			b.writes, b.touches, b.closing = b.writes[:0], b.touches[:0], nil
			return nil
		}
		if !duplicate(err) || try == writeTries {
			return fmt.Errorf("write entities of %s: %w", b.scope.ID, err)
		}
		// A duplicate key means that an entity was written in this turn, or in a
		// later one, already.
		if b.writes, err = b.store.behind(ctx, b.scope, b.writes); err != nil {
			return err
		}
	}
}

func (b *batch) models() []driver.WriteModel {
	before := bson.D{{Key: "$lt", Value: orderOf(b.scope.Turn, 0)}}
	models := make([]driver.WriteModel, 0, len(b.writes)+len(b.touches)+1)
	for i := range b.writes {
		models = append(models, driver.NewReplaceOneModel().SetUpsert(true).SetReplacement(b.writes[i].raw).
			SetFilter(bson.D{{Key: "_id", Value: b.writes[i].id}, {Key: "s", Value: b.scope.ID}, {Key: "n", Value: before}}))
	}
	for _, touch := range b.touches {
		fields := bson.D{{Key: "st", Value: touch.SourceTime}, {Key: "n", Value: orderOf(b.scope.Turn, 0)}}
		if touch.Data != "" {
			fields = append(fields, bson.E{Key: "data", Value: touch.Data})
		}
		models = append(models, driver.NewUpdateOneModel().SetUpdate(set(fields)).
			SetFilter(bson.D{{Key: "_id", Value: touch.ID}, {Key: "s", Value: b.scope.ID}, {Key: "n", Value: before}}))
	}
	if b.closing != nil {
		models = append(models, driver.NewUpdateOneModel().SetFilter(ofTurn(b.scope)).SetUpdate(b.closing))
	}
	return models
}

// behind leaves out the entities that the turn, or a later one, has written.
func (s *Store) behind(ctx context.Context, doc *scopeDoc, writes []entityWrite) ([]entityWrite, error) {
	ids := make(bson.A, len(writes))
	for i := range writes {
		ids[i] = writes[i].id
	}
	cursor, err := s.directory.Find(ctx, bson.D{
		{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "s", Value: doc.ID},
		{Key: "n", Value: bson.D{{Key: "$gte", Value: orderOf(doc.Turn, 0)}}},
	}, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("read entities of %s: %w", doc.ID, err)
	}
	var written []struct {
		ID string `bson:"_id"`
	}
	if err := cursor.All(ctx, &written); err != nil {
		return nil, fmt.Errorf("read entities of %s: %w", doc.ID, err)
	}
	done := make(map[string]struct{}, len(written))
	for _, w := range written {
		done[w.ID] = struct{}{}
	}
	left := make([]entityWrite, 0, len(writes)-len(done))
	for i := range writes {
		if _, ok := done[writes[i].id]; !ok {
			left = append(left, writes[i])
		}
	}
	return left, nil
}

// decisionsOf packs what a plan decided about each entity.
func decisionsOf(plan *directory.Plan) ([]byte, error) {
	if len(plan.Decisions) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(plan.Decisions)
	if err != nil {
		return nil, fmt.Errorf("encode decisions: %w", err)
	}
	return blob.Pack(text), nil
}

// roundTime is the precision the store keeps.
func roundTime(t time.Time) time.Time { return fromMillis(millis(t)) }
