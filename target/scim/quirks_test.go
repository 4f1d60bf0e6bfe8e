package scim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/targettest"
)

// quirk is a connector to the server of the demo, through a proxy that plays a
// server with a quirk.
func quirk(t *testing.T) (*targettest.Proxy, target.Connector) {
	t.Helper()
	_, server := serve(t)
	proxy := targettest.NewProxy(t, server.URL)
	connector := connect(t, proxy.URL, token, time.Minute)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	return proxy, connector
}

func department(code string) target.Department {
	return target.Department{Object: target.Object{ExternalID: "prod/i/t/" + code}, Code: code, Name: "name of " + code}
}

func account(name string) target.User {
	return target.User{Object: target.Object{ExternalID: "prod/i/t/" + name}, UserName: name + "@acme", DisplayName: name, Active: true}
}

func TestAServerThatIgnoresFiltersIsLookedThrough(t *testing.T) {
	t.Parallel()
	const objects = 250
	var pages atomic.Int64
	list := func(size int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			pages.Add(1)
			from := 1
			if text := r.URL.Query().Get("startIndex"); text != "" {
				from, _ = strconv.Atoi(text)
			}
			var resources []map[string]any
			for i := from; i < min(from+size, objects+1); i++ {
				resources = append(resources, map[string]any{"id": fmt.Sprint(i), "externalId": fmt.Sprintf("prod/i/t/%d", i)})
			}
			w.Header().Set("Content-Type", "application/scim+json")
			_ = json.NewEncoder(w).Encode(map[string]any{"totalResults": objects, "Resources": resources})
		})
	}
	lost := department("250")
	lost.Uncertain = true
	for size, want := range map[int]int64{100: 3, 50: 6} {
		pages.Store(0)
		server := httptest.NewServer(list(size))
		t.Cleanup(server.Close)
		id, err := connect(t, server.URL, token, time.Minute).PutDepartment(t.Context(), lost)
		require.NoError(t, err)
		require.Equal(t, "250", id)
		require.Equal(t, want, pages.Load())
	}
	pages.Store(0)
	server := httptest.NewServer(list(1)) // 250 pages are too many
	t.Cleanup(server.Close)
	_, err := connect(t, server.URL, token, time.Minute).PutDepartment(t.Context(), lost)
	require.ErrorContains(t, err, "ignores filters")
	require.Equal(t, int64(50), pages.Load())
}

func TestPagesThatNeverEndAreLeft(t *testing.T) {
	t.Parallel()
	var pages atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pages.Add(1)
		w.Header().Set("Content-Type", "application/scim+json")
		_, _ = fmt.Fprint(w, `{"totalResults":1000000,"Resources":[{"id":"1","externalId":"somebody else's"}]}`)
	}))
	t.Cleanup(server.Close)
	lost := account("ann")
	lost.Uncertain = true
	_, err := connect(t, server.URL, token, time.Minute).PutUser(t.Context(), lost)
	require.Equal(t, target.Permanent, target.ClassOf(err))
	require.Equal(t, int64(50), pages.Load())
}

func TestASearchAnsweredNotFoundFindsNothing(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	proxy.Next(targettest.Answer(http.StatusNotFound, ""))
	lost := department("a")
	lost.Uncertain = true
	id, err := connector.PutDepartment(t.Context(), lost)
	require.NoError(t, err)
	require.NotEmpty(t, id)
}

func TestAServerWithoutGroupsIsToldSo(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	proxy.Next(targettest.Answer(http.StatusNotFound, ""))
	_, err := connector.PutDepartment(t.Context(), department("a"))
	require.Equal(t, target.Permanent, target.ClassOf(err))
	require.ErrorContains(t, err, "/Groups")
}

