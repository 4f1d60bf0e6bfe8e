package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/target/scim/scimtest"
	"github.com/openkoo/connector/test/peers/scimmy"
)

// peer is a SCIM server that the connector delivers to, seen from outside.
type peer struct {
	scimtest.Server
	name string
	// requests counts the requests served, by method and collection.
	requests func() map[string]int
}

// peers starts every SCIM server there is: ours, and one that others wrote.
func peers(t *testing.T) []peer {
	t.Helper()
	server, err := scimserver.New(scimserver.Options{Token: "scim-token"})
	require.NoError(t, err)
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	third := scimmy.Start(t)
	return []peer{
		{scimtest.Server{URL: listening.URL, Token: "scim-token"}, "elimity", server.Requests},
		{third, "scimmy", func() map[string]int {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(third.URL, "/scim/v2")+"/requests", nil)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			counts := make(map[string]int)
			require.NoError(t, json.NewDecoder(response.Body).Decode(&counts))
			return counts
		}},
	}
}

// writes counts the requests that change something.
func (p peer) writes() map[string]int {
	counts := make(map[string]int)
	for name, n := range p.requests() {
		if !strings.HasPrefix(name, http.MethodGet) {
			counts[name] = n
		}
	}
	return counts
}

// object is a department or an account as a peer is to have it.
type object struct {
	Name   string
	Active bool
	// In is the external id of the group it is in: the parent, or the department.
	In string
}

// picture is all that a peer has, by external id. An object in two groups, or
// two objects of one external id, show in it.
func (p peer) picture(ctx context.Context, t *testing.T) (departments, users map[string]object) {
	t.Helper()
	groups, err := p.Departments(ctx)
	require.NoError(t, err, p.name)
	accounts, err := p.Users(ctx)
	require.NoError(t, err, p.name)
	in := make(map[target.Member][]string)
	for _, g := range groups {
		for _, m := range g.Members {
			in[m] = append(in[m], g.ExternalID)
		}
	}
	departments, users = make(map[string]object, len(groups)), make(map[string]object, len(accounts))
	for _, g := range groups {
		place := strings.Join(in[target.Member{Kind: target.MemberDepartment, RemoteID: g.RemoteID}], " and ")
		departments[g.ExternalID] = object{Name: departments[g.ExternalID].Name + g.Name, In: place}
	}
	for _, u := range accounts {
		place := strings.Join(in[target.Member{Kind: target.MemberUser, RemoteID: u.RemoteID}], " and ")
		users[u.ExternalID] = object{Name: users[u.ExternalID].Name + u.UserName + " " + u.DepartmentName, Active: u.Active, In: place}
	}
	return departments, users
}
