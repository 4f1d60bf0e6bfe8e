package mongo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/blob"
)

var _ storage.Loader = (*Store)(nil)

// loadID is the _id of the document, in the collection relays, that names the
// load that has not ended.
const loadID = "load"

// Loading implements storage.Loader.
func (s *Store) Loading(ctx context.Context) (string, error) {
	var doc struct {
		Name string `bson:"name"`
	}
	err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: loadID}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return "", nil
	}
	return doc.Name, s.failed(err, "look for a load")
}

// BeginLoad implements storage.Loader.
func (s *Store) BeginLoad(ctx context.Context, name string) error {
	running, err := s.Loading(ctx)
	switch {
	case err != nil || running == name:
		return err
	case running != "":
		return fmt.Errorf("another load has not ended: %w", storage.ErrConflict)
	}
	for _, part := range []struct {
		collection *driver.Collection
		filter     bson.D
	}{{s.directory, bson.D{}}, {s.journal, bson.D{}}, {s.slots, bson.D{}}, {s.relays, relayDocs}, {s.relays, targetDocs}, {s.instances, bson.D{}}} {
		err := part.collection.FindOne(ctx, part.filter).Err()
		if err == nil {
			return fmt.Errorf("the store is not empty (%s): %w", part.collection.Name(), storage.ErrConflict)
		}
		if !errors.Is(err, driver.ErrNoDocuments) {
			return s.failed(err, "look whether the store is empty")
		}
	}
	_, err = s.relays.InsertOne(ctx, bson.D{{Key: "_id", Value: loadID}, {Key: "name", Value: name}})
	return s.failed(err, "begin load")
}

// EndLoad implements storage.Loader.
func (s *Store) EndLoad(ctx context.Context, name string) error {
	result, err := s.relays.DeleteOne(ctx, bson.D{{Key: "_id", Value: loadID}, {Key: "name", Value: name}})
	if err != nil {
		return s.failed(err, "end load")
	}
	if result.DeletedCount == 0 {
		return fmt.Errorf("load %s is not under way: %w", name, storage.ErrConflict)
	}
	return nil
}

// loadedTurn is the turn that loaded scopes have had, so that their entities are
// of the past and no scope is taken for a new one.
const loadedTurn = 1

// loading gathers the documents of records by their collection.
type loading struct {
	directory, journal, slots, relays, instances, orders []driver.WriteModel

	seq   int64  // the largest place in the feed
	epoch string // the feed's present one, empty if it is not among the records
}

func put(models *[]driver.WriteModel, id string, doc any) {
	*models = append(*models, driver.NewReplaceOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: id}}).SetReplacement(doc))
}

// Load implements storage.Loader.
func (s *Store) Load(ctx context.Context, records []storage.Dumped) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	var l loading
	for i := range records {
		if err := s.gather(ctx, &l, &records[i]); err != nil {
			return s.failed(err, "load %s", records[i].Kind())
		}
	}
	for _, part := range []struct {
		collection *driver.Collection
		models     []driver.WriteModel
	}{{s.directory, l.directory}, {s.journal, l.journal}, {s.slots, l.slots}, {s.relays, l.relays}, {s.instances, l.instances}, {s.orders, l.orders}} {
		if len(part.models) == 0 {
			continue
		}
		if _, err := part.collection.BulkWrite(ctx, part.models, options.BulkWrite().SetOrdered(false)); err != nil {
			return s.failed(err, "load %s", part.collection.Name())
		}
	}
	if l.epoch != "" {
		if _, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}}, set(bson.D{{Key: "epoch", Value: l.epoch}})); err != nil {
			return s.failed(err, "load the feed")
		}
	}
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}, {Key: "seq", Value: bson.D{{Key: "$lt", Value: l.seq}}}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "seq", Value: l.seq}}}, {Key: "$inc", Value: bson.D{{Key: "step", Value: int64(1)}}}})
	return s.failed(err, "load the feed")
}

func (s *Store) gather(ctx context.Context, l *loading, d *storage.Dumped) error {
	switch {
	case d.State != nil:
		doc, err := loadedScope(d.State)
		l.seq = max(l.seq, d.State.Seq)
		put(&l.directory, doc.ID, doc)
		return err
	case d.Entity != nil:
		doc := loadedEntity(d.Entity)
		l.seq = max(l.seq, doc.Seq)
		put(&l.directory, doc.ID, doc)
	case d.Push != nil:
		doc, err := s.loadedPush(ctx, d.Push)
		put(&l.journal, d.Push.ID, doc)
		return err
	case d.Target != nil:
		data, err := json.Marshal(d.Target)
		put(&l.relays, targetID(d.Target.Name), targetDoc{Name: d.Target.Name, Data: string(data), Revision: d.Target.Revision})
		return err
	case d.Slot != nil:
		doc := loadedSlot(d.Slot)
		put(&l.slots, doc.ID, doc)
	case d.Relay != nil:
		put(&l.relays, relayID(d.Relay.Target), relayDoc{Target: d.Relay.Target, Seq: d.Relay.Seq, Rendering: d.Relay.Rendering, Selection: d.Relay.Selection})
	case d.Epoch != nil && d.Epoch.Until == 0:
		l.epoch = d.Epoch.ID
	case d.Epoch != nil:
		put(&l.relays, epochID(d.Epoch.ID), epochDoc{d.Epoch.ID, d.Epoch.Until})
	case d.Instance != nil:
		return loadInstance(l, d.Instance)
	default:
		return errors.New("a record of no kind")
	}
	return nil
}

