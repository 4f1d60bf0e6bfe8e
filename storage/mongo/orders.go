package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// orderDoc says which instance an order is bound to, in the collection orders.
// It is an instance's claim: what was applied is in the instance's document.
type orderDoc struct {
	ID       string `bson:"_id"` // see orderID
	Instance string `bson:"of"`
	Birth    string `bson:"birth"` // the instance's
}

// orderID is the _id of an order.
func orderID(dataset directory.Dataset, order string) string { return string(dataset) + "/" + order }

// CreateInstance implements storage.Instances. The instance is written unmade,
// then claims its orders, and is made when it has them all. Of creations at once
// that share an order one gets it, and the others come to nothing. Whoever
// meets one that was left half done finishes it.
func (s *Store) CreateInstance(ctx context.Context, instance directory.Instance, orders []string) (stored directory.Instance, created bool, err error) {
	if err := s.ready(ctx); err != nil {
		return stored, false, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if len(orders) > 0 { // spares the creations of this process from racing each other
		release, err := s.turns.take(ctx, "order "+orderID(instance.Dataset, orders[0]))
		if err != nil {
			return stored, false, s.failed(err, "wait for earlier calls of the same order")
		}
		defer release()
	}
	instance.ChangedAt = roundTime(s.options.Now())
	doc := &instanceDoc{ID: instanceID(instance.Dataset, instance.ID), Birth: newID(), Orders: orders}
	if err := doc.put(&instance); err != nil {
		return stored, false, err
	}
	doc.Due = unmade
	owner, err := s.create(ctx, doc, instance.Dataset, orders)
	switch {
	case errors.Is(err, storage.ErrConflict):
		return stored, false, fmt.Errorf("instance %s is of another order: %w", instance.ID, err)
	case err != nil:
		return stored, false, s.failed(err, "create instance %s", instance.ID)
	case owner.Birth == doc.Birth:
		return instance, true, nil
	}
	if err := s.bindMore(ctx, owner, instance.Dataset, orders); err != nil {
		return stored, false, s.failed(err, "bind orders to instance %s", owner.ID)
	}
	stored, err = owner.instance()
	return stored, false, err
}

// create returns the instance that has one of the orders, which is doc if nobody
// had. ErrConflict if another one has doc's id.
func (s *Store) create(ctx context.Context, doc *instanceDoc, dataset directory.Dataset, orders []string) (*instanceDoc, error) {
	for wait := openRetryFirst; ; {
		for _, order := range orders {
			if owner, err := s.owner(ctx, orderID(dataset, order)); err != nil || owner != nil {
				return owner, err
			}
		}
		_, err := s.instances.InsertOne(ctx, doc)
		if err == nil {
			if err := s.make(ctx, doc); err != nil {
				return nil, err
			}
			continue
		}
		if !duplicate(err) {
			return nil, err
		}
		there, err := s.readInstance(ctx, doc.ID)
		switch {
		case err != nil:
			return nil, err
		case there != nil && there.Due == unmade:
			err = s.make(ctx, there)
		case there != nil && !slices.ContainsFunc(orders, func(order string) bool { return slices.Contains(there.Orders, order) }):
			return nil, storage.ErrConflict
		}
		if err == nil {
			err = rest(ctx, &wait) // until a majority has what this replica cannot see yet
		}
		if err != nil {
			return nil, err
		}
	}
}

// make claims an unmade instance's orders and makes it, or takes it away if
// another has one of them. Orders are claimed by ascending key, so that of those
// that want the same ones is made.
func (s *Store) make(ctx context.Context, doc *instanceDoc) error {
	instance, err := doc.instance()
	if err != nil {
		return err
	}
	these := bson.D{{Key: "_id", Value: doc.ID}, {Key: "birth", Value: doc.Birth}, {Key: "due", Value: int64(unmade)}}
	for _, order := range slices.Sorted(slices.Values(doc.Orders)) {
		mine, err := s.claimOrder(ctx, doc, orderID(instance.Dataset, order))
		if err != nil {
			return err
		}
		if !mine {
			_, err := s.instances.DeleteOne(ctx, these)
			return err
		}
	}
	_, err = s.instances.UpdateOne(ctx, these, set(bson.D{{Key: "due", Value: millis(instance.NextDue())}, {Key: "rev", Value: doc.Rev + 1}}))
	return err
}

// claimOrder binds an order to an instance. It reports false if another has it.
func (s *Store) claimOrder(ctx context.Context, doc *instanceDoc, id string) (mine bool, err error) {
	for wait := openRetryFirst; ; {
		_, err := s.orders.InsertOne(ctx, orderDoc{ID: id, Instance: doc.ID, Birth: doc.Birth})
		if !duplicate(err) {
			return err == nil, err
		}
		holder, err := s.holder(ctx, id)
		if err != nil || holder != nil {
			return err == nil && holder.Birth == doc.Birth, err
		}
		if err := rest(ctx, &wait); err != nil {
			return false, err
		}
	}
}

// holder is the instance, made or not, that has an order, nil if none has. A
// claim that is left of a creation that came to nothing is removed.
func (s *Store) holder(ctx context.Context, id string) (*instanceDoc, error) {
	var claim orderDoc
	err := s.orders.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&claim)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := s.readInstance(ctx, claim.Instance)
	if err != nil || (doc != nil && doc.Birth == claim.Birth) {
		return doc, err
	}
	// An instance is written before it claims anything: this one is gone.
	_, err = s.orders.DeleteOne(ctx, bson.D{{Key: "_id", Value: claim.ID}, {Key: "birth", Value: claim.Birth}})
	return nil, err
}

