package doctor_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/doctor"
	"github.com/openkoo/connector/marketplace"
)

const (
	host      = "isv.example.com"
	address   = "https://" + host + "/saasproduce"
	accessKey = "the-access-key"
)

// unreached is a receiver that no call of the doctor may arrive at.
type unreached struct{ *testing.T }

func (u unreached) Receive(context.Context, *directory.Push) (directory.Result, error) {
	u.Error("the doctor has changed something")
	return directory.ResultApplied, nil
}

// door is the real production address.
func door(t *testing.T, basePath, key string, ahead time.Duration) http.Handler {
	t.Helper()
	coordination := local.New(local.Options{})
	t.Cleanup(func() { require.NoError(t, coordination.Close()) })
	d, err := marketplace.NewDoor(marketplace.Options{
		Keys: []string{key}, BasePath: basePath, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(ahead) },
	}, unreached{t}, coordination)
	require.NoError(t, err)
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	d.Register(router)
	return router
}

// world is the internet as the doctor sees it: one server.
type world struct {
	*testing.T
	authority *authority
	server    *httptest.Server
}

func newWorld(t *testing.T, handler http.Handler, ends time.Time, names ...string) *world {
	t.Helper()
	a := newAuthority(t)
	return &world{T: t, authority: a, server: a.server(t, handler, ends, names...)}
}

func (w *world) public(url string) doctor.Public {
	return doctor.Public{
		URL: url, Key: accessKey, Roots: w.authority.pool(),
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.server.Listener.Addr().String())
		},
	}
}

func TestAPublicAddressThatIsWell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, door(t, "/saasproduce", accessKey, 0), inAYear(), host)
	for _, url := range []string{address, address + "/", "https://" + host + ":443/saasproduce"} {
		finds(t, doctor.CheckPublic(w.public(url)), want{doctor.OK, url + " leads to a connector with this access key"})
	}
	finds(t, doctor.CheckPublic(doctor.Public{}), want{doctor.OK, "not examined"})
}

// Each thing that is wrong with the address itself.
func TestTheRulesOfAPublicAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, door(t, "/saasproduce", accessKey, 0), inAYear(), host, "isv")
	for url, says := range map[string]string{
		"https://" + host + ":8443/saasproduce":        "names port 8443",
		"https://isv/saasproduce":                      "no public domain name",
		"https://127.0.0.1/saasproduce":                "is an IP address",
		address + "?x=1":                               "has a query",
		"https://user:s3cr3t@" + host + "/saasproduce": "a user in it",
		"ftp://" + host:                                "no https:// address",
		"isv.example.com":                              "no https:// address",
	} {
		findings := finds(t, doctor.CheckPublic(w.public(url)), want{doctor.Problem, says})
		keepsSecret(t, findings, "s3cr3t", accessKey)
	}
	findings := examined(t, doctor.CheckPublic(w.public(address+"/produceAPI/v2")))
	require.Contains(t, findings[0].Message, "holds /produceAPI")

	plain := httptest.NewServer(door(t, "/saasproduce", accessKey, 0))
	t.Cleanup(plain.Close)
	w.server = plain
	finds(t, doctor.CheckPublic(w.public("http://"+host+"/saasproduce")), want{doctor.Problem, "is not HTTPS"})
}

func TestWhereThePublicNameLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, door(t, "/saasproduce", accessKey, 0), inAYear(), host)
	p := w.public(address)
	p.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil
	}
	finds(t, doctor.CheckPublic(p), want{doctor.Warning, "leads to 10.1.2.3"})
	p.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	finds(t, doctor.CheckPublic(p), want{doctor.Problem, "does not resolve"})
	p = w.public(address)
	p.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
	}
	finds(t, doctor.CheckPublic(p), want{doctor.Problem, "no call gets through to isv.example.com: it cannot be reached"})
}

func TestThePublicCertificate(t *testing.T) {
	t.Parallel()
	well := door(t, "/saasproduce", accessKey, 0)
	finds(t, doctor.CheckPublic(newWorld(t, well, time.Now().Add(-time.Hour), host).public(address)), want{doctor.Problem, "the certificate of isv.example.com holds from"})
	finds(t, doctor.CheckPublic(newWorld(t, well, time.Now().Add(73*time.Hour), host).public(address)), want{doctor.Warning, "ends in 3 days"})
	finds(t, doctor.CheckPublic(newWorld(t, well, inAYear(), "other.example.com").public(address)), want{doctor.Problem, "not for isv.example.com, but for other.example.com"})
	untrusted := newWorld(t, well, inAYear(), host).public(address)
	untrusted.Roots = x509.NewCertPool()
	finds(t, doctor.CheckPublic(untrusted), want{doctor.Problem, "does not lead to an authority"})
}

