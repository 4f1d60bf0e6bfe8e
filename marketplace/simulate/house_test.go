package simulate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/simulate"
	"github.com/openkoo/connector/test/peers/child"
	"github.com/openkoo/connector/test/program"
)

func TestMain(m *testing.M) {
	code := m.Run()
	program.Remove()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const accessKey = "simulated-access-key-0001"

// house is the connector as it ships, with its static provisioner.
type house struct {
	address   *url.URL // of the server, without a path
	publicKey []byte
}

func newHouse(t *testing.T) *house {
	t.Helper()
	path, err := program.Path()
	require.NoError(t, err)
	data := filepath.Join(t.TempDir(), "data")
	command := exec.Command(path, "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
	command.Env = append(os.Environ(), "ORGSYNC_KIT_ACCESS_KEYS="+accessKey,
		"ORGSYNC_INSTANCE_FRONT_END_URL=https://app.example.com/{instanceId}", "ORGSYNC_INSTANCE_LICENSE=LIC-{eventId}", "ORGSYNC_LOG_LEVEL=error")
	base, err := child.Start(t, command).Await(regexp.MustCompile(`API +(http://\S+)/api/v1`))
	require.NoError(t, err)
	h := &house{}
	h.address, err = url.Parse(base)
	require.NoError(t, err)
	h.publicKey, err = os.ReadFile(filepath.Join(data, "app-public-key.pem"))
	require.NoError(t, err)
	return h
}

// options play a short life.
func (h *house) options(address string) simulate.Options {
	return simulate.Options{
		Address: address + "/saasproduce", KitKeys: []string{accessKey, "an-older-access-key"}, PublicKey: h.publicKey,
		Life: simulate.Life{Days: 2, Departments: 4, Users: 5, Seed: 3}, Slow: time.Minute, Timeout: time.Minute, Poll: time.Millisecond,
	}
}

func run(t *testing.T, options simulate.Options, only ...string) *simulate.Report {
	t.Helper()
	report, err := runIn(t.Context(), t, options, only...)
	require.NoError(t, err)
	return report
}

func runIn(ctx context.Context, t *testing.T, options simulate.Options, only ...string) (*simulate.Report, error) {
	t.Helper()
	cases, err := simulate.Select(simulate.Catalogue(), only)
	require.NoError(t, err)
	if options.HTTP == nil {
		options.HTTP = &http.Client{Transport: &http.Transport{}} // whose connections the run closes
	}
	runner, err := simulate.New(cases, options)
	require.NoError(t, err)
	return runner.Run(ctx)
}

// failed are the cases that failed, by what was found.
func failed(report *simulate.Report) map[string]simulate.Kind {
	found := make(map[string]simulate.Kind)
	for _, r := range report.Results {
		if r.Outcome == simulate.Failed {
			found[r.ID] = r.Finding.Kind
		}
	}
	return found
}

// call is a call as a wrong server sees it.
type call struct {
	*http.Request
	body    []byte
	members map[string]any // of the body, or of the URL
}

func (c *call) v1() bool {
	return !strings.Contains(c.URL.Path, "/v2/") && c.members["timeStamp"] != nil
}

func (c *call) kit(kind string) bool { return strings.HasSuffix(c.URL.Path, "/"+kind) }

// is reports whether a member has a value.
func (c *call) is(name string, value any) bool {
	return fmt.Sprint(c.members[name]) == fmt.Sprint(value)
}

// reply is what the connector answers, before a wrong server makes it worse.
type reply struct {
	*httptest.ResponseRecorder
	call *call
	text map[string]any // the body
}

// set changes a member of the answer; nil takes it away.
func (r *reply) set(name string, value any) {
	if r.text[name] = value; value == nil {
		delete(r.text, name)
	}
	body, _ := json.Marshal(r.text)
	r.Body = bytes.NewBuffer(body)
	r.Header().Del("Content-Length")
	if r.Header().Get("Body-Sign") != "" {
		r.Header().Set("Body-Sign", marketplace.BodySign(accessKey, body))
	}
}

func (r *reply) code(code string) { r.set("resultCode", code) }

func (r *reply) has(code string) bool { return r.text["resultCode"] == code }

// wrong is a server that is wrong in one way: the connector's own answer is in
// reply. It reports whether it has answered itself.
type wrong func(w http.ResponseWriter, c *call, r *reply) (answered bool)

// worse puts a wrong server before the connector.
func (h *house) worse(t *testing.T, lie wrong) *httptest.Server {
	t.Helper()
	transport := &http.Transport{}
	server := httptest.NewServer(h.handler(transport, lie))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return server
}

func (h *house) handler(transport http.RoundTripper, lie wrong) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(h.address)
	proxy.Transport = transport
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		c := &call{Request: request}
		c.body, _ = io.ReadAll(request.Body)
		request.Body = io.NopCloser(bytes.NewReader(c.body))
		if json.Unmarshal(c.body, &c.members) != nil || len(c.body) == 0 {
			c.members = make(map[string]any)
			for name := range request.URL.Query() {
				c.members[name] = request.URL.Query().Get(name)
			}
		}
		r := &reply{ResponseRecorder: httptest.NewRecorder(), call: c}
		proxy.ServeHTTP(r, request)
		_ = json.Unmarshal(r.Body.Bytes(), &r.text)
		if lie(w, c, r) {
			return
		}
		maps.Copy(w.Header(), r.Header())
		w.WriteHeader(r.Code)
		_, _ = w.Write(r.Body.Bytes())
	})
}

// impatient is a network on which time is up as soon as a server hangs: before
// its answer has begun, or within it.
type impatient struct {
	hangs  <-chan struct{}
	within bool
}

func (i impatient) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	watch := func() {
		select {
		case <-i.hangs:
			cancel(os.ErrDeadlineExceeded)
		case <-ctx.Done():
		}
	}
	if !i.within {
		go watch()
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	if i.within {
		go watch()
	}
	response.Body = &impatientBody{response.Body, ctx, cancel}
	return response, nil
}

type impatientBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (b *impatientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if cause := context.Cause(b.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

func (b *impatientBody) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}
