// Package client plays the marketplace's side: it makes and signs the calls of
// both generations, and sends kit calls to a production address, ours or
// anybody's.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/openkoo/connector/directory"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Options shape a Client; the zero value serves.
type Options struct {
	HTTP *http.Client     // default: 60 s timeout, no redirects
	Now  func() time.Time // default time.Now
}

// Client sends signed kit calls.
type Client struct {
	signer Signer
	http   *http.Client
	now    func() time.Time
}

// Answer is what a production address said.
type Answer struct {
	Code    string `json:"resultCode"`
	Message string `json:"resultMsg"`
}

// OK reports success.
func (a Answer) OK() bool { return a.Code == "000000" }

// New makes a client of a production address, e.g. https://isv.example.com/saasproduce.
func New(base, key string, options Options) (*Client, error) {
	address, err := CheckAddress(base)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, errors.New("access key: empty")
	}
	c := &Client{signer: Signer{Address: address, Key: key}, http: options.HTTP, now: options.Now}
	if c.http == nil {
		c.http = &http.Client{
			Timeout:       60 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// Push signs a body and sends it to one of the five interfaces.
func (c *Client) Push(ctx context.Context, kind directory.PushKind, body []byte) (Answer, error) {
	request, err := c.signer.KitV2(ctx, kind, body, NewStamp(c.now()))
	if err != nil {
		return Answer{}, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", kind, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: read answer: %w", kind, err)
	}
	var answer Answer
	if err := json.Unmarshal(text, &answer); err != nil || answer.Code == "" {
		return Answer{}, fmt.Errorf("%s: HTTP %d, and no resultCode in the answer; is %s a production address?", kind, response.StatusCode, c.signer.Address)
	}
	return answer, nil
}
