package keycloakfake

import (
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// defaultUsers is how many users are listed where nobody says how many.
const defaultUsers = 100

type userBody struct {
	ID         string              `json:"id,omitempty"`
	Username   *string             `json:"username,omitempty"`
	Enabled    *bool               `json:"enabled,omitempty"`
	FirstName  *string             `json:"firstName,omitempty"`
	LastName   *string             `json:"lastName,omitempty"`
	Email      *string             `json:"email,omitempty"`
	Attributes map[string][]string `json:"attributes,omitempty"`
	Created    int64               `json:"createdTimestamp,omitempty"`
}

func text(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func render(u *User, brief bool) userBody {
	body := userBody{
		ID: u.ID, Username: &u.Username, Enabled: &u.Enabled, FirstName: text(u.FirstName), LastName: text(u.LastName), Email: text(u.Email), Created: 1700000000000,
	}
	if !brief {
		body.Attributes = u.Attributes
	}
	return body
}

func (s *Server) sorted() []*User {
	all := make([]*User, 0, len(s.users))
	for _, u := range s.users {
		all = append(all, u)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Username < all[j].Username })
	return all
}

func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	name, value, byAttribute := asked(r)
	username := lower(query.Get("username"))
	found := []userBody{}
	for _, u := range s.sorted() {
		switch {
		case byAttribute && !has(u.Attributes, name, value):
		case username != "" && query.Get("exact") == "true" && u.Username != username:
		case username != "" && !strings.Contains(u.Username, username):
		default:
			found = append(found, render(u, query.Get("briefRepresentation") == "true"))
		}
	}
	answer(w, http.StatusOK, page(r, found, defaultUsers))
}

func (s *Server) listMembers(w http.ResponseWriter, r *http.Request) {
	g := s.groups[r.PathValue("id")]
	if g == nil {
		notFound(w, "Could not find group by id")
		return
	}
	found := []userBody{}
	for _, u := range s.sorted() {
		if g.Members[u.ID] {
			found = append(found, render(u, r.URL.Query().Get("briefRepresentation") != "false"))
		}
	}
	answer(w, http.StatusOK, page(r, found, defaultUsers))
}

func (s *Server) profile(w http.ResponseWriter, _ *http.Request) {
	if s.options.NoProfile {
		notFound(w, "HTTP 404 Not Found")
		return
	}
	type attribute struct {
		Name string `json:"name"`
	}
	body := struct {
		Attributes []attribute `json:"attributes"`
		Unmanaged  string      `json:"unmanagedAttributePolicy,omitempty"`
	}{Attributes: []attribute{{"username"}, {"email"}, {"firstName"}, {"lastName"}}, Unmanaged: "ADMIN_EDIT"}
	if s.options.StrictProfile {
		body.Unmanaged = "" // disabled
	}
	for _, name := range s.options.KnownAttributes {
		body.Attributes = append(body.Attributes, attribute{name})
	}
	answer(w, http.StatusOK, body)
}

func (s *Server) getUser(w http.ResponseWriter, r *http.Request) {
	u := s.users[r.PathValue("id")]
	if u == nil {
		notFound(w, "User not found")
		return
	}
	answer(w, http.StatusOK, render(u, false))
}

// taken answers where another user has the name or the mail address.
func (s *Server) taken(w http.ResponseWriter, u *User) bool {
	for _, other := range s.users {
		switch {
		case other.ID == u.ID:
		case other.Username == u.Username:
			refuse(w, http.StatusConflict, "User exists with same username")
			return true
		case !s.options.DuplicateEmails && u.Email != "" && other.Email == u.Email:
			refuse(w, http.StatusConflict, "User exists with same email")
			return true
		}
	}
	return false
}

// merge takes over what was sent; what was not stays, but attributes are one.
func (s *Server) merge(u *User, body userBody) {
	set := func(into *string, value *string) {
		if value != nil {
			*into = *value
		}
	}
	if body.Username != nil {
		u.Username = lower(*body.Username)
	}
	if body.Email != nil {
		u.Email = lower(*body.Email)
	}
	set(&u.FirstName, body.FirstName)
	set(&u.LastName, body.LastName)
	if body.Enabled != nil {
		u.Enabled = *body.Enabled
	}
	if body.Attributes == nil {
		return
	}
	u.Attributes = map[string][]string{}
	for name, values := range body.Attributes {
		if !s.options.StrictProfile || slices.Contains(s.options.KnownAttributes, name) {
			u.Attributes[name] = values
		}
	}
}

func (s *Server) postUser(w http.ResponseWriter, r *http.Request) {
	var body userBody
	if !read(w, r, &body) {
		return
	}
	if body.Username == nil || *body.Username == "" {
		answer(w, http.StatusBadRequest, map[string]any{"field": "username", "errorMessage": "error-user-attribute-required", "params": []string{"username"}})
		return
	}
	u := &User{ID: uuid.NewString()}
	s.merge(u, body)
	if s.taken(w, u) {
		return
	}
	s.users[u.ID] = u
	w.Header().Set("Location", "http://"+r.Host+r.URL.EscapedPath()+"/"+u.ID)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) putUser(w http.ResponseWriter, r *http.Request) {
	u := s.users[r.PathValue("id")]
	if u == nil {
		notFound(w, "User not found")
		return
	}
	var body userBody
	if !read(w, r, &body) {
		return
	}
	if s.options.FixedUsernames && body.Username != nil && !strings.EqualFold(*body.Username, u.Username) {
		answer(w, http.StatusBadRequest, map[string]any{"field": "username", "errorMessage": "error-user-attribute-read-only", "params": []string{"username"}})
		return
	}
	next := *u
	s.merge(&next, body)
	if s.taken(w, &next) {
		return
	}
	*u = next
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if s.users[id] == nil {
		notFound(w, "User not found")
		return
	}
	delete(s.users, id)
	for _, g := range s.groups {
		delete(g.Members, id)
	}
	w.WriteHeader(http.StatusNoContent)
}

// member joins or leaves a group; doing so twice is no fault.
func (s *Server) member(join bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, g := s.users[r.PathValue("id")], s.groups[r.PathValue("gid")]
		switch {
		case u == nil:
			notFound(w, "User not found")
			return
		case g == nil:
			notFound(w, "Group not found")
			return
		case join:
			g.Members[u.ID] = true
		default:
			delete(g.Members, u.ID)
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// lower is a name in lower case as Java has it.
func lower(name string) string { return cases.Lower(language.Und).String(name) }