func TestRemovingWhatIsNoMemberIsDone(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	id, err := connector.PutDepartment(t.Context(), department("a"))
	require.NoError(t, err)
	group := target.Object{RemoteID: id}
	members := []target.Member{{RemoteID: "1"}, {RemoteID: "2"}, {RemoteID: "3"}}
	noTarget := targettest.Answer(http.StatusBadRequest, `{"status":"400","scimType":"noTarget","detail":"no such member"}`)
	proxy.Forget()
	proxy.Next(noTarget, nil, noTarget, nil)
	require.NoError(t, connector.ChangeMembers(t.Context(), group, target.MemberChange{Remove: members}))
	require.Len(t, proxy.Requests(), 4, "together, then one by one")

	proxy.Forget()
	proxy.Next(noTarget, nil, noTarget)
	require.NoError(t, connector.ChangeMembers(t.Context(), group, target.MemberChange{Add: members[:1], Remove: members[1:2]}))
	require.Len(t, proxy.Requests(), 3, "the addition is not lost")

	proxy.Next(noTarget, targettest.Answer(http.StatusBadRequest, ""))
	err = connector.ChangeMembers(t.Context(), group, target.MemberChange{Add: members[:1], Remove: members[1:2]})
	require.Equal(t, target.Permanent, target.ClassOf(err))
}

func TestAMissingMemberIsToldFromAMissingGroup(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	id, err := connector.PutDepartment(t.Context(), department("a"))
	require.NoError(t, err)
	add := target.MemberChange{Add: []target.Member{{RemoteID: "1"}}}
	notFound := targettest.Answer(http.StatusNotFound, `{"detail":"1 not found"}`)
	proxy.Next(notFound)
	err = connector.ChangeMembers(t.Context(), target.Object{RemoteID: id}, add)
	require.Equal(t, target.NeedsParent, target.ClassOf(err))
	require.ErrorContains(t, err, "1 not found")
	proxy.Next(notFound, targettest.Answer(http.StatusInternalServerError, ""))
	require.Equal(t, target.Transient, target.ClassOf(connector.ChangeMembers(t.Context(), target.Object{RemoteID: id}, add)))
}

func TestMembersAreNeverExcludedFromAChange(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	d := department("a")
	d.Uncertain = true
	id, err := connector.PutDepartment(t.Context(), d)
	require.NoError(t, err)
	d.RemoteID = id
	_, err = connector.PutDepartment(t.Context(), d)
	require.NoError(t, err)
	searches := 0
	for _, r := range proxy.Requests() {
		excluded := r.Query.Get("excludedAttributes")
		if r.Method == http.MethodGet {
			searches++
			require.Equal(t, "members", excluded)
			continue
		}
		require.Empty(t, excluded, "some servers would write back what they did not read")
	}
	require.Equal(t, 1, searches)
}

func TestAServerWithoutServiceProviderConfigIsDescribed(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	proxy.Next(targettest.Answer(http.StatusNotFound, ""))
	capabilities, err := connector.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, target.Capabilities{ParentByMembership: true, Memberships: true, MembersPerChange: 100}, capabilities)
}

func TestIdsAreEscapedInPaths(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.EscapedPath()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	connector := connect(t, server.URL+"/base/", token, time.Minute)
	require.NoError(t, connector.DeleteUser(t.Context(), target.Object{RemoteID: `a/b c?d#e%f/../部`}))
	require.Equal(t, "/base/Users/a%2Fb%20c%3Fd%23e%25f%2F..%2F%E9%83%A8", <-paths)
	for id, want := range map[string]string{".": "/base/Users/%2E", "..": "/base/Users/%2E%2E"} {
		require.NoError(t, connector.DeleteUser(t.Context(), target.Object{RemoteID: id}))
		require.Equal(t, want, <-paths)
	}
}

func TestFiltersAreQuoted(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	d := department("a")
	d.ExternalID, d.Uncertain = "a\"b\\c", true
	_, err := connector.PutDepartment(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, `externalId eq "a\"b\\c"`, proxy.Requests()[0].Query.Get("filter"))
}

func TestShortRetriesCoverWhatMayHappenTwice(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	proxy := targettest.NewProxy(t, server.URL)
	connector, err := scim.New(scim.Config{URL: proxy.URL, BearerToken: token})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	d := department("a")
	d.RemoteID, err = connector.PutDepartment(t.Context(), d)
	require.NoError(t, err)
	unwell := targettest.Answer(http.StatusServiceUnavailable, "")
	proxy.Next(unwell, unwell)
	_, err = connector.PutDepartment(t.Context(), d)
	require.NoError(t, err, "two failures are gone through")
	proxy.Forget()
	proxy.Next(unwell)
	_, err = connector.PutUser(t.Context(), account("ann"))
	require.Equal(t, target.Transient, target.ClassOf(err))
	require.Len(t, proxy.Requests(), 1, "a creation is not repeated")
}

