package httpclient

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

const (
	// maxDetail bounds what is kept of a target's own words, in bytes.
	maxDetail = 300
	// maxRetryAfter bounds how long a target may ask to be left alone.
	maxRetryAfter = 7 * 24 * time.Hour
	// minSecret is the shortest word worth hiding; hiding less would only
	// garble the text.
	minSecret = 4
)

// connectionError classes a request that got no answer. One that never got a
// connection means that the target is down; any other may have been carried
// out.
func connectionError(op string, err error, connected bool) error {
	if connected {
		return &target.Error{Class: target.Transient, Op: op, UnknownOutcome: true, Err: bare(err)}
	}
	return &target.Error{Class: target.Down, Op: op, Detail: egress.Explain(err), Err: bare(err)}
}

// bare drops the URL that net/http puts around an error: the path of a webhook
// may be a secret.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// statusError classes an answer that is no success.
func statusError(op string, response *http.Response, words string, kind error, hide func(string) string) error {
	e := &target.Error{Op: op, Status: response.StatusCode, Detail: snippet(words), Err: kind}
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired:
		e.Class = target.Down
		e.Detail = strings.TrimSpace("it does not let us in; check the target's auth. " + e.Detail)
	case code < 400:
		// Followed, it would lead credentials and personal data elsewhere.
		e.Class = target.Down
		e.Detail = "it redirects" + elsewhere(response, hide) + ", which is not followed; set the target's url to where it really is"
	case code == http.StatusUnsupportedMediaType:
		e.Class = target.Down // whatever it is sent
		e.Detail = strings.TrimSpace("it takes no JSON; is the target's url right? " + e.Detail)
	case code == http.StatusNotFound || code == http.StatusGone:
		e.Class = target.Gone
	case code == http.StatusConflict:
		e.Class = target.Conflict
	case code == http.StatusTooManyRequests:
		e.Class, e.RetryAfter = target.RateLimited, RetryAfter(response.Header)
	case code == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		e.Class, e.RetryAfter = target.RateLimited, RetryAfter(response.Header)
	case code == http.StatusRequestTimeout || code >= 500:
		e.Class, e.UnknownOutcome = target.Transient, true
	case code == http.StatusPreconditionFailed || code == http.StatusTooEarly || code == http.StatusLocked:
		e.Class = target.Transient // it changed meanwhile, or is busy with the object
	default:
		e.Class = target.Permanent
	}
	return e
}

// elsewhere names the host of a redirect: its path may hold secrets.
func elsewhere(response *http.Response, hide func(string) string) string {
	to, err := response.Location()
	if err != nil {
		return ""
	}
	return " to " + hide(to.Scheme+"://"+to.Host)
}

// RetryAfter reads the header's seconds or date, at most a week; 0 if it has
// neither.
func RetryAfter(header http.Header) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}

// redactor hides a request's secrets in what its target answers.
func redactor(r Request) func(string) string {
	secrets := r.Secrets
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		_, credentials, _ := strings.Cut(authorization, " ")
		secrets = append([]string{credentials}, secrets...)
	}
	return func(text string) string {
		for _, secret := range secrets {
			if len(secret) >= minSecret {
				text = strings.ReplaceAll(text, secret, "[secret]")
			}
		}
		return text
	}
}

// snippet is the beginning of a target's words on one line, fit for a log.
func snippet(text string) string {
	text = text[:min(len(text), 4*maxDetail)]
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(text, "?")))
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
