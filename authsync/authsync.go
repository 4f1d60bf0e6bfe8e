// Package authsync plans authorisations: the credentials of applications, and
// which accounts may use them.
package authsync

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/openkoo/connector/directory"
)

// View is what planning needs to see of a scope.
type View interface {
	Application(ctx context.Context, appID string) (directory.Application, bool, error)
	Users(ctx context.Context, names []string) (map[string]directory.User, error)
}

// Accounts plans the accounts of a list; authsync adds the grants.
type Accounts interface {
	Check(users []directory.UserItem) error
	Account(push *directory.Push, item *directory.UserItem, stored directory.User) (directory.User, directory.Action, string)
}

// Secrets opens what the marketplace encrypted for the seller and seals it for
// keeping.
type Secrets interface {
	// OpenClientSecret decrypts a clientSecret and returns it sealed, with a
	// fingerprint to compare by and the name of the scheme that opened it. It
	// fails with directory.ErrClientSecret if the key does not fit.
	OpenClientSecret(ciphertext string) (sealed, fingerprint []byte, scheme string, err error)

	// SameClientSecret reports whether a sealed secret is the one of a
	// fingerprint, be it made with an earlier encryption key.
	SameClientSecret(sealed, fingerprint []byte) bool
}

// Planner plans applicationSync and authSync.
type Planner struct {
	accounts Accounts
	secrets  Secrets
}

// New makes a planner.
func New(accounts Accounts, secrets Secrets) *Planner {
	return &Planner{accounts: accounts, secrets: secrets}
}

// Prepare checks the list, and opens the client secret: that takes
// milliseconds of arithmetic and must not keep the scope's turn waiting.
func (p *Planner) Prepare(_ context.Context, push *directory.Push) error {
	switch payload := push.Payload.(type) {
	case *directory.AuthPush:
		return p.accounts.Check(payload.Users)
	case *directory.ApplicationPush:
		if push.Flag == directory.FlagDelete {
			return nil
		}
		var err error
		payload.SealedSecret, payload.Fingerprint, payload.Scheme, err = p.secrets.OpenClientSecret(payload.ClientSecret)
		return err
	default:
		return nil
	}
}

// Plan decides what a push changes.
func (p *Planner) Plan(ctx context.Context, view View, push *directory.Push) (*directory.Plan, error) {
	switch payload := push.Payload.(type) {
	case *directory.ApplicationPush:
		stored, known, err := view.Application(ctx, payload.AppID)
		if err != nil {
			return nil, err
		}
		if push.Flag != directory.FlagDelete && len(stored.SecretFingerprint) > 0 && !bytes.Equal(stored.SecretFingerprint, payload.Fingerprint) &&
			p.secrets.SameClientSecret(payload.SealedSecret, stored.SecretFingerprint) {
			stored.SecretFingerprint = payload.Fingerprint // only the key is another
		}
		return directory.PlanApplication(push, directory.Application{
			AppID: payload.AppID, ClientID: payload.ClientID,
			SealedSecret: payload.SealedSecret, SecretFingerprint: payload.Fingerprint, SecretScheme: payload.Scheme,
		}, stored, known), nil
	case *directory.AuthPush:
		return p.planUsers(ctx, view, push, payload)
	default:
		return nil, fmt.Errorf("authsync: does not plan %s", push.Kind())
	}
}

func (p *Planner) planUsers(ctx context.Context, view View, push *directory.Push, payload *directory.AuthPush) (*directory.Plan, error) {
	items := slices.Clone(payload.Users)
	slices.SortFunc(items, func(a, b directory.UserItem) int { return cmp.Compare(a.UserName, b.UserName) })
	names := make([]string, len(items))
	for i := range items {
		names[i] = items[i].UserName
	}
	stored, err := view.Users(ctx, names)
	if err != nil {
		return nil, err
	}
	plan := &directory.Plan{Counts: directory.Counts{}}
	for i := range items {
		was := stored[items[i].UserName]
		account, action, reason := p.accounts.Account(push, &items[i], was)
		plan.PlanAccount(push, payload.AppID, was, account, action, reason)
	}
	plan.Conclude()
	return plan, nil
}
