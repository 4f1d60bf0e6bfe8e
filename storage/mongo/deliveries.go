package mongo

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Deliveries implements storage.Reader.
func (s *Store) Deliveries(ctx context.Context, f storage.DeliveryFilter, page storage.Page) ([]storage.Slot, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := deliveryFilter(f)
	// Pages are in order of _id, which begins with the target.
	id := bson.D{}
	if f.Target != "" {
		of := url.PathEscape(f.Target)
		id = bson.D{{Key: "$gt", Value: of + "/"}, {Key: "$lt", Value: of + "0"}}
	}
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 1)
		if err != nil {
			return nil, "", err
		}
		id = append(bson.D{{Key: "$gt", Value: parts[0]}}, id[min(1, len(id)):]...)
	}
	if len(id) > 0 {
		where = append(where, bson.E{Key: "_id", Value: id})
	}
	limit := page.Size()
	docs, err := s.findSlots(ctx, where, bson.D{{Key: "_id", Value: 1}}, limit+1)
	if err != nil {
		return nil, "", s.failed(err, "list deliveries")
	}
	next := ""
	if len(docs) > limit {
		docs = docs[:limit]
		next = storage.EncodeCursor(docs[limit-1].ID)
	}
	slots := make([]storage.Slot, len(docs))
	for i := range docs {
		slots[i] = docs[i].slot()
	}
	return slots, next, nil
}

// Counts implements storage.Reader.
func (s *Store) Counts(ctx context.Context, targetName string, scope *directory.Scope) (storage.TargetCounts, error) {
	counts := storage.TargetCounts{Slots: make(storage.SlotCounts)}
	if err := s.ready(ctx); err != nil {
		return counts, err
	}
	where := bson.D{{Key: "t", Value: targetName}}
	changes := bson.D{}
	if scope != nil {
		where = append(where, bson.E{Key: "s", Value: scope.String()})
		changes = append(changes, bson.E{Key: "s", Value: scope.String()})
	}
	// The feed first: a change that becomes a slot in between is then counted
	// twice, never not at all, so that nothing looks synced that is not.
	feed, err := s.sequence(ctx)
	if err != nil {
		return counts, err
	}
	relay, err := s.relayOf(ctx, targetName)
	if err != nil {
		return counts, s.failed(err, "count unrelayed changes of %s", targetName)
	}
	if relay.Seq < feed.Seq {
		n, err := s.directory.CountDocuments(ctx, append(changes, bson.E{Key: "seq", Value: bson.D{{Key: "$gt", Value: relay.Seq}, {Key: "$lte", Value: feed.Seq}}}))
		if err != nil {
			return counts, s.failed(err, "count unrelayed changes of %s", targetName)
		}
		counts.Unrelayed = int(n)
	}
	if err := s.countSlots(ctx, where, counts.Slots); err != nil {
		return counts, s.failed(err, "count slots of %s", targetName)
	}
	return counts, s.failed(s.troubles(ctx, where, &counts), "find troubles of %s", targetName)
}

func (s *Store) countSlots(ctx context.Context, where bson.D, into storage.SlotCounts) error {
	cursor, err := s.slots.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: where}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$state"}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	})
	if err != nil {
		return err
	}
	var groups []struct {
		State int32 `bson:"_id"`
		N     int   `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return err
	}
	for _, g := range groups {
		into[storage.SlotState(g.State)] = g.N
	}
	return nil
}

// troubles finds the oldest open slot and the newest error.
func (s *Store) troubles(ctx context.Context, where bson.D, counts *storage.TargetCounts) error {
	open := bson.A{int32(storage.SlotPending), int32(storage.SlotRetrying), int32(storage.SlotWaiting)}
	var oldest, failed slotDoc
	err := s.slots.FindOne(ctx, append(slices.Clip(where),
		bson.E{Key: "dirty", Value: bson.D{{Key: "$lt", Value: int64(never)}}}, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: open}}}),
		options.FindOne().SetSort(bson.D{{Key: "dirty", Value: 1}})).Decode(&oldest)
	if err != nil && !errors.Is(err, driver.ErrNoDocuments) {
		return err
	}
	counts.Oldest = fromMillis(oldest.Dirty)
	err = s.slots.FindOne(ctx, append(slices.Clip(where), bson.E{Key: "failed", Value: bson.D{{Key: "$gt", Value: int64(0)}}}),
		options.FindOne().SetSort(bson.D{{Key: "failed", Value: -1}})).Decode(&failed)
	if err != nil && !errors.Is(err, driver.ErrNoDocuments) {
		return err
	}
	counts.LastError = failed.Error
	return nil
}
