package httpclient_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, options httpclient.Options) *httpclient.Client {
	t.Helper()
	options.AllowPrivate = true
	client, err := httpclient.New(options)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func send(t *testing.T, client *httpclient.Client, method, url string) (*httpclient.Answer, *target.Error) {
	t.Helper()
	answer, err := client.Send(t.Context(), httpclient.Request{
		Op: "try it", Method: method, URL: url,
		Header: http.Header{"Authorization": {"Bearer tell-nobody"}}, Secrets: []string{"hush-hush"},
	})
	if err == nil {
		return answer, nil
	}
	var failure *target.Error
	require.ErrorAs(t, err, &failure)
	require.NotContains(t, err.Error(), "tell-nobody")
	require.NotContains(t, err.Error(), "hush-hush")
	return nil, failure
}

func TestEveryStatusHasItsClass(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]target.Class{
		301: target.Down, 302: target.Down, 307: target.Down, 308: target.Down, 304: target.Down,
		400: target.Permanent, 405: target.Permanent, 413: target.Permanent, 422: target.Permanent,
		401: target.Down, 407: target.Down, 403: target.Permanent, 412: target.Transient, 423: target.Transient, 425: target.Transient, 404: target.Gone, 410: target.Gone, 409: target.Conflict,
		408: target.Transient, 429: target.RateLimited, 500: target.Transient, 501: target.Transient, 502: target.Transient, 503: target.Transient, 504: target.Transient,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			client := open(t, httpclient.Options{ShortRetries: -1})
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = w.Write([]byte("no\nluck"))
			})
			_, failure := send(t, client, http.MethodPost, url)
			require.Equal(t, want, failure.Class)
			require.Equal(t, status, failure.Status)
			require.Equal(t, status >= 500 || status == 408, failure.UnknownOutcome)
			if status >= 400 {
				require.Contains(t, failure.Detail, "no luck")
			}
		})
	}
}

func TestRetryAfterIsSecondsOrADateAndBounded(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Duration { return httpclient.RetryAfter(http.Header{"Retry-After": {text}}) }
	require.Equal(t, 7*time.Second, at("7"))
	require.Equal(t, 7*24*time.Hour, at("99999999"))
	require.Equal(t, 7*24*time.Hour, at("9223372036854775807"))
	require.Zero(t, at("99999999999999999999"))
	require.Zero(t, at("-1"))
	require.Zero(t, at("soon"))
	require.Zero(t, at(""))
	require.Zero(t, at(time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)))
	require.InDelta(t, time.Minute, at(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)), float64(2*time.Second))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+"/secret-path", http.StatusTemporaryRedirect)
	})
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodPost, url)
	require.False(t, reached.Load())
	require.Contains(t, failure.Detail, elsewhere)
	require.NotContains(t, failure.Error(), "secret-path")
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	chunk := bytes.Repeat([]byte("x"), 1<<16)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // for ever, if it were let
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodGet, url)
	require.Equal(t, target.Permanent, failure.Class)
	require.True(t, failure.UnknownOutcome)
	require.ErrorIs(t, failure, httpclient.ErrTooLarge)
	require.ErrorContains(t, failure, "larger than 8 MiB")
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Big", strings.Repeat("x", 1<<20)) })
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodGet, url)
	require.Equal(t, target.Transient, failure.Class)
}

func TestASecretThatIsEchoedIsHidden(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("you sent " + r.Header.Get("Authorization") + " and hush-hush"))
	})
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodGet, url)
	require.Contains(t, failure.Detail, "[secret]") // send has looked for the words themselves
}

func TestWordsOfATargetAreCutAndOnOneLine(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("\x1b[31m门\r\n" + strings.Repeat("部", 5000) + "\xff"))
	})
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodGet, url)
	require.Less(t, len(failure.Detail), 310)
	require.NotContains(t, failure.Detail, "\x1b")
	require.NotContains(t, failure.Detail, "\n")
	require.Contains(t, failure.Detail, "门")
}

