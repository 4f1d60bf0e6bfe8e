package target

import (
	"crypto/sha256"
	"encoding/hex"
)

// Beside is the name of an object while another has the one it is to have: two
// that swap names must pass each other, and two tenants' departments of one name
// may both hang at the root. It is the same at every attempt.
func Beside(name, externalID string) string {
	sum := sha256.Sum256([]byte(externalID))
	return name + " (" + hex.EncodeToString(sum[:4]) + ")"
}
