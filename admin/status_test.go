package admin_test

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/admin"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

const statusOfAcme = "/api/v1/sync-status?instanceId=i-1&tenantId=acme"

func (w *world) state() admin.SyncState {
	w.Helper()
	return read[admin.SyncStatus](w, statusOfAcme).State
}

func TestAScopeNeverPushedIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	for _, query := range []string{"tenantId=nobody", "tenantId=acme&instanceId=i-2", "tenantId=acme&instanceId=", "tenantId=acme&dataset=test"} {
		status := read[admin.SyncStatus](w, "/api/v1/sync-status?"+query)
		require.Equal(t, admin.Unknown, status.State, query)
		require.Empty(t, status.Targets)
	}
}

func TestSyncingBecomesSynced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := w.bind(acme, 5)
	status := read[admin.SyncStatus](w, statusOfAcme)
	require.Equal(t, admin.Syncing, status.State, "stored, and nothing delivered yet")
	require.Equal(t, acme, status.Scope)
	require.Equal(t, []int{5, 2, 1, 0}, []int{status.Departments, status.Users, status.Applications, status.ParentMissing})
	require.Equal(t, full, status.LastFull.ID)
	require.Equal(t, directory.AuthSync, status.LastIncremental.Kind)
	require.Len(t, status.Targets, 1)
	require.Equal(t, "corp", status.Targets[0].Name)
	require.Positive(t, status.Targets[0].Pending, "changes that no slot was made of yet are pending, too")

	w.deliver()
	status = w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	target := status.Targets[0]
	require.Zero(t, target.Pending+target.Retrying+target.Dead)
	require.Zero(t, target.OldestPendingSeconds)
	require.Positive(t, target.Delivered)
	groups, users := w.scim.Counts()
	require.Equal(t, []int{5, 2}, []int{groups, users}, "synced means that the target has it")
}

// What an operator is to be woken for can be measured, and costs the store a
// count twice a minute, however often it is asked.
func TestMetricsTellHowTheDeliveriesStand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 5)
	metrics := func() string { return w.call("GET", "/metrics", "").Body.String() }
	pending := regexp.MustCompile(`orgsync_slots{state="pending",target="corp"} [1-9]`)
	require.Regexp(t, pending, metrics())

	w.deliver()
	status := w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	w.clock = w.clock.Add(29 * time.Second)
	require.Regexp(t, pending, metrics(), "not counted anew")
	w.clock = w.clock.Add(time.Second)
	text := metrics()
	require.NotRegexp(t, pending, text)
	for _, want := range []string{
		fmt.Sprintf(`orgsync_slots{state="delivered",target="corp"} %d`, status.Targets[0].Delivered),
		`orgsync_slots{state="dead",target="corp"} 0`, `orgsync_oldest_pending_seconds{target="corp"} 0`, `orgsync_target_up{target="corp"} 1`,
	} {
		require.Contains(t, text, want)
	}
}

func TestHeldDeletionsAreToldUntilDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.bind(acme, 5)
	held, result := w.push(acme, directory.FlagModify, &directory.FullPush{})
	require.Equal(t, directory.ResultHeld, result)
	status := w.await(func(s admin.SyncStatus) bool { return s.State == admin.Held })
	require.Equal(t, held, status.HeldPush)
	require.Equal(t, 5, status.HeldDeletions)
	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/pushes/"+held+"/reject", "").Code)
	w.await(func(s admin.SyncStatus) bool {
		return s.State == admin.Synced && s.HeldPush == "" && s.HeldDeletions == 0
	})
}

func TestADeadLetterDegradesAndStillTellsOfHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse.Store(http.StatusBadRequest)
	w.deliver()
	w.bind(acme, 5)
	w.push(acme, directory.FlagModify, &directory.FullPush{})
	status := w.await(func(s admin.SyncStatus) bool { return s.State == admin.Degraded })
	require.Positive(t, status.Targets[0].Dead)
	require.Contains(t, status.Targets[0].LastError, "400")
	require.Equal(t, 5, status.HeldDeletions, "the graver state does not hide the hold")
}

