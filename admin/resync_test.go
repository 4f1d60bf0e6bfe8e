package admin_test

import (
	"encoding/csv"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// ended waits for the end of the resync that was started last.
func (w *world) ended() storage.Resync {
	w.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		all := read[items[storage.Resync]](w, "/api/v1/targets/corp/resyncs?limit=1").Items
		require.Len(w, all, 1)
		if all[0].State != storage.ResyncRunning {
			return all[0]
		}
		select {
		case <-w.store.settled:
		case <-deadline:
			require.FailNow(w, "the resync does not end")
		}
	}
}

// alien makes a group at the target that is not ours.
func (w *world) alien(body string) {
	w.Helper()
	request := httptest.NewRequestWithContext(w.Context(), http.MethodPost, "/Groups", strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+scimToken)
	answer := httptest.NewRecorder()
	w.scim.ServeHTTP(answer, request)
	require.Equal(w, http.StatusCreated, answer.Code, answer.Body.String())
}

func TestATargetIsResyncedAndTheReportDownloaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.push(acme, directory.FlagModify, chart(3))
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	w.alien(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"=HYPERLINK(\"x\")"}`)

	answer := w.call("POST", "/api/v1/targets/corp/resync?dryRun=true", "")
	require.Equal(t, http.StatusAccepted, answer.Code, answer.Body.String())
	report := w.ended()
	require.Equal(t, "/api/v1/targets/corp/resyncs/"+report.ID, answer.Header().Get("Location"))
	require.Equal(t, storage.ResyncDone, report.State)
	require.True(t, report.DryRun)
	require.Empty(t, report.Drifts, "a list does without the differences")
	require.Contains(t, w.log.String(), "audit: target resynced")

	whole := w.call("GET", "/api/v1/targets/corp/resyncs/"+report.ID, "")
	require.Contains(t, whole.Header().Get("Content-Disposition"), ".json")
	require.Contains(t, whole.Body.String(), `"finding":"unknown"`)
	table := w.call("GET", "/api/v1/targets/corp/resyncs/"+report.ID+"?format=csv", "")
	require.Contains(t, table.Header().Get("Content-Type"), "text/csv")
	require.Contains(t, table.Header().Get("Content-Disposition"), ".csv")
	rows, err := csv.NewReader(strings.NewReader(table.Body.String())).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, `'=HYPERLINK("x")`, rows[1][8], "no formula for a spreadsheet")
	require.Contains(t, w.call("GET", "/metrics", "").Body.String(), `orgsync_drift{finding="unknown",target="corp"} 1`)
}

func TestAResyncThatCannotBeIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Contains(t, w.problem(w.call("POST", "/api/v1/targets/corp/resync", ""), http.StatusConflict), "not reached yet")
	w.problem(w.call("POST", "/api/v1/targets/crop/resync", ""), http.StatusNotFound)
	require.Contains(t, w.problem(w.call("POST", "/api/v1/targets/corp/resync?dryRun=yes", ""), http.StatusBadRequest), "dryRun")
	require.Contains(t, w.problem(w.call("POST", "/api/v1/targets/corp/resync?dryrun=true", ""), http.StatusBadRequest), "no such parameter")
	w.problem(w.call("GET", "/api/v1/targets/crop/resyncs", ""), http.StatusNotFound)
	w.problem(w.call("GET", "/api/v1/targets/corp/resyncs/none", ""), http.StatusNotFound)
	w.problem(w.call("GET", "/api/v1/targets/corp/resyncs?cursor=x", ""), http.StatusBadRequest)
	require.Contains(t, w.problem(w.call("GET", "/api/v1/targets/corp/resyncs/none?format=xml", ""), http.StatusBadRequest), "want json, csv")
	require.NoError(t, w.store.SaveResync(t.Context(), storage.Resync{ID: "1", Target: "another"}, 5))
	w.problem(w.call("GET", "/api/v1/targets/corp/resyncs/1", ""), http.StatusNotFound)
}
