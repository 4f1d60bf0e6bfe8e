package directory

import (
	"fmt"
	"net/url"
	"strings"
)

// Dataset keeps debugging data apart from production data. It is part of every
// key, so a push with testFlag 1 cannot reach an entity of a push with testFlag 0.
type Dataset string

// The two data sets (spec/marketplace.md §3, testFlag).
const (
	Prod Dataset = "prod"
	Test Dataset = "test"
)

// Valid reports whether d is one of the two data sets.
func (d Dataset) Valid() bool { return d == Prod || d == Test }

// Scope names one tenant's data under one instance: the unit of order, of a
// full push and of locking. InstanceID is empty while the seller creates
// credentials (spec/marketplace.md §3).
type Scope struct {
	Dataset    Dataset `json:"dataset"`
	InstanceID string  `json:"instanceId"`
	TenantID   string  `json:"tenantId"`
}

// String joins the scope's parts with "/", each escaped, so that two scopes
// never share a string: "prod/inst-1/68cb". ParseScope reads it back.
func (s Scope) String() string {
	return string(s.Dataset) + "/" + url.PathEscape(s.InstanceID) + "/" + url.PathEscape(s.TenantID)
}

// ParseScope reads what Scope.String wrote.
func ParseScope(text string) (Scope, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Scope{}, fmt.Errorf("scope %q: want dataset/instanceId/tenantId", text)
	}
	scope := Scope{Dataset: Dataset(parts[0])}
	if !scope.Dataset.Valid() {
		return Scope{}, fmt.Errorf("scope %q: unknown data set %q", text, parts[0])
	}
	var err error
	if scope.InstanceID, err = url.PathUnescape(parts[1]); err != nil {
		return Scope{}, fmt.Errorf("scope %q: %w", text, err)
	}
	if scope.TenantID, err = url.PathUnescape(parts[2]); err != nil {
		return Scope{}, fmt.Errorf("scope %q: %w", text, err)
	}
	return scope, nil
}

// Kind tells the entities of a scope apart.
type Kind uint8

// The kinds of entity. The numbers are stored; do not renumber.
const (
	KindTenant      Kind = 1
	KindDepartment  Kind = 2
	KindUser        Kind = 3
	KindApplication Kind = 4
)

// String returns the kind's name as the API spells it.
func (k Kind) String() string {
	switch k {
	case KindTenant:
		return "tenant"
	case KindDepartment:
		return "department"
	case KindUser:
		return "user"
	case KindApplication:
		return "application"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// ParseKind reads what Kind.String wrote.
func ParseKind(text string) (Kind, error) {
	for _, k := range []Kind{KindTenant, KindDepartment, KindUser, KindApplication} {
		if k.String() == text {
			return k, nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q: want tenant, department, user or application", text)
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKind(string(text))
	return err
}

// ExternalID is the name under which an entity of the scope is known at a
// target: the scope's string and the entity's key, escaped. It is the same on
// every replica and after every restart, so a lost answer can be found again.
func (s Scope) ExternalID(key string) string {
	return s.String() + "/" + url.PathEscape(key)
}

// ParseExternalID reads what Scope.ExternalID wrote.
func ParseExternalID(text string) (scope Scope, key string, err error) {
	at := strings.LastIndexByte(text, '/')
	if at < 0 {
		return Scope{}, "", fmt.Errorf("external id %q: not one of ours", text)
	}
	if scope, err = ParseScope(text[:at]); err != nil {
		return Scope{}, "", fmt.Errorf("external id %q: %w", text, err)
	}
	if key, err = url.PathUnescape(text[at+1:]); err != nil || scope.ExternalID(key) != text {
		return Scope{}, "", fmt.Errorf("external id %q: not one of ours", text)
	}
	return scope, key, nil
}