func TestATargetThatIsDownOrPausedDegradesOnlyWithWorkLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.bind(acme, 3)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })

	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/targets/corp/pause", "").Code)
	require.Equal(t, admin.Synced, w.state(), "paused, but it has all")
	w.push(acme, directory.FlagAdd, &directory.DepartmentPush{DepartmentItem: department("d100", "新部门", "d000")})
	status := read[admin.SyncStatus](w, statusOfAcme)
	require.Equal(t, admin.Degraded, status.State)
	require.Equal(t, fanout.Paused, status.Targets[0].State)

	require.Equal(t, http.StatusOK, w.call("POST", "/api/v1/targets/corp/resume", "").Code)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	require.Contains(t, w.log.String(), "audit: target paused")
	require.Contains(t, w.log.String(), "audit: target resumed")
}

func TestATargetThatDoesNotWantAScopeIsNoPartOfItsStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deliver()
	w.bind(acme, 3)
	w.bind(debug, 3)
	w.await(func(s admin.SyncStatus) bool { return s.State == admin.Synced })
	status := read[admin.SyncStatus](w, "/api/v1/sync-status?dataset=test&instanceId=i-1&tenantId=acme")
	require.Empty(t, status.Targets)
	require.Equal(t, admin.Synced, status.State)
	require.Equal(t, 3, status.Departments)
}

func TestTheSummaryGivesTheGravestOfItsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, admin.SyncSummary{State: admin.Unknown, Tenants: []admin.SyncStatus{}}, read[admin.SyncSummary](w, "/api/v1/sync-status"))
	for _, tenant := range []string{"a", "b", "c"} {
		w.bind(directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: tenant}, 5)
	}
	w.push(directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: "b"}, directory.FlagModify, &directory.FullPush{})
	summary := read[admin.SyncSummary](w, "/api/v1/sync-status")
	require.Equal(t, admin.Held, summary.State, "held is graver than syncing")
	require.Len(t, summary.Tenants, 3)
	require.Empty(t, summary.Cursor)

	states := []admin.SyncState{}
	for cursor := ""; ; {
		page := read[admin.SyncSummary](w, "/api/v1/sync-status?limit=1&cursor="+cursor)
		require.Len(t, page.Tenants, 1)
		states = append(states, page.State)
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	require.Equal(t, []admin.SyncState{admin.Syncing, admin.Held, admin.Syncing}, states)
}

func TestGravityIsTheOrderOfTheContract(t *testing.T) {
	t.Parallel()
	order := []admin.SyncState{admin.Synced, admin.Syncing, admin.Held, admin.Degraded, admin.Unknown}
	for i, a := range order {
		for j, b := range order {
			require.Equal(t, i > j, a.Worse(b), "%s, %s", a, b)
		}
	}
}

func TestInstanceIdMayBeLeftOutWhereOneIsMeant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	require.Equal(t, acme, read[admin.SyncStatus](w, "/api/v1/sync-status?tenantId=acme").Scope)
	second := acme
	second.InstanceID = ""
	w.bind(second, 3)
	for _, path := range []string{"/api/v1/sync-status?tenantId=acme", "/api/v1/departments/tree?tenantId=acme"} {
		detail := w.problem(w.call("GET", path, ""), http.StatusBadRequest)
		require.Equal(t, `instanceId: the tenant has several; add one of "", "i-1"`, detail)
	}
	require.Equal(t, second, read[admin.SyncStatus](w, "/api/v1/sync-status?tenantId=acme&instanceId=").Scope)
}

// A delivery that began in the future waits for a clock that was set back: that
// is trouble, and no negative age.
func TestSyncStatus_TellsOfAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 4)
	for {
		n, _, err := w.store.Relay(t.Context(), "corp", storage.RelayOptions{}, 1000)
		require.NoError(t, err)
		if n == 0 {
			break
		}
	}
	w.clock = time.Now().Add(-time.Hour) // the store has the time of the machine
	status := read[admin.SyncStatus](w, "/api/v1/sync-status?instanceId=i-1&tenantId=acme")
	require.Equal(t, admin.Degraded, status.State)
	require.Zero(t, status.Targets[0].OldestPendingSeconds)
	w.clock = time.Now().Add(time.Hour)
	status = read[admin.SyncStatus](w, "/api/v1/sync-status?instanceId=i-1&tenantId=acme")
	require.Equal(t, admin.Syncing, status.State)
	require.Greater(t, status.Targets[0].OldestPendingSeconds, 3000.0)
}
