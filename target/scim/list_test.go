package scim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
)

// shelf is a collection that pages as told. change happens before each page.
type shelf struct {
	ids    []string
	page   int // most of a page, whatever is asked for
	change func(s *shelf, request int)
	served int
	hide   bool // totalResults
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/Groups") {
		_, _ = fmt.Fprint(w, `{"totalResults":0,"Resources":[]}`)
		return
	}
	s.served++
	if s.change != nil {
		s.change(s, s.served)
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("startIndex"))
	count, _ := strconv.Atoi(r.URL.Query().Get("count"))
	from = min(max(from, 1)-1, len(s.ids))
	resources := []map[string]any{}
	for _, id := range s.ids[from:min(from+min(count, s.page), len(s.ids))] {
		resources = append(resources, map[string]any{"id": id, "userName": id})
	}
	answer := map[string]any{"Resources": resources, "totalResults": len(s.ids)}
	if s.hide {
		delete(answer, "totalResults")
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// straight makes each request once.
func straight(ctx context.Context, _ string, request func(context.Context) error) error {
	return request(ctx)
}

// listed are the ids in the list of what a server shows.
func listed(t *testing.T, handler http.Handler) (ids []string, err error) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	return listedAt(t, server.URL)
}

func listedAt(t *testing.T, url string) (ids []string, err error) {
	t.Helper()
	connector := connect(t, url, token, time.Minute)
	defer func() { require.NoError(t, connector.Close()) }()
	lister, ok := connector.(target.Lister)
	require.True(t, ok)
	for found, err := range lister.List(t.Context(), straight) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, found.RemoteID)
	}
	return ids, nil
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("u%04d", i)
	}
	return ids
}

// TestAListIsWholeWhateverMoves: whatever is deleted and made while the pages
// are read, a list that ends without an error has everything that was there all
// the time.
func TestAListIsWholeWhateverMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(r, "objects")
		s := &shelf{ids: numbered(n), page: rapid.IntRange(1, 20).Draw(r, "page"), hide: rapid.Bool().Draw(r, "hide")}
		gone := make(map[string]bool)
		// What happens before each page: -1 makes an object, all else deletes one.
		script := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(-1, 60), 0, 4), 0, 20).Draw(r, "script")
		s.change = func(s *shelf, request int) {
			if request > len(script) {
				return
			}
			for _, which := range script[request-1] {
				if which < 0 || len(s.ids) == 0 {
					s.ids = append(s.ids, fmt.Sprintf("new%d-%d", request, len(s.ids)))
					continue
				}
				at := which % len(s.ids)
				gone[s.ids[at]] = true
				s.ids = slices.Delete(s.ids, at, at+1)
			}
		}
		ids, err := listed(t, s)
		if err != nil {
			return // it says that it is not whole
		}
		for _, id := range numbered(n) {
			require.True(r, gone[id] || slices.Contains(ids, id), "%s is left out", id)
		}
	})
}

func TestADeletionWhileAListIsReadHidesNobody(t *testing.T) {
	t.Parallel()
	s := &shelf{ids: numbered(100), page: 10}
	s.change = func(s *shelf, request int) {
		switch request {
		case 3: // some of the pages before
			s.ids = slices.Delete(s.ids, 5, 8)
		case 5: // a page's worth and more
			s.ids = slices.Delete(s.ids, 0, 15)
		}
	}
	ids, err := listed(t, s)
	require.NoError(t, err)
	require.Equal(t, numbered(100), ids)
}

func TestAListTakesAsFewPagesAsItCan(t *testing.T) {
	t.Parallel()
	for objects, pages := range map[int]int{0: 1, 1: 1, 499: 1, 500: 2, 501: 2, 998: 2, 999: 3} {
		s := &shelf{ids: numbered(objects), page: 1000}
		ids, err := listed(t, s)
		require.NoError(t, err)
		require.Len(t, ids, objects)
		require.Equal(t, pages, s.served, "%d objects", objects)
	}
}

