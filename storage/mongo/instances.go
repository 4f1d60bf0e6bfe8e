package mongo

import (
	"context"
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
)

// instanceDoc is an instance in the collection instances.
type instanceDoc struct {
	ID string `bson:"_id"` // see instanceID
	// Birth names the creation: what one that came to nothing had claimed is not
	// taken for another's of the same id.
	Birth string `bson:"birth"`
	// Rev counts the writes, Version the changes.
	Rev     int64 `bson:"rev"`
	Version int64 `bson:"v"`
	// Due is when something is due next, 0 if nothing waits; unmade until the
	// creation has all its orders.
	Due       int64 `bson:"due"`
	ChangedAt int64 `bson:"at"`
	// Orders are those that were applied to the instance.
	Orders []string `bson:"orders"`
	Data   string   `bson:"data"`
}

// unmade is when an instance is due that nobody but its creation may see.
const unmade = -1

// instanceID is the _id of an instance. It sorts by data set and id; that a data
// set has no slash in it keeps it unambiguous.
func instanceID(dataset directory.Dataset, id string) string { return string(dataset) + "/" + id }

func (d *instanceDoc) instance() (i directory.Instance, err error) {
	if err := json.Unmarshal([]byte(d.Data), &i); err != nil {
		return i, fmt.Errorf("stored instance %s: %w", d.ID, err)
	}
	i.Version, i.ChangedAt = d.Version, fromMillis(d.ChangedAt)
	return i, nil
}

// put makes the document hold the instance.
func (d *instanceDoc) put(i *directory.Instance) error {
	data, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode instance %s: %w", i.ID, err)
	}
	d.Version, d.Due, d.ChangedAt, d.Data = i.Version, millis(i.NextDue()), millis(i.ChangedAt), string(data)
	return nil
}

// readInstance reads a document, made or unmade, nil if there is none.
func (s *Store) readInstance(ctx context.Context, id string) (*instanceDoc, error) {
	var doc instanceDoc
	err := s.instances.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, nil
	}
	return &doc, err
}

// writeInstance writes a document unless another was faster.
func (s *Store) writeInstance(ctx context.Context, doc *instanceDoc) (written bool, err error) {
	result, err := s.instances.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: doc.ID}, {Key: "birth", Value: doc.Birth}, {Key: "rev", Value: doc.Rev}},
		set(bson.D{
			{Key: "rev", Value: doc.Rev + 1}, {Key: "v", Value: doc.Version}, {Key: "due", Value: doc.Due},
			{Key: "at", Value: doc.ChangedAt}, {Key: "orders", Value: doc.Orders}, {Key: "data", Value: doc.Data},
		}))
	return err == nil && result.MatchedCount > 0, err
}

