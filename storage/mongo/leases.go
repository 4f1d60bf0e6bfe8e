package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// leaseDoc is who delivers a scope to a target, in the collection relays. It
// stays when the lease has ended: the fence must not begin anew.
type leaseDoc struct {
	Owner string `bson:"owner"`
	Fence int64  `bson:"fence"`
	Until int64  `bson:"until"`
}

func leaseID(targetName string, scope directory.Scope) string {
	return "lease/" + url.PathEscape(targetName) + "/" + scope.String()
}

// Lease implements storage.Fanout.
func (s *Store) Lease(ctx context.Context, targetName string, scope directory.Scope, owner string, ttl time.Duration) (storage.Lease, error) {
	if err := s.ready(ctx); err != nil {
		return storage.Lease{}, err
	}
	now := s.options.Now()
	until := roundTime(now.Add(ttl))
	id := leaseID(targetName, scope)
	var doc leaseDoc
	err := s.relays.FindOneAndUpdate(ctx,
		bson.D{{Key: "_id", Value: id}, {Key: "$or", Value: bson.A{
			bson.D{{Key: "until", Value: bson.D{{Key: "$lte", Value: millis(now)}}}}, bson.D{{Key: "owner", Value: owner}},
		}}},
		bson.D{
			{Key: "$set", Value: bson.D{{Key: "owner", Value: owner}, {Key: "until", Value: millis(until)}}},
			{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}},
		}, options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&doc)
	if duplicate(err) {
		return storage.Lease{}, s.busy(ctx, targetName, scope)
	}
	if err != nil {
		return storage.Lease{}, s.failed(err, "lease %s at %s", scope, targetName)
	}
	return storage.Lease{Target: targetName, Scope: scope, Owner: owner, Fence: doc.Fence, Until: until}, nil
}

// busy says who has a lease.
func (s *Store) busy(ctx context.Context, targetName string, scope directory.Scope) error {
	var doc leaseDoc
	err := s.relays.FindOne(ctx, bson.D{{Key: "_id", Value: leaseID(targetName, scope)}}).Decode(&doc)
	if err != nil {
		return s.failed(err, "lease %s at %s", scope, targetName)
	}
	return fmt.Errorf("%s at %s is delivered by %s until %s: %w",
		scope, targetName, doc.Owner, fromMillis(doc.Until).Format(time.RFC3339), storage.ErrBusy)
}

// held selects a lease that has not ended.
func (s *Store) held(lease storage.Lease) bson.D {
	return bson.D{
		{Key: "_id", Value: leaseID(lease.Target, lease.Scope)}, {Key: "fence", Value: lease.Fence},
		{Key: "until", Value: bson.D{{Key: "$gt", Value: millis(s.options.Now())}}},
	}
}

func lost(lease storage.Lease) error {
	return fmt.Errorf("%s at %s: %w", lease.Scope, lease.Target, storage.ErrLeaseLost)
}

// Extend implements storage.Fanout.
func (s *Store) Extend(ctx context.Context, lease storage.Lease, ttl time.Duration) (storage.Lease, error) {
	if err := s.ready(ctx); err != nil {
		return storage.Lease{}, err
	}
	until := roundTime(s.options.Now().Add(ttl))
	result, err := s.relays.UpdateOne(ctx, s.held(lease), set(bson.D{{Key: "until", Value: millis(until)}}))
	switch {
	case err != nil:
		return storage.Lease{}, s.failed(err, "extend lease of %s at %s", lease.Scope, lease.Target)
	case result.MatchedCount == 0:
		return storage.Lease{}, lost(lease)
	}
	lease.Until = until
	return lease, nil
}

// Release implements storage.Fanout.
func (s *Store) Release(ctx context.Context, lease storage.Lease) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.relays.UpdateOne(ctx, s.held(lease), set(bson.D{{Key: "until", Value: int64(0)}}))
	return s.failed(err, "release %s at %s", lease.Scope, lease.Target)
}

// checkLease reports a lease that has ended.
func (s *Store) checkLease(ctx context.Context, lease storage.Lease) error {
	err := s.relays.FindOne(ctx, s.held(lease)).Err()
	if errors.Is(err, driver.ErrNoDocuments) {
		return lost(lease)
	}
	return err
}