func TestAListThatIsNotWholeEndsWithAnError(t *testing.T) {
	t.Parallel()
	page := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) })
	}
	for name, c := range map[string]struct {
		handler http.Handler
		want    string
	}{
		"the same page for ever":   {page(`{"totalResults":3,"Resources":[{"id":"1"},{"id":"2"}]}`), "the list ended after 2 of 3"},
		"another page for ever":    {&shelf{ids: numbered(40), page: 5, change: func(s *shelf, request int) { s.ids = append(s.ids[7*request:], s.ids[:7*request]...) }}, "the list"},
		"fewer than it counts":     {page(`{"totalResults":3,"Resources":[]}`), "the list ended after 0 of 3"},
		"an object without an id":  {page(`{"totalResults":1,"Resources":[{"userName":"x"}]}`), "no id"},
		"no list":                  {page(`[]`), "not the JSON"},
		"a page for people":        {page(`<html>`), "not the JSON"},
		"not found":                {http.NotFoundHandler(), "404"},
		"not let in":               {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }), "403"},
		"an id that is no text":    {page(`{"totalResults":1,"Resources":[{"id":[1]}]}`), "no id"},
		"objects that are no list": {page(`{"totalResults":1,"Resources":{"id":"1"}}`), "not the JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := listed(t, c.handler)
			require.ErrorContains(t, err, c.want)
			_, ok := errors.AsType[*target.Error](err)
			require.True(t, ok)
		})
	}
}

func TestAPageThatIsTooLargeIsAskedForInParts(t *testing.T) {
	t.Parallel()
	var counts []string
	name := strings.Repeat("x", 3<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/Groups") {
			_, _ = fmt.Fprint(w, `{"totalResults":0}`)
			return
		}
		counts = append(counts, r.URL.Query().Get("count"))
		count, _ := strconv.Atoi(r.URL.Query().Get("count"))
		from, _ := strconv.Atoi(r.URL.Query().Get("startIndex"))
		resources := []map[string]any{}
		for i := from; i < min(from+count, 5); i++ {
			resources = append(resources, map[string]any{"id": strconv.Itoa(i), "userName": name})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"totalResults": 4, "Resources": resources})
	}))
	t.Cleanup(server.Close)
	ids, err := listedAt(t, server.URL)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3", "4"}, ids)
	require.Equal(t, []string{"500", "125", "31", "7", "2", "2", "2"}, counts[:7])
}

func TestComparingLooksAtWhatWeSet(t *testing.T) {
	t.Parallel()
	_, server := serve(t)
	proxy := targettest.NewProxy(t, server.URL)
	connector := connect(t, proxy.URL, token, time.Minute)
	t.Cleanup(func() { require.NoError(t, connector.Close()) })
	lister, ok := connector.(target.Lister)
	require.True(t, ok)
	want := target.User{
		Object: target.Object{ExternalID: "prod/i/t/ann"}, UserName: "Ann@acme", DisplayName: "安", Active: true, Title: "t",
		EmployeeNumber: "7", DepartmentName: "d", Mobile: "13800000000", Email: "ann@example.com",
	}
	var have map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{
		"id":"1", "externalId":"prod/i/t/ann", "userName":"ann@ACME", "displayName":"安", "active":"True", "title":"t", "nickName":"theirs",
		"name":{"formatted":"安","familyName":"theirs"}, "userType":"",
		"emails":[{"value":"ann@example.com","primary":true,"display":"theirs"}], "phoneNumbers":[{"value":"13800000000","type":"mobile"}],
		"URN:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":7,"department":"d","organization":""}}`), &have))
	same := lister.CompareUser(target.Found{Content: have}, want)
	require.Empty(t, same.Differ)
	require.Empty(t, same.Print)
	require.Contains(t, same.Same, "title")
	require.NotContains(t, same.Same, "userType", "it has no value to be kept")

	prints := make(map[string]bool)
	for path, change := range map[string]func(){
		"active": func() { have["active"] = false },
		"emails": func() {
			have["emails"] = []any{map[string]any{"value": "ann@example.com"}, map[string]any{"value": "more@example.com"}}
		},
		"phoneNumbers": func() { delete(have, "phoneNumbers") },
		"userType":     func() { have["userType"] = "theirs" },
		"userName":     func() { have["userName"] = "ann" },
	} {
		before := fmt.Sprint(lister.CompareUser(target.Found{Content: have}, want).Differ)
		change()
		after := lister.CompareUser(target.Found{Content: have}, want)
		require.Contains(t, after.Differ, path, "before: %s", before)
		require.False(t, prints[after.Print], "another difference, another print")
		prints[after.Print] = true
	}
	require.Len(t, lister.CompareUser(target.Found{}, want).Differ, 10, "nothing there: all differs that has a value")
}
