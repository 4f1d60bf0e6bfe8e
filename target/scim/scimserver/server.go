// Package scimserver is a SCIM 2.0 server in memory, on the library
// elimity-com/scim: what the demo feeds and what tests are held against. It
// answers look-ups by userName and externalId from an index, so that it keeps
// its speed with a hundred thousand objects.
package scimserver

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/elimity-com/scim"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
)

// Options shape a Server; the zero value serves without authentication.
type Options struct {
	// Token, if set, is the bearer token every request must carry.
	Token string
	// Quirks make it deviate from the RFC.
	Quirks Quirks
	// Bulk, if its MaxOperations are set, is offered (RFC 7644 §3.7).
	Bulk Bulk
}

// Server is a SCIM server. It is an http.Handler, at the root of its URL.
type Server struct {
	options Options
	quirks  bool // it deviates, or offers more, than the library's server
	scim    scim.Server
	users   *collection
	groups  *collection

	changing sync.Mutex // by one request at a time, where it matters what others do
	mu       sync.Mutex
	requests map[string]int
}

// New makes an empty server.
func New(options Options) (*Server, error) {
	s := &Server{
		options:  options,
		quirks:   !reflect.DeepEqual(options, Options{Token: options.Token}),
		users:    newCollection("User", schema.ExtensionEnterpriseUser().ID, true, options.Quirks),
		groups:   newCollection("Group", "", false, options.Quirks),
		requests: make(map[string]int),
	}
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{MaxResults: 1000, SupportFiltering: true, SupportPatch: !options.Quirks.NoPatch},
		ResourceTypes: []scim.ResourceType{
			{
				ID: optional.NewString("User"), Name: "User", Endpoint: "/Users",
				Schema:           schema.CoreUserSchema(),
				SchemaExtensions: []scim.SchemaExtension{{Schema: schema.ExtensionEnterpriseUser()}},
				Handler:          s.users,
			},
			{
				ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups",
				Schema: schema.CoreGroupSchema(), Handler: s.groups,
			},
		},
	})
	s.scim = server
	return s, err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.Method+" /"+strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2)[0]]++
	s.mu.Unlock()
	switch {
	case !s.letsIn(w, r):
	case s.quirks && r.URL.Path == "/Bulk" && s.options.Bulk.MaxOperations > 0:
		s.bulk(w, r)
	case s.quirks:
		s.quirky(w, r)
	default:
		s.scim.ServeHTTP(w, r)
	}
}

// letsIn answers a request that lacks the token.
func (s *Server) letsIn(w http.ResponseWriter, r *http.Request) bool {
	given := []byte(r.Header.Get("Authorization"))
	if s.options.Token == "" || subtle.ConstantTimeCompare(given, []byte("Bearer "+s.options.Token)) == 1 {
		return true
	}
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// Requests counts the requests served, by method and collection: "POST /Users".
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

// Group is a group as the server has it; members and parents by externalId.
type Group struct {
	DisplayName string
	Users       []string
	Groups      []string
}

// User is a user as the server has it.
type User struct {
	UserName   string
	Active     bool
	Department string
}

// Snapshot is everything the server has, by externalId.
type Snapshot struct {
	Groups map[string]Group
	Users  map[string]User
}

// Snapshot copies the server's content. Objects of one externalId overwrite
// each other in it; Counts tells whether there are any.
func (s *Server) Snapshot() Snapshot {
	snapshot := Snapshot{Groups: make(map[string]Group), Users: make(map[string]User)}
	s.users.each(func(o *object) {
		active, _ := o.attributes["active"].(bool)
		userName, _ := o.attributes["userName"].(string)
		enterprise, _ := o.attributes[schema.ExtensionEnterpriseUser().ID].(map[string]any)
		department, _ := enterprise["department"].(string)
		snapshot.Users[o.externalID] = User{UserName: userName, Active: active, Department: department}
	})
	names := make(map[string]string)
	s.groups.each(func(o *object) { names[o.id] = o.externalID })
	s.groups.each(func(o *object) {
		displayName, _ := o.attributes["displayName"].(string)
		group := Group{DisplayName: displayName}
		for _, id := range o.memberIDs {
			if name, ok := names[id]; ok {
				group.Groups = append(group.Groups, name)
			} else if name, ok := s.users.externalID(id); ok {
				group.Users = append(group.Users, name)
			}
		}
		snapshot.Groups[o.externalID] = group
	})
	return snapshot
}

// Counts tells how many groups and users the server has.
func (s *Server) Counts() (groups, users int) { return s.groups.size(), s.users.size() }