// loadedBirth is the birth of the instances that were loaded.
const loadedBirth = "loaded"

func loadInstance(l *loading, d *storage.DumpedInstance) error {
	doc := instanceDoc{ID: instanceID(d.Dataset, d.ID), Birth: loadedBirth, Orders: d.Orders}
	if err := doc.put(&d.Instance); err != nil {
		return err
	}
	put(&l.instances, doc.ID, doc)
	for _, order := range d.Orders {
		id := orderID(d.Dataset, order)
		put(&l.orders, id, orderDoc{ID: id, Instance: doc.ID, Birth: loadedBirth})
	}
	return nil
}

func loadedScope(d *storage.DumpedState) (scopeDoc, error) {
	name := d.Scope.String()
	doc := scopeDoc{ID: name, Scope: name, Place: placeOf(d.Scope), Turn: loadedTurn, Top: d.Seq, Seen: true}
	doc.State = stateDoc{
		FullTime: int64(d.FullTime), Digest: d.FullDigest,
		Departments: d.Departments, ParentMissing: d.ParentMissing, Users: d.Users, Applications: d.Applications,
	}
	var texts [3]string
	for i, value := range []any{d.Hold, d.LastFull, d.LastIncremental} {
		text, err := json.Marshal(value)
		if err != nil {
			return doc, err
		}
		if string(text) != "null" {
			texts[i] = string(text)
		}
	}
	doc.State.Hold, doc.State.LastFull, doc.State.LastIncremental = blob.Pack([]byte(texts[0])), texts[1], texts[2]
	return doc, nil
}

func loadedEntity(d *storage.DumpedEntity) entityDoc {
	name := d.Scope.String()
	return entityDoc{
		ID: entityID(name, d.Kind, d.Key), Scope: name, Place: placeOf(d.Scope), Kind: int32(d.Kind), Key: d.Key, Name: d.Name, Parent: d.Parent,
		Deleted: d.Deleted, Missing: d.ParentMissing, Version: d.Version, Seq: d.Seq, SourceTime: int64(d.SourceTime), ChangedAt: millis(d.ChangedAt),
		N: orderOf(loadedTurn, 0), Data: d.Data,
	}
}

func (s *Store) loadedPush(ctx context.Context, d *storage.DumpedPush) (recordDoc, error) {
	doc := recordOf(&d.Record)
	doc.AppliedAt, doc.DecidedAt, doc.Phase, doc.Result = millis(d.AppliedAt), millis(d.DecidedAt), string(d.Phase), string(d.Result)
	if d.Counts != nil {
		counts, err := json.Marshal(d.Counts)
		if err != nil {
			return doc, err
		}
		doc.Counts = string(counts)
	}
	raw, decisions := blob.Pack(d.Raw), blob.Pack(d.Decisions)
	if max(len(raw), len(decisions)) > partSize { // a load that was cut off may have left some
		if _, err := s.journal.DeleteMany(ctx, partsOf(doc.ID)); err != nil {
			return doc, err
		}
	}
	var err error
	if doc.Raw, err = s.cut(ctx, doc.Scope, doc.ID, "raw", raw); err == nil {
		doc.Decisions, err = s.cut(ctx, doc.Scope, doc.ID, decisionsRole(doc.Turn), decisions)
	}
	return doc, err
}

func loadedSlot(d *storage.DumpedSlot) slotDoc {
	name := d.Scope.String()
	doc := slotDoc{
		ID: slotID(d.Target, name, d.Slot.Kind, d.Key), Scope: name, Place: placeOf(d.Scope), Target: d.Target, Kind: int32(d.Slot.Kind), Key: d.Key,
		State: int32(d.State), Desired: d.Desired, Delivered: d.Delivered, Hash: d.Hash, RemoteID: d.RemoteID, Group: d.Group, Uncertain: d.Uncertain,
		Marks: d.Marks, Attempts: d.Attempts, Dirty: never, Due: millis(d.DueAt), Failed: millis(d.FailedAt), Class: d.ErrorClass, Error: d.LastError,
		DeliveredAt: millis(d.DeliveredAt), Cleared: d.Cleared, Kept: d.Kept,
	}
	if !d.DirtySince.IsZero() {
		doc.Dirty = millis(d.DirtySince)
	}
	return doc
}
