package scim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/target/targettest"
	"github.com/openkoo/connector/test/peers/scimmy"
)

// bulky is a connector to a server that takes bulk requests, through a proxy.
func bulky(t *testing.T, bulk scimserver.Bulk, quirks scimserver.Quirks) (*targettest.Proxy, *scim.Connector, scimtest.Server) {
	t.Helper()
	_, front, behind := quirky(t, scimserver.Options{Bulk: bulk, Quirks: quirks})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{})
	capabilities, err := connector.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, min(bulk.MaxOperations, 100), capabilities.Gathers)
	proxy.Forget()
	return proxy, connector, behind
}

// together runs calls at the same time.
func together(n int, do func(i int) error) []error {
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errs
}

func putMany(t *testing.T, c *scim.Connector, users []target.User) []error {
	t.Helper()
	return together(len(users), func(i int) error {
		id, err := c.PutUser(t.Context(), users[i])
		users[i].RemoteID = id
		return err
	})
}

func many(n int) []target.User {
	users := make([]target.User, n)
	for i := range users {
		users[i] = account(fmt.Sprintf("user%03d", i))
	}
	return users
}

func bulks(proxy *targettest.Proxy) (requests []targettest.Request) {
	for _, r := range proxy.Requests() {
		if r.Path == "/Bulk" {
			requests = append(requests, r)
		}
	}
	return requests
}

var wide = scimserver.Bulk{MaxOperations: 1000, MaxPayload: 1 << 20}

