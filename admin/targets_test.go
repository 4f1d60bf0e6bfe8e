package admin_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
)

// target is a target as the list shows it.
type target struct {
	fanout.Status
	Deliveries admin.TargetStatus
}

func (w *world) target() target {
	w.Helper()
	return read[items[target]](w, "/api/v1/targets").Items[0]
}

// removing makes an enterprise three of whose departments go, and the target
// holds that: two are its limit.
func removing(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.deliver()
	w.bind(acme, 5)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	for _, code := range []string{"d002", "d003", "d004"} {
		w.push(acme, directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: department(code, "", "")})
	}
	return w
}

func TestDeletionsThatATargetHoldsAreToldUntilApproved(t *testing.T) {
	t.Parallel()
	w := removing(t)
	status := w.await(func(s admin.SyncStatus) bool { return s.State == admin.Held })
	require.Positive(t, status.Targets[0].Held)
	require.NotZero(t, w.target().HeldSince)
	require.Positive(t, w.target().Deliveries.Held)
	require.NotEmpty(t, read[items[entry]](w, "/api/v1/deliveries?state=held&kind=department").Items)

	answer := w.call("POST", "/api/v1/targets/corp/deletions/approve?tenantId=acme", `{"by":"chen","reason":"they closed"}`)
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	require.Contains(t, answer.Body.String(), `"result":"approved"`)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	groups, _ := w.scim.Counts()
	require.Equal(t, 2, groups)
	got := w.target()
	require.Zero(t, got.HeldSince)
	require.Equal(t, []any{true, "chen", "they closed"}, []any{got.LastDecision.Approved, got.LastDecision.By, got.LastDecision.Reason})
	require.Contains(t, w.log.String(), "audit: held deletions approved")
}

func TestDeletionsThatAreRejectedLeaveTheTargetAsItIs(t *testing.T) {
	t.Parallel()
	w := removing(t)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Held && s.Targets[0].Pending == 0 })
	groups, _ := w.scim.Counts()
	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/targets/corp/deletions/reject", "").Code)
	status := read[admin.SyncStatus](w, statusOfAcme)
	require.Equal(t, admin.Synced, status.State, "that is what was decided")
	require.Positive(t, status.Targets[0].Kept)
	left, _ := w.scim.Counts()
	require.Equal(t, groups, left)
	require.Contains(t, w.target().LastDecision.By, "admin token from")

	answer := w.call("POST", "/api/v1/deliveries/replay?target=corp&state=kept", "")
	require.Equal(t, http.StatusOK, answer.Code)
	require.NotContains(t, answer.Body.String(), `:0`)
}

func TestADecisionAboutNothingIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	detail := w.problem(w.call("POST", "/api/v1/targets/corp/deletions/approve", ""), http.StatusConflict)
	require.Equal(t, "target corp: nothing is held", detail)
	w.problem(w.call("POST", "/api/v1/targets/nobody/deletions/reject", ""), http.StatusNotFound)
	w.problem(w.call("POST", "/api/v1/targets/corp/deletions/approve?dataset=all", ""), http.StatusBadRequest)
	w.problem(w.call("POST", "/api/v1/targets/corp/deletions/approve?target=corp", ""), http.StatusBadRequest)
	require.Contains(t, w.problem(w.call("POST", "/api/v1/targets/corp/deletions/approve?tenantId=", ""), http.StatusBadRequest), "tenantId: empty")
	w.problem(w.call("POST", "/api/v1/targets/corp/deletions/approve", `{"who":"chen"}`), http.StatusBadRequest)
	w.problem(w.call("POST", "/api/v1/targets/corp/pause", `[`), http.StatusBadRequest)
}

func TestAPauseSaysWhoAndWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/targets/corp/pause", `{"by":"chen","reason":"a new certificate"}`).Code)
	got := w.target()
	require.Equal(t, fanout.Paused, got.State)
	require.Equal(t, []string{"chen", "a new certificate"}, []string{got.By, got.Reason})
	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/targets/corp/resume", `{"by":"li"}`).Code)
	require.Equal(t, fanout.Up, w.target().State)
	require.Contains(t, w.log.String(), `msg="audit: target resumed" target=corp by=li`)
	metrics := w.call("GET", "/metrics", "").Body.String()
	require.Contains(t, metrics, `orgsync_target_state{state="up",target="corp"} 1`)
	require.Contains(t, metrics, `orgsync_target_state{state="paused",target="corp"} 0`)
}
