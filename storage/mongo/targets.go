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
)

// targetDoc is what is kept of a target as a whole, in the collection relays.
type targetDoc struct {
	Name     string `bson:"target"`
	Data     string `bson:"data"` // JSON
	Revision int64  `bson:"rev"`  // counts the updates
}

func targetID(targetName string) string { return "target/" + targetName }

func (d *targetDoc) record() (record storage.TargetRecord, err error) {
	if d.Data != "" {
		err = json.Unmarshal([]byte(d.Data), &record)
	}
	record.Name = d.Name
	if err != nil {
		return record, fmt.Errorf("stored record of target %s: %w", d.Name, err)
	}
	return record, nil
}

func (s *Store) targetDoc(ctx context.Context, targetName string) (targetDoc, error) {
	doc := targetDoc{Name: targetName}
	err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: targetID(targetName)}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return doc, nil
	}
	return doc, s.failed(err, "read record of target %s", targetName)
}

// Target implements storage.Targets.
func (s *Store) Target(ctx context.Context, targetName string) (storage.TargetRecord, error) {
	if err := s.ready(ctx); err != nil {
		return storage.TargetRecord{Name: targetName}, err
	}
	doc, err := s.targetDoc(ctx, targetName)
	if err != nil {
		return storage.TargetRecord{Name: targetName}, err
	}
	return doc.record()
}

// UpdateTarget implements storage.Targets. An update that another one came
// before is made again.
func (s *Store) UpdateTarget(ctx context.Context, targetName string, change func(*storage.TargetRecord) error) (record storage.TargetRecord, err error) {
	if err := s.ready(ctx); err != nil {
		return record, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	for {
		doc, err := s.targetDoc(ctx, targetName)
		if err != nil {
			return record, err
		}
		if record, err = doc.record(); err != nil {
			return record, err
		}
		if err := change(&record); err != nil {
			return record, err
		}
		record.Revision = doc.Revision + 1
		data, err := json.Marshal(record)
		if err != nil {
			return record, fmt.Errorf("encode record of target %s: %w", targetName, err)
		}
		written, err := s.replaceTarget(ctx, &doc, string(data))
		if err != nil || written {
			return record, s.failed(err, "write record of target %s", targetName)
		}
	}
}

// replaceTarget writes a record unless it has changed since it was read.
func (s *Store) replaceTarget(ctx context.Context, read *targetDoc, data string) (bool, error) {
	update := options.UpdateOne()
	if read.Revision == 0 {
		update = update.SetUpsert(true)
	}
	result, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: targetID(read.Name)}, {Key: "rev", Value: read.Revision}},
		set(bson.D{{Key: "target", Value: read.Name}, {Key: "data", Value: data}, {Key: "rev", Value: read.Revision + 1}}), update)
	if duplicate(err) {
		return false, nil
	}
	return err == nil && result.MatchedCount+result.UpsertedCount > 0, err
}

// Objects implements storage.Targets.
func (s *Store) Objects(ctx context.Context, targetName string) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	n, err := s.slots.CountDocuments(ctx, bson.D{
		{Key: "t", Value: targetName}, {Key: "k", Value: bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotDepartment), int32(storage.SlotUser)}}}},
		{Key: "remote", Value: bson.D{{Key: "$gt", Value: ""}}},
	})
	return int(n), s.failed(err, "count objects at %s", targetName)
}

// Holds implements storage.Targets.
func (s *Store) Holds(ctx context.Context, filter storage.DeliveryFilter) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	filter.State = storage.SlotHeld
	docs, err := s.findSlots(ctx, deliveryFilter(filter), bson.D{}, 1)
	return len(docs) > 0, s.failed(err, "look for held slots of %s", filter.Target)
}

// DecideHeld implements storage.Targets. It goes by key in small writes.
func (s *Store) DecideHeld(ctx context.Context, filter storage.DeliveryFilter, approve bool) (removals int, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	found := false
	err = s.eachSlot(ctx, filter, bson.A{int32(storage.SlotHeld)}, func(docs []slotDoc) error {
		found = true
		n, err := s.decide(ctx, docs, approve)
		removals += n
		return err
	})
	if err == nil && found {
		err = s.wake(ctx)
	}
	return removals, s.failed(err, "decide removals held for %s", filter.Target)
}

// decide ends the hold of some slots, and counts the removals among them. One
// that got a newer version meanwhile is held no more.
func (s *Store) decide(ctx context.Context, docs []slotDoc, approve bool) (removals int, err error) {
	now := millis(s.options.Now())
	objects := make([]driver.WriteModel, 0, len(docs))
	var places []driver.WriteModel
	for i := range docs {
		d := &docs[i]
		outcome := bson.D{{Key: "state", Value: int32(storage.SlotKept)}, {Key: "kept", Value: d.Desired}, {Key: "dirty", Value: int64(never)}}
		if approve {
			outcome = bson.D{{Key: "state", Value: int32(storage.SlotPending)}, {Key: "cleared", Value: d.Desired}, {Key: "due", Value: now}}
		}
		model := driver.NewUpdateOneModel().SetUpdate(set(outcome)).SetFilter(bson.D{
			{Key: "_id", Value: d.ID}, {Key: "s", Value: d.Scope}, {Key: "state", Value: int32(storage.SlotHeld)}, {Key: "desired", Value: d.Desired},
		})
		if kind := storage.SlotKind(d.Kind); kind == storage.SlotDepartment || kind == storage.SlotUser {
			objects = append(objects, model)
		} else {
			places = append(places, model)
		}
	}
	for _, models := range [][]driver.WriteModel{objects, places} {
		if len(models) == 0 {
			continue
		}
		result, err := s.slots.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return removals, err
		}
		if len(objects) > 0 && &models[0] == &objects[0] {
			removals = int(result.MatchedCount)
		}
	}
	return removals, nil
}