func TestChangesAskedForTogetherGoInOneRequest(t *testing.T) {
	t.Parallel()
	proxy, connector, behind := bulky(t, wide, scimserver.Quirks{})
	users := many(400)
	for _, err := range putMany(t, connector, users) {
		require.NoError(t, err)
	}
	perEntity := float64(len(proxy.Requests())) / float64(len(users))
	t.Logf("%.3f requests per account created", perEntity)
	require.Less(t, perEntity, 0.2)
	found, err := behind.Users(t.Context())
	require.NoError(t, err)
	require.Len(t, found, len(users))
	byName := make(map[string]string)
	for _, u := range found {
		byName[u.UserName] = u.RemoteID
	}
	for i := range users {
		require.Equal(t, byName[users[i].UserName], users[i].RemoteID, "each has its own answer")
		users[i].Title = "new"
	}
	for _, err := range putMany(t, connector, users) {
		require.NoError(t, err)
	}
	for _, err := range together(len(users), func(i int) error { return connector.DeleteUser(t.Context(), users[i].Object) }) {
		require.NoError(t, err)
	}
	found, err = behind.Users(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
	require.Less(t, float64(len(proxy.Requests()))/float64(3*len(users)), 0.2)
}

// Others' servers take bulk requests in their own way.
func TestScimmyTakesWhatIsGathered(t *testing.T) {
	t.Parallel()
	server := scimmy.Start(t)
	proxy := targettest.NewProxy(t, server.URL)
	connector, err := scim.New(scim.Config{URL: proxy.URL, BearerToken: server.Token, Timeout: time.Minute, ShortRetries: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	capabilities, err := connector.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, 100, capabilities.Gathers)
	users := many(150)
	_, err = server.CreateUser(t.Context(), users[10].UserName, "somebody else's")
	require.NoError(t, err)
	for i, err := range putMany(t, connector, users) {
		if i == 10 {
			require.Equal(t, target.Conflict, target.ClassOf(err))
			continue
		}
		require.NoError(t, err)
	}
	require.NotEmpty(t, bulks(proxy))
	require.Less(t, len(proxy.Requests()), len(users)/3)
	group, err := connector.PutDepartment(t.Context(), department("a"))
	require.NoError(t, err)
	groups := together(40, func(i int) error {
		_, err := connector.PutDepartment(t.Context(), department(fmt.Sprint("d", i)))
		return err
	})
	for _, err := range groups {
		require.NoError(t, err)
	}
	require.NoError(t, connector.ChangeMembers(t.Context(), target.Object{RemoteID: group}, target.MemberChange{Add: []target.Member{{RemoteID: users[0].RemoteID}}}))
	users[20].RemoteID = "gone"
	for i, err := range together(len(users), func(i int) error { return connector.DeleteUser(t.Context(), users[i].Object) }) {
		if i != 10 { // it is not known under any id of ours
			require.NoError(t, err)
		}
	}
	found, err := server.Users(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 2, "somebody else's, and the one whose id was another")
}

func TestABulkRequestKeepsWithinWhatTheServerTakes(t *testing.T) {
	t.Parallel()
	for _, limits := range []scimserver.Bulk{{MaxOperations: 7, MaxPayload: 1 << 20}, {MaxOperations: 1000, MaxPayload: 4000}} {
		proxy, connector, _ := bulky(t, limits, scimserver.Quirks{})
		for _, err := range putMany(t, connector, many(100)) {
			require.NoError(t, err)
		}
		require.NotEmpty(t, bulks(proxy))
		for _, r := range bulks(proxy) {
			var body struct{ Operations []json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(r.Body), &body))
			require.LessOrEqual(t, len(body.Operations), limits.MaxOperations)
			require.LessOrEqual(t, len(r.Body), limits.MaxPayload)
		}
	}
}

func TestEachOperationFailsForItself(t *testing.T) {
	t.Parallel()
	_, connector, behind := bulky(t, wide, scimserver.Quirks{})
	users := many(60)
	_, err := behind.CreateUser(t.Context(), users[10].UserName, "somebody else's")
	require.NoError(t, err)
	nobodys, err := behind.CreateUser(t.Context(), users[20].UserName, "")
	require.NoError(t, err)
	users[30].RemoteID = "gone" // made anew
	users[40].RemoteID, err = behind.CreateUser(t.Context(), users[40].UserName, users[40].ExternalID)
	require.NoError(t, err)
	users[40].UserName = users[10].UserName // taken
	for i, err := range putMany(t, connector, users) {
		switch i {
		case 10, 40:
			require.Equal(t, target.Conflict, target.ClassOf(err), "%d: %v", i, err)
		default:
			require.NoError(t, err)
		}
	}
	require.Equal(t, nobodys, users[20].RemoteID)
	require.NotEqual(t, "gone", users[30].RemoteID)
}

func TestMembersOfManyGroupsChangeInOneRequest(t *testing.T) {
	t.Parallel()
	proxy, connector, behind := bulky(t, wide, scimserver.Quirks{})
	const groups = 100
	ids := make([]string, groups)
	ann := putAccount(t, connector, "ann")
	for _, err := range together(groups, func(i int) (err error) {
		ids[i], err = connector.PutDepartment(t.Context(), department(fmt.Sprint("d", i)))
		return err
	}) {
		require.NoError(t, err)
	}
	change := target.MemberChange{Add: []target.Member{{RemoteID: ann.RemoteID}}}
	proxy.Forget()
	for _, err := range together(groups, func(i int) error {
		return connector.ChangeMembers(t.Context(), target.Object{RemoteID: ids[i]}, change)
	}) {
		require.NoError(t, err)
	}
	require.Less(t, len(proxy.Requests()), groups/3)
	found, err := behind.Departments(t.Context())
	require.NoError(t, err)
	for _, d := range found {
		require.Len(t, d.Members, 1)
	}
	require.Equal(t, target.Gone, target.ClassOf(connector.ChangeMembers(t.Context(), target.Object{RemoteID: "gone"}, change)))
}

func TestALostBulkAnswerIsResolvedByAdoption(t *testing.T) {
	t.Parallel()
	proxy, connector, behind := bulky(t, wide, scimserver.Quirks{})
	var lost sync.Once
	proxy.Choose(func(r targettest.Request) (fault targettest.Fault) {
		if r.Path == "/Bulk" {
			lost.Do(func() { fault = targettest.LoseAnswer })
		}
		return fault
	})
	users := many(100)
	unknown := 0
	for i, err := range putMany(t, connector, users) {
		if err == nil {
			continue
		}
		var failure *target.Error
		require.ErrorAs(t, err, &failure)
		require.Equal(t, target.Transient, failure.Class)
		require.True(t, failure.UnknownOutcome)
		users[i].Uncertain = true
		unknown++
	}
	require.Greater(t, unknown, 1)
	for _, err := range putMany(t, connector, users) {
		require.NoError(t, err)
	}
	found, err := behind.Users(t.Context())
	require.NoError(t, err)
	require.Len(t, found, len(users), "none is made twice")
}

func TestAServerThatTakesNoBulkAfterAllIsSentOneByOne(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 403, 404, 405, 413, 501} {
		proxy, connector, behind := bulky(t, wide, scimserver.Quirks{})
		proxy.Choose(func(r targettest.Request) targettest.Fault {
			if r.Path == "/Bulk" {
				return targettest.Answer(status, "")
			}
			return nil
		})
		for _, err := range putMany(t, connector, many(50)) {
			require.NoError(t, err, status)
		}
		if status != http.StatusRequestEntityTooLarge {
			require.LessOrEqual(t, len(bulks(proxy)), 4, "%d: those under way, and no more", status)
		}
		found, err := behind.Users(t.Context())
		require.NoError(t, err)
		require.Len(t, found, 50, status)
	}
}