func TestARefusalInTheClothesOfASuccessIsOne(t *testing.T) {
	t.Parallel()
	const refusal = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":%s,"detail":"no such title"}`
	for status, class := range map[string]target.Class{`"400"`: target.Permanent, `400`: target.Permanent, `"503"`: target.Transient, `"200"`: target.Transient, `null`: target.Transient} {
		proxy, connector := quirk(t)
		ann := account("ann")
		var err error
		ann.RemoteID, err = connector.PutUser(t.Context(), ann)
		require.NoError(t, err)
		proxy.Choose(func(targettest.Request) targettest.Fault {
			return targettest.Answer(http.StatusOK, fmt.Sprintf(refusal, status))
		})
		_, err = connector.PutUser(t.Context(), ann)
		require.Equal(t, class, target.ClassOf(err), "%s: %v", status, err)
		require.ErrorContains(t, err, "no such title")
		require.Error(t, connector.DeleteUser(t.Context(), ann.Object), status)
	}
	_, connector := quirk(t)
	ann := account("ann")
	ann.Title = "urn:ietf:params:scim:api:messages:2.0:Error"
	_, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err, "it is no refusal because somebody is called so")
}

func TestBasicAuthenticationLetsIn(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name == "ann" && password == "pass:word" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		http.Error(w, "you said "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	for password, want := range map[string]target.Class{"pass:word": "", "not:this": target.Down} {
		connector, err := scim.New(scim.Config{URL: server.URL, UserName: "ann", Password: password})
		require.NoError(t, err)
		err = connector.DeleteUser(t.Context(), target.Object{RemoteID: "1"})
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, want, target.ClassOf(err))
		require.ErrorContains(t, err, "you said Basic [secret]")
	}
}

func TestATargetsWordsAreOneShortLine(t *testing.T) {
	t.Parallel()
	proxy, connector := quirk(t)
	proxy.Next(targettest.Answer(http.StatusBadRequest, strings.Repeat("部\n\x1b[31m", 10_000)))
	_, err := connector.PutUser(t.Context(), account("ann"))
	require.Less(t, len(err.Error()), 500)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "\uFFFD")
}

func TestWrongConfigurationIsRefusedAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := scim.New(scim.Config{
		URL: "ftp://user@host/?q#f", BearerToken: "a", UserName: "b", Parents: "sideways", Timeout: -1, MembersPerChange: -1,
		Protocol: scim.Protocol{Profile: "ours", UserChanges: "post", GroupChanges: "none", Lookup: "luck", Removal: "force", Groups: "some", Bulk: "on", Names: "nick", Discovery: "on"},
	})
	for _, want := range []string{
		"url", "auth", "parents", "timeout", "membersPerChange", `profile: "ours": want aws, entra, generic, okta`,
		"userChanges", "groupChanges", "lookup", "memberRemoval", "groups", "bulk", "names", "discovery",
	} {
		require.ErrorContains(t, err, want)
	}
	for _, url := range []string{"", "http://", "host/scim", "https://host/?a=b", "https://user:pass@host/", "http://a b/"} {
		_, err := scim.New(scim.Config{URL: url})
		require.ErrorContains(t, err, "url", "%q", url)
	}
	_, err = scim.New(scim.Config{URL: "https://host", CAFile: "no-such-file.pem"})
	require.ErrorContains(t, err, "caFile")
	_, err = scim.New(scim.Config{URL: "https://host", CAFile: "quirks_test.go"})
	require.ErrorContains(t, err, "no certificate")
}

func TestWhatAProfileCannotDoIsRefused(t *testing.T) {
	t.Parallel()
	_, err := scim.New(scim.Config{URL: "https://x", MembersPerChange: 101, Protocol: scim.Protocol{Profile: scim.AWS}})
	require.ErrorContains(t, err, "membersPerChange: 101: aws takes 100 at most")
	_, err = scim.New(scim.Config{URL: "https://x", Parents: scim.ParentsNested, Protocol: scim.Protocol{Groups: scim.UseOff}})
	require.ErrorContains(t, err, "parents: nested, and groups is off")
}

func TestWithoutParentsGroupsAreFlat(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	connector, err := scim.New(scim.Config{URL: server.URL, BearerToken: token, Parents: scim.ParentsOff, MembersPerChange: 7})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	capabilities, err := connector.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, target.Capabilities{Memberships: true, MembersPerChange: 7}, capabilities)
}

