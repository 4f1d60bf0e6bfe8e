// Package httpclient is what connectors that speak HTTP share: a client that
// is bounded in time and in what it reads, follows no redirect, uses no proxy
// of the environment, dials only what target/egress allows, and whose every
// failure is a *target.Error with a class.
package httpclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 8 << 20
	// maxHeader bounds an answer's header, in bytes.
	maxHeader      = 256 << 10
	defaultTimeout = 30 * time.Second
)

// ErrTooLarge is the cause of a failure to read an answer that exceeds the bound.
var ErrTooLarge = errors.New("the answer is larger than 8 MiB")

// Options shape a Client.
type Options struct {
	Timeout time.Duration // of one request, default 30 s
	CAFile  string        // PEM of further authorities to trust
	// AllowPrivate lets the client dial private and loopback addresses.
	AllowPrivate bool
	// ShortRetries within one attempt, default 2, less than 0 for none. Only
	// what may happen twice is retried: never a POST.
	ShortRetries int
	// Words finds the target's own words in the body of a failure, and what
	// kind of failure it calls it (the error's cause, nil for no word); nil
	// takes the body's beginning.
	Words func(body []byte) (detail string, kind error)
}

// Client sends requests to one target. It may be used from many goroutines.
type Client struct {
	retrying *retryablehttp.Client
	words    func([]byte) (string, error)
}

// New makes a client; nothing is sent yet.
func New(options Options) (*Client, error) {
	trust, err := egress.TLS(options.CAFile)
	if err != nil {
		return nil, err
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.HTTPClient = &http.Client{
		Transport: &http.Transport{
			// No Proxy: one from the environment would dial for us, unchecked.
			DialContext:         egress.Dialer(options.AllowPrivate).DialContext,
			TLSClientConfig:     trust,
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
		},
		Timeout:       options.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.RetryMax = 2
	if options.ShortRetries != 0 {
		client.RetryMax = max(options.ShortRetries, 0)
	}
	client.RetryWaitMin, client.RetryWaitMax = 100*time.Millisecond, time.Second
	client.CheckRetry = retryShortly
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	words := options.Words
	if words == nil {
		words = func(body []byte) (string, error) { return string(body), nil }
	}
	return &Client{retrying: client, words: words}, nil
}

// Close releases idle connections.
func (c *Client) Close() { c.retrying.HTTPClient.CloseIdleConnections() }

// CheckURL reports what is wrong with the base URL of a target. plaintext
// allows http:// to other machines (egress.CheckPlaintext).
func CheckURL(text string, plaintext bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Errorf("url: %q: want http:// or https:// and a host", text)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return errors.New("url: no query, fragment or credentials belong in it")
	}
	if err := egress.CheckPlaintext(u, plaintext); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	return nil
}

// retryShortly retries within one attempt what may happen twice. A creation
// whose answer was lost may not. Rate limits and long waits are the slot's
// schedule to obey, and so are connections that fail: Send classes them.
func retryShortly(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil || response.Request.Method == http.MethodPost {
		return false, nil
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return response.Header.Get("Retry-After") == "", nil
	default:
		return false, nil
	}
}

// Request is one request.
type Request struct {
	Op     string // for errors: "create group"
	Method string
	URL    string
	Header http.Header
	Body   []byte
	// Secrets are words that no error may hold, beside the credentials in the
	// Authorization header: a target may echo what it was sent.
	Secrets []string
}

// Answer is a success, read whole.
type Answer struct {
	Op     string
	Status int
	Header http.Header
	Body   []byte

	hide func(string) string
}

// Into decodes the answer's JSON. The request may have been carried out, and
// garbage in between may be gone the next time.
func (a *Answer) Into(into any) error {
	if err := json.Unmarshal(a.Body, into); err != nil {
		return &target.Error{
			Class: target.Transient, Op: a.Op, Status: a.Status, UnknownOutcome: true,
			Detail: "the answer is not the JSON that was asked for: " + snippet(a.hide(string(a.Body))),
		}
	}
	return nil
}

// IsPage reports whether the answer is a page for people, such as a proxy's,
// which says nothing about the request.
func (a *Answer) IsPage() bool { return strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") }

// Send sends a request and reads the answer. Whatever is no success, 2xx, is a
// *target.Error.
func (c *Client) Send(ctx context.Context, r Request) (*Answer, error) {
	// Only a request that got a connection can have been carried out.
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := retryablehttp.NewRequestWithContext(traced, r.Method, r.URL, rawBody(r.Body))
	if err != nil {
		return nil, &target.Error{Class: target.Permanent, Op: r.Op, Err: bare(err)}
	}
	maps.Copy(request.Header, r.Header)
	hide := redactor(r)
	response, err := c.retrying.Do(request)
	if err != nil {
		return nil, connectionError(r.Op, err, connected.Load())
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	failure := &target.Error{Op: r.Op, Status: response.StatusCode, UnknownOutcome: true}
	switch {
	case response.StatusCode < 200 || response.StatusCode > 299:
		// Its status counts, however much of the rest came.
		detail, kind := c.words(body)
		return nil, statusError(r.Op, response, hide(detail), kind, hide)
	case err != nil:
		failure.Class, failure.Detail, failure.Err = target.Transient, "the answer broke off", bare(err)
		return nil, failure
	case len(body) > maxAnswer:
		failure.Class, failure.Err = target.Permanent, ErrTooLarge
		return nil, failure
	}
	return &Answer{Op: r.Op, Status: response.StatusCode, Header: response.Header, Body: body, hide: hide}, nil
}

// Failure classes a refusal of r that came inside the answer to another
// request, by its status and body.
func (c *Client) Failure(r Request, status int, body []byte) error {
	hide := redactor(r)
	detail, kind := c.words(body)
	return statusError(r.Op, &http.Response{StatusCode: status, Header: http.Header{}}, hide(detail), kind, hide)
}

// rawBody keeps an empty body nil: the library takes a typed nil for a body.
func rawBody(body []byte) any {
	if body == nil {
		return nil
	}
	return body
}
