package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	ldapv3 "github.com/go-ldap/ldap/v3"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/egress"
)

const (
	// maxMessage bounds one message of a server, in bytes.
	maxMessage = 8 << 20
	// maxIdle is how long a connection may rest before it is not trusted any
	// more; servers and firewalls in between drop them without a word.
	maxIdle = time.Minute
)

// The library bounds messages by a variable of the process only, and its own
// bound is 2 GiB. Nothing else in the connector reads BER.
func init() { ber.MaxPacketLengthBytes = maxMessage } //nolint:gochecknoinits // as said above

var errClosed = errors.New("the connector is closed")

// pool keeps a bounded number of bound connections. Each is used by one
// operation at a time, so that an operation can be ended by closing its
// connection: the library knows neither contexts nor deadlines.
type pool struct {
	config Config
	trust  *tls.Config
	slots  chan struct{}

	mu     sync.Mutex
	idle   []*session
	closed bool
}

// session is a bound connection.
type session struct {
	conn *ldapv3.Conn
	raw  *metered
	used time.Time
}

func newPool(config Config, trust *tls.Config) *pool {
	return &pool{config: config, trust: trust, slots: make(chan struct{}, config.Connections)}
}

// do runs one operation, bounded by ctx and by the configured time, and classes
// its failure.
func (p *pool) do(ctx context.Context, op string, operate func(*ldapv3.Conn) error) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return &target.Error{Class: target.Transient, Op: op, Err: ctx.Err()}
	}
	s, err := p.take(ctx)
	if err != nil {
		return openError(op, err)
	}
	_ = s.raw.SetDeadline(time.Now().Add(p.config.Timeout))
	s.raw.allow(maxAnswer)
	stop := context.AfterFunc(ctx, func() { _ = s.raw.Close() })
	err = operate(s.conn)
	if !stop() || broken(err) || !p.put(s) {
		s.close()
	}
	if err != nil && ctx.Err() != nil {
		return &target.Error{Class: target.Transient, Op: op, UnknownOutcome: true, Err: ctx.Err()}
	}
	return operationError(op, err)
}

// take returns a connection that is idle, or opens one.
func (p *pool) take(ctx context.Context) (*session, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, errClosed
		}
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return p.open(ctx)
		}
		s := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if !s.conn.IsClosing() && time.Since(s.used) < maxIdle {
			return s, nil
		}
		s.close()
	}
}

// put gives a connection back; false means that it has to be closed.
func (p *pool) put(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || s.conn.IsClosing() {
		return false
	}
	_ = s.raw.SetDeadline(time.Time{})
	s.used = time.Now()
	p.idle = append(p.idle, s)
	return true
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range idle {
		s.close()
	}
}

func (s *session) close() {
	_ = s.raw.Close() // first, or the library waits for a server that hangs
	_ = s.conn.Close()
}

// open dials, secures and binds a connection.
func (p *pool) open(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	network, address, secure := endpoint(p.config.URL)
	dialled, err := egress.Dialer(!p.config.DenyPrivate).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	raw := &metered{Conn: dialled}
	raw.allow(maxAnswer)
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	trust := p.trust.Clone()
	if host, _, err := net.SplitHostPort(address); err == nil {
		trust.ServerName = host
	}
	var wire net.Conn = raw
	if secure {
		encrypted := tls.Client(raw, trust)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		wire = encrypted
	}
	conn := ldapv3.NewConn(wire, secure)
	conn.Start()
	s := &session{conn: conn, raw: raw, used: time.Now()}
	if !secure && network != "unix" && !p.config.Plaintext {
		if err := conn.StartTLS(trust); err != nil {
			s.close()
			return nil, startTLSError{err}
		}
	}
	if p.config.BindDN != "" {
		if err := conn.Bind(p.config.BindDN, p.config.Password); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// startTLSError is a server that does not speak TLS, or not so that we trust it.
type startTLSError struct{ error }

func (e startTLSError) Unwrap() error { return e.error }

// endpoint is what the URL says to dial, and whether TLS comes first.
func endpoint(text string) (network, address string, secure bool) {
	if path, ok := socketPath(text); ok {
		return "unix", path, false
	}
	u, err := url.Parse(text)
	if err != nil {
		return "tcp", text, false // Validate has refused it
	}
	port := u.Port()
	if port == "" {
		port = ldapv3.DefaultLdapPort
		if u.Scheme == "ldaps" {
			port = ldapv3.DefaultLdapsPort
		}
	}
	return "tcp", net.JoinHostPort(u.Hostname(), port), u.Scheme == "ldaps"
}

// socketPath reads ldapi://%2Frun%2Fslapd%2Fldapi.
func socketPath(text string) (string, bool) {
	escaped, ok := strings.CutPrefix(text, "ldapi://")
	if !ok {
		return "", false
	}
	path, err := url.PathUnescape(strings.TrimSuffix(escaped, "/"))
	return path, err == nil && strings.HasPrefix(path, "/")
}
