// Package scim is the connector for SCIM 2.0 (RFC 7643, RFC 7644): departments
// are Groups, accounts are Users with the enterprise extension, and a
// department's place in the tree is its group's membership in its parent's.
//
// Every object carries our name for it in externalId. What a search answers is
// taken for ours only if its externalId is what was asked for: some servers
// ignore the filter.
package scim

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/openkoo/connector/target"
)

// Connector implements target.Connector.
type Connector struct {
	config  Config
	http    *transport
	service service
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
