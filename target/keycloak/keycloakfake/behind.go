package keycloakfake

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Groups are all groups, as they are behind the API, sorted by path.
func (s *Server) Groups() []Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Group, 0, len(s.groups))
	for _, g := range s.groups {
		copied := *g
		copied.Attributes, copied.Members = maps.Clone(g.Attributes), maps.Clone(g.Members)
		all = append(all, copied)
	}
	slices.SortFunc(all, func(a, b Group) int { return strings.Compare(s.path(&a), s.path(&b)) })
	return all
}

// Paths are the paths of all groups, sorted.
func (s *Server) Paths() []string {
	groups := s.Groups()
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := make([]string, 0, len(groups))
	for i := range groups {
		paths = append(paths, s.path(&groups[i]))
	}
	return paths
}

// Users are all users, sorted by name.
func (s *Server) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]User, 0, len(s.users))
	for _, u := range s.sorted() {
		copied := *u
		copied.Attributes = maps.Clone(u.Attributes)
		all = append(all, copied)
	}
	return all
}

// AddGroup makes a group behind the API's back and returns its id.
func (s *Server) AddGroup(parent, name string, attributes map[string][]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.NewString()
	s.groups[id] = &Group{ID: id, Name: name, ParentID: parent, Attributes: attributes, Members: map[string]bool{}}
	return id
}

// AddUser makes a user behind the API's back and returns its id.
func (s *Server) AddUser(username string, attributes map[string][]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.NewString()
	s.users[id] = &User{ID: id, Username: lower(username), Enabled: true, Attributes: attributes}
	return id
}

// Remove removes a group, with what is below, or a user.
func (s *Server) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id)
	delete(s.users, id)
	for _, g := range s.groups {
		delete(g.Members, id)
	}
}
