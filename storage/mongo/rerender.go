package mongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/storage"
)

// Rerender implements storage.Fanout. Two replicas at once do the same.
func (s *Store) Rerender(ctx context.Context, targetName, fingerprint string) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	total, err := s.rerender(ctx, targetName, fingerprint)
	return total, s.failed(err, "rerender %s", targetName)
}

func (s *Store) rerender(ctx context.Context, targetName, fingerprint string) (int, error) {
	known, err := s.relayOf(ctx, targetName)
	if err != nil || known.Rendering == fingerprint {
		return 0, err
	}
	states := bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotDelivered), int32(storage.SlotDead)}}}
	total, after := 0, ""
	for {
		docs, err := s.findSlots(ctx, bson.D{
			{Key: "t", Value: targetName}, {Key: "state", Value: states},
			{Key: "k", Value: bson.D{{Key: "$in", Value: bson.A{int32(storage.SlotDepartment), int32(storage.SlotUser)}}}},
			{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
		}, bson.D{{Key: "_id", Value: 1}}, keysAtOnce)
		if err != nil {
			return total, err
		}
		if len(docs) == 0 {
			break
		}
		ids := make(bson.A, len(docs))
		for i := range docs {
			ids[i] = docs[i].ID
		}
		after = docs[len(docs)-1].ID
		in := func(state storage.SlotState) bson.D {
			return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "state", Value: int32(state)}}
		}
		result, err := s.slots.BulkWrite(ctx, []driver.WriteModel{
			driver.NewUpdateManyModel().SetFilter(in(storage.SlotDelivered)).SetUpdate(s.due(bson.D{{Key: "cleared", Value: int64(0)}})), // it has been done
			driver.NewUpdateManyModel().SetFilter(in(storage.SlotDead)).SetUpdate(s.due(nil)),
		})
		if err != nil {
			return total, err
		}
		total += int(result.MatchedCount)
	}
	_, err = s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: relayID(targetName)}}, bson.D{
		{Key: "$set", Value: bson.D{{Key: "relay", Value: targetName}, {Key: "rendering", Value: fingerprint}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "seq", Value: int64(0)}}},
	}, options.UpdateOne().SetUpsert(true))
	if err == nil && total > 0 {
		err = s.wake(ctx)
	}
	return total, err
}
