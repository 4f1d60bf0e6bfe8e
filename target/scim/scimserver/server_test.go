package scimserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	userSchemas = `"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]`
	department  = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// send sends a request and returns the status and the answer.
func send(t *testing.T, s *Server, method, path, body string) (int, map[string]any) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer token")
	request.Header.Set("Content-Type", "application/scim+json")
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	answer := make(map[string]any)
	if recorder.Body.Len() > 0 {
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &answer))
	}
	return recorder.Code, answer
}

func create(t *testing.T, s *Server, path, body string) string {
	t.Helper()
	status, answer := send(t, s, http.MethodPost, path, body)
	require.Equal(t, http.StatusCreated, status, answer)
	id, _ := answer["id"].(string)
	require.NotEmpty(t, id)
	return id
}

func patch(operations string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operations + `]}`
}

func newServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Options{Token: "token"})
	require.NoError(t, err)
	return s
}

func user(name, externalID string) string {
	return fmt.Sprintf(`{%s,"userName":%q,"externalId":%q,"title":"t","active":true,%q:{"department":"d","employeeNumber":"1"}}`, userSchemas, name, externalID, department)
}

func TestAWrongTokenIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/Users", nil)
	request.Header.Set("Authorization", "Bearer another")
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	require.Equal(t, http.StatusUnauthorized, recorder.Code)
}

func TestPatchSetsAndRemovesByPath(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := create(t, s, "/Users", user("ann", "x"))
	status, _ := send(t, s, http.MethodPatch, "/Users/"+id, patch(
		`{"op":"remove","path":"title"},{"op":"replace","path":"`+department+`:department","value":"new"},`+
			`{"op":"remove","path":"`+department+`:employeeNumber"},{"op":"replace","path":"name.formatted","value":"Ann"},`+
			`{"op":"replace","value":{"active":false}}`))
	require.Less(t, status, 300)
	_, answer := send(t, s, http.MethodGet, "/Users/"+id, "")
	require.NotContains(t, answer, "title")
	require.Equal(t, map[string]any{"department": "new"}, answer[department])
	require.Equal(t, map[string]any{"formatted": "Ann"}, answer["name"])
	require.Equal(t, false, answer["active"])
}

func TestARefusedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	create(t, s, "/Users", user("ann", "x"))
	id := create(t, s, "/Users", user("bob", "y"))
	status, _ := send(t, s, http.MethodPatch, "/Users/"+id, patch(`{"op":"replace","path":"userName","value":"ANN"},{"op":"replace","path":"title","value":"new"}`))
	require.Equal(t, http.StatusConflict, status)
	_, answer := send(t, s, http.MethodGet, "/Users/"+id, "")
	require.Equal(t, "bob", answer["userName"])
	require.Equal(t, "t", answer["title"])
	status, _ = send(t, s, http.MethodPost, "/Users", user("Ann", "z"))
	require.Equal(t, http.StatusConflict, status)
}

