package directory

import (
	"errors"
	"fmt"
)

// InvalidError says which member of a push is wrong and why. The door answers
// it with 000002 (spec/marketplace.md §2); the message never holds a secret.
type InvalidError struct {
	Member string
	Reason string
}

// Error reads "orgName: longer than 128".
func (e *InvalidError) Error() string {
	if e.Member == "" {
		return e.Reason
	}
	return e.Member + ": " + e.Reason
}

// Invalid makes an InvalidError for a member.
func Invalid(member, format string, args ...any) error {
	return &InvalidError{Member: member, Reason: fmt.Sprintf(format, args...)}
}

// ErrClientSecret means that applicationSync's clientSecret does not decrypt
// with the seller's private key: 000101.
var ErrClientSecret = errors.New("clientSecret: does not decrypt with the private key (APP_PRIVATE_KEY_FILE)")

// ErrUnknownInstance means that a push names an instance that was never
// created: 000003, where the operator has switched that check on.
var ErrUnknownInstance = errors.New("instanceId: no such instance")
