package scim

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/openkoo/connector/target"
)

// maxDetail bounds what is kept of a target's own words, in bytes.
const maxDetail = 300

// maxRetryAfter bounds what a target may ask for; the rest of its number is
// not looked at, lest it overflow.
const maxRetryAfter = 7 * 24 * time.Hour

// scimType is the kind of a refusal (RFC 7644 §3.12).
type scimType string

func (s scimType) Error() string { return string(s) }

// connectionError classes a request that got no answer. One that never left is
// the target being down; any other may have been carried out.
func connectionError(op string, err error) error {
	e := &target.Error{Class: target.Transient, Op: op, UnknownOutcome: true, Err: err}
	var opError *net.OpError
	var dnsError *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &certificate):
		e.Detail = "its certificate does not verify; set caFile if its authority is private"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		e.Detail = "it does not speak TLS as we do; check the target's url"
	case errors.As(err, &dnsError), errors.As(err, &opError) && opError.Op == "dial":
		e.Detail = "cannot be reached"
	}
	if e.Detail != "" {
		e.Class, e.UnknownOutcome = target.Down, false
	}
	return e
}

// statusError classes an answer that is no success.
func (t *transport) statusError(op string, response *http.Response, text []byte) error {
	e := &target.Error{Op: op, Status: response.StatusCode}
	e.Detail, e.Err = t.detail(text)
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired:
		e.Class = target.Down
		e.Detail = strings.TrimSpace("it does not let us in; check the target's auth. " + e.Detail)
	case code < 400:
		e.Class = target.Down
		e.Detail = "it redirects, which is not followed; set the target's url to where it leads"
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
	case code == http.StatusPreconditionFailed || code == http.StatusTooEarly || code == http.StatusLocked:
		e.Class = target.Transient // it changed meanwhile, or is busy with the object
	default:
		e.Class = target.Permanent
	}
	return e
}

// statusOf is the HTTP status of a failure, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*target.Error](err); ok {
		return e.Status
	}
	return 0
}

// retryAfter reads the header's seconds or date; 0 if it has neither.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second //nolint:gosec // bounded
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}

// detail is the target's own words: SCIM's detail and scimType, or the
// beginning of the text.
func (t *transport) detail(text []byte) (string, error) {
	var message struct {
		ScimType string `json:"scimType"`
		Detail   string `json:"detail"`
	}
	if err := json.Unmarshal(text, &message); err != nil || message.Detail+message.ScimType == "" {
		return t.snippet(text), nil
	}
	if message.ScimType == "" {
		return t.snippet([]byte(message.Detail)), nil
	}
	return t.snippet([]byte(message.Detail)), scimType(t.snippet([]byte(message.ScimType)))
}

// snippet is the beginning of a text fit for a log: one line, no secret.
func (t *transport) snippet(text []byte) string {
	const enough = 64 << 10 // far behind what is kept, so that no part of a secret is
	if len(text) > enough {
		text = text[:enough]
	}
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, t.secrets.Replace(string(bytes.ToValidUTF8(text, []byte("?")))))
	clean = strings.TrimSpace(clean)
	if len(clean) > maxDetail {
		clean = strings.ToValidUTF8(clean[:maxDetail], "") + "…"
	}
	return clean
}