// A POST may not be sent twice; a GET may, unless its target asked for quiet.
func TestOnlyWhatMayHappenTwiceIsRetried(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, retryAfter string
		want               int64
	}{
		"GET":                  {http.MethodGet, "", 2},
		"PUT":                  {http.MethodPut, "", 2},
		"POST":                 {http.MethodPost, "", 1},
		"GET with Retry-After": {http.MethodGet, "3", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				seen.Add(1)
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			_, failure := send(t, open(t, httpclient.Options{ShortRetries: 1}), test.method, url)
			require.Equal(t, test.want, seen.Load())
			if test.retryAfter != "" {
				require.Equal(t, target.RateLimited, failure.Class)
				require.Equal(t, 3*time.Second, failure.RetryAfter)
			}
		})
	}
}

func TestALostAnswerIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":        "",
		"half an answer": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"garbage":        "\x00\x01\x02\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(answer))
				_ = conn.Close()
			})
			_, failure := send(t, open(t, httpclient.Options{}), http.MethodPost, url)
			require.Equal(t, target.Transient, failure.Class)
			require.True(t, failure.UnknownOutcome)
		})
	}
}

func TestATargetThatCannotBeReachedIsDown(t *testing.T) {
	t.Parallel()
	const closed = "http://127.0.0.1:1"
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	t.Cleanup(untrusted.Close)
	for name, test := range map[string]struct{ url, want string }{
		"nobody listens":        {closed, "cannot be reached"},
		"no such name":          {"http://no-such-host.invalid", "does not resolve"},
		"untrusted certificate": {untrusted.URL, "set caFile"},
		"plain behind https":    {strings.Replace(plain, "http:", "https:", 1), "speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, failure := send(t, open(t, httpclient.Options{}), http.MethodPost, test.url)
			require.Equal(t, target.Down, failure.Class)
			require.False(t, failure.UnknownOutcome, "nothing was sent")
			require.Contains(t, failure.Detail, test.want)
		})
	}
}

func TestCAFileIsTrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":1}`)) }))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	answer, failure := send(t, open(t, httpclient.Options{CAFile: path}), http.MethodGet, server.URL)
	require.Nil(t, failure)
	var into struct{ A int }
	require.NoError(t, answer.Into(&into))
	require.Equal(t, 1, into.A)
}

func TestPrivateAddressesAreRefusedByDefault(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	url := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	client, err := httpclient.New(httpclient.Options{})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	_, failure := send(t, client, http.MethodPost, strings.Replace(url, "127.0.0.1", "localhost", 1))
	require.Equal(t, target.Down, failure.Class)
	require.False(t, failure.UnknownOutcome)
	require.ErrorContains(t, failure, "allowPrivate")
	require.False(t, reached.Load())
}

// A proxy would dial whatever it is asked to, behind the guard's back.
func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	t.Setenv("HTTP_PROXY", proxy)
	_, failure := send(t, open(t, httpclient.Options{}), http.MethodPost, "http://no-such-host.invalid")
	require.Equal(t, target.Down, failure.Class)
	require.Zero(t, failure.Status)
}

func TestSendEndsWithItsContextAndWithItsTimeout(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	arrived := make(chan struct{}, 2)
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := open(t, httpclient.Options{}).Send(ctx, httpclient.Request{Op: "try", Method: http.MethodGet, URL: url})
	require.ErrorIs(t, err, context.Canceled)
	_, failure := send(t, open(t, httpclient.Options{Timeout: 50 * time.Millisecond}), http.MethodGet, url)
	require.Equal(t, target.Transient, failure.Class)
	require.True(t, failure.UnknownOutcome)
}

func TestGarbageIsNoAnswer(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>Sign in</html>")) })
	answer, failure := send(t, open(t, httpclient.Options{}), http.MethodGet, url)
	require.Nil(t, failure)
	err := answer.Into(&struct{}{})
	require.Equal(t, target.Transient, target.ClassOf(err))
	require.ErrorContains(t, err, "<html>Sign in</html>")
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://idp.example.com/scim": "", "http://127.0.0.1:8080": "",
		"idp.example.com": "want http", "ftp://x": "want http", "https://": "want http", "https://u:p@x": "no query", "https://x?a=b": "no query", "https://x#a": "no query", "https://x\x00": "url",
		"http://idp.example.com": "url: http:// would show",
	} {
		err := httpclient.CheckURL(text, false)
		if want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
	require.NoError(t, httpclient.CheckURL("http://idp.example.com", true))
}
