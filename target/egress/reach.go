package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// Route is how a server is reached.
type Route struct {
	URL          string // http, https or ldaps
	CAFile       string // PEM of further authorities to trust
	AllowPrivate bool
}

// Reach connects to the server, speaks TLS where the URL says so, and hangs up:
// no request is sent. The state is nil without TLS. Errors name neither path nor
// query, which may hold a secret.
func (r Route) Reach(ctx context.Context) (state *tls.ConnectionState, err error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("the url cannot be read") // url.Error would quote it
	}
	port, secure := u.Port(), true
	switch u.Scheme {
	case "https":
		port = orElse(port, "443")
	case "ldaps":
		port = orElse(port, "636")
	case "http":
		port, secure = orElse(port, "80"), false
	default:
		return nil, fmt.Errorf("the url's scheme %q is not one to connect to", u.Scheme)
	}
	trust, err := TLS(r.CAFile)
	if err != nil {
		return nil, err
	}
	conn, err := Dialer(r.AllowPrivate).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if !secure {
		return nil, nil //nolint:nilnil // no TLS, no state of it
	}
	trust.ServerName = u.Hostname()
	encrypted := tls.Client(conn, trust)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	reached := encrypted.ConnectionState()
	return &reached, nil
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
