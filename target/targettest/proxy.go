package targettest

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a connector and a real server, and fails in the ways a
// network and a server can. Without a fault it passes everything on.
type Proxy struct {
	// URL is where the proxy listens, with the path of the server behind it.
	URL string

	forward http.Handler
	closing chan struct{}

	mu       sync.Mutex
	queue    []Fault
	choose   func(Request) Fault
	requests []Request
}

// Request is a request as it came to the proxy.
type Request struct {
	Method string
	Path   string // escaped, below the server's base
	Query  url.Values
	Body   string
}

// Fault is how one request is treated; forward passes it on.
type Fault func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// NewProxy starts a proxy in front of a server; it ends with the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	upstream, err := url.Parse(server)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	origin := &url.URL{Scheme: upstream.Scheme, Host: upstream.Host}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.MaxIdleConnsPerHost = 64
	transport.IdleConnTimeout = time.Second // before the server's own, which would show as 502
	p := &Proxy{closing: make(chan struct{})}
	p.forward = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(origin) },
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // a client that hangs up is part of the game
	}
	listening := httptest.NewServer(p.handler(upstream.Path))
	p.URL = listening.URL + upstream.Path
	t.Cleanup(func() {
		close(p.closing)
		listening.Close()
		transport.CloseIdleConnections()
	})
	return p
}

func (p *Proxy) handler(base string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		fault := p.note(Request{Method: r.Method, Path: r.URL.EscapedPath()[len(base):], Query: r.URL.Query(), Body: string(body)})
		if fault == nil {
			p.forward.ServeHTTP(w, r)
			return
		}
		fault(w, r, p.forward)
	})
}

// note records a request and picks its fault: the next of the queue, or what
// the chooser says.
func (p *Proxy) note(request Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
	if len(p.queue) > 0 {
		fault := p.queue[0]
		p.queue = p.queue[1:]
		return fault
	}
	if p.choose != nil {
		return p.choose(request)
	}
	return nil
}

// Next sets the faults of the requests to come, one each; nil passes one on.
func (p *Proxy) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, faults...)
}

// Choose sets what picks the fault of each request from now on; nil ends it.
// It is called for one request at a time.
func (p *Proxy) Choose(choose func(Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose, p.queue = choose, nil
}

// Always treats every request alike from now on.
func (p *Proxy) Always(fault Fault) { p.Choose(func(Request) Fault { return fault }) }

// Heal passes everything on from now on.
func (p *Proxy) Heal() { p.Choose(nil) }

// Requests are all requests so far.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.requests...)
}

// Forget forgets the requests so far.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Answer answers in the server's place. Headers come in pairs.
func Answer(status int, body string, headers ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Reset breaks the connection off before the server sees the request.
func Reset(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }

// LoseAnswer has the server carry the request out and breaks the connection
// off in place of its answer.
func LoseAnswer(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(httptest.NewRecorder(), r)
	reset(w)
}

func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("proxy: %v", err)) // HTTP/1.1 connections can be taken over
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Hang answers nothing until the client gives up or the proxy ends.
func (p *Proxy) Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	select {
	case <-r.Context().Done():
	case <-p.closing:
	}
}

// Endless answers 200, or what was answered already, and goes on until the
// client hangs up.
func (p *Proxy) Endless(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	part := bytes.Repeat([]byte(`{"id":"`), 4096)
	for r.Context().Err() == nil {
		select {
		case <-p.closing:
			return
		default:
		}
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}
