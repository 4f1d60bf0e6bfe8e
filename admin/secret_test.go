package admin_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/secrets"
)

const secretPath = "/api/v1/applications/app-1/secret"

func TestAClientSecretIsShownByAnExplicitAuditedCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	require.NotContains(t, w.answers.String(), clientWords)
	answer := w.call("GET", secretPath+"?instanceId=i-1&tenantId=acme&by=chen", "")
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	require.JSONEq(t, `{"dataset":"prod","instanceId":"i-1","tenantId":"acme","appId":"app-1","clientId":"c-1","clientSecret":"`+clientWords+`"}`, answer.Body.String())
	require.Equal(t, []string{"no-store"}, answer.Header().Values("Cache-Control"))

	line := auditLine(w.log.String())
	for _, part := range []string{"appId=app-1", "prod/i-1/acme", "by=chen", "at=" + w.clock.Format("2006-01-02T15:04:05"), "remote=192.0.2.1"} {
		require.Contains(t, line, part)
	}
	require.NotContains(t, w.log.String(), clientWords)
}

// The marketplace's names may hold whatever a URL gives a meaning to.
func TestNamesInPathsAreTakenAsTheyWereBeforeEscaping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	sealed, err := secrets.EncryptFor(w.public, []byte(clientWords))
	require.NoError(t, err)
	for _, appID := range []string{"a/b", "a//b+c", "100%2F", "a b?c#d", "应用", "..", "a;b&c=d", "/secret"} {
		w.push(acme, directory.FlagAdd, &directory.ApplicationPush{AppID: appID, ClientID: "c-2", ClientSecret: sealed})
		answer := w.call("GET", "/api/v1/applications/"+url.PathEscape(appID)+"/secret?instanceId=i-1&tenantId=acme", "")
		require.Equal(t, http.StatusOK, answer.Code, "%s: %s", appID, answer.Body)
		var got struct{ AppID string }
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
		require.Equal(t, appID, got.AppID)
	}
}

// auditLine is the log's line of the call.
func auditLine(log string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "audit: client secret read") {
			return line
		}
	}
	return ""
}

func TestNobodyGetsAClientSecretWithoutTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	for _, authorization := range []string{"", "Bearer ", "Bearer wrong", "Basic " + token} {
		w.problem(w.callWith(authorization, "GET", secretPath+"?tenantId=acme", ""), http.StatusUnauthorized)
	}
	require.NotContains(t, w.answers.String(), clientWords)
	require.Empty(t, auditLine(w.log.String()))
}

func TestAClientSecretThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	get := func(path string) string { return w.problem(w.call("GET", path, ""), http.StatusNotFound) }
	require.Contains(t, get("/api/v1/applications/other/secret?tenantId=acme"), `application "other"`)
	require.Contains(t, get(secretPath+"?tenantId=nobody"), `application "app-1"`)
	require.Contains(t, get(secretPath+"?tenantId=acme&dataset=test"), `application "app-1"`, "debugging data is another set")
	w.problem(w.call("GET", secretPath, ""), http.StatusBadRequest)
	w.problem(w.call("GET", secretPath+"?tenantId=acme&by="+strings.Repeat("x", 201), ""), http.StatusBadRequest)

	w.push(acme, directory.FlagDelete, &directory.ApplicationPush{AppID: "app-1"})
	get(secretPath + "?tenantId=acme")
	require.Empty(t, auditLine(w.log.String()), "nothing was shown")
	require.NotContains(t, w.answers.String(), clientWords)
}

// A secret whose key is gone is the operator's to mend: the log says how.
func TestAClientSecretWhoseKeyIsGone(t *testing.T) {
	t.Parallel()
	other, err := secrets.NewBox([]byte(strings.Repeat("k", secrets.KeySize)))
	require.NoError(t, err)
	w := newWorld(t, func(o *admin.Options) { o.Revealer = secrets.Keyring{Box: other} })
	w.bind(acme, 3)
	require.Equal(t, "see the log", w.problem(w.call("GET", secretPath+"?tenantId=acme", ""), http.StatusInternalServerError))
	require.Contains(t, w.log.String(), "ORGSYNC_ENCRYPTION_KEY")
	require.Empty(t, auditLine(w.log.String()))
}
