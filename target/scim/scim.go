// Package scim is the connector for SCIM 2.0 (RFC 7643, RFC 7644): departments
// are Groups, accounts are Users with the enterprise extension, and a
// department's place in the tree is its group's membership in its parent's.
//
// Every object carries our name for it in externalId. What a search answers is
// taken for ours only if its externalId is what was asked for: some servers
// ignore the filter.
package scim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/openkoo/connector/target"
)

// Connector implements target.Connector.
type Connector struct {
	config Config
	http   *transport
}

var _ target.Connector = (*Connector)(nil)

// New makes a connector; nothing is sent yet.
func New(config Config) (*Connector, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("scim: %w", err)
	}
	config = config.withDefaults()
	t, err := newTransport(config)
	if err != nil {
		return nil, fmt.Errorf("scim: %w", err)
	}
	return &Connector{config: config, http: t}, nil
}

// Close implements target.Connector.
func (c *Connector) Close() error {
	c.http.close()
	return nil
}

// serviceProvider is what we read of ServiceProviderConfig (RFC 7643 §5).
type serviceProvider struct {
	Patch struct{ Supported bool } `json:"patch"`
}

// Describe implements target.Connector: it reads ServiceProviderConfig, and
// looks for an account that is not there, because many servers show their
// ServiceProviderConfig to anybody.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	const op = "read ServiceProviderConfig"
	var provider serviceProvider
	err := c.http.do(ctx, call{op: op, method: http.MethodGet, path: "/ServiceProviderConfig", into: &provider})
	switch {
	case err == nil && !provider.Patch.Supported:
		return target.Capabilities{}, &target.Error{
			Class: target.Down, Op: op, Detail: "the server does not support PATCH, which changing a group's members needs",
		}
	case err != nil && target.ClassOf(err) != target.Gone: // a server may do without it
		return target.Capabilities{}, asDown(err)
	}
	query := url.Values{"filter": {`userName eq "orgsync-probe"`}, "count": {"1"}}
	err = c.http.do(ctx, call{op: "find a user", method: http.MethodGet, path: "/Users?" + query.Encode()})
	if status := statusOf(err); err != nil && status != http.StatusBadRequest && status != http.StatusNotImplemented {
		return target.Capabilities{}, asDown(err)
	}
	return target.Capabilities{
		ParentByMembership: c.config.Parents == ParentsNested,
		Memberships:        true,
		MembersPerChange:   c.config.MembersPerChange,
	}, nil
}

// asDown makes every failure of a probe one of the target as a whole.
func asDown(err error) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Class == target.RateLimited {
		return err
	}
	down := *e
	down.Class, down.UnknownOutcome = target.Down, false
	switch e.Class {
	case target.Gone:
		down.Detail = "nothing is there; check the target's url. " + e.Detail
	case target.Permanent:
		if e.Status == http.StatusForbidden {
			down.Detail = "it does not let us in; check the rights of the target's auth. " + e.Detail
		}
	}
	return &down
}
