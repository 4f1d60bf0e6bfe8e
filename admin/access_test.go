package admin_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// calls are all calls of the contract that want the token.
var calls = []struct{ method, path string }{
	{"GET", "/metrics"},
	{"GET", "/api/v1/sync-status"},
	{"GET", "/api/v1/pushes"},
	{"GET", "/api/v1/pushes/x"},
	{"POST", "/api/v1/pushes/x/approve"},
	{"POST", "/api/v1/pushes/x/reject"},
	{"GET", "/api/v1/tenants"},
	{"GET", "/api/v1/departments"},
	{"GET", "/api/v1/departments/tree?tenantId=acme"},
	{"GET", "/api/v1/users"},
	{"GET", "/api/v1/applications"},
	{"GET", "/api/v1/applications/other/secret?tenantId=acme"},
	{"GET", "/api/v1/changes"},
	{"GET", "/api/v1/deliveries"},
	{"POST", "/api/v1/deliveries/replay"},
	{"GET", "/api/v1/targets"},
	{"POST", "/api/v1/targets/corp/pause"},
	{"POST", "/api/v1/targets/corp/resume"},
}

func TestEveryCallWantsTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	for _, call := range calls {
		for _, authorization := range []string{
			"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + token + "x", "Bearer " + token[:len(token)-1],
			"Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+token)), token, "Bearer  " + token, "Bearer " + strings.ToUpper(token),
		} {
			recorder := w.callWith(authorization, call.method, call.path, "")
			detail := w.problem(recorder, http.StatusUnauthorized)
			require.Equal(t, "Bearer", recorder.Header().Get("WWW-Authenticate"))
			require.NotContains(t, detail, token)
		}
		require.NotEqual(t, http.StatusUnauthorized, w.callWith("bearer "+token, call.method, call.path, "").Code, "the scheme's case is no matter (RFC 9110)")
	}
	require.Equal(t, "up", string(w.fanout.Targets()[0].State), "nothing refused has an effect")
}

func TestThereIsNoAPIWithoutAToken(t *testing.T) {
	t.Parallel()
	_, err := admin.New(admin.Options{})
	require.Error(t, err)
}

func TestHealthNeedsNoTokenAndTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`} {
		recorder := w.callWith("", "GET", path, "")
		require.Equal(t, http.StatusOK, recorder.Code)
		require.JSONEq(t, want, recorder.Body.String())
		require.Equal(t, http.StatusOK, w.callWith("", "HEAD", path, "").Code, "a probe that wants no body")
	}
}

// brokenStore is a store whose disk has gone.
type brokenStore struct{}

func (brokenStore) Ping(context.Context) error { return errors.New("disk I/O error at /secret/path") }

func TestAStoreThatFailsIsNotReadyYetAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *admin.Options) { o.Health = brokenStore{} })
	require.Equal(t, "the store does not answer", w.problem(w.callWith("", "GET", "/readyz", ""), http.StatusServiceUnavailable))
	require.Equal(t, http.StatusOK, w.callWith("", "GET", "/healthz", "").Code)
	require.Contains(t, w.log.String(), "disk I/O error", "the cause is in the log")
}

func TestAClosedStoreIsNotReadyAndItsCauseStaysInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.store.Close())
	w.problem(w.callWith("", "GET", "/readyz", ""), http.StatusServiceUnavailable)
	require.Equal(t, "see the log", w.problem(w.call("GET", "/api/v1/tenants", ""), http.StatusInternalServerError))
	require.Contains(t, w.log.String(), "request failed")
}

func TestMetricsAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	recorder := w.call("GET", "/metrics", "")
	require.Equal(t, http.StatusOK, recorder.Code)
	require.Contains(t, recorder.Body.String(), `orgsync_plans_total{kind="allOrgSync",result="applied"} 1`)
	require.Contains(t, recorder.Body.String(), `orgsync_target_up{target="corp"} 1`)
}

// No call shows a secret, in its answer or in the log.
func TestNoCallShowsASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 5)
	w.deliver()
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	stored, _, err := w.store.Applications(t.Context(), storage.EntityFilter{Dataset: directory.Prod}, storage.Page{Limit: 1})
	require.NoError(t, err)
	require.NotEmpty(t, stored[0].Entity.SealedSecret, "there is a secret to show")
	sealed := base64.StdEncoding.EncodeToString(stored[0].Entity.SealedSecret)
	for _, call := range calls {
		w.call(call.method, call.path, "")
	}
	w.call("GET", "/api/v1/changes?personal=full", "")
	w.call("GET", "/api/v1/users?personal=full", "")
	for _, text := range []string{w.answers.String(), w.log.String()} {
		for _, secret := range []string{token, scimToken, clientWords, base64.StdEncoding.EncodeToString([]byte(clientWords)), sealed, "sealedSecret", "ingerprint"} {
			require.NotContains(t, text, secret)
		}
	}
}

func TestPersonalDataIsMaskedUnlessAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	for _, path := range []string{"/api/v1/users", "/api/v1/changes"} {
		recorder := w.call("GET", path, "")
		require.Contains(t, recorder.Body.String(), `"mobile":"***78"`, path)
		require.Contains(t, recorder.Body.String(), `"email":"***@example.com"`, path)
		require.NotContains(t, recorder.Body.String(), "13812345678", path)
		require.NotContains(t, recorder.Body.String(), "zhang@example.com", path)
	}
	require.NotContains(t, w.log.String(), "audit: personal data read")
	for _, path := range []string{"/api/v1/users?tenantId=acme&personal=full", "/api/v1/changes?personal=full"} {
		recorder := w.call("GET", path, "")
		require.Contains(t, recorder.Body.String(), `"mobile":"13812345678"`, path)
		require.Contains(t, recorder.Body.String(), `"email":"zhang@example.com"`, path)
		require.Equal(t, "no-store", recorder.Header().Get("Cache-Control"))
	}
	require.Equal(t, 2, strings.Count(w.log.String(), "audit: personal data read"))
	require.Contains(t, w.log.String(), "tenantId=acme")
	require.NotContains(t, w.log.String(), "13812345678")
}

func TestShortPersonalDataIsMaskedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := user("wang", "d000")
	short.Mobile, short.Email = "12", "a@b"
	w.push(acme, directory.FlagAdd, &directory.AuthPush{AppID: "app-1", Users: []directory.UserItem{short}})
	require.Contains(t, w.call("GET", "/api/v1/users", "").Body.String(), `"mobile":"**","email":"***@b"`)
}
