package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// feedID is the _id of the feed's document in the collection relays.
const feedID = "feed"

// feedBatch bounds the changes that get their numbers at once.
const feedBatch = 500

// feedDoc says how far the feed goes. While a batch is open its numbers, the
// last ones up to Seq, may not all be written yet.
type feedDoc struct {
	Seq   int64       `bson:"seq"`
	Step  int64       `bson:"step"` // counts the changes of this document
	Batch []feedEntry `bson:"batch"`
	// Wakes counts what else listeners of other replicas should hear of.
	Wakes int64 `bson:"wakes"`
	// Epoch is the present one (storage.Place), empty before the first change.
	Epoch string `bson:"epoch"`
}

// epochDoc is an epoch of the feed that has ended, in the collection relays.
type epochDoc struct {
	Epoch string `bson:"epoch"`
	Until int64  `bson:"until"` // its last number
}

func epochID(epoch string) string { return "epoch/" + epoch }

// feedEntry is a change that gets a number: the entity and the change's N.
type feedEntry struct {
	ID    string `bson:"_id"`
	Scope string `bson:"s"`
	N     int64  `bson:"n"`
}

// initFeed makes the feed's document.
func (s *Store) initFeed(ctx context.Context) error {
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}}, bson.D{{Key: "$setOnInsert", Value: bson.D{
		{Key: "seq", Value: int64(0)}, {Key: "step", Value: int64(0)}, {Key: "wakes", Value: int64(0)}, {Key: "batch", Value: bson.A{}},
	}}}, options.UpdateOne().SetUpsert(true))
	if duplicate(err) { // another replica was first
		return nil
	}
	return err
}

// sequence gives every change that has none its number, and returns the feed as
// it is then: all up to Seq can be read, and nothing will appear among it.
func (s *Store) sequence(ctx context.Context) (feedDoc, error) {
	select {
	case s.sequencer <- struct{}{}:
		defer func() { <-s.sequencer }()
	case <-ctx.Done():
		return feedDoc{}, s.failed(ctx.Err(), "wait for the change feed")
	}
	for {
		var feed feedDoc
		if err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: feedID}}).Decode(&feed); err != nil {
			return feed, s.failed(err, "read the change feed")
		}
		if len(feed.Batch) > 0 {
			if err := s.closeBatch(ctx, feed); err != nil {
				return feed, s.failed(err, "number changes")
			}
			continue
		}
		pending, err := s.pending(ctx)
		if err != nil || len(pending) == 0 {
			return feed, s.failed(err, "find new changes")
		}
		if err := s.openBatch(ctx, feed, pending); err != nil {
			return feed, s.failed(err, "number changes")
		}
	}
}

// pending are changes without a number, those of one scope in their order.
func (s *Store) pending(ctx context.Context) ([]feedEntry, error) {
	cursor, err := s.feed.Find(ctx, bson.D{{Key: "seq", Value: int64(0)}}, options.Find().
		SetSort(bson.D{{Key: "at", Value: 1}, {Key: "n", Value: 1}}).SetLimit(feedBatch).SetBatchSize(feedBatch+1).
		SetProjection(bson.D{{Key: "_id", Value: 1}, {Key: "s", Value: 1}, {Key: "n", Value: 1}}))
	if err != nil {
		return nil, err
	}
	var pending []feedEntry
	err = cursor.All(ctx, &pending)
	return pending, err
}

// openBatch lists the changes and the numbers they are to get. Of several
// replicas that try, one succeeds; all go on from what is there.
func (s *Store) openBatch(ctx context.Context, feed feedDoc, batch []feedEntry) error {
	fields := bson.D{{Key: "batch", Value: batch}}
	if !s.numbered {
		if err := s.endEpoch(ctx, feed); err != nil {
			return err
		}
		fields = append(fields, bson.E{Key: "epoch", Value: s.epoch})
	}
	result, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}, {Key: "step", Value: feed.Step}}, bson.D{
		{Key: "$set", Value: fields},
		{Key: "$inc", Value: bson.D{{Key: "seq", Value: int64(len(batch))}, {Key: "step", Value: int64(1)}}},
	})
	s.numbered = s.numbered || err == nil && result.ModifiedCount > 0
	return err
}

// endEpoch notes how far the present epoch goes, before ours takes its place. If
// ours does not, for another replica was faster, the note is made right by
// whoever ends the epoch: it only grows.
func (s *Store) endEpoch(ctx context.Context, feed feedDoc) error {
	if feed.Epoch == "" || feed.Epoch == s.epoch {
		return nil
	}
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: epochID(feed.Epoch)}}, bson.D{
		{Key: "$set", Value: bson.D{{Key: "epoch", Value: feed.Epoch}}},
		{Key: "$max", Value: bson.D{{Key: "until", Value: feed.Seq}}},
	}, options.UpdateOne().SetUpsert(true))
	return err
}

