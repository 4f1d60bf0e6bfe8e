package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target/scim/scimserver"
)

func TestATargetIsResyncedByCommand(t *testing.T) {
	t.Parallel()
	scim, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(scim)
	t.Cleanup(listening.Close)
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	s := serve(t, "--config", write(t, "orgsync.yaml", "targets:\n"+
		"  - {name: corp, type: scim, url: "+listening.URL+", auth: {type: bearer, token: scim-token}}\n"+
		"  - {name: app, type: webhook, url: 'https://app.example.invalid/hook', auth: {type: signature, secrets: ["+secret+"]}}\n"))
	require.NoError(t, s.pushFile(t, "full", "", "d.csv", departments(30)).err)
	s.synced(t, "corp")
	snapshot := scim.Snapshot()
	require.Len(t, snapshot.Groups, 30)

	report := filepath.Join(t.TempDir(), "drift.csv")
	r := s.operate(t, "resync", "corp", "--dry-run", "--report", report)
	require.NoError(t, r.err)
	require.Contains(t, r.out, "30 objects read with 2 requests; 30 departments and accounts and 29 memberships are as they should be.")
	require.Contains(t, r.out, "Dry run: nothing was changed.")
	text, err := os.ReadFile(report)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "finding,kind,"))

	empty(t, listening.URL, 30)
	r = s.operate(t, "resync", "corp")
	require.Equal(t, 2, r.code())
	require.Contains(t, r.out, "held: ")
	require.Contains(t, r.out, "30 of 30 objects are missing")
	r = s.operate(t, "resync", "corp", "--accept-missing")
	require.NoError(t, r.err)
	require.Contains(t, r.out, "30 are sent anew")

	require.ErrorContains(t, s.operate(t, "resync", "app").err, "cannot be read out")
	require.ErrorContains(t, s.operate(t, "resync", "crop").err, "no such target")
	require.ErrorContains(t, s.operate(t, "resync", "corp", "--report", "drift.xlsx").err, ".json or .csv")
	require.ErrorContains(t, s.operate(t, "resync").err, "want one TARGET")
}

// synced waits until a target has everything.
func (s *server) synced(t *testing.T, name string) {
	t.Helper()
	type view struct {
		Name       string
		Deliveries struct{ Pending, Retrying, Waiting, Delivered int }
	}
	require.Eventually(t, func() bool {
		var all struct{ Items []view }
		status, _, text := s.request(t, "GET", "/api/v1/targets", s.token(t), "")
		require.Equal(t, http.StatusOK, status)
		require.NoError(t, json.Unmarshal([]byte(text), &all))
		for _, v := range all.Items {
			if d := v.Deliveries; v.Name == name {
				return d.Delivered > 0 && d.Pending+d.Retrying+d.Waiting == 0
			}
		}
		return false
	}, time.Minute, 20*time.Millisecond)
}

// empty deletes the first n groups of a SCIM server.
func empty(t *testing.T, base string, n int) {
	t.Helper()
	for i := range n {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, fmt.Sprintf("%s/Groups/g%d", base, i+1), nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer scim-token")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusNoContent, response.StatusCode)
	}
}
