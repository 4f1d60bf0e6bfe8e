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

// resyncDoc is the report of a resync in the collection resyncs. Its _id is a
// UUIDv7, which sorts by start.
type resyncDoc struct {
	ID     string `bson:"_id"`
	Target string `bson:"t"`
	Data   []byte `bson:"data"`   // JSON of all but the differences, packed
	Drifts []byte `bson:"drifts"` // JSON of the differences, packed
}

// SaveResync implements storage.Resyncs.
func (s *Store) SaveResync(ctx context.Context, resync storage.Resync, keep int) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	doc, err := resyncDocOf(resync)
	if err != nil {
		return err
	}
	_, err = s.resyncs.ReplaceOne(ctx, bson.D{{Key: "_id", Value: doc.ID}}, doc, options.Replace().SetUpsert(true))
	if err != nil {
		return s.failed(err, "save resync %s of %s", resync.ID, resync.Target)
	}
	var oldest resyncDoc
	of := bson.D{{Key: "t", Value: resync.Target}}
	err = s.resyncs.FindOne(ctx, of, options.FindOne().SetSort(bson.D{{Key: "_id", Value: -1}}).SetSkip(int64(keep)).SetProjection(bson.D{{Key: "_id", Value: 1}})).Decode(&oldest)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil
	}
	if err == nil {
		_, err = s.resyncs.DeleteMany(ctx, append(of, bson.E{Key: "_id", Value: bson.D{{Key: "$lte", Value: oldest.ID}}}))
	}
	return s.failed(err, "remove old resyncs of %s", resync.Target)
}

func resyncDocOf(resync storage.Resync) (*resyncDoc, error) {
	doc := &resyncDoc{ID: resync.ID, Target: resync.Target}
	if len(resync.Drifts) > 0 {
		text, err := json.Marshal(resync.Drifts)
		if err != nil {
			return nil, fmt.Errorf("encode resync: %w", err)
		}
		doc.Drifts = blob.Pack(text)
	}
	resync.Drifts = nil
	text, err := json.Marshal(resync)
	if err != nil {
		return nil, fmt.Errorf("encode resync: %w", err)
	}
	doc.Data = blob.Pack(text)
	return doc, nil
}

// Resyncs implements storage.Resyncs.
func (s *Store) Resyncs(ctx context.Context, targetName string, page storage.Page) ([]storage.Resync, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	where := bson.D{{Key: "t", Value: targetName}}
	docs, next, err := newest(ctx, s, s.resyncs, where, page, bson.D{{Key: "drifts", Value: 0}}, "list resyncs of "+targetName, func(d *resyncDoc) string { return d.ID })
	if err != nil {
		return nil, "", err
	}
	all := make([]storage.Resync, len(docs))
	for i := range docs {
		if all[i], err = docs[i].resync(); err != nil {
			return nil, "", err
		}
	}
	return all, next, nil
}

// Resync implements storage.Resyncs.
func (s *Store) Resync(ctx context.Context, id string) (storage.Resync, error) {
	if err := s.ready(ctx); err != nil {
		return storage.Resync{}, err
	}
	var doc resyncDoc
	err := s.resyncs.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return storage.Resync{}, fmt.Errorf("resync %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return storage.Resync{}, s.failed(err, "read resync %s", id)
	}
	return doc.resync()
}

func (d *resyncDoc) resync() (resync storage.Resync, err error) {
	for _, part := range []struct {
		packed []byte
		into   any
	}{{d.Data, &resync}, {d.Drifts, &resync.Drifts}} {
		text, err := blob.Unpack(part.packed)
		if err == nil && len(text) > 0 {
			err = json.Unmarshal(text, part.into)
		}
		if err != nil {
			return resync, fmt.Errorf("stored resync %s: %w", d.ID, err)
		}
	}
	return resync, nil
}