// Who answers at the public address, and how.
func TestWhoAnswersAtThePublicAddress(t *testing.T) {
	t.Parallel()
	answers := func(status int, header, value, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(header, value)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	loses := func(header string) http.Handler {
		next := door(t, "/saasproduce", accessKey, 0)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del(header)
			next.ServeHTTP(w, r)
		})
	}
	for name, c := range map[string]struct {
		handler http.Handler
		says    string
	}{
		"a redirect":            {answers(301, "Location", "https://www.example.com/saasproduce/x", ""), "redirects (HTTP 301) to https://www.example.com/saasproduce"},
		"a proxy":               {answers(502, "Server", "nginx", "<html>Bad Gateway</html>"), "something else answers at the public address: HTTP 502 from nginx"},
		"another service":       {answers(200, "Content-Type", "application/json", `{"status":"up"}`), "HTTP 200, and no resultCode"},
		"takes any signature":   {answers(200, "Content-Type", "application/json", `{"resultCode":"000000"}`), "answers a wrong signature with HTTP 200 and 000000"},
		"another path":          {door(t, "/other", accessKey, 0), "has no interface there (HTTP 404)"},
		"another installation":  {door(t, "/saasproduce", "another-access-key", 0), "does not know this connector's access key"},
		"a clock ahead":         {door(t, "/saasproduce", accessKey, 10*time.Minute), "differ: x-timestamp: expired: 10m0s old"},
		"a clock behind":        {door(t, "/saasproduce", accessKey, -10*time.Minute), "differ: x-timestamp: in the future"},
		"a lost signature":      {loses("x-sign"), "is lost on the way from the public address: x-sign: missing"},
		"a lost nonce":          {loses("x-nonce"), "is lost on the way from the public address: x-nonce: missing"},
		"a lost timestamp":      {loses("x-timestamp"), "is lost on the way from the public address: x-timestamp: missing"},
		"answers 000005 always": {answers(200, "Content-Type", "application/json", `{"resultCode":"000005"}`), "with HTTP 200 and 000005"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := finds(t, doctor.CheckPublic(newWorld(t, c.handler, inAYear(), host).public(address)), want{doctor.Problem, c.says})
			keepsSecret(t, findings, accessKey)
		})
	}
}

// idle is a lifecycle that no call of the doctor may arrive at.
type idle struct{ *testing.T }

func (i idle) Serve(context.Context, *directory.InstanceCall) (directory.InstanceAnswer, error) {
	i.Error("the doctor has changed something")
	return directory.InstanceAnswer{}, nil
}

// Whichever interface is served, the address is tried by it.
func TestAPublicAddressIsTriedByWhatIsServed(t *testing.T) {
	t.Parallel()
	coordination := local.New(local.Options{})
	t.Cleanup(func() { require.NoError(t, coordination.Close()) })
	gin.SetMode(gin.ReleaseMode)
	router := func(key string, ahead time.Duration) http.Handler {
		options := marketplace.Options{Keys: []string{key}, BasePath: "/saasproduce", Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(ahead) }}
		kit, err := marketplace.NewKitV1(options, time.Minute, unreached{t})
		require.NoError(t, err)
		base, err := marketplace.NewBase(options, time.Minute, idle{t}, coordination)
		require.NoError(t, err)
		router := gin.New()
		kit.Register(router)
		base.RegisterV1(router)
		base.RegisterV2(router)
		return router
	}
	lost := func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = ""
		r.Header.Del("authToken")
		router(accessKey, 0).ServeHTTP(w, r)
	}
	for by, name := range map[doctor.Interface]string{doctor.BaseV2: "base V2", doctor.KitV1: "kit V1", doctor.BaseV1: "base V1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try := func(handler http.Handler) doctor.Check {
				p := newWorld(t, handler, inAYear(), host).public(address)
				p.By = by
				return doctor.CheckPublic(p)
			}
			finds(t, try(router(accessKey, 0)), want{doctor.OK, "leads to a connector with this access key"})
			finds(t, try(router("another-access-key", 0)), want{doctor.Problem, "does not know this connector's access key"})
			finds(t, try(http.HandlerFunc(lost)), want{doctor.Problem, "missing"})
			finds(t, try(http.NotFoundHandler()), want{doctor.Problem, "something else answers"})
			if by == doctor.BaseV2 { // V1's is looked at after its signature
				finds(t, try(router(accessKey, 10*time.Minute)), want{doctor.Problem, "differ: timestamp: expired"})
			}
		})
	}
}
