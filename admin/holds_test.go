package admin_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// held makes an enterprise of which an empty list would delete everything.
func held(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t)
	w.bind(acme, 5)
	id, result := w.push(acme, directory.FlagModify, &directory.FullPush{})
	require.Equal(t, directory.ResultHeld, result)
	return w, "/api/v1/pushes/" + id
}

func (w *world) departments() int {
	w.Helper()
	return len(all[entry](w, "/api/v1/departments", nil, 100))
}

func TestAnApprovalDeletesAndRecordsWhoWhenAndWhy(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	require.Equal(t, 5, w.departments())
	answer := w.call("POST", push+"/approve", `{"by":"chen","reason":"the company closed"}`)
	require.Equal(t, http.StatusOK, answer.Code)
	require.Contains(t, answer.Body.String(), `"result":"approved"`)
	require.Contains(t, answer.Body.String(), `"delete":5`)
	require.Zero(t, w.departments())
	record := read[entry](w, push)
	require.Equal(t, "approved", record.Result)
	require.Equal(t, "approved by chen at "+w.clock.Format(time.RFC3339)+": the company closed", record.Note)
}

func TestARejectionKeepsAndRecordsWhoWhenAndWhy(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	require.Equal(t, http.StatusOK, w.call("POST", push+"/reject", `{"by":"chen","reason":"a wrong export"}`).Code)
	require.Equal(t, 5, w.departments())
	record := read[entry](w, push)
	require.Equal(t, "rejected", record.Result)
	require.Equal(t, "rejected by chen at "+w.clock.Format(time.RFC3339)+": a wrong export", record.Note)
}

func TestWhoDoesNotSayWhoIsNamedByAddress(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	require.Equal(t, http.StatusOK, w.call("POST", push+"/reject", "").Code)
	require.Contains(t, read[entry](w, push).Note, "rejected by admin token from 192.0.2.1 at ")
}

func TestAHoldIsDecidedOnce(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	require.Equal(t, http.StatusOK, w.call("POST", push+"/approve", "").Code)
	for _, verb := range []string{"/approve", "/reject"} {
		require.Contains(t, w.problem(w.call("POST", push+verb, ""), http.StatusConflict), "holds no deletions (any more)")
	}
	require.Equal(t, "approved", read[entry](w, push).Result)
}

func TestOfManyWhoDecideAtOnceOneDoes(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	for i := range 6 {
		wg.Go(func() {
			recorder := w.quietCall("POST", push+map[bool]string{true: "/approve", false: "/reject"}[i%2 == 0])
			mu.Lock()
			codes[recorder.Code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{http.StatusOK: 1, http.StatusConflict: 5}, codes)
	require.Equal(t, map[string]int{"approved": 0, "rejected": 5}[read[entry](w, push).Result], w.departments())
}

func TestThereIsNothingToDecideOfAPushThatHoldsNothing(t *testing.T) {
	t.Parallel()
	w, _ := held(t)
	applied := read[items[entry]](w, "/api/v1/pushes?result=applied&limit=1").Items[0].ID
	w.problem(w.call("POST", "/api/v1/pushes/"+applied+"/approve", ""), http.StatusConflict)
	w.problem(w.call("POST", "/api/v1/pushes/none/approve", ""), http.StatusNotFound)
}

func TestAMalformedDecisionDecidesNothing(t *testing.T) {
	t.Parallel()
	w, push := held(t)
	for _, body := range []string{
		`{`, `[]`, `"chen"`, `{"by": 1}`, `{"who": "chen"}`, `{"by": "` + strings.Repeat("长", 256) + `"}`, `{"reason": "` + strings.Repeat("x", 5000) + `"}`,
	} {
		w.problem(w.call("POST", push+"/approve", body), http.StatusBadRequest)
	}
	require.Equal(t, "held", read[entry](w, push).Result)
	require.Equal(t, http.StatusOK, w.call("POST", push+"/approve", `{"by": "`+strings.Repeat("长", 255)+`"}`).Code)
}
