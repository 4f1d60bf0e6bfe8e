package admin_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/restore"
)

func restored(w *world, path, body string) (outcome restore.Outcome) {
	w.Helper()
	answer := w.call("POST", path, body)
	require.Equal(w, http.StatusOK, answer.Code, answer.Body)
	require.NoError(w, json.Unmarshal(answer.Body.Bytes(), &outcome))
	return outcome
}

// A restore is looked at first and done then; the journal says who and why.
func TestARestoreIsDoneAndRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 5)
	before := read[struct{ Items []entry }](w, "/api/v1/pushes?kind=allOrgSync&limit=1").Items[0].ID
	_, result := w.push(acme, directory.FlagModify, &directory.FullPush{})
	require.Equal(t, directory.ResultHeld, result)
	held := read[struct{ Items []entry }](w, "/api/v1/pushes?result=held").Items[0].ID
	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/pushes/"+held+"/approve", "").Code)
	require.Zero(t, w.departments())

	dry := restored(w, "/api/v1/pushes/"+before+"/restore?dryRun=true", "")
	require.Empty(t, dry.PushID)
	require.Len(t, dry.Decisions, 5)
	require.Zero(t, w.departments())

	done := restored(w, "/api/v1/pushes/"+before+"/restore", `{"by":"chen","reason":"a wrong export"}`)
	require.Equal(t, dry.Counts, done.Counts)
	require.Equal(t, 5, done.Departments)
	require.Equal(t, before, done.Restored)
	require.Equal(t, 5, w.departments())
	record := read[entry](w, "/api/v1/pushes/"+done.PushID)
	require.Equal(t, "restored to push "+before+" by chen: a wrong export", record.Note)
}

func TestARestoreThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(debug, 2)
	test := read[struct{ Items []entry }](w, "/api/v1/pushes?dataset=test&limit=1").Items[0].ID
	require.Contains(t, w.problem(w.call("POST", "/api/v1/pushes/"+test+"/restore", ""), http.StatusConflict), "test data")
	w.problem(w.call("POST", "/api/v1/pushes/nobody/restore", ""), http.StatusNotFound)
	require.Contains(t, w.problem(w.call("POST", "/api/v1/pushes/"+test+"/restore?dryRun=maybe", ""), http.StatusBadRequest), "dryRun")
	require.Contains(t, w.problem(w.call("POST", "/api/v1/pushes/"+test+"/restore", `{"who":"chen"}`), http.StatusBadRequest), "body: want")
}
