package keycloak

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

const (
	// externalID is the attribute that keeps our name for an object.
	externalID = "orgsyncId"
	// maxAttribute is what Keycloak's tables hold of an attribute, in
	// characters.
	maxAttribute = 255
)

// call is one request to the realm's admin API.
type call struct {
	op, method, path string
	query            url.Values
	body, into       any
}

func (c *Connector) do(ctx context.Context, call call) error {
	_, err := c.send(ctx, call)
	return err
}

// send sends a request, with a new token if the old one is not taken any more.
func (c *Connector) send(ctx context.Context, call call) (*httpclient.Answer, error) {
	request := httpclient.Request{Op: call.op, Method: call.method, URL: c.base + call.path, Secrets: c.tokens.secrets()}
	if len(call.query) > 0 {
		request.URL += "?" + call.query.Encode()
	}
	if call.body != nil {
		body, err := json.Marshal(call.body)
		if err != nil {
			return nil, &target.Error{Class: target.Permanent, Op: call.op, Err: err}
		}
		request.Body = body
	}
	token, err := c.tokens.get(ctx, "")
	if err != nil {
		return nil, err
	}
	answer, err := c.sendAs(ctx, token, request)
	if statusOf(err) == http.StatusUnauthorized {
		// Revoked, or the server was restarted: the request was not looked at.
		if token, err = c.tokens.get(ctx, token); err != nil {
			return nil, err
		}
		answer, err = c.sendAs(ctx, token, request)
	}
	switch {
	case err != nil:
		return nil, err
	case call.into != nil:
		return answer, answer.Into(call.into)
	case answer.IsPage():
		return answer, answer.Into(&struct{}{}) // of some proxy, not the server's
	default:
		return answer, nil
	}
}

func (c *Connector) sendAs(ctx context.Context, token string, request httpclient.Request) (*httpclient.Answer, error) {
	request.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept": {"application/json"}}
	if request.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.client.Send(ctx, request)
}

// create sends a creation and returns the id of what was made, which only the
// header Location tells.
func (c *Connector) create(ctx context.Context, call call) (string, error) {
	call.method = http.MethodPost
	answer, err := c.send(ctx, call)
	if err != nil {
		return "", err
	}
	location, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || answer.Status != http.StatusCreated || path.Base(location.Path) == "." || path.Base(location.Path) == "/" {
		return "", &target.Error{
			Class: target.Transient, Op: call.op, Status: answer.Status, UnknownOutcome: true, Detail: "the answer does not say what was made",
		}
	}
	return path.Base(location.Path), nil
}

// words are Keycloak's own, which come under several names.
func words(body []byte) (string, error) {
	var message struct {
		ErrorMessage string `json:"errorMessage"`
		Error        string `json:"error"`
		Description  string `json:"error_description"`
		Field        string `json:"field"`
	}
	if err := json.Unmarshal(body, &message); err != nil {
		return string(body), nil
	}
	text := ""
	for _, part := range []string{message.Field, message.ErrorMessage, message.Error, message.Description} {
		if part != "" && text != "" {
			text += ": "
		}
		text += part
	}
	if text == "" {
		text = string(body)
	}
	return text, nil
}

// statusOf is the HTTP status of a failure, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*target.Error](err); ok {
		return e.Status
	}
	return 0
}

func isGone(err error) bool { return err != nil && target.ClassOf(err) == target.Gone }

func isConflict(err error) bool { return err != nil && target.ClassOf(err) == target.Conflict }

// attributes are an object's own; every one is a list.
type attributes map[string][]string

func (a attributes) carries(name, value string) bool { return slices.Contains(a[name], value) }

// name is our name for an object as an attribute takes it.
func name(external string) string {
	if len(external) <= maxAttribute {
		return external
	}
	return "sha256:" + digest(external)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// having searches for what has an attribute; the value holds no quotes.
func having(attribute, value string) url.Values {
	return url.Values{"q": {attribute + `:"` + value + `"`}, "first": {"0"}, "max": {"100"}, "briefRepresentation": {"false"}}
}