// ChangeInstance implements storage.Instances. The order is claimed first and
// noted with the change after: a claim without is one that was cut off, and its
// repeat carries it out.
func (s *Store) ChangeInstance(ctx context.Context, dataset directory.Dataset, id, order string, change func(*directory.Instance, bool) (bool, error)) (stored directory.Instance, err error) {
	if err := s.ready(ctx); err != nil {
		return stored, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	key := instanceID(dataset, id)
	release, err := s.turns.take(ctx, "instance "+key)
	if err != nil {
		return stored, s.failed(err, "wait for earlier calls of instance %s", id)
	}
	defer release()
	for wait := openRetryFirst; ; {
		doc, err := s.readInstance(ctx, key)
		if err == nil && (doc == nil || doc.Due == unmade) {
			return stored, fmt.Errorf("instance %s: %w", id, storage.ErrNotFound)
		}
		if err != nil {
			return stored, s.failed(err, "read instance %s", id)
		}
		stored, written, err := s.tryChange(ctx, doc, dataset, order, change)
		if err != nil || written {
			return stored, err
		}
		if err := rest(ctx, &wait); err != nil {
			return directory.Instance{}, s.failed(err, "write instance %s, which others change at the same time", id)
		}
	}
}

// tryChange changes an instance as it was read. It reports false if another was
// faster.
func (s *Store) tryChange(ctx context.Context, doc *instanceDoc, dataset directory.Dataset, order string, change func(*directory.Instance, bool) (bool, error)) (stored directory.Instance, written bool, err error) {
	repeat := slices.Contains(doc.Orders, order)
	binds := order != "" && !repeat
	var owner *instanceDoc
	if binds {
		if owner, err = s.owner(ctx, orderID(dataset, order)); err != nil {
			return stored, false, s.failed(err, "find order")
		}
		if owner != nil && owner.ID != doc.ID {
			return stored, false, fmt.Errorf("order of another instance: %w", storage.ErrConflict)
		}
	}
	if stored, err = doc.instance(); err != nil {
		return stored, false, err
	}
	changed, err := change(&stored, repeat)
	if err != nil {
		return directory.Instance{}, false, err
	}
	if !changed && !binds {
		return stored, true, nil
	}
	if changed {
		stored.Version++
		stored.ChangedAt = roundTime(s.options.Now())
		if err := doc.put(&stored); err != nil {
			return stored, false, err
		}
	}
	if binds {
		doc.Orders = append(doc.Orders, order)
		if owner == nil {
			if claimed, err := s.claimOrder(ctx, doc, orderID(dataset, order)); err != nil || !claimed {
				return stored, false, s.failed(err, "bind order to instance %s", stored.ID)
			}
		}
	}
	written, err = s.writeInstance(ctx, doc)
	return stored, written, s.failed(err, "write instance %s", stored.ID)
}

// Instance implements storage.Instances.
func (s *Store) Instance(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error) {
	if err := s.ready(ctx); err != nil {
		return directory.Instance{}, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	doc, err := s.readInstance(ctx, instanceID(dataset, id))
	switch {
	case err != nil:
		return directory.Instance{}, s.failed(err, "read instance %s", id)
	case doc == nil || doc.Due == unmade:
		return directory.Instance{}, fmt.Errorf("instance %s: %w", id, storage.ErrNotFound)
	}
	return doc.instance()
}

// Instances implements storage.Instances.
func (s *Store) Instances(ctx context.Context, f storage.InstanceFilter, page storage.Page) ([]directory.Instance, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	after := instanceID(f.Dataset, "")
	if page.Cursor != "" {
		parts, err := storage.DecodeCursor(page.Cursor, 2)
		if err != nil {
			return nil, "", err
		}
		after = instanceID(directory.Dataset(parts[0]), parts[1])
	}
	ids := bson.D{{Key: "$gt", Value: after}}
	if f.Dataset != "" {
		ids = append(ids, bson.E{Key: "$lt", Value: string(f.Dataset) + "0"}) // '0' follows '/'
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	limit := page.Size()
	found, err := s.findInstances(ctx, bson.D{{Key: "_id", Value: ids}, {Key: "due", Value: bson.D{{Key: "$gte", Value: int64(0)}}}}, "_id", limit+1)
	if err != nil || len(found) <= limit {
		return found, "", s.failed(err, "list instances")
	}
	last := found[limit-1]
	return found[:limit], storage.EncodeCursor(string(last.Dataset), last.ID), nil
}

// DueInstances implements storage.Instances.
func (s *Store) DueInstances(ctx context.Context, now time.Time, limit int) (due []directory.Instance, next time.Time, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, next, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	due, err = s.findInstances(ctx, bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: int64(0)}, {Key: "$lte", Value: millis(now)}}}}, "due", limit)
	if err != nil {
		return nil, next, s.failed(err, "list due instances")
	}
	var first instanceDoc
	err = s.instances.FindOne(ctx, bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: millis(now)}}}},
		options.FindOne().SetSort(bson.D{{Key: "due", Value: 1}}).SetProjection(bson.D{{Key: "due", Value: 1}})).Decode(&first)
	if err != nil && !errors.Is(err, driver.ErrNoDocuments) {
		return nil, next, s.failed(err, "find the next due instance")
	}
	return due, fromMillis(first.Due), nil
}

func (s *Store) findInstances(ctx context.Context, where bson.D, sort string, limit int) ([]directory.Instance, error) {
	cursor, err := s.instances.Find(ctx, where,
		options.Find().SetSort(bson.D{{Key: sort, Value: 1}}).SetLimit(int64(limit)).SetBatchSize(int32(limit)+1))
	if err != nil {
		return nil, err
	}
	var docs []instanceDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, err
	}
	found := make([]directory.Instance, 0, len(docs))
	for i := range docs {
		instance, err := docs[i].instance()
		if err != nil {
			return nil, err
		}
		found = append(found, instance)
	}
	return found, nil
}
