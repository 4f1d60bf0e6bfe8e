package mongo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var _ storage.Resealer = (*Store)(nil)

// Reseal implements storage.Resealer. The data as it was read is part of the
// filter: a push that is carried out meanwhile wins.
func (s *Store) Reseal(ctx context.Context, scope directory.Scope, appID string, was, next storage.SealedSecret) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	name := scope.String()
	id := entityID(name, directory.KindApplication, appID)
	var doc entityDoc
	err := s.directory.FindOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "s", Value: name}}).Decode(&doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return fmt.Errorf("application %q of %s: %w", appID, name, storage.ErrNotFound)
	}
	if err != nil {
		return s.failed(err, "read application %q of %s", appID, name)
	}
	var kept storage.KeptApplication
	if err := doc.decode(&kept); err != nil {
		return err
	}
	changed := fmt.Errorf("secret of application %q of %s: %w", appID, name, storage.ErrConflict)
	if !bytes.Equal(kept.SealedSecret, was.Sealed) || !bytes.Equal(kept.SecretFingerprint, was.Fingerprint) {
		return changed
	}
	kept.SealedSecret, kept.SecretFingerprint = next.Sealed, next.Fingerprint
	data, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("encode application: %w", err)
	}
	result, err := s.directory.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "s", Value: name}, {Key: "data", Value: doc.Data}},
		set(bson.D{{Key: "data", Value: string(data)}}))
	if err == nil && result.MatchedCount == 0 {
		return changed
	}
	return s.failed(err, "write application %q of %s", appID, name)
}
