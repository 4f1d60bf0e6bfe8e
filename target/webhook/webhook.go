// Package webhook is the connector for the seller's own application: it posts
// every change as a message of Standard Webhooks 1.0.0.
//
// A message holds the whole entity, so a receiver that keeps the newest version
// of each needs no message before it. The id is the same over all attempts of
// one message, the timestamp is the attempt's.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
	"github.com/openkoo/connector/target/httpclient"
)

// defaultTimeout is what Standard Webhooks recommends a sender to wait.
const defaultTimeout = 20 * time.Second

// Config says where messages go.
type Config struct {
	// URL is the endpoint, https; http only to this machine, or with Plaintext. Its path and
	// query may hold a secret: they appear in no error.
	URL string
	// Secrets sign, each "whsec_" and Base64 of 24 to 64 bytes. While a secret
	// is rotated two sign: first the new one, then the old one.
	Secrets []string
	Timeout time.Duration // of one attempt, default 20 s
	CAFile  string        // PEM of further authorities to trust
	// AllowPrivate lets messages go to private and loopback addresses.
	AllowPrivate bool
	Plaintext    bool // let http:// go to other machines
	// Now is the time of an attempt, default time.Now.
	Now func() time.Time
}

// Validate reports everything that is wrong at once. It quotes neither secrets
// nor the URL's path.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		errs = append(errs, errors.New("url: cannot be read")) // url.Error would quote it
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		errs = append(errs, errors.New("url: want https:// and a host"))
	case egress.CheckPlaintext(u, c.Plaintext) != nil:
		errs = append(errs, fmt.Errorf("url: %w", egress.ErrPlaintext))
	case u.User != nil || u.Fragment != "":
		errs = append(errs, errors.New("url: no credentials or fragment belong in it"))
	}
	if _, err := newSigner(c.Secrets); err != nil {
		errs = append(errs, err)
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("timeout: less than zero"))
	}
	return errors.Join(errs...)
}

// Connector implements target.Connector.
type Connector struct {
	url    string
	hide   []string // what no error may hold
	signer signer
	now    func() time.Time
	client *httpclient.Client

	route   egress.Route
	timeout time.Duration
}

var _ target.Connector = (*Connector)(nil)

// New makes a connector; nothing is sent yet.
func New(config Config) (*Connector, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	signer, err := newSigner(config.Secrets)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	client, err := httpclient.New(httpclient.Options{
		Timeout: config.Timeout, CAFile: config.CAFile, AllowPrivate: config.AllowPrivate, ShortRetries: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Connector{
		url: config.URL, hide: append(secretParts(config.URL), config.Secrets...), signer: signer, now: config.Now, client: client,
		route: egress.Route{URL: config.URL, CAFile: config.CAFile, AllowPrivate: config.AllowPrivate}, timeout: config.Timeout,
	}, nil
}

// secretParts are the path and query of the URL, as receivers may echo them.
func secretParts(text string) []string {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	return []string{u.RequestURI(), strings.TrimPrefix(u.EscapedPath(), "/"), u.RawQuery}
}

// Close implements target.Connector.
func (c *Connector) Close() error {
	c.client.Close()
	return nil
}

// Describe implements target.Connector: it sends a ping, which any receiver
// that checks signatures answers with success.
func (c *Connector) Describe(ctx context.Context) (target.Capabilities, error) {
	if err := c.post(ctx, "ping", ping(c.now())); err != nil {
		return target.Capabilities{}, asDown(err)
	}
	// A department's message names its parent, so parents come first.
	return target.Capabilities{NativeParent: true}, nil
}

// asDown makes every failure of a probe one of the target as a whole.
func asDown(err error) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Class == target.Disabled || e.Class == target.RateLimited {
		return err
	}
	down := *e
	down.Class = target.Down
	return &down
}

// PutDepartment implements target.Connector. The remote id is the external id:
// a receiver has no other name to give.
func (c *Connector) PutDepartment(ctx context.Context, d target.Department) (string, error) {
	return d.ExternalID, c.send(ctx, DepartmentUpserted, d.Object, Data{Department: departmentOf(d)})
}

// DeleteDepartment implements target.Connector.
func (c *Connector) DeleteDepartment(ctx context.Context, object target.Object) error {
	return c.send(ctx, DepartmentDeleted, object, Data{})
}

// PutUser implements target.Connector.
func (c *Connector) PutUser(ctx context.Context, u target.User) (string, error) {
	return u.ExternalID, c.send(ctx, UserUpserted, u.Object, Data{User: userOf(u)})
}

// DeleteUser implements target.Connector.
func (c *Connector) DeleteUser(ctx context.Context, object target.Object) error {
	return c.send(ctx, UserDeleted, object, Data{})
}

// ChangeMembers implements target.Connector. There is nothing to send: a
// user's message names the department.
func (c *Connector) ChangeMembers(context.Context, target.Object, target.MemberChange) error {
	return nil
}

func (c *Connector) send(ctx context.Context, kind Type, object target.Object, data Data) error {
	message, err := compose(kind, object, data)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: "send " + string(kind), Err: err}
	}
	return c.post(ctx, "send "+string(kind), message)
}

// post makes one attempt.
func (c *Connector) post(ctx context.Context, op string, m message) error {
	at := strconv.FormatInt(c.now().Unix(), 10)
	_, err := c.client.Send(ctx, httpclient.Request{
		Op: op, Method: http.MethodPost, URL: c.url, Body: m.body, Secrets: c.hide,
		Header: http.Header{
			"Content-Type":      {"application/json"},
			"User-Agent":        {"orgsync (Standard-Webhooks/1.0.0)"},
			"Webhook-Id":        {m.id},
			"Webhook-Timestamp": {at},
			"Webhook-Signature": {c.signer.sign(m.id, at, m.body)},
		},
	})
	return reclass(err)
}

// reclass says what the answers of a webhook's receiver mean, where that is
// not what they mean of a resource.
func reclass(err error) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Status == 0 {
		return err
	}
	failed := *e
	switch {
	case e.Status == http.StatusGone:
		failed.Class = target.Disabled
		failed.Detail = "it said 410: it wants no more messages. " + e.Detail
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed:
		// The endpoint is not there (yet, or any more), whatever the message.
		failed.Class = target.Down
		failed.Detail = "no receiver answers there; check the url. " + e.Detail
	case e.Status == http.StatusForbidden:
		failed.Class = target.Down
		failed.Detail = "it does not let us in; check the secrets. " + e.Detail
	case e.Status == http.StatusConflict:
		failed.Class = target.Transient
	case e.Status >= 200 && e.Status <= 299:
		return nil // an answer that is too large is still a success
	}
	failed.Detail = strings.TrimSpace(failed.Detail)
	return &failed
}
