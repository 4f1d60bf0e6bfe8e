package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

var _ storage.Resealer = (*Store)(nil)

// Reseal implements storage.Resealer.
func (s *Store) Reseal(ctx context.Context, scope directory.Scope, appID string, was, next storage.SealedSecret) error {
	return s.writer.do(ctx, func(ctx context.Context, t *tx) error {
		id, known, err := s.knownScope(ctx, t, scope)
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("application %q of %s: %w", appID, scope, storage.ErrNotFound)
		}
		var e row
		err = e.scan(t.QueryRowContext(ctx, "SELECT "+entityColumns+" FROM entities e WHERE scope = ? AND kind = ? AND key = ?", id, directory.KindApplication, appID))
		if errors.Is(err, errNoRows) {
			return fmt.Errorf("application %q of %s: %w", appID, scope, storage.ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("read application %q: %w", appID, err)
		}
		var kept storage.KeptApplication
		if err := e.decode(&kept); err != nil {
			return err
		}
		if !bytes.Equal(kept.SealedSecret, was.Sealed) || !bytes.Equal(kept.SecretFingerprint, was.Fingerprint) {
			return fmt.Errorf("secret of application %q of %s: %w", appID, scope, storage.ErrConflict)
		}
		kept.SealedSecret, kept.SecretFingerprint = next.Sealed, next.Fingerprint
		data, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("encode application: %w", err)
		}
		if _, err := t.exec(ctx, "UPDATE entities SET data = ? WHERE scope = ? AND kind = ? AND key = ?", string(data), id, directory.KindApplication, appID); err != nil {
			return fmt.Errorf("write application %q: %w", appID, err)
		}
		return nil
	})
}