// Home-made servers refuse to remove what is not there: the change is made all
// the same, and the next one costs no refusal.
func TestUpdate_RemovesWhatIsThere(t *testing.T) {
	t.Parallel()
	_, front, behind := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{StrictRemoval: true}})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{})
	ann := putAccount(t, connector, "ann") // without a telephone number, among others
	ann.Title = ""
	put := func() {
		_, err := connector.PutUser(t.Context(), ann)
		require.NoError(t, err)
	}
	put()
	require.NotContains(t, get(t, behind, "/Users/"+ann.RemoteID), "title")
	proxy.Forget()
	ann.DisplayName = "another"
	put()
	require.Equal(t, "GET PATCH", methods(proxy))
	require.Equal(t, "another", get(t, behind, "/Users/"+ann.RemoteID)["displayName"])
}

// A server that counts its objects writes their ids as numbers.
func TestIDs_MayBeNumbers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	objects := map[string]map[string]any{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch {
		case r.Header.Get("Content-Type") == "application/scim+json":
			w.WriteHeader(http.StatusUnsupportedMediaType)
		case r.Method == http.MethodPost:
			body := map[string]any{}
			_ = json.NewDecoder(r.Body).Decode(&body)
			body["id"] = 9007199254740991 - len(objects)
			objects[fmt.Sprint(body["id"])] = body
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(body)
		case r.Method == http.MethodPatch && objects[id] != nil:
			objects[id]["changed"] = true
			_ = json.NewEncoder(w).Encode(objects[id])
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/Users"):
			all := []any{}
			for _, o := range objects {
				all = append(all, o)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"totalResults": len(all), "Resources": all})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	connector := dial(t, server.URL, scim.Protocol{Groups: scim.UseOff})
	ann := putAccount(t, connector, "ann")
	require.Equal(t, "9007199254740991", ann.RemoteID)
	again, err := connector.PutUser(t.Context(), ann)
	require.NoError(t, err)
	require.Equal(t, ann.RemoteID, again)
	require.Equal(t, true, objects[again]["changed"])
	var found []string
	for f, err := range connector.List(t.Context(), func(ctx context.Context, _ string, request func(context.Context) error) error { return request(ctx) }) {
		require.NoError(t, err)
		found = append(found, f.RemoteID)
	}
	require.Equal(t, []string{"9007199254740991"}, found)
}

// A server that takes nothing says so in one word, and not of each object.
func TestAMediaType_ThatIsNotTakenIsTheTargets(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnsupportedMediaType) }))
	t.Cleanup(server.Close)
	_, err := dial(t, server.URL, scim.Protocol{}).PutUser(t.Context(), account("ann"))
	require.Equal(t, target.Down, target.ClassOf(err), err)
	require.ErrorContains(t, err, "it takes no JSON")
}

// What is between two pages when one before them goes is not missed, and so not
// made a second time.
func TestALookUp_MissesNothingThatMovesUp(t *testing.T) {
	t.Parallel()
	_, front, _ := quirky(t, scimserver.Options{Quirks: scimserver.Quirks{FiltersBy: []string{"userName"}}})
	proxy := targettest.NewProxy(t, front.URL)
	connector := dial(t, proxy.URL, scim.Protocol{})
	first := putGroup(t, connector, "0")
	for i := range 99 {
		putGroup(t, connector, fmt.Sprint("some", i))
	}
	wanted := putGroup(t, connector, "wanted") // the first of the second page
	proxy.Choose(func(r targettest.Request) targettest.Fault {
		if strings.Contains(r.Path, "startIndex=1") && first.RemoteID != "" {
			id := first.RemoteID
			first.RemoteID = ""
			require.NoError(t, connector.DeleteDepartment(t.Context(), target.Object{ExternalID: first.ExternalID, RemoteID: id}))
		}
		return nil
	})
	lost := wanted
	lost.RemoteID, lost.Uncertain = "", true
	id, err := connector.PutDepartment(t.Context(), lost)
	require.NoError(t, err)
	require.Equal(t, wanted.RemoteID, id)
}

func putGroup(t *testing.T, c target.Connector, code string) target.Department {
	t.Helper()
	d := department(code)
	id, err := c.PutDepartment(t.Context(), d)
	require.NoError(t, err)
	d.RemoteID = id
	return d
}
