package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

// The phases of a document of the journal that are no push's.
const (
	// phaseBarred stands for a push that may not be committed in the turns up
	// to Bar, though it may in a later one.
	phaseBarred = "barred"
	// phaseInner is a commit of the store itself: a decision, an expiry.
	phaseInner = "inner"
)

// partSize bounds what one document carries of a body or a plan, well under the
// server's 16 MiB.
const partSize = 8 << 20

// recordDoc is a push in the collection journal.
type recordDoc struct {
	ID         string `bson:"_id"`
	Scope      string `bson:"s"`
	Place      `bson:",inline"`
	Kind       string `bson:"kind"`
	Flag       int    `bson:"flag"`
	SourceTime int64  `bson:"st"`
	ReceivedAt int64  `bson:"received"`
	AppliedAt  int64  `bson:"applied"`
	Phase      string `bson:"phase"`
	Result     string `bson:"result"`
	Counts     string `bson:"counts,omitempty"`
	Note       string `bson:"note,omitempty"`
	DecidedAt  int64  `bson:"decided,omitempty"`
	Size       int    `bson:"size"`
	// Turn is the turn the push was committed in, Bar the newest one it may not
	// be committed in.
	Turn int64 `bson:"turn"`
	Bar  int64 `bson:"bar"`
	// Raw is the packed body, Decisions what happened to each entity, Redo what
	// the push changes. What is longer than partSize is in parts.
	Raw       piece `bson:"raw"`
	Decisions piece `bson:"decisions"`
	Redo      piece `bson:"redo"`
}

// piece is packed bytes, in place or in so many parts.
type piece struct {
	Bytes []byte `bson:"b,omitempty"`
	Parts int    `bson:"parts,omitempty"`
}

// withoutBodies leaves a record's long members out.
var withoutBodies = bson.D{{Key: "raw", Value: 0}, {Key: "decisions", Value: 0}, {Key: "redo", Value: 0}}

// recordOf is the document of a push that has just arrived.
func recordOf(r *storage.Record) recordDoc {
	return recordDoc{
		ID: r.ID, Scope: r.Scope.String(), Place: placeOf(r.Scope), Kind: string(r.Kind), Flag: int(r.Flag),
		SourceTime: int64(r.SourceTime), ReceivedAt: millis(r.ReceivedAt), Phase: string(storage.PhaseReceived), Note: r.Note, Size: r.Size,
	}
}

func (d *recordDoc) record() (storage.Record, error) {
	r := storage.Record{
		ID: d.ID, Scope: d.scope(), Kind: directory.PushKind(d.Kind), Flag: directory.Flag(d.Flag),
		SourceTime: directory.SourceTime(d.SourceTime), ReceivedAt: fromMillis(d.ReceivedAt), AppliedAt: fromMillis(d.AppliedAt),
		Phase: storage.Phase(d.Phase), Result: directory.Result(d.Result), Note: d.Note, DecidedAt: fromMillis(d.DecidedAt), Size: d.Size,
	}
	if d.Counts != "" {
		if err := json.Unmarshal([]byte(d.Counts), &r.Counts); err != nil {
			r.Counts = nil // they are only shown
		}
	}
	return r, nil
}

// partID names a part of a push: role is what it is part of.
func partID(pushID, role string, n int) string { return fmt.Sprintf("%s#%s#%04d", pushID, role, n) }

// cut puts bytes in place, or in parts if they are too long for that. Parts that
// are there already are a duplicate key.
func (s *Store) cut(ctx context.Context, scope, pushID, role string, packed []byte) (piece, error) {
	if len(packed) <= s.partSize {
		return piece{Bytes: packed}, nil
	}
	parts := 0
	for rest := packed; len(rest) > 0; parts++ {
		part := rest[:min(s.partSize, len(rest))]
		rest = rest[len(part):]
		id := partID(pushID, role, parts)
		if _, err := s.journal.InsertOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "s", Value: scope}, {Key: "b", Value: part}}); err != nil {
			return piece{}, err
		}
	}
	return piece{Parts: parts}, nil
}

// join reads what cut wrote and unpacks it.
func (s *Store) join(ctx context.Context, pushID, role string, p piece) ([]byte, error) {
	packed := p.Bytes
	for n := range p.Parts {
		var part struct {
			Bytes []byte `bson:"b"`
		}
		if err := s.journal.FindOne(ctx, bson.D{{Key: "_id", Value: partID(pushID, role, n)}}).Decode(&part); err != nil {
			return nil, fmt.Errorf("part %d of %s: %w", n, role, err)
		}
		packed = append(packed, part.Bytes...)
	}
	return blob.Unpack(packed)
}

// partsOf selects all parts of a push: '$' follows '#'.
func partsOf(pushID string) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: pushID + "#"}, {Key: "$lt", Value: pushID + "$"}}}}
}

// find reads a push's document. storage.ErrNotFound if there is no such push.
func (s *Store) find(ctx context.Context, pushID string, fields bson.D) (recordDoc, error) {
	var doc recordDoc
	err := s.journal.FindOne(ctx, bson.D{{Key: "_id", Value: pushID}, {Key: "phase", Value: realPhases}},
		options.FindOne().SetProjection(fields)).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return doc, fmt.Errorf("push %s: %w", pushID, storage.ErrNotFound)
	}
	return doc, s.failed(err, "read push %s", pushID)
}

// realPhases are the phases of pushes.
var realPhases = bson.D{{Key: "$in", Value: bson.A{string(storage.PhaseReceived), string(storage.PhaseApplied)}}}

// acceptedPushes remembers the records of pushes accepted here and not applied
// yet, which spares reading them.
type acceptedPushes struct {
	mu      sync.Mutex
	records map[string]storage.Record
}

// maxAccepted bounds what is remembered.
const maxAccepted = 1024

func (a *acceptedPushes) add(record storage.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.records == nil {
		a.records = make(map[string]storage.Record)
	}
	if len(a.records) < maxAccepted {
		a.records[record.ID] = record
	}
}

func (a *acceptedPushes) take(id string) (storage.Record, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	record, ok := a.records[id]
	delete(a.records, id)
	return record, ok
}

// Accept implements storage.Intake.
func (s *Store) Accept(ctx context.Context, record storage.Record, raw []byte) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	doc := recordOf(&record)
	packed := blob.Pack(raw)
	var err error
	if doc.Raw, err = s.cut(ctx, doc.Scope, doc.ID, "raw", packed); err == nil {
		_, err = s.journal.InsertOne(ctx, &doc)
	}
	if duplicate(err) {
		err = storage.ErrAlreadyExists
	}
	if err != nil {
		return s.failed(err, "journal push %s", record.ID)
	}
	s.accepted.add(record)
	return nil
}

// dropRefused removes a push that turned out to be refused: nothing of it stays.
func (s *Store) dropRefused(ctx context.Context, doc *recordDoc) error {
	ctx, cancel := s.bounded(context.WithoutCancel(ctx))
	defer cancel()
	_, err := s.journal.DeleteOne(ctx, bson.D{
		{Key: "_id", Value: doc.ID}, {Key: "s", Value: doc.Scope}, {Key: "phase", Value: string(storage.PhaseReceived)},
	})
	if err == nil && doc.Size > s.partSize/2 { // a shorter body has no parts
		_, err = s.journal.DeleteMany(ctx, partsOf(doc.ID))
	}
	return s.failed(err, "drop refused push %s", doc.ID)
}
