package admin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// entry is what the tests look at of any entity.
type entry struct {
	Dataset, InstanceID, TenantID   string
	OrgCode, OrgName, ParentCode    string
	UserName, AppID, ClientID, Name string
	TenantCode                      string
	ParentMissing, Deleted          bool
	ID, Kind, Key, State, Target    string
	Seq, Version                    int64
	Result, Note, Phase             string
	Counts                          map[string]int
	Scope                           directory.Scope
	Entity                          map[string]any
	Attempts                        int
	ErrorClass, LastError, RemoteID string
	Decisions                       []directory.Decision
}

func TestListsPageToTheirEndAndMissNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.bind(directory.Scope{Dataset: directory.Prod, InstanceID: fmt.Sprint(i), TenantID: "t/" + fmt.Sprint(i)}, 7)
	}
	w.bind(debug, 4)
	for path, want := range map[string]int{"departments": 21, "users": 6, "tenants": 3, "applications": 3, "pushes": 16} {
		for _, n := range []int{1, 2, 5, 7, 100} {
			found := all[entry](w, "/api/v1/"+path, nil, n)
			require.Len(t, found, want, "%s in pages of %d", path, n)
			names := make(map[string]bool)
			for _, e := range found {
				names[e.TenantID+"|"+e.OrgCode+"|"+e.UserName+"|"+e.AppID+"|"+e.ID] = true
			}
			require.Len(t, names, want, "%s: none twice", path)
		}
	}
	require.Len(t, all[entry](w, "/api/v1/departments", url.Values{"dataset": {"test"}}, 3), 4, "debugging data is a list of its own")
}

func TestListsFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 5)
	other := directory.Scope{Dataset: directory.Prod, InstanceID: "i-2", TenantID: "other"}
	w.bind(other, 3)
	w.push(acme, directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: department("d004", "", "")})
	for query, want := range map[string]int{
		"departments?tenantId=acme":                 4,
		"departments?tenantId=acme&deleted=true":    5,
		"departments?tenantId=acme&deleted=false":   4,
		"departments?instanceId=i-2":                3,
		"departments?instanceId=":                   0,
		"departments?orgCode=d001":                  2,
		"departments?orgCode=d001&tenantId=acme":    1,
		"departments?parentCode=d000&tenantId=acme": 3,
		"departments?parentCode=&tenantId=acme":     1,
		"departments?tenantId=nobody":               0,
		"users?orgCode=d001":                        2,
		"users?userName=li&tenantId=other":          1,
		"applications?appId=app-1":                  2,
		"applications?appId=none":                   0,
		"tenants?tenantId=acme":                     1,
		"pushes?tenantId=acme":                      5,
		"pushes?tenantId=acme&kind=singleOrgSync":   1,
		"pushes?result=held":                        0,
		"pushes?result=applied&kind=allOrgSync":     2,
		"pushes?dataset=test":                       0,
		"deliveries?tenantId=acme&state=delivered":  0,
	} {
		page := read[items[entry]](w, "/api/v1/"+query)
		require.Len(t, page.Items, want, query)
		require.NotContains(t, w.answers.String(), `"items":null`)
	}
	gone := read[items[entry]](w, "/api/v1/departments?tenantId=acme&orgCode=d004&deleted=true").Items[0]
	require.True(t, gone.Deleted)
}

func TestWhatCannotBeMeantIsRefusedWithAWayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	for query, want := range map[string]string{
		"departments?limit=0":                   `limit: "0": want 1 to 1000`,
		"departments?limit=1001":                `limit: "1001": want 1 to 1000`,
		"departments?limit=ten":                 `limit: "ten": want 1 to 1000`,
		"departments?limit=9223372036854775808": `want 1 to 1000`,
		"departments?cursor=nonsense":           "cursor: not one of ours; start again without it",
		"pushes?cursor=W10":                     "cursor: not one of ours",
		"deliveries?cursor=WyJhIl0":             "cursor: not one of ours",
		"sync-status?cursor=%7B%7D":             "cursor: not one of ours",
		"departments?dataset=production":        `dataset: "production": want prod, test`,
		"departments?dataset=":                  `dataset: "": want prod, test`,
		"departments?deleted=yes":               `deleted: "yes": want false, true`,
		"departments?orgcode=d001":              "orgcode: no such parameter; this call takes dataset, instanceId, tenantId, limit, cursor, deleted, orgCode, parentCode",
		"departments?tenantId=a&tenantId=b":     "tenantId: given twice",
		"departments?limit=%zz":                 "query: invalid URL escape",
		"users?personal=yes":                    `personal: "yes": want masked, full`,
		"changes?personal=yes":                  `personal: "yes": want masked, full`,
		"changes?after=-1":                      "after: want what the last answer gave as next, or 0",
		"changes?after=x":                       "after: want what the last answer gave",
		"changes?cursor=x":                      "cursor: no such parameter; this call takes after, limit, personal",
		"pushes?kind=orgs":                      `kind: "orgs": want tenantSync, applicationSync, authSync, singleOrgSync, allOrgSync`,
		"pushes?result=done":                    `result: "done": want applied, unchanged, stale, held, approved, rejected, replaced`,
		"deliveries?state=lost":                 `state: "lost": want pending, retrying, waiting, delivered, dead`,
		"deliveries?kind=group":                 `kind: "group": want department, user, placement, membership`,
		"departments/tree":                      "tenantId: missing",
		"targets?limit=1":                       "limit: no such parameter; this call takes none",
	} {
		require.Contains(t, w.problem(w.call("GET", "/api/v1/"+query, ""), http.StatusBadRequest), want, query)
	}
}

func TestWhatThereIsNotIsToldAsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/api/v1/nothing", http.StatusNotFound, "GET /api/v1/nothing: no such call; GET /api/v1 lists them"},
		{"DELETE", "/api/v1/users", http.StatusMethodNotAllowed, "DELETE /api/v1/users: no such call"},
		{"GET", "/api/v1/pushes/none", http.StatusNotFound, "none"},
		{"GET", "/api/v1/departments/tree?tenantId=none", http.StatusNotFound, `nothing was ever pushed for tenantId "none" in dataset prod`},
		{"GET", "/api/v1/departments/tree?tenantId=none&instanceId=x", http.StatusNotFound, "prod/x/none"},
		{"GET", "/api/v1/deliveries?target=crop", http.StatusNotFound, `no such target: "crop"; configured: corp`},
		{"POST", "/api/v1/targets/crop/pause", http.StatusNotFound, `no such target: "crop"`},
		{"POST", "/api/v1/targets/crop/resume", http.StatusNotFound, `no such target: "crop"`},
	} {
		require.Contains(t, w.problem(w.call(c.method, c.path, ""), c.status), c.want, c.path)
	}
}

func TestAPushTellsWhatItDidToEachEntityAndWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := w.bind(acme, 3)
	push := read[entry](w, "/api/v1/pushes/"+full)
	require.Equal(t, "allOrgSync", push.Kind)
	require.Equal(t, "applied", push.Result)
	require.Equal(t, map[string]int{"create": 3}, push.Counts)
	require.Len(t, push.Decisions, 3)
	require.Equal(t, directory.Decision{Kind: directory.KindDepartment, Key: "d000", Action: directory.ActionCreate}, push.Decisions[0])

	again, result := w.push(acme, directory.FlagModify, chart(3))
	require.Equal(t, directory.ResultUnchanged, result)
	push = read[entry](w, "/api/v1/pushes/"+again)
	require.Equal(t, map[string]int{"unchanged": 3}, push.Counts)
	require.NotNil(t, push.Decisions)
	require.Empty(t, push.Decisions)
}

func TestTheJournalListsTheNewestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 3)
	found := all[entry](w, "/api/v1/pushes", nil, 3)
	require.True(t, slices.IsSortedFunc(found, func(a, b entry) int { return strings.Compare(b.ID, a.ID) }))
}

// A reader that keeps "next" sees every entity's newest state, and a change
// made while it reads as well.
func TestTheChangeFeedIsReadToItsEndAndTakenUpAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind(acme, 5)
	type feed struct {
		Items []entry
		Next  string
		More  bool
	}
	var seen []string
	next, after := "0", int64(0)
	follow := func() {
		for {
			page := read[feed](w, fmt.Sprintf("/api/v1/changes?after=%s&limit=2", next))
			for _, item := range page.Items {
				require.Greater(t, item.Seq, after)
				after = item.Seq
				seen = append(seen, item.Kind+" "+item.Key)
				require.NotEmpty(t, item.Entity)
				require.Equal(t, "acme", item.TenantID)
			}
			next = page.Next
			require.True(t, strings.HasPrefix(next, fmt.Sprintf("%d.", after)), next)
			if !page.More {
				return
			}
		}
	}
	follow()
	require.ElementsMatch(t, []string{
		"tenant ", "application app-1", "department d000", "department d001", "department d002", "department d003", "department d004", "user zhang", "user li",
	}, seen)
	seen = nil
	w.push(acme, directory.FlagDelete, &directory.DepartmentPush{DepartmentItem: department("d003", "", "")})
	w.push(acme, directory.FlagModify, &directory.DepartmentPush{DepartmentItem: department("d002", "改名", "d000")})
	follow()
	require.Equal(t, []string{"department d003", "department d002"}, seen)
	require.Contains(t, w.answers.String(), `"kind":"department","key":"d003","deleted":true`)
	follow()
	require.Len(t, seen, 2, "nothing comes twice")

	number, epoch, _ := strings.Cut(next, ".")
	require.Empty(t, read[feed](w, "/api/v1/changes?after="+number).Items, "a number alone will do")
	for _, lost := range []string{"1." + epoch + "X", "99." + epoch, "99"} { // a backup was restored
		require.Contains(t, w.problem(w.call("GET", "/api/v1/changes?after="+lost, ""), http.StatusGone), "read it anew from after=0")
	}
}
