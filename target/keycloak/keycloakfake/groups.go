package keycloakfake

import (
	"net/http"
	"sort"
	"strings"

	"github.com/google/uuid"
)

// maxName and maxAttribute are what the server's tables hold, in characters.
const maxName, maxAttribute = 255, 255

// defaultChildren is how many children are listed where nobody says how many.
const defaultChildren = 10

type groupBody struct {
	ID            string              `json:"id,omitempty"`
	Name          string              `json:"name"`
	Path          string              `json:"path,omitempty"`
	ParentID      string              `json:"parentId,omitempty"`
	SubGroupCount int                 `json:"subGroupCount"`
	SubGroups     []groupBody         `json:"subGroups"`
	Attributes    map[string][]string `json:"attributes,omitempty"`
}

func (s *Server) path(g *Group) string {
	step := "/" + strings.ReplaceAll(g.Name, "/", "~/")
	if parent := s.groups[g.ParentID]; parent != nil {
		return s.path(parent) + step
	}
	return step
}

func (s *Server) render(g *Group, brief bool) groupBody {
	body := groupBody{ID: g.ID, Name: g.Name, Path: s.path(g), ParentID: g.ParentID, SubGroupCount: len(s.children(g.ID)), SubGroups: []groupBody{}}
	if !brief {
		body.Attributes = g.Attributes
	}
	return body
}

// children are the groups below one, or the top-level ones, by name.
func (s *Server) children(parent string) []*Group {
	var all []*Group
	for _, g := range s.groups {
		if g.ParentID == parent {
			all = append(all, g)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

func (s *Server) sibling(parent, name, except string) bool {
	for _, g := range s.children(parent) {
		if g.Name == name && g.ID != except {
			return true
		}
	}
	return false
}

// matcher is what a listing asks for; nil for everything.
func matcher(r *http.Request) func(*Group) bool {
	if name, value, ok := asked(r); ok {
		return func(g *Group) bool { return has(g.Attributes, name, value) }
	}
	search := r.URL.Query().Get("search")
	switch {
	case search == "":
		return nil
	case r.URL.Query().Get("exact") == "true":
		return func(g *Group) bool { return g.Name == search }
	default:
		return func(g *Group) bool { return strings.Contains(strings.ToLower(g.Name), strings.ToLower(search)) }
	}
}

// listGroups lists top-level groups. A search shows the way from the root to
// each match, with what else is on it, unless populateHierarchy is off.
func (s *Server) listGroups(w http.ResponseWriter, r *http.Request) {
	brief := r.URL.Query().Get("briefRepresentation") != "false"
	matches := matcher(r)
	var found []groupBody
	var walk func(parent string) []groupBody
	walk = func(parent string) []groupBody {
		shown := []groupBody{}
		for _, g := range s.children(parent) {
			body := s.render(g, brief)
			if matches(g) && r.URL.Query().Get("populateHierarchy") == "false" {
				found = append(found, body)
			}
			body.SubGroups = walk(g.ID)
			if matches(g) || len(body.SubGroups) > 0 {
				shown = append(shown, body)
			}
		}
		return shown
	}
	switch {
	case matches == nil:
		for _, g := range s.children("") {
			found = append(found, s.render(g, brief))
		}
	case r.URL.Query().Get("populateHierarchy") == "false":
		walk("")
	default:
		found = walk("")
	}
	answer(w, http.StatusOK, page(r, append([]groupBody{}, found...), len(found)))
}

func (s *Server) listChildren(w http.ResponseWriter, r *http.Request) {
	g := s.groups[r.PathValue("id")]
	if g == nil {
		notFound(w, "Could not find group by id")
		return
	}
	matches := matcher(r)
	found := []groupBody{}
	for _, child := range s.children(g.ID) {
		if s.options.NoChildSearch || matches == nil || matches(child) {
			found = append(found, s.render(child, r.URL.Query().Get("briefRepresentation") != "false"))
		}
	}
	answer(w, http.StatusOK, page(r, found, defaultChildren))
}

func (s *Server) getGroup(w http.ResponseWriter, r *http.Request) {
	g := s.groups[r.PathValue("id")]
	if g == nil {
		notFound(w, "Could not find group by id")
		return
	}
	answer(w, http.StatusOK, s.render(g, false))
}

func valid(w http.ResponseWriter, body groupBody) bool {
	switch {
	case strings.TrimSpace(body.Name) == "":
		refuse(w, http.StatusBadRequest, "Group name is missing")
		return false
	case len([]rune(body.Name)) > maxName:
		answer(w, http.StatusInternalServerError, map[string]string{"error": "unknown_error"})
		return false
	}
	for _, values := range body.Attributes {
		for _, v := range values {
			if len([]rune(v)) > maxAttribute {
				answer(w, http.StatusInternalServerError, map[string]string{"error": "unknown_error"})
				return false
			}
		}
	}
	return true
}

// postGroup makes a group under another, or at the top; a body with an id moves
// that group there in its place, and changes nothing else of it.
func (s *Server) postGroup(w http.ResponseWriter, r *http.Request) {
	parent := r.PathValue("id")
	if parent != "" && s.groups[parent] == nil {
		notFound(w, "Could not find group by id")
		return
	}
	var body groupBody
	if !read(w, r, &body) || !valid(w, body) {
		return
	}
	taken := func(name string) string {
		if parent == "" {
			return "Top level group named '" + name + "' already exists."
		}
		return "Sibling group named '" + name + "' already exists."
	}
	if body.ID != "" {
		g := s.groups[body.ID]
		switch {
		case g == nil:
			notFound(w, "Could not find child by id")
			return
		case s.sibling(parent, g.Name, g.ID):
			refuse(w, http.StatusConflict, taken(g.Name))
			return
		}
		for above := parent; above != ""; above = s.groups[above].ParentID {
			if above == g.ID {
				answer(w, http.StatusInternalServerError, map[string]string{"error": "unknown_error"})
				return
			}
		}
		g.ParentID = parent
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if s.sibling(parent, body.Name, "") {
		refuse(w, http.StatusConflict, taken(body.Name))
		return
	}
	g := &Group{ID: uuid.NewString(), Name: body.Name, ParentID: parent, Attributes: body.Attributes, Members: map[string]bool{}}
	s.groups[g.ID] = g
	realm, _, _ := strings.Cut(r.URL.EscapedPath(), "/groups")
	w.Header().Set("Location", "http://"+r.Host+realm+"/groups/"+g.ID)
	if parent == "" {
		w.WriteHeader(http.StatusCreated)
		return
	}
	answer(w, http.StatusCreated, s.render(g, false))
}

// putGroup changes name and, if they are sent, all attributes.
func (s *Server) putGroup(w http.ResponseWriter, r *http.Request) {
	g := s.groups[r.PathValue("id")]
	if g == nil {
		notFound(w, "Could not find group by id")
		return
	}
	var body groupBody
	if !read(w, r, &body) || !valid(w, body) {
		return
	}
	if s.sibling(g.ParentID, body.Name, g.ID) {
		refuse(w, http.StatusConflict, "Sibling group named '"+body.Name+"' already exists.")
		return
	}
	g.Name = body.Name
	if body.Attributes != nil {
		g.Attributes = body.Attributes
	}
	w.WriteHeader(http.StatusNoContent)
}

// deleteGroup takes along what is below.
func (s *Server) deleteGroup(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if s.groups[id] == nil {
		notFound(w, "Could not find group by id")
		return
	}
	s.drop(id)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) drop(id string) {
	for _, child := range s.children(id) {
		s.drop(child.ID)
	}
	delete(s.groups, id)
}
