package scim

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

// transport sends requests of the protocol.
type transport struct {
	config Config
	base   string
	client *httpclient.Client
}

// call is one request.
type call struct {
	op, method, path string
	body, into       any
}

func newTransport(config Config) (*transport, error) {
	client, err := httpclient.New(httpclient.Options{
		Timeout: config.Timeout, CAFile: config.CAFile, AllowPrivate: !config.DenyPrivate,
		ShortRetries: config.ShortRetries, Words: words,
	})
	if err != nil {
		return nil, err
	}
	return &transport{config: config, base: strings.TrimRight(config.URL, "/"), client: client}, nil
}

func (t *transport) close() { t.client.Close() }

// do sends a request and reads its answer.
func (t *transport) do(ctx context.Context, c call) error {
	request := httpclient.Request{
		Op: c.op, Method: c.method, URL: t.base + c.path, Secrets: []string{t.config.Password},
		Header: http.Header{"Accept": {"application/scim+json, application/json"}},
	}
	if c.body != nil {
		encoded, err := json.Marshal(c.body)
		if err != nil {
			return &target.Error{Class: target.Permanent, Op: c.op, Err: err}
		}
		request.Body = encoded
		request.Header.Set("Content-Type", "application/scim+json")
	}
	switch {
	case t.config.BearerToken != "":
		request.Header.Set("Authorization", "Bearer "+t.config.BearerToken)
	case t.config.UserName != "":
		request.Header.Set("Authorization", basic(t.config.UserName, t.config.Password))
	}
	answer, err := t.client.Send(ctx, request)
	if err != nil || c.into == nil || len(answer.Body) == 0 {
		return err
	}
	return answer.Into(c.into)
}

func basic(userName, password string) string {
	request := http.Request{Header: http.Header{}}
	request.SetBasicAuth(userName, password)
	return request.Header.Get("Authorization")
}

// words is SCIM's detail (RFC 7644 §3.12), or the text itself.
func words(body []byte) string {
	var message struct {
		ScimType string `json:"scimType"`
		Detail   string `json:"detail"`
	}
	if err := json.Unmarshal(body, &message); err == nil && message.Detail != "" {
		return strings.TrimSpace(message.ScimType + " " + message.Detail)
	}
	return string(body)
}
