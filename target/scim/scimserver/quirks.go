package scimserver

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Quirks make the server deviate from RFC 7644 as real products do. The zero
// value has none.
type Quirks struct {
	NoPatch        bool     // PATCH is not implemented, and ServiceProviderConfig says so
	PromisesPatch  bool     // … though ServiceProviderConfig promises it
	NoGroups       bool     // there are accounts only, and ResourceTypes says so
	NoDelete       bool     // accounts are for good
	NoExtension    bool     // the enterprise schema is neither listed nor taken
	IgnoresFilters bool     // a search answers with everything
	FiltersBy      []string // the only attributes that a filter may name, with eq
	MaxMembers     int      // the most members that one PATCH may change
	RemovesByValue bool     // members leave by a list of values, not by a path with a filter
	HidesMembers   bool     // no answer tells a group's members
	TellsMembers   bool     // a PATCH of a group answers with all its members
	DropsStrangers bool     // members that are not there are dropped without a word
	FlatGroups     bool     // a group cannot be a member
	UniqueGroups   bool     // no two groups have one name
	NoCycles       int      // the status with which a group is refused that would be its own member in the end; 0 for not
	StrictRemoval  bool     // what is not there cannot be removed
	BothNames      bool     // accounts need a given and a family name
	Blames         bool     // the client's errors are answered 500
	Versions       bool     // objects have versions, and If-Match is obeyed
	// PathIDs gives ids that are no path segments as they stand.
	PathIDs bool
}

// LikeEntra are the quirks of servers built for Microsoft Entra's client.
func LikeEntra() Quirks {
	return Quirks{FiltersBy: []string{"userName", "externalId", "displayName"}, RemovesByValue: true, FlatGroups: true, BothNames: true}
}

// LikeOkta are the quirks of servers built for Okta's client.
func LikeOkta() Quirks {
	return Quirks{FiltersBy: []string{"userName", "displayName"}, FlatGroups: true, BothNames: true}
}

// LikeAWS are the quirks that IAM Identity Center's developer guide tells of.
func LikeAWS() Quirks {
	return Quirks{
		FiltersBy: []string{"userName", "externalId", "displayName", "id"}, MaxMembers: 100, RemovesByValue: true,
		HidesMembers: true, FlatGroups: true, UniqueGroups: true, BothNames: true,
	}
}

// Plain serves the same content without quirks: the view from behind.
func (s *Server) Plain() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.letsIn(w, r) {
			s.scim.ServeHTTP(w, r)
		}
	})
}

