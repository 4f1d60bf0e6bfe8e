package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// Signer makes requests as the marketplace signs them (spec/marketplace.md §1).
type Signer struct {
	Address string // the production address, as CheckAddress returns it
	Key     string // the access key
}

// Stamp makes one V2 call differ from the next.
type Stamp struct {
	Nonce string
	At    time.Time
}

// NewStamp has a nonce of its own.
func NewStamp(at time.Time) Stamp {
	return Stamp{Nonce: strings.ToUpper(strings.ReplaceAll(uuid.NewString(), "-", "")), At: at}
}

func (s Stamp) millis() string { return strconv.FormatInt(s.At.UnixMilli(), 10) }

// CheckAddress refuses what cannot be a production address, e.g.
// https://isv.example.com/saasproduce, and returns it without a slash at its end.
func CheckAddress(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", fmt.Errorf("production address: %w", err)
	case u.User != nil:
		return "", errors.New("production address: want no user and password in it; the signature is the only authentication")
	case u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return "", fmt.Errorf("production address %q: want http:// or https:// and a host", address)
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("production address %q: want no query and no fragment", address)
	}
	return strings.TrimRight(address, "/"), nil
}

// KitV2 is a signed call of one of the kit's interfaces (§1.2).
func (s Signer) KitV2(ctx context.Context, kind directory.PushKind, body []byte, stamp Stamp) (*http.Request, error) {
	sign, err := marketplace.SignKit(s.Key, stamp.Nonce, stamp.millis(), body)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", kind, err)
	}
	request, err := s.post(ctx, "/produceAPI/v2/"+string(kind), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	request.Header.Set("x-sign", sign)
	request.Header.Set("x-timestamp", stamp.millis())
	request.Header.Set("x-nonce", stamp.Nonce)
	return request, nil
}

// KitV1 is a signed call of one of the kit's V1 interfaces, whose body's
// member timeStamp is timeStamp (§1.4).
func (s Signer) KitV1(ctx context.Context, kind directory.PushKind, body []byte, timeStamp string) (*http.Request, error) {
	token, err := marketplace.SignV1(s.Key, timeStamp, body)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", kind, err)
	}
	request, err := s.post(ctx, "/produceAPI/"+string(kind), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	request.Header.Set("authToken", token)
	return request, nil
}

// BaseV2 is a signed call of the base interface (§1.3).
func (s Signer) BaseV2(ctx context.Context, body []byte, stamp Stamp) (*http.Request, error) {
	sign, err := marketplace.SignBase(s.Key, stamp.Nonce, stamp.millis(), body)
	if err != nil {
		return nil, fmt.Errorf("sign base call: %w", err)
	}
	query := url.Values{"signature": {sign}, "timestamp": {stamp.millis()}, "nonce": {stamp.Nonce}}
	return s.post(ctx, "?"+query.Encode(), body)
}

// BaseV1 is a signed call of the V1 base interface: its parameters are those
// of the URL, timeStamp among them (§1.4).
func (s Signer) BaseV1(ctx context.Context, params map[string]string) (*http.Request, error) {
	query := url.Values{"authToken": {marketplace.SignV1Params(s.Key, params)}}
	for name, value := range params {
		query.Set(name, value)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Address+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("base call: %w", err)
	}
	return request, nil
}

func (s Signer) post(ctx context.Context, path string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	return request, nil
}
