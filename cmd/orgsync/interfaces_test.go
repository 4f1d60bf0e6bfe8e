package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/directory"
)

// newTestApp wires the connector with flags, over data of its own.
func newTestApp(t *testing.T, flags map[string]any) (*app, error) {
	t.Helper()
	flags["dataDir"] = dataDir(t)
	c, err := config.Load("", nil, flags)
	require.NoError(t, err)
	_, err = c.EnsureKeys()
	require.NoError(t, err)
	a, err := newApp(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(func() { require.NoError(t, a.close()) })
	}
	return a, err
}

// Each generation of each family is served, or not, by its own switch.
func TestEachInterfaceHasItsSwitch(t *testing.T) {
	t.Parallel()
	routes := map[string][2]string{ // an unsigned call of each
		"interfaces.kitV2":  {http.MethodPost, "/saasproduce/produceAPI/v2/singleOrgSync"},
		"interfaces.kitV1":  {http.MethodPost, "/saasproduce/produceAPI/singleOrgSync"},
		"interfaces.baseV2": {http.MethodPost, "/saasproduce"},
		"interfaces.baseV1": {http.MethodGet, "/saasproduce"},
	}
	for off := range routes {
		t.Run(off, func(t *testing.T) {
			t.Parallel()
			a, err := newTestApp(t, map[string]any{off: false})
			require.NoError(t, err)
			for name, route := range routes {
				recorder := httptest.NewRecorder()
				a.http.Handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), route[0], route[1], strings.NewReader("{}")))
				text, err := io.ReadAll(recorder.Body)
				require.NoError(t, err)
				if name == off {
					require.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, recorder.Code, name)
					require.Contains(t, string(text), "no such interface", name)
					continue
				}
				require.Equal(t, http.StatusOK, recorder.Code, name)
				require.Contains(t, string(text), "000002", name)
				require.Equal(t, strings.HasSuffix(name, "V1"), recorder.Header().Get("Body-Sign") != "", name)
			}
		})
	}
}

func TestProvisionersThatCannotWorkAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	for want, flags := range map[string]map[string]any{
		"instances.frontEndUrl":   {"instances.frontEndUrl": "https://app.example.com/{tenant}"},
		"instances.webhookUrl":    {"instances.provisioner": "webhook", "instances.webhookUrl": "no address", "instances.webhookSecret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
		"plaintext: true":         {"instances.provisioner": "webhook", "instances.webhookUrl": "http://seller.example.com", "instances.webhookSecret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
		"instances.webhookSecret": {"instances.provisioner": "webhook", "instances.webhookUrl": "https://seller.example.com", "instances.webhookSecret": "whsec_short"},
	} {
		_, err := newTestApp(t, flags)
		require.ErrorContains(t, err, want)
	}
}

// The seller's server may be in a private network, but no setting leads to a
// metadata service.
func TestTheSellersServerIsNoMetadataService(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"http://169.254.169.254/latest": "address is not allowed",
		"http://127.0.0.1:1/hook":       "connection refused",
	} {
		webhook, err := sellersWebhook(&config.Instances{
			WebhookURL: config.Secret(address), WebhookSecret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", Plaintext: true, WebhookTimeout: time.Minute,
		})
		require.NoError(t, err)
		_, err = webhook.Tell(t.Context(), &directory.Instance{}, &directory.InstanceEvent{Type: directory.EventCreated}, nil)
		require.ErrorContains(t, err, says)
	}
}

// Who has the data directory may be changing its keys: another process neither
// reads nor makes any.
func TestNoKeyIsTouchedInADirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := openData(t, dir)
	r := run(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	require.ErrorContains(t, r.err, "is in use by another orgsync process")
	require.NoFileExists(t, filepath.Join(dir, config.EncryptionKeyFile))
	require.NoError(t, os.WriteFile(filepath.Join(dir, config.EncryptionKeyFile), []byte("half of a k"), 0o600))
	r = run(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	require.ErrorContains(t, r.err, "is in use by another orgsync process")
	require.NoError(t, store.Close())
}

// A path that leaves the production address by dot segments is not there,
// however it is written: a proxy in front may let that address alone through.
func TestRoutes_ResolveNoDotSegments(t *testing.T) {
	t.Parallel()
	a, err := newTestApp(t, map[string]any{})
	require.NoError(t, err)
	get := func(target string) int {
		recorder := httptest.NewRecorder()
		a.http.Handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		return recorder.Code
	}
	for _, target := range []string{
		"/saasproduce/../api/v1", "/saasproduce/%2e%2e/api/v1", "/saasproduce/.%2E/healthz", "/saasproduce/..%2fhealthz",
		"/./healthz", "/%2e/healthz", "//../healthz", "/healthz/.", "/healthz/x/..",
	} {
		require.Equal(t, http.StatusNotFound, get(target), target)
	}
	require.Equal(t, http.StatusOK, get("/healthz"))
}
