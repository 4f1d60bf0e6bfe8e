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
	"strings"
	"time"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// Parents says how the tree is kept at the target.
type Parents string

// The ways to keep the tree.
const (
	ParentsNested Parents = "nested" // a child's group is a member of its parent's
	ParentsOff    Parents = "off"    // not at all: groups only
)

const (
	defaultTimeout = 30 * time.Second
	defaultMembers = 100
)

// Config says how to reach a SCIM server.
type Config struct {
	URL string // base of the protocol, e.g. https://idp.example.com/scim/v2
	// BearerToken, or UserName and Password, authenticate; none for an open server.
	BearerToken        string
	UserName, Password string
	Parents            Parents       // default ParentsNested
	Timeout            time.Duration // of one request, default 30 s
	CAFile             string        // PEM of further authorities to trust
	// MembersPerChange bounds a PATCH of a group, default 100.
	MembersPerChange int
	// ShortRetries within one attempt, default 2, less than 0 for none.
	ShortRetries int
	// DenyPrivate refuses private and loopback addresses. Identity providers
	// inside a company's network are usual, so they are allowed otherwise.
	DenyPrivate bool
}

// Validate reports everything that is wrong at once.
func (c Config) Validate() error {
	var errs []error
	if err := httpclient.CheckURL(c.URL); err != nil {
		errs = append(errs, err)
	}
	if c.Parents != "" && c.Parents != ParentsNested && c.Parents != ParentsOff {
		errs = append(errs, fmt.Errorf("parents: %q: want nested or off", c.Parents))
	}
	if c.BearerToken != "" && c.UserName != "" {
		errs = append(errs, errors.New("auth: both a bearer token and a user name; want one"))
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("timeout: less than zero"))
	}
	if c.MembersPerChange < 0 {
		errs = append(errs, errors.New("membersPerChange: less than zero"))
	}
	return errors.Join(errs...)
}

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
	if config.Parents == "" {
		config.Parents = ParentsNested
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.MembersPerChange == 0 {
		config.MembersPerChange = defaultMembers
	}
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

// serviceProvider is what we read of ServiceProviderConfig.
type serviceProvider struct {
	Patch  struct{ Supported bool } `json:"patch"`
	Filter struct{ Supported bool } `json:"filter"`
}

// Describe implements target.Connector: it reads ServiceProviderConfig.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	var provider serviceProvider
	err := c.http.do(ctx, call{op: "read ServiceProviderConfig", method: http.MethodGet, path: "/ServiceProviderConfig", into: &provider})
	if err != nil {
		return target.Capabilities{}, asDown(err)
	}
	if !provider.Patch.Supported {
		return target.Capabilities{}, &target.Error{
			Class: target.Down, Op: "read ServiceProviderConfig",
			Detail: "the server does not support PATCH, which changing a group's members needs",
		}
	}
	return target.Capabilities{
		ParentByMembership: c.config.Parents == ParentsNested,
		Memberships:        true,
		MembersPerChange:   c.config.MembersPerChange,
	}, nil
}

// asDown makes every failure of a probe one of the target as a whole.
func asDown(err error) error {
	if e, ok := errors.AsType[*target.Error](err); ok && e.Class != target.RateLimited {
		down := *e
		down.Class = target.Down
		return &down
	}
	return err
}

// resource is what we read of any object.
type resource struct {
	ID         string `json:"id"`
	ExternalID string `json:"externalId"`
	UserName   string `json:"userName"`
}

type listResponse struct {
	TotalResults int        `json:"totalResults"`
	Resources    []resource `json:"Resources"`
}

// collection is the part of the protocol that Users and Groups share.
type collection struct {
	c    *Connector
	path string // "/Users"
	noun string // "user"
}

func (c *Connector) users() collection  { return collection{c, "/Users", "user"} }
func (c *Connector) groups() collection { return collection{c, "/Groups", "group"} }

func (k collection) one(id string) string { return k.path + "/" + url.PathEscape(id) }

