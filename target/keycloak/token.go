package keycloak

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// leeway is how long before its end a token is not used any more.
const leeway = 10 * time.Second

// tokens keeps the access token of the client's service account (RFC 6749
// §4.4) and gets a new one before it ends.
type tokens struct {
	client *httpclient.Client
	url    string
	config Config

	lock  chan struct{} // held while looking and fetching; a channel, so that ctx counts
	value string
	until time.Time
}

func newTokens(client *httpclient.Client, url string, config Config) *tokens {
	return &tokens{client: client, url: url, config: config, lock: make(chan struct{}, 1)}
}

// get returns a token. One that equals stale was refused and is not given
// again. Of many that ask at once one fetches.
func (t *tokens) get(ctx context.Context, stale string) (string, error) {
	const op = "get a token"
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return "", &target.Error{Class: target.Transient, Op: op, Err: ctx.Err()}
	}
	if t.value != "" && t.value != stale && t.config.Now().Before(t.until) {
		return t.value, nil
	}
	asked := t.config.Now()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {t.config.ClientID}, "client_secret": {t.config.ClientSecret}}
	answer, err := t.client.Send(ctx, httpclient.Request{
		Op: op, Method: http.MethodPost, URL: t.url, Body: []byte(form.Encode()),
		Secrets: t.secrets(), Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	})
	if err != nil {
		return "", notAsked(ctx, err)
	}
	var granted struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if err := answer.Into(&granted); err != nil {
		return "", noToken(op, "the answer is no token; check the target's url")
	}
	if granted.AccessToken == "" {
		return "", noToken(op, "the answer has no access_token; check the target's url")
	}
	lifetime := time.Duration(min(max(granted.ExpiresIn, 0), int64(24*time.Hour/time.Second))) * time.Second
	t.value, t.until = granted.AccessToken, asked.Add(lifetime-min(leeway, lifetime/4))
	return t.value, nil
}

// secrets are the words that no error may hold.
func (t *tokens) secrets() []string {
	return []string{t.config.ClientSecret, url.QueryEscape(t.config.ClientSecret)}
}

func noToken(op, detail string) error {
	return &target.Error{Class: target.Transient, Op: op, Detail: detail}
}

// notAsked classes a token that was not granted: what it was wanted for was
// not sent, so its outcome is known.
func notAsked(ctx context.Context, err error) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || ctx.Err() != nil {
		return err
	}
	known := *e
	known.UnknownOutcome = false
	switch e.Status {
	case http.StatusBadRequest, http.StatusForbidden:
		known.Class = target.Down
		known.Detail = "it does not let us in; check the target's auth. " + e.Detail
	case http.StatusNotFound:
		known.Class = target.Down
		known.Detail = "nothing is there; check the target's url and realm. " + e.Detail
	}
	known.Detail = strings.TrimSpace(known.Detail)
	return &known
}
