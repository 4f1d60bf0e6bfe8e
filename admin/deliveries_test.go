package admin_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
)

func TestDeadLettersAreSeenFilteredAndReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse.Store(http.StatusBadRequest)
	w.deliver()
	w.push(acme, directory.FlagModify, chart(3))
	w.await(func(s admin.SyncStatus) bool { return s.Targets[0].Dead == 3 })

	dead := all[entry](w, "/api/v1/deliveries", url.Values{"state": {"dead"}, "target": {"corp"}}, 2)
	require.Len(t, dead, 3)
	for _, slot := range dead {
		require.Equal(t, "permanent", slot.ErrorClass)
		require.Equal(t, "department", slot.Kind)
		require.Equal(t, acme, slot.Scope)
		require.Contains(t, slot.LastError, "400")
		require.NotContains(t, slot.LastError, scimToken)
	}
	require.Len(t, all[entry](w, "/api/v1/deliveries", url.Values{"key": {"d001"}, "kind": {"department"}}, 10), 1)
	require.Empty(t, all[entry](w, "/api/v1/deliveries", url.Values{"kind": {"user"}}, 10))

	w.refuse.Store(0)
	answer := w.call("POST", "/api/v1/deliveries/replay?target=corp&state=dead&key=d000&kind=department", "")
	require.JSONEq(t, `{"replayed":1}`, answer.Body.String())
	w.await(func(s admin.SyncStatus) bool { return s.Targets[0].Dead == 2 })
	require.JSONEq(t, `{"replayed":2}`, w.call("POST", "/api/v1/deliveries/replay", "").Body.String())
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	groups, _ := w.scim.Counts()
	require.Equal(t, 3, groups)
	require.Contains(t, w.log.String(), "audit: deliveries replayed")
}

func TestOnlyWhatFailedIsReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.push(acme, directory.FlagModify, chart(3))
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	require.JSONEq(t, `{"replayed":0}`, w.call("POST", "/api/v1/deliveries/replay", "").Body.String())
	require.Contains(t, w.problem(w.call("POST", "/api/v1/deliveries/replay?state=delivered", ""), http.StatusBadRequest), "want dead, retrying")
	require.Contains(t, w.problem(w.call("POST", "/api/v1/deliveries/replay?limit=5", ""), http.StatusBadRequest), "limit: no such parameter")
	w.problem(w.call("POST", "/api/v1/deliveries/replay?target=crop", ""), http.StatusNotFound)
}

func TestTargetsTellHowTheyAreDoingOverAllTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.bind(acme, 3)
	w.bind(directory.Scope{Dataset: directory.Prod, InstanceID: "i-2", TenantID: "other"}, 3)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	type view struct {
		Name, Type, State string
		Deliveries        admin.TargetStatus
	}
	found := read[items[view]](w, "/api/v1/targets").Items
	require.Len(t, found, 1)
	require.Equal(t, []string{"corp", "scim", "up"}, []string{found[0].Name, found[0].Type, found[0].State})
	require.Positive(t, found[0].Deliveries.Delivered+found[0].Deliveries.Pending)

	require.JSONEq(t, `{"target":"corp","result":"paused"}`, w.call("POST", "/api/v1/targets/corp/pause", "").Body.String())
	require.Equal(t, "paused", read[items[view]](w, "/api/v1/targets").Items[0].State)
	require.JSONEq(t, `{"target":"corp","result":"paused"}`, w.call("POST", "/api/v1/targets/corp/pause", "").Body.String(), "twice is once")
	require.JSONEq(t, `{"target":"corp","result":"resumed"}`, w.call("POST", "/api/v1/targets/corp/resume", "").Body.String())
	require.Equal(t, "up", read[items[view]](w, "/api/v1/targets").Items[0].State)
}

func TestATargetThatIsDownSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse.Store(http.StatusServiceUnavailable)
	w.deliver()
	w.push(acme, directory.FlagModify, chart(3))
	<-w.refused
	<-w.refused // tried again: by then the first refusal is noted
	status := read[admin.SyncStatus](w, statusOfAcme)
	require.Equal(t, admin.Degraded, status.State)
	require.Contains(t, status.Targets[0].LastError, "503")
}
