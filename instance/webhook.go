package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/openkoo/connector/directory"
)

// maxReply bounds what is read of the seller's reply, in bytes.
const maxReply = 256 << 10

// WebhookOptions shape a Webhook. URL and Secret have no default.
type WebhookOptions struct {
	URL string
	// Secret signs the calls: whsec_ and Base64, as standardwebhooks.com has it.
	Secret  string
	Timeout time.Duration     // of one call, default 30 s
	HTTP    http.RoundTripper // default http.DefaultTransport
	Now     func() time.Time  // default time.Now
}

// Webhook asks the seller's server by signed calls (standardwebhooks.com). The
// reply's status says what came of it: 200, 201 and 204 done, 202 goes on, 409
// no resource left; all others are tried again.
type Webhook struct {
	url    string
	signer *standardwebhooks.Webhook
	http   *http.Client
	now    func() time.Time
}

// NewWebhook makes a webhook provisioner.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("instances.webhookUrl: want https:// and a host")
	}
	if len(strings.TrimPrefix(o.Secret, "whsec_")) < 32 {
		return nil, errors.New("instances.webhookSecret: want whsec_ and Base64 of at least 24 bytes")
	}
	signer, err := standardwebhooks.NewWebhook(o.Secret)
	if err != nil {
		return nil, errors.New("instances.webhookSecret: want whsec_ and Base64 of at least 24 bytes")
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Webhook{url: o.URL, signer: signer, now: o.Now, http: &http.Client{
		Timeout: o.Timeout, Transport: o.HTTP,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Answer implements Provisioner: the server is always asked.
func (*Webhook) Answer(*directory.Instance, *directory.InstanceEvent) (Outcome, bool) {
	return Outcome{}, false
}

// message is the body of a call.
type message struct {
	Type      directory.EventType `json:"type"`
	Timestamp time.Time           `json:"timestamp"`
	Data      messageData         `json:"data"`
}

type messageData struct {
	Dataset    directory.Dataset       `json:"dataset"`
	InstanceID string                  `json:"instanceId"`
	State      directory.InstanceState `json:"state"`
	OrderID    string                  `json:"orderId"`
	ProductID  string                  `json:"productId,omitempty"`
	ExpireTime time.Time               `json:"expireTime,omitzero"`
	Details    map[string]string       `json:"details,omitempty"` // of the first order
	Members    map[string]string       `json:"members,omitempty"` // of this call
	Contact    map[string]string       `json:"contact,omitempty"` // of the buyer, personal
}

// reply is the body of an answer; all members are optional.
type reply struct {
	App     *App   `json:"appInfo"`
	License string `json:"license"`
}

// Tell implements Provisioner.
func (w *Webhook) Tell(ctx context.Context, i *directory.Instance, event *directory.InstanceEvent, contact map[string]string) (Outcome, error) {
	now := w.now()
	data := messageData{
		Dataset: i.Dataset, InstanceID: i.ID, State: i.State(now), OrderID: i.OrderID, ProductID: i.ProductID,
		ExpireTime: i.ExpireTime, Details: i.Details, Members: event.Members,
	}
	if event.Type == directory.EventCreated {
		data.Contact = contact
	}
	body, err := json.Marshal(message{event.Type, event.At, data})
	if err != nil {
		return Outcome{}, fmt.Errorf("encode event: %w", err)
	}
	signature, err := w.signer.Sign(event.ID, now, body)
	if err != nil {
		return Outcome{}, fmt.Errorf("sign event: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return Outcome{}, errors.New("webhook: the URL cannot be called")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(standardwebhooks.HeaderWebhookID, event.ID)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	response, err := w.http.Do(request)
	if err != nil {
		return Outcome{}, fmt.Errorf("webhook: %w", withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	outcome, err := readReply(response)
	if err == nil && event.Type == directory.EventLicense && !outcome.Waits && !outcome.NoResource && outcome.License == "" {
		return Outcome{}, errors.New(`webhook: reply holds no license; want {"license": …}, or 202 if it goes on`)
	}
	return outcome, err
}

// withoutURL keeps a URL, which may hold a secret, out of what people read.
func withoutURL(err error) error {
	if urlError, ok := errors.AsType[*url.Error](err); ok {
		return urlError.Err
	}
	return err
}

func readReply(response *http.Response) (Outcome, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReply+1))
	if err != nil {
		return Outcome{}, fmt.Errorf("webhook: read reply: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusAccepted:
	case http.StatusConflict:
		return Outcome{NoResource: true}, nil
	default:
		return Outcome{}, fmt.Errorf("webhook: HTTP %d; want 200 done, 202 goes on, or 409 no resource", response.StatusCode)
	}
	outcome := Outcome{Waits: response.StatusCode == http.StatusAccepted}
	if len(text) > maxReply {
		return Outcome{}, fmt.Errorf("webhook: reply larger than %d bytes", maxReply)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return outcome, nil
	}
	var r reply
	if err := json.Unmarshal(text, &r); err != nil {
		return Outcome{}, errors.New(`webhook: reply is not the JSON we know; want {"appInfo": {"frontEndUrl": …}} or nothing`)
	}
	if r.App != nil {
		if err := r.App.Check(); err != nil {
			return Outcome{}, fmt.Errorf("webhook: reply: %w", err)
		}
	}
	outcome.App, outcome.License = r.App, r.License
	return outcome, nil
}