// checkPlace refuses a place that is not in the feed.
func (s *Store) checkPlace(ctx context.Context, feed feedDoc, place storage.Place) error {
	last := epochDoc{Until: feed.Seq}
	if place.Epoch != "" && place.Epoch != feed.Epoch {
		err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: epochID(place.Epoch)}}).Decode(&last)
		switch {
		case errors.Is(err, driver.ErrNoDocuments):
			return storage.ErrFeedSetBack
		case err != nil:
			return s.failed(err, "read epochs of the change feed")
		}
	}
	if place.Seq > last.Until {
		return storage.ErrFeedSetBack
	}
	return nil
}

// closeBatch writes the numbers of an open batch and closes it. A change that
// was overtaken by a newer one gets none: the newer one will.
func (s *Store) closeBatch(ctx context.Context, feed feedDoc) error {
	first := feed.Seq - int64(len(feed.Batch)) + 1
	models := make([]driver.WriteModel, 0, len(feed.Batch)+1)
	top := make(map[string]int64)
	for i, change := range feed.Batch {
		seq := first + int64(i)
		models = append(models, driver.NewUpdateOneModel().
			SetFilter(bson.D{
				{Key: "_id", Value: change.ID}, {Key: "s", Value: change.Scope}, {Key: "seq", Value: int64(0)}, {Key: "n", Value: change.N},
			}).SetUpdate(set(bson.D{{Key: "seq", Value: seq}})))
		top[change.Scope] = seq
	}
	for scope, seq := range top {
		models = append(models, driver.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: scope}, {Key: "s", Value: scope}}).
			SetUpdate(bson.D{{Key: "$max", Value: bson.D{{Key: "top", Value: seq}}}}))
	}
	if _, err := s.directory.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false)); err != nil {
		return err
	}
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}, {Key: "step", Value: feed.Step}}, bson.D{
		{Key: "$set", Value: bson.D{{Key: "batch", Value: bson.A{}}}},
		{Key: "$inc", Value: bson.D{{Key: "step", Value: int64(1)}}},
	})
	return err
}

// wake makes the listeners of other replicas look.
func (s *Store) wake(ctx context.Context) error {
	_, err := s.relays.UpdateOne(ctx, bson.D{{Key: "_id", Value: feedID}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "wakes", Value: int64(1)}}}})
	if err == nil {
		s.tell(ctx)
	}
	return err
}

// changes reads the feed after a place, up to another; nil fields are all.
func (s *Store) changes(ctx context.Context, after, upTo int64, limit int, fields bson.D) ([]entityDoc, error) {
	find := options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}).SetLimit(int64(limit)).SetBatchSize(int32(limit) + 1)
	if fields != nil {
		find.SetProjection(fields)
	}
	return s.entities(ctx, s.feed, bson.D{{Key: "seq", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lte", Value: upTo}}}}, find)
}

// Changes implements storage.Reader.
func (s *Store) Changes(ctx context.Context, after storage.Place, limit int) ([]storage.Change, storage.Place, error) {
	if err := s.ready(ctx); err != nil {
		return nil, after, err
	}
	ctx, cancel := perOperation(ctx)
	defer cancel()
	feed, err := s.sequence(ctx)
	if err != nil {
		return nil, after, err
	}
	if err := s.checkPlace(ctx, feed, after); err != nil {
		return nil, after, err
	}
	docs, err := s.changes(ctx, after.Seq, feed.Seq, storage.Page{Limit: limit}.Size(), nil)
	if err != nil {
		return nil, after, s.failed(err, "read change feed")
	}
	next := storage.Place{Seq: after.Seq, Epoch: feed.Epoch}
	changes := make([]storage.Change, 0, len(docs))
	var unreadable storage.Unreadable
	for i := range docs {
		next.Seq = docs[i].Seq
		change, err := docs[i].change()
		if err != nil {
			unreadable.Add(fmt.Sprintf("%s %q of %s", change.Kind, change.Key, change.Scope), err)
			continue
		}
		changes = append(changes, change)
	}
	return changes, next, unreadable.Err()
}

// change is an entity as the feed shows it.
func (e *entityDoc) change() (c storage.Change, err error) {
	c = storage.Change{Seq: e.Seq, Scope: e.scope(), Kind: directory.Kind(e.Kind), Key: e.Key, Deleted: e.Deleted}
	switch c.Kind {
	case directory.KindTenant:
		var t directory.Tenant
		t, err = e.tenant()
		c.Tenant = &t
	case directory.KindDepartment:
		var d directory.Department
		d, err = e.department()
		c.Department = &d
	case directory.KindUser:
		var u directory.User
		u, err = e.user()
		c.User = &u
	case directory.KindApplication:
		var a directory.Application
		a, err = e.application()
		c.Application = &a
	default:
		err = fmt.Errorf("stored entity %s: unknown kind %d", e.ID, e.Kind)
	}
	return c, err
}
