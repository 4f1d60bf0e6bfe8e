package scim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/openkoo/connector/target"
)

// maxResponse bounds what is read of an answer, in bytes.
const maxResponse = 8 << 20

// maxIgnored bounds what is read of an answer nobody needs, in bytes, so that
// its connection can be used again.
const maxIgnored = 64 << 10

// transport sends requests and classes their failures.
type transport struct {
	config Config
	base   string
	client *retryablehttp.Client
	// secrets are kept out of errors, should the target repeat them.
	secrets *strings.Replacer
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
	t := &transport{config: config, base: strings.TrimRight(config.URL, "/"), client: client}
	var hidden []string
	basic := base64.StdEncoding.EncodeToString([]byte(config.UserName + ":" + config.Password))
	for _, secret := range []string{config.BearerToken, config.Password, basic} {
		if secret != "" {
			hidden = append(hidden, secret, "…")
		}
	}
	t.secrets = strings.NewReplacer(hidden...)
	return t, nil
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
	success := response.StatusCode >= 200 && response.StatusCode <= 299
	if success && c.into == nil && !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		_, _ = io.CopyN(io.Discard, response.Body, maxIgnored) // what it says does not matter
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	switch {
	case !success:
		return t.statusError(c.op, response, text) // its status counts, however much of the rest came
	case err != nil:
		return &target.Error{Class: target.Transient, Op: c.op, UnknownOutcome: true, Err: err}
	case len(text) > maxResponse:
		return &target.Error{
			Class: target.Permanent, Op: c.op, Status: response.StatusCode, UnknownOutcome: true,
			Detail: "the answer is larger than 8 MiB",
		}
	}
	if c.into == nil {
		c.into = &struct{}{} // a page of some proxy, not the server's answer
	}
	if err := json.Unmarshal(text, c.into); err != nil {
		return &target.Error{
			Class: target.Transient, Op: c.op, Status: response.StatusCode, UnknownOutcome: true,
			Detail: "the answer is no SCIM: " + t.snippet(text),
		}
	}
	return nil
}
