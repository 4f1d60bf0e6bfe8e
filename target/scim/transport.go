package scim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/openkoo/connector/target"
)

// maxResponse bounds what is read of an answer, in bytes.
const maxResponse = 8 << 20

// maxDetail bounds what is kept of a target's own words, in bytes.
const maxDetail = 300

// transport sends requests and classes their failures.
type transport struct {
	config Config
	base   string
	client *retryablehttp.Client
}

// call is one request.
type call struct {
	op, method, path string
	body, into       any
}

func newTransport(config Config) (*transport, error) {
	dial := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	dial.MaxIdleConnsPerHost = 64
	dial.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if config.CAFile != "" {
		pem, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile: %s holds no certificate", config.CAFile)
		}
		dial.TLSClientConfig.RootCAs = pool
	}
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.HTTPClient = &http.Client{
		Transport: dial, Timeout: config.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.RetryMax = 2
	if config.ShortRetries != 0 {
		client.RetryMax = max(config.ShortRetries, 0)
	}
	client.RetryWaitMin, client.RetryWaitMax = 100*time.Millisecond, time.Second
	client.CheckRetry = retryShortly
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &transport{config: config, base: strings.TrimRight(config.URL, "/"), client: client}, nil
}

func (t *transport) close() { t.client.HTTPClient.CloseIdleConnections() }

// retryShortly retries within one attempt what is sure not to have happened, or
// may happen twice. A creation whose answer was lost is neither. Rate limits
// and long waits are the slot's schedule to obey.
func retryShortly(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil || response.Request.Method == http.MethodPost {
		return false, nil // the connection's errors are classed by send
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return response.Header.Get("Retry-After") == "", nil
	default:
		return false, nil
	}
}

// do sends a request and reads its answer.
func (t *transport) do(ctx context.Context, c call) error {
	var body any
	if c.body != nil {
		encoded, err := json.Marshal(c.body)
		if err != nil {
			return &target.Error{Class: target.Permanent, Op: c.op, Err: err}
		}
		body = encoded
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, c.method, t.base+c.path, body)
	if err != nil {
		return &target.Error{Class: target.Permanent, Op: c.op, Err: err}
	}
	request.Header.Set("Accept", "application/scim+json, application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/scim+json")
	}
	switch {
	case t.config.BearerToken != "":
		request.Header.Set("Authorization", "Bearer "+t.config.BearerToken)
	case t.config.UserName != "":
		request.SetBasicAuth(t.config.UserName, t.config.Password)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return connectionError(c.op, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return &target.Error{Class: target.Transient, Op: c.op, UnknownOutcome: true, Err: err}
	}
	if len(text) > maxResponse {
		return &target.Error{Class: target.Permanent, Op: c.op, Status: response.StatusCode, UnknownOutcome: true, Detail: "the answer is larger than 8 MiB"}
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return statusError(c.op, response, text)
	}
	if c.into == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, c.into); err != nil {
		return &target.Error{
			Class: target.Permanent, Op: c.op, Status: response.StatusCode, UnknownOutcome: true,
			Detail: "the answer is no SCIM: " + snippet(text),
		}
	}
	return nil
}

// connectionError classes a request that got no answer. One that never left is
// the target being down; any other may have been carried out.
func connectionError(op string, err error) error {
	e := &target.Error{Class: target.Transient, Op: op, UnknownOutcome: true, Err: err}
	var opError *net.OpError
	var dnsError *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		e.Class, e.UnknownOutcome = target.Down, false
		e.Detail = "its certificate does not verify; set caFile if its authority is private"
	case errors.As(err, &dnsError), errors.As(err, &opError) && opError.Op == "dial":
		e.Class, e.UnknownOutcome = target.Down, false
		e.Detail = "cannot be reached"
	}
	return e
}

// statusError classes an answer that is no success.
func statusError(op string, response *http.Response, text []byte) error {
	e := &target.Error{Op: op, Status: response.StatusCode, Detail: detail(text)}
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		e.Class = target.Down
		e.Detail = strings.TrimSpace("it does not let us in; check the target's auth. " + e.Detail)
	case code == http.StatusNotFound || code == http.StatusGone:
		e.Class = target.Gone
	case code == http.StatusConflict:
		e.Class = target.Conflict
	case code == http.StatusTooManyRequests:
		e.Class, e.RetryAfter = target.RateLimited, retryAfter(response.Header)
	case code == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		e.Class, e.RetryAfter = target.RateLimited, retryAfter(response.Header)
	case code == http.StatusRequestTimeout || code >= 500:
		e.Class, e.UnknownOutcome = target.Transient, true
	default:
		e.Class = target.Permanent
	}
	return e
}

// retryAfter reads the header's seconds or date; 0 if it has neither.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// detail is the target's own words: SCIM's detail, or the beginning of the text.
func detail(text []byte) string {
	var message struct {
		ScimType string `json:"scimType"`
		Detail   string `json:"detail"`
	}
	if err := json.Unmarshal(text, &message); err == nil && message.Detail != "" {
		return snippet([]byte(strings.TrimSpace(message.ScimType + " " + message.Detail)))
	}
	return snippet(text)
}

func snippet(text []byte) string {
	text = bytes.ToValidUTF8(bytes.TrimSpace(text), []byte("?"))
	if len(text) > maxDetail {
		text = append(bytes.ToValidUTF8(text[:maxDetail:maxDetail], nil), "…"...)
	}
	return strings.ReplaceAll(string(text), "\n", " ")
}
