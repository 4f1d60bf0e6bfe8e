package storage

import (
	"context"

	"github.com/openkoo/connector/directory"
)

// SealedSecret is a client secret as it is kept.
type SealedSecret struct {
	Sealed, Fingerprint []byte
}

// Resealer is what changing the encryption key needs of a store, beside reading
// the applications.
type Resealer interface {
	// Reseal replaces how an application's client secret is kept, and nothing
	// else of it: version and place in the feed stay, for the secret is the
	// same. ErrConflict if the secret kept is not was (any more), ErrNotFound if
	// there is no such application.
	Reseal(ctx context.Context, scope directory.Scope, appID string, was, next SealedSecret) error
}