// quirky serves a request as the quirks have it.
func (s *Server) quirky(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	answer := httptest.NewRecorder()
	if q := s.options.Quirks; (q.UniqueGroups || q.NoCycles > 0) && r.Method != http.MethodGet {
		s.changing.Lock() // what is refused for the others must be so for them as they are
		defer s.changing.Unlock()
	}
	if refusal := s.refusal(r, body); refusal != nil {
		refusal.write(answer)
	} else {
		query := r.URL.Query()
		if s.options.Quirks.IgnoresFilters {
			query.Del("filter")
		}
		forwarded := r.Clone(r.Context())
		forwarded.URL.RawQuery = query.Encode()
		forwarded.Body = io.NopCloser(bytes.NewReader(s.rewritten(r, body)))
		s.scim.ServeHTTP(answer, forwarded)
		s.retold(r, answer)
	}
	status := answer.Code
	if s.options.Quirks.Blames && (status == http.StatusBadRequest || status == http.StatusConflict) {
		status = http.StatusInternalServerError
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(status)
	_, _ = w.Write(answer.Body.Bytes())
}

// refusal is an error of RFC 7644 §3.12.
type refusal struct {
	status       int
	kind, detail string
}

type refusalBody struct {
	Schemas  []string `json:"schemas"`
	Status   string   `json:"status"`
	ScimType string   `json:"scimType,omitempty"`
	Detail   string   `json:"detail"`
}

func (e *refusal) write(w http.ResponseWriter) {
	write(w, e.status, refusalBody{[]string{"urn:ietf:params:scim:api:messages:2.0:Error"}, strconv.Itoa(e.status), e.kind, e.detail})
}

// write answers with JSON.
func write(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/scim+json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// message is what the quirks look at of any body.
type message struct {
	DisplayName string
	Members     any
	Name        struct{ GivenName, FamilyName string }
	Schemas     []string
	Operations  []operation
}

type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// name is the displayName that a body sets, empty for none.
func (m *message) name() string {
	name := m.DisplayName
	for _, o := range m.Operations {
		if strings.EqualFold(o.Path, "displayName") {
			_ = json.Unmarshal(o.Value, &name)
		}
	}
	return name
}

// added are the members that a body adds.
func (m *message) added() []string {
	ids := memberIDs(m.Members)
	for _, o := range m.Operations {
		if o.Path == "members" && !strings.EqualFold(o.Op, "remove") {
			ids = append(ids, valuesOf(o.Value)...)
		}
	}
	return ids
}

func lastOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// refusal is the first quirk that refuses a request; nil if none does.
func (s *Server) refusal(r *http.Request, body []byte) *refusal {
	q := s.options.Quirks
	collection, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	groups := collection == "Groups"
	var m message
	_ = json.Unmarshal(body, &m) // what is no JSON is the inner server's to refuse
	switch {
	case q.NoGroups && groups:
		return &refusal{http.StatusNotFound, "", "no such endpoint"}
	case q.NoPatch && r.Method == http.MethodPatch:
		return &refusal{http.StatusNotImplemented, "", "PATCH is not implemented"}
	case q.NoDelete && r.Method == http.MethodDelete && !groups:
		return &refusal{http.StatusMethodNotAllowed, "", "accounts are for good"}
	case q.NoExtension && slices.ContainsFunc(m.Schemas, isEnterprise), q.NoExtension && slices.ContainsFunc(m.Operations, func(o operation) bool { return isEnterprise(o.Path) }):
		return &refusal{http.StatusBadRequest, "invalidSyntax", "unknown schema"}
	case q.BothNames && !groups && (r.Method == http.MethodPost || r.Method == http.MethodPut) && (m.Name.GivenName == "" || m.Name.FamilyName == ""):
		return &refusal{http.StatusBadRequest, "invalidValue", "givenName and familyName are required"}
	case q.UniqueGroups && groups && (r.Method == http.MethodPost || s.groups.has(lastOf(r.URL.Path))) && s.groups.namedOther(m.name(), lastOf(r.URL.Path)):
		return &refusal{http.StatusConflict, "uniqueness", "a group of that name exists"}
	case q.NoCycles > 0 && groups && s.groups.cycle(lastOf(r.URL.Path), m.added()):
		return &refusal{q.NoCycles, "", "a group cannot be a member of itself, be it through others"}
	}
	if filter := r.URL.Query().Get("filter"); filter != "" && !q.filters(filter) {
		return &refusal{http.StatusBadRequest, "invalidFilter", "filter not supported"}
	}
	return s.refusedMembers(groups, m.Operations)
}

func isEnterprise(text string) bool { return strings.Contains(text, ":enterprise:") }

var terms = regexp.MustCompile(`(?i)(?:^|\sand\s+)(\w+)\s+(\w+)\s+"(?:[^"\\]|\\.)*"`)

// filters reports whether a filter names allowed attributes with eq alone.
func (q *Quirks) filters(filter string) bool {
	if len(q.FiltersBy) == 0 {
		return true
	}
	found := terms.FindAllStringSubmatch(filter, -1)
	for _, term := range found {
		if !strings.EqualFold(term[2], "eq") || !slices.ContainsFunc(q.FiltersBy, func(name string) bool { return strings.EqualFold(name, term[1]) }) {
			return false
		}
	}
	return len(found) > 0
}

// refusedMembers judges the changes of a group's members.
func (s *Server) refusedMembers(groups bool, operations []operation) *refusal {
	q, changed := s.options.Quirks, 0
	for _, o := range operations {
		if !groups || !strings.HasPrefix(o.Path, "members") {
			continue
		}
		ids := valuesOf(o.Value)
		changed += max(len(ids), 1)
		switch {
		case q.RemovesByValue && strings.Contains(o.Path, "["):
			return &refusal{http.StatusBadRequest, "invalidPath", "filters in paths are not supported"}
		case q.RemovesByValue && (strings.EqualFold(o.Op, "replace") || len(ids) == 0):
			return &refusal{http.StatusBadRequest, "", "all members cannot be replaced or removed at once"}
		case q.FlatGroups && slices.ContainsFunc(ids, s.groups.has):
			return &refusal{http.StatusBadRequest, "invalidValue", "a group cannot be a member"}
		}
	}
	if q.MaxMembers > 0 && changed > q.MaxMembers {
		return &refusal{http.StatusBadRequest, "", "too many members"}
	}
	return nil
}

func valuesOf(raw json.RawMessage) []string {
	var value any
	_ = json.Unmarshal(raw, &value)
	return memberIDs(value)
}

// rewritten drops members that are not there.
func (s *Server) rewritten(r *http.Request, body []byte) []byte {
	var m map[string]any
	if !s.options.Quirks.DropsStrangers || r.Method != http.MethodPatch || json.Unmarshal(body, &m) != nil {
		return body
	}
	operations, _ := m["Operations"].([]any)
	for _, one := range operations {
		o, _ := one.(map[string]any)
		if members, ok := o["value"].([]any); ok && o["path"] == "members" && o["op"] == "add" {
			o["value"] = slices.DeleteFunc(members, func(member any) bool {
				ids := memberIDs(member)
				return len(ids) == 1 && !s.users.has(ids[0]) && !s.groups.has(ids[0])
			})
		}
	}
	kept, err := json.Marshal(m)
	if err != nil {
		return body
	}
	return kept
}

// retold changes what an answer tells.
func (s *Server) retold(r *http.Request, answer *httptest.ResponseRecorder) {
	q := s.options.Quirks
	switch path := r.URL.Path; {
	case path == "/ServiceProviderConfig" && (q.PromisesPatch || s.options.Bulk.MaxOperations > 0):
		retell(answer, func(body map[string]any) {
			if q.PromisesPatch {
				body["patch"] = map[string]any{"supported": true}
			}
			if bulk := s.options.Bulk; bulk.MaxOperations > 0 {
				body["bulk"] = map[string]any{"supported": true, "maxOperations": bulk.MaxOperations, "maxPayloadSize": bulk.MaxPayload}
			}
		})
	case path == "/ResourceTypes" && (q.NoGroups || q.NoExtension):
		retell(answer, s.fewerTypes)
	case q.TellsMembers && r.Method == http.MethodPatch && strings.HasPrefix(path, "/Groups/") && answer.Code < 300:
		get := r.Clone(r.Context())
		get.Method, get.URL.RawQuery = http.MethodGet, ""
		*answer = *httptest.NewRecorder()
		s.scim.ServeHTTP(answer, get)
		retell(answer, func(body map[string]any) {
			if body["members"] == nil {
				body["members"] = []any{}
			}
		})
	case q.HidesMembers && strings.HasPrefix(path, "/Groups"):
		retell(answer, func(body map[string]any) {
			delete(body, "members")
			resources, _ := body["Resources"].([]any)
			for _, one := range resources {
				if group, ok := one.(map[string]any); ok {
					delete(group, "members")
				}
			}
		})
	}
}

func (s *Server) fewerTypes(body map[string]any) {
	types, _ := body["Resources"].([]any)
	body["Resources"] = slices.DeleteFunc(types, func(one any) bool {
		kind, _ := one.(map[string]any)
		if s.options.Quirks.NoExtension {
			delete(kind, "schemaExtensions")
		}
		return s.options.Quirks.NoGroups && kind["endpoint"] == "/Groups"
	})
}

// retell changes the JSON of an answer, if it is any.
func retell(answer *httptest.ResponseRecorder, change func(map[string]any)) {
	var body map[string]any
	if json.Unmarshal(answer.Body.Bytes(), &body) != nil {
		return
	}
	change(body)
	text, err := json.Marshal(body)
	if err != nil {
		return
	}
	answer.Body = bytes.NewBuffer(text)
}

// idOf makes an id of a collection's next number.
func (q *Quirks) idOf(prefix string, number int) string {
	id := prefix + strconv.Itoa(number)
	if q.PathIDs {
		return "部/" + id + "?a=b#c d;+/../é" // no per cent sign: the library unescapes twice
	}
	return id
}