// A server may choke on one change and answer 500 for all that came with it.
func TestAChangeThatAServerChokesOnEndsUpAlone(t *testing.T) {
	t.Parallel()
	proxy, connector, _ := bulky(t, wide, scimserver.Quirks{})
	proxy.Choose(func(r targettest.Request) targettest.Fault {
		if strings.Contains(r.Body, "user007") {
			return targettest.Answer(http.StatusInternalServerError, "")
		}
		return nil
	})
	left := many(100)
	for round := 0; len(left) > 1; round++ {
		require.Less(t, round, 20)
		errs := putMany(t, connector, left)
		var failed []target.User
		for i, err := range errs {
			if err != nil {
				left[i].Uncertain = true
				failed = append(failed, left[i])
			}
		}
		left = failed
	}
	require.Equal(t, "user007@acme", left[0].UserName)
}

func TestGarbageInABulkAnswerIsNotTakenForSuccess(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `[]`, `{}`, `{"Operations":[]}`, `{"Operations":[{"method":"POST","status":"200"}]}`, `{"Operations":7}`,
		`{"Operations":[{"method":"DELETE","bulkId":"op0","status":"204"},{"bulkId":"op1","status":"twenty"},{"bulkId":"op2","status":{"code":"x"}},{"bulkId":"op3"}]}`,
		`{"Operations":[{"method":"POST","bulkId":"op0","status":"201"},{"method":"POST","bulkId":"op1","status":201,"location":"https://x/Groups/7"},{"method":"POST","bulkId":"op2","status":{"code":201},"response":{"id":[7]}}]}`,
	} {
		proxy, connector, _ := bulky(t, wide, scimserver.Quirks{})
		proxy.Always(targettest.Answer(http.StatusOK, body, "Content-Type", "application/scim+json"))
		for _, err := range putMany(t, connector, many(20)) {
			var failure *target.Error
			require.ErrorAs(t, err, &failure, body)
			require.True(t, failure.UnknownOutcome, body)
		}
	}
}

func TestACallAmongOthersEndsWithItsContext(t *testing.T) {
	t.Parallel()
	proxy, connector, _ := bulky(t, wide, scimserver.Quirks{})
	proxy.Always(proxy.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	users := many(50)
	ended := make(chan []error, 1)
	go func() {
		ended <- together(len(users), func(i int) error {
			_, err := connector.PutUser(ctx, users[i])
			return err
		})
	}()
	require.Eventually(t, func() bool { return len(proxy.Requests()) > 0 }, time.Minute, time.Millisecond)
	cancel()
	for _, err := range <-ended {
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestBulkIsUsedOnlyWhereItIsOfferedAndWanted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bulk     scimserver.Bulk
		protocol scim.Protocol
	}{
		"not offered":   {},
		"not wanted":    {wide, scim.Protocol{Bulk: scim.UseOff}},
		"of one":        {scimserver.Bulk{MaxOperations: 1, MaxPayload: 1 << 20}, scim.Protocol{}},
		"by a profile":  {wide, scim.Protocol{Profile: scim.Entra}},
		"by its client": {wide, scim.Protocol{Profile: scim.Okta}},
	} {
		_, front, _ := quirky(t, scimserver.Options{Bulk: c.bulk})
		capabilities, err := dial(t, front.URL, c.protocol).Describe(t.Context())
		require.NoError(t, err, name)
		require.Zero(t, capabilities.Gathers, name)
	}
}