func TestMembersAreASet(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ann, bob := create(t, s, "/Users", user("ann", "x")), create(t, s, "/Users", user("bob", "y"))
	child := create(t, s, "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"c","externalId":"c"}`)
	id := create(t, s, "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"g","externalId":"g"}`)
	add := fmt.Sprintf(`{"op":"add","path":"members","value":[{"value":%q},{"value":%q},{"value":%q}]}`, ann, bob, child)
	for range 2 {
		status, _ := send(t, s, http.MethodPatch, "/Groups/"+id, patch(add))
		require.Less(t, status, 300)
	}
	status, _ := send(t, s, http.MethodPatch, "/Groups/"+id, patch(fmt.Sprintf(`{"op":"remove","path":"members[value eq \"%s\"]"}`, ann)))
	require.Less(t, status, 300)
	require.Equal(t, Group{DisplayName: "g", Users: []string{"y"}, Groups: []string{"c"}}, s.Snapshot().Groups["g"])
	groups, users := s.Counts()
	require.Equal(t, []int{2, 2}, []int{groups, users})
}

func TestSearchesAnswerFromTheIndexesAndStayTrue(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := create(t, s, "/Users", user("ann", "x"))
	create(t, s, "/Users", user("bob", "y"))
	found := func(filter string) int {
		status, answer := send(t, s, http.MethodGet, "/Users?filter="+url.QueryEscape(filter), "")
		require.Equal(t, http.StatusOK, status, answer)
		total, _ := answer["totalResults"].(float64)
		return int(total)
	}
	require.Equal(t, 1, found(`externalId eq "x"`))
	require.Equal(t, 1, found(`userName eq "ANN"`))
	require.Equal(t, 1, found(`userName eq "ann" and externalId eq "x"`))
	require.Equal(t, 0, found(`userName eq "ann" and externalId eq "y"`))
	send(t, s, http.MethodPatch, "/Users/"+id, patch(`{"op":"replace","path":"userName","value":"anna"}`))
	require.Equal(t, 0, found(`userName eq "ann"`))
	require.Equal(t, 1, found(`userName eq "anna"`))
	status, _ := send(t, s, http.MethodDelete, "/Users/"+id, "")
	require.Equal(t, http.StatusNoContent, status)
	require.Equal(t, 0, found(`externalId eq "x"`))
	status, _ = send(t, s, http.MethodGet, "/Users?filter="+url.QueryEscape(`title co "t"`), "")
	require.Equal(t, http.StatusBadRequest, status)
}

func TestListsCanBePaged(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for i := range 5 {
		create(t, s, "/Users", user(fmt.Sprint("user", i), fmt.Sprint(i)))
	}
	_, answer := send(t, s, http.MethodGet, "/Users?startIndex=4&count=3", "")
	require.EqualValues(t, 5, answer["totalResults"])
	require.Len(t, answer["Resources"], 2)
}

func TestAnObjectCanBeReplaced(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := create(t, s, "/Users", user("ann", "x"))
	status, _ := send(t, s, http.MethodPut, "/Users/"+id, `{`+userSchemas+`,"userName":"anna"}`)
	require.Equal(t, http.StatusOK, status)
	_, answer := send(t, s, http.MethodGet, "/Users/"+id, "")
	require.Equal(t, "anna", answer["userName"])
	require.NotContains(t, answer, "title")
	require.NotContains(t, answer, "externalId")
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	create(t, s, "/Users", user("ann", "x"))
	send(t, s, http.MethodDelete, "/Users/u1", "")
	require.Equal(t, map[string]int{"POST /Users": 1, "DELETE /Users": 1}, s.Requests())
}

func TestGroups_AreRefusedForTheSakeOfOthers(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Token: "token", Quirks: Quirks{UniqueGroups: true, NoCycles: http.StatusBadRequest}})
	require.NoError(t, err)
	group := func(name string) string {
		return create(t, s, "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`"}`)
	}
	a, b, c := group("a"), group("b"), group("c")
	add := func(to, member string) int {
		status, _ := send(t, s, http.MethodPatch, "/Groups/"+to, patch(`{"op":"add","path":"members","value":[{"value":"`+member+`"}]}`))
		return status
	}
	require.Less(t, add(a, b), 300)
	require.Less(t, add(b, c), 300)
	require.Equal(t, http.StatusBadRequest, add(c, a))
	require.Equal(t, http.StatusBadRequest, add(a, a))
	rename := func(id, name string) int {
		status, _ := send(t, s, http.MethodPatch, "/Groups/"+id, patch(`{"op":"replace","path":"displayName","value":"`+name+`"}`))
		return status
	}
	require.Equal(t, http.StatusConflict, rename(a, "B"))
	require.Less(t, rename(a, "A"), 300, "its own name in other letters")
	require.Equal(t, http.StatusNotFound, rename("nobody", "b"))
}
