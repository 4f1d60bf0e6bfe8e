// Package keycloak is the connector for Keycloak's Admin REST API: departments
// are groups in a tree, accounts are users who are members of their
// department's group.
//
// Our name for an object is kept in an attribute, and objects are addressed by
// Keycloak's ids alone: a group's path changes with every rename and move.
// Whatever is found by name and does not carry our name for it belongs to
// somebody else and is not touched.
package keycloak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// defaultTimeout is of one request.
const defaultTimeout = 30 * time.Second

// Config says how to reach a realm.
type Config struct {
	// URL is the server's base, with the path it is served under, e.g.
	// https://sso.example.com or https://sso.example.com/auth.
	URL   string
	Realm string
	// ClientID and ClientSecret are those of a confidential client with service
	// account, which has the roles manage-users, view-users and query-groups of
	// realm-management.
	ClientID, ClientSecret string
	Timeout                time.Duration // of one request, default 30 s
	CAFile                 string        // PEM of further authorities to trust
	Plaintext              bool          // let http:// go to other machines
	// DenyPrivate refuses private and loopback addresses. Identity providers
	// inside a company's network are usual, so they are allowed otherwise.
	DenyPrivate bool
	// ShortRetries within one attempt, default 2, less than 0 for none.
	ShortRetries int
	// ListPage is how many objects a page of a list asks for, default 500.
	ListPage int
	// Now says when a token has expired, default time.Now.
	Now func() time.Time
}

// Validate reports everything that is wrong at once.
func (c Config) Validate() error {
	var errs []error
	if err := httpclient.CheckURL(c.URL, c.Plaintext); err != nil {
		errs = append(errs, err)
	}
	if c.Realm == "" {
		errs = append(errs, errors.New("realm: empty"))
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		errs = append(errs, errors.New("auth: want userName and password: the id and the secret of a client with a service account"))
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("timeout: less than zero"))
	}
	return errors.Join(errs...)
}

// Connector implements target.Connector.
type Connector struct {
	base     string // of the realm's admin API
	client   *httpclient.Client
	tokens   *tokens
	listPage int // objects in a page of a list
}

var _ target.Connector = (*Connector)(nil)

// New makes a connector; nothing is sent yet.
func New(config Config) (*Connector, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("keycloak: %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	client, err := httpclient.New(httpclient.Options{
		Timeout: config.Timeout, CAFile: config.CAFile, AllowPrivate: !config.DenyPrivate, ShortRetries: config.ShortRetries, Words: words,
	})
	if err != nil {
		return nil, fmt.Errorf("keycloak: %w", err)
	}
	server, realm := strings.TrimRight(config.URL, "/"), url.PathEscape(config.Realm)
	return &Connector{
		base:   server + "/admin/realms/" + realm,
		client: client,
		tokens: newTokens(client, server+"/realms/"+realm+"/protocol/openid-connect/token", config), listPage: cmp.Or(config.ListPage, listPage),
	}, nil
}

// Close implements target.Connector.
func (c *Connector) Close() error {
	c.client.Close()
	return nil
}

// profile is what we read of the realm's user profile.
type profile struct {
	Unmanaged  string `json:"unmanagedAttributePolicy"`
	Attributes []struct {
		Name string `json:"name"`
	} `json:"attributes"`
}

// Describe implements target.Connector: it looks at groups, users and the user
// profile, for which the rights must be there.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	one := url.Values{"first": {"0"}, "max": {"1"}}
	for _, look := range []call{
		{op: "look at groups", path: "/groups", query: one, into: &[]group{}},
		{op: "look at users", path: "/users", query: one, into: &[]user{}},
	} {
		look.method = http.MethodGet
		if err := c.do(ctx, look); err != nil {
			return target.Capabilities{}, asDown(err)
		}
	}
	if err := c.checkProfile(ctx); err != nil {
		return target.Capabilities{}, asDown(err)
	}
	return target.Capabilities{NativeParent: true, Memberships: true, MembersPerChange: 1}, nil
}

// checkProfile finds out whether the realm keeps our attributes. Since
// Keycloak 24 it drops, without a word, those its user profile does not know.
func (c *Connector) checkProfile(ctx context.Context) error {
	const op = "look at the user profile"
	var p profile
	err := c.do(ctx, call{op: op, method: http.MethodGet, path: "/users/profile", into: &p})
	if err != nil && target.ClassOf(err) == target.Gone {
		return nil // older than user profiles
	}
	if err != nil || p.Unmanaged == "ENABLED" || p.Unmanaged == "ADMIN_EDIT" {
		return err
	}
	known := make(map[string]bool, len(p.Attributes))
	for _, a := range p.Attributes {
		known[a.Name] = true
	}
	missing := slices.DeleteFunc(append([]string{externalID}, userAttributeNames...), func(name string) bool { return known[name] })
	if len(missing) == 0 {
		return nil
	}
	return &target.Error{
		Class: target.Down, Op: op,
		Detail: "the realm would drop our attributes: set Realm settings > General > Unmanaged attributes to \"Only administrators can write\", or add to the user profile: " + strings.Join(missing, ", "),
	}
}

// asDown makes every failure of a probe one of the target as a whole.
func asDown(err error) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Class == target.RateLimited {
		return err
	}
	down := *e
	down.Class, down.UnknownOutcome = target.Down, false
	switch {
	case e.Class == target.Gone:
		down.Detail = "nothing is there; check the target's url and realm. " + e.Detail
	case e.Status == http.StatusForbidden:
		down.Detail = "it does not let us; check the target's auth: the client's service account needs the roles manage-users, view-users and query-groups of realm-management. " + e.Detail
	}
	return &down
}