// put creates or updates an object and returns its id.
func (k collection) put(ctx context.Context, object target.Object, body any, changes any, name string) (string, error) {
	id := object.RemoteID
	if id == "" && object.Uncertain {
		found, err := k.find(ctx, object.ExternalID)
		if err != nil {
			return "", err
		}
		id = found
	}
	if id == "" {
		return k.create(ctx, object, body, changes, name)
	}
	err := k.c.http.do(ctx, call{op: "patch " + k.noun, method: http.MethodPatch, path: k.one(id), body: patch(changes)})
	if target.ClassOf(err) == target.Gone && err != nil {
		return k.create(ctx, object, body, changes, name)
	}
	return id, err
}

func (k collection) create(ctx context.Context, object target.Object, body, changes any, name string) (string, error) {
	var created resource
	err := k.c.http.do(ctx, call{op: "create " + k.noun, method: http.MethodPost, path: k.path, body: body, into: &created})
	if target.ClassOf(err) == target.Conflict && err != nil {
		return k.adopt(ctx, object, changes, name, err)
	}
	if err != nil {
		return "", err
	}
	if created.ID == "" {
		return "", &target.Error{Class: target.Permanent, Op: "create " + k.noun, Detail: "the answer has no id"}
	}
	return created.ID, nil
}

// adopt takes over the object that stands in the way of a creation, if it is
// ours: by externalId, or by user name with no other owner's externalId.
func (k collection) adopt(ctx context.Context, object target.Object, changes any, name string, conflict error) (string, error) {
	id, err := k.find(ctx, object.ExternalID)
	if err != nil {
		return "", err
	}
	if id == "" && name != "" {
		if id, err = k.findNamed(ctx, name, object.ExternalID); err != nil {
			return "", err
		}
	}
	if id == "" {
		return "", conflict
	}
	err = k.c.http.do(ctx, call{op: "patch " + k.noun, method: http.MethodPatch, path: k.one(id), body: patch(changes)})
	return id, err
}

// find looks an object up by our name for it; "" if there is none.
func (k collection) find(ctx context.Context, externalID string) (string, error) {
	return k.search(ctx, "externalId eq "+quote(externalID), func(r resource) bool { return r.ExternalID == externalID })
}

func (k collection) findNamed(ctx context.Context, userName, externalID string) (string, error) {
	return k.search(ctx, "userName eq "+quote(userName), func(r resource) bool {
		return strings.EqualFold(r.UserName, userName) && (r.ExternalID == "" || r.ExternalID == externalID)
	})
}

func (k collection) search(ctx context.Context, filter string, matches func(resource) bool) (string, error) {
	var list listResponse
	query := url.Values{"filter": {filter}, "count": {"10"}}
	err := k.c.http.do(ctx, call{op: "find " + k.noun, method: http.MethodGet, path: k.path + "?" + query.Encode(), into: &list})
	if err != nil {
		return "", err
	}
	id := ""
	for _, r := range list.Resources {
		switch {
		case !matches(r):
		case id != "" && id != r.ID:
			return "", &target.Error{Class: target.Conflict, Op: "find " + k.noun, Detail: "two objects match " + filter + "; remove one"}
		default:
			id = r.ID
		}
	}
	return id, nil
}

// remove deletes an object; one that is gone is success.
func (k collection) remove(ctx context.Context, object target.Object) error {
	id := object.RemoteID
	if id == "" {
		found, err := k.find(ctx, object.ExternalID)
		if err != nil || found == "" {
			return err
		}
		id = found
	}
	err := k.c.http.do(ctx, call{op: "delete " + k.noun, method: http.MethodDelete, path: k.one(id)})
	if err != nil && target.ClassOf(err) == target.Gone {
		return nil
	}
	return err
}

// quote writes a filter's string (RFC 7644 §3.4.2.2: as in JSON).
func quote(text string) string {
	replacer := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return `"` + replacer.Replace(text) + `"`
}