// owner is the made instance that has an order, nil if none has. What another
// creation has begun is finished.
func (s *Store) owner(ctx context.Context, id string) (*instanceDoc, error) {
	for wait := openRetryFirst; ; {
		holder, err := s.holder(ctx, id)
		if err != nil || holder == nil || holder.Due != unmade {
			return holder, err
		}
		if err := s.make(ctx, holder); err != nil {
			return nil, err
		}
		if err := rest(ctx, &wait); err != nil {
			return nil, err
		}
	}
}

// bindMore binds to an instance those of the orders that nobody has yet.
func (s *Store) bindMore(ctx context.Context, doc *instanceDoc, dataset directory.Dataset, orders []string) error {
	var claimed []string
	for _, order := range orders {
		if slices.Contains(doc.Orders, order) {
			continue
		}
		mine, err := s.claimOrder(ctx, doc, orderID(dataset, order))
		if err != nil {
			return err
		}
		if mine {
			claimed = append(claimed, order)
		}
	}
	if len(claimed) == 0 {
		return nil
	}
	for wait := openRetryFirst; ; {
		doc.Orders = append(doc.Orders, claimed...)
		if written, err := s.writeInstance(ctx, doc); err != nil || written {
			return err
		}
		if err := rest(ctx, &wait); err != nil {
			return err
		}
		now, err := s.readInstance(ctx, doc.ID)
		if err != nil || now == nil {
			return err
		}
		*doc = *now
		claimed = slices.DeleteFunc(claimed, func(order string) bool { return slices.Contains(now.Orders, order) })
	}
}

// settleInstances finishes the creations that were left half done.
func (s *Store) settleInstances(ctx context.Context) error {
	cursor, err := s.instances.Find(ctx, bson.D{{Key: "due", Value: int64(unmade)}})
	if err != nil {
		return err
	}
	var docs []instanceDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return err
	}
	for i := range docs {
		if err := s.make(ctx, &docs[i]); err != nil {
			return err
		}
	}
	return nil
}

// sweepUnmade removes creations that nobody has come back to: their orders were
// never answered for.
func (s *Store) sweepUnmade(ctx context.Context, before time.Time) error {
	_, err := s.instances.DeleteMany(ctx, bson.D{{Key: "due", Value: int64(unmade)}, {Key: "at", Value: bson.D{{Key: "$lt", Value: millis(before)}}}})
	return err
}
