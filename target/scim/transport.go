package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// transport sends requests of the protocol.
type transport struct {
	config Config
	base   string
	client *httpclient.Client
	gather *gatherer
	// plainJSON is set where the server does not take SCIM's own media type.
	plainJSON atomic.Bool
}

// call is one request.
type call struct {
	op, method, path string
	body, into       any
	ifMatch          string // the version that is to be changed, empty for any
}

func newTransport(config Config) (*transport, error) {
	client, err := httpclient.New(httpclient.Options{
		Timeout: config.Timeout, CAFile: config.CAFile, AllowPrivate: !config.DenyPrivate,
		ShortRetries: config.ShortRetries, Words: words,
	})
	if err != nil {
		return nil, err
	}
	t := &transport{config: config, base: strings.TrimRight(config.URL, "/"), client: client}
	t.gather = newGatherer(t)
	return t, nil
}

func (t *transport) close() {
	t.gather.close()
	t.client.Close()
}

// do sends a request and reads its answer into c.into.
func (t *transport) do(ctx context.Context, c call) error {
	answer, err := t.change(ctx, c)
	if err != nil || c.into == nil {
		return err
	}
	return answer.Into(c.into)
}

// change sends a request that may go among others, if it is a change.
func (t *transport) change(ctx context.Context, c call) (*httpclient.Answer, error) {
	if c.method == http.MethodGet {
		return t.send(ctx, c)
	}
	return t.gather.send(ctx, c)
}

// send sends a request by itself. A page of some proxy is not the server's answer.
func (t *transport) send(ctx context.Context, c call) (*httpclient.Answer, error) {
	request := t.request(c)
	if c.body != nil {
		encoded, err := json.Marshal(c.body)
		if err != nil {
			return nil, &target.Error{Class: target.Permanent, Op: c.op, Err: err}
		}
		request.Body = encoded
	}
	leave, err := t.gather.enter(ctx, c.op)
	if err != nil {
		return nil, err
	}
	defer leave()
	answer, err := t.sendAs(ctx, request)
	if err == nil && answer.IsPage() {
		err = answer.Into(&struct{}{})
	}
	if err == nil {
		err = t.disguised(request, answer)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// sendAs sends a request as application/scim+json, or as plain JSON where a
// server refuses that: home-made ones often know no other.
func (t *transport) sendAs(ctx context.Context, request httpclient.Request) (*httpclient.Answer, error) {
	if request.Body == nil {
		return t.client.Send(ctx, request)
	}
	plain := t.plainJSON.Load()
	request.Header.Set("Content-Type", map[bool]string{false: "application/scim+json", true: "application/json"}[plain])
	answer, err := t.client.Send(ctx, request)
	if plain || statusOf(err) != http.StatusUnsupportedMediaType {
		return answer, err
	}
	request.Header.Set("Content-Type", "application/json")
	if answer, err = t.client.Send(ctx, request); statusOf(err) != http.StatusUnsupportedMediaType {
		t.plainJSON.Store(true)
	}
	return answer, err
}

// errorSchema marks a refusal (RFC 7644 §3.12).
const errorSchema = "urn:ietf:params:scim:api:messages:2.0:Error"

// disguised finds a refusal in an answer that has the status of a success: a
// gateway before the server may answer 200 to everything. Who takes that for
// delivered has lost a change.
func (t *transport) disguised(request httpclient.Request, answer *httpclient.Answer) error {
	if !bytes.Contains(answer.Body, []byte(errorSchema)) {
		return nil
	}
	var refusal struct {
		Schemas []string        `json:"schemas"`
		Status  json.RawMessage `json:"status"`
	}
	if json.Unmarshal(answer.Body, &refusal) != nil || !slices.Contains(refusal.Schemas, errorSchema) {
		return nil
	}
	status := statusIn(refusal.Status)
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError // it does not say
	}
	return t.client.Failure(request, status, answer.Body)
}

// statusIn is the status that a body names: a string by the RFC, a number at
// some servers; 0 for none.
func statusIn(text json.RawMessage) int {
	code, err := strconv.Atoi(strings.Trim(string(text), `"`))
	if err != nil {
		return 0
	}
	return code
}

// request is a call's request without its body.
func (t *transport) request(c call) httpclient.Request {
	request := httpclient.Request{
		Op: c.op, Method: c.method, URL: t.base + c.path, Secrets: []string{t.config.Password},
		Header: http.Header{"Accept": {"application/scim+json, application/json"}},
	}
	switch {
	case t.config.BearerToken != "":
		request.Header.Set("Authorization", "Bearer "+t.config.BearerToken)
	case t.config.UserName != "":
		request.Header.Set("Authorization", basic(t.config.UserName, t.config.Password))
	}
	if c.ifMatch != "" {
		request.Header.Set("If-Match", c.ifMatch)
	}
	return request
}

func basic(userName, password string) string {
	request := http.Request{Header: http.Header{}}
	request.SetBasicAuth(userName, password)
	return request.Header.Get("Authorization")
}

// scimType is the kind of a refusal (RFC 7644 §3.12).
type scimType string //nolint:errname // the RFC's name

func (s scimType) Error() string { return string(s) }

// words are SCIM's detail and scimType (RFC 7644 §3.12), or the text itself.
func words(body []byte) (string, error) {
	var message struct {
		ScimType string `json:"scimType"`
		Detail   string `json:"detail"`
	}
	switch err := json.Unmarshal(body, &message); {
	case err != nil || message.Detail+message.ScimType == "":
		return string(body), nil
	case message.ScimType == "":
		return message.Detail, nil
	default:
		return message.Detail, scimType(message.ScimType[:min(len(message.ScimType), maxScimType)])
	}
}

// maxScimType bounds what is kept of a server's scimType, in bytes; the RFC's
// have 13 at most.
const maxScimType = 32

// statusOf is the HTTP status of a failure, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*target.Error](err); ok {
		return e.Status
	}
	return 0
}

// needed are the attributes without which an object is none.
var needed = []string{"userName", "externalId", "displayName", "active", "name.formatted", "name.familyName", "name.givenName"}

// withSuspects says in a refusal of an object which of its attributes may be at
// fault (RFC 7644 §3.12; 422 is what home-made servers answer).
func withSuspects(err error, all attributes) error {
	status := statusOf(err)
	if status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
		return err
	}
	kind, _ := errors.AsType[scimType](err)
	var sent []string
	for _, a := range all {
		if a.value != nil && !slices.Contains(needed, a.path) {
			sent = append(sent, a.path)
		}
	}
	return target.WithSuspects(err, kind == "invalidValue" || status == http.StatusUnprocessableEntity, sent)
}

// omitting leaves attributes out.
func (a attributes) omitting(omit []string) attributes {
	return slices.DeleteFunc(a, func(one attribute) bool { return target.Omitted(omit, one.path) })
}
