// Package keycloakfake is a realm of Keycloak in memory, for tests: the part of
// the Admin REST API that deals with groups and users, and the token endpoint
// of service accounts.
//
// It was built from the public description of the API and of what the server
// does beyond it, not from a server's code, and keeps to the quirks that a
// client stumbles over: ids told in Location alone, a POST that moves, 409s for
// siblings of one name, attributes dropped that the user profile does not know,
// lists cut where nobody asked, deletions that take the subtree along.
package keycloakfake

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Options shape a realm; the zero value has one client, "connector".
type Options struct {
	ClientID, ClientSecret string        // default "connector", "client-secret"
	TokenLifetime          time.Duration // default 5 min
	Now                    func() time.Time
	// StrictProfile drops attributes of users that are not in KnownAttributes,
	// as realms do since Keycloak 24 unless unmanaged attributes are allowed.
	StrictProfile   bool
	KnownAttributes []string
	// NoProfile answers 404 for the user profile, as before Keycloak 24.
	NoProfile bool
	// FixedUsernames refuses to change one (Realm settings > Login > Edit
	// username is off).
	FixedUsernames bool
	// DuplicateEmails lets users share a mail address.
	DuplicateEmails bool
	// NoChildSearch ignores search on a group's children, as older servers do.
	NoChildSearch bool
}

// Realm is the name of the fake's realm; it needs escaping.
const Realm = "acme realm"

// Server is an http.Handler.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu     sync.Mutex
	tokens map[string]time.Time
	groups map[string]*Group
	users  map[string]*User
	issued int
}

// Group is a group as the server has it.
type Group struct {
	ID, Name, ParentID string
	Attributes         map[string][]string
	Members            map[string]bool // by id of user
}

// User is a user as the server has it.
type User struct {
	ID         string
	Username   string
	Enabled    bool
	FirstName  string
	LastName   string
	Email      string
	Attributes map[string][]string
}

// New makes a realm without groups and users.
func New(options Options) *Server {
	if options.ClientID == "" {
		options.ClientID, options.ClientSecret = "connector", "client-secret"
	}
	if options.TokenLifetime == 0 {
		options.TokenLifetime = 5 * time.Minute
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Server{
		options: options, mux: http.NewServeMux(),
		tokens: map[string]time.Time{}, groups: map[string]*Group{}, users: map[string]*User{},
	}
	s.mux.HandleFunc("POST /realms/{realm}/protocol/openid-connect/token", s.token)
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /groups":                     s.listGroups,
		"POST /groups":                    s.postGroup,
		"GET /groups/{id}":                s.getGroup,
		"GET /groups/{id}/members":        s.listMembers,
		"PUT /groups/{id}":                s.putGroup,
		"DELETE /groups/{id}":             s.deleteGroup,
		"GET /groups/{id}/children":       s.listChildren,
		"POST /groups/{id}/children":      s.postGroup,
		"GET /users":                      s.listUsers,
		"POST /users":                     s.postUser,
		"GET /users/profile":              s.profile,
		"GET /users/{id}":                 s.getUser,
		"PUT /users/{id}":                 s.putUser,
		"DELETE /users/{id}":              s.deleteUser,
		"PUT /users/{id}/groups/{gid}":    s.member(true),
		"DELETE /users/{id}/groups/{gid}": s.member(false),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		s.mux.HandleFunc(method+" /admin/realms/{realm}"+path, s.guard(handle))
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Revoke ends every token that was given out.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// TokensIssued counts the tokens given out.
func (s *Server) TokensIssued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// token implements the grant client_credentials (RFC 6749 §4.4).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("realm") != Realm {
		answer(w, http.StatusNotFound, map[string]string{"error": "Realm does not exist"})
		return
	}
	if r.ParseForm() != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type", "error_description": "Unsupported grant_type"})
		return
	}
	if r.PostForm.Get("client_id") != s.options.ClientID || r.PostForm.Get("client_secret") != s.options.ClientSecret {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "unauthorized_client", "error_description": "Invalid client or Invalid client credentials"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	token := uuid.NewString()
	s.tokens[token] = s.options.Now().Add(s.options.TokenLifetime)
	answer(w, http.StatusOK, map[string]any{
		"access_token": token, "expires_in": int(s.options.TokenLifetime.Seconds()), "refresh_expires_in": 0, "token_type": "Bearer", "not-before-policy": 0, "scope": "email profile",
	})
}

// guard lets in who has a token that counts, one at a time.
func (s *Server) guard(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		until, ok := s.tokens[token]
		switch {
		case !ok || !s.options.Now().Before(until):
			answer(w, http.StatusUnauthorized, map[string]string{"error": "HTTP 401 Unauthorized"})
		case r.PathValue("realm") != Realm:
			answer(w, http.StatusNotFound, map[string]string{"error": "Realm not found."})
		default:
			handle(w, r)
		}
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // the client may be gone
}

// refuse answers with the body of the server's 409s and of most 400s.
func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"errorMessage": message})
}

func notFound(w http.ResponseWriter, message string) {
	answer(w, http.StatusNotFound, map[string]string{"error": message})
}

// read decodes a body; it answers what is no JSON as the server does.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		answer(w, http.StatusUnsupportedMediaType, map[string]string{"error": "HTTP 415 Unsupported Media Type"})
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "unknown_error"})
		return false
	}
	return true
}

// page cuts a list by first and max, if the request has them.
func page[T any](r *http.Request, all []T, most int) []T {
	number := func(name string, fallback int) int {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil || n < 0 {
			return fallback
		}
		return n
	}
	first := min(number("first", 0), len(all))
	return all[first : first+min(number("max", most), len(all)-first)]
}

// asked reads the query q: name:value pairs, values quoted where need be.
func asked(r *http.Request) (name, value string, ok bool) {
	name, value, ok = strings.Cut(r.URL.Query().Get("q"), ":")
	return name, strings.Trim(value, `"`), ok
}

func has(attributes map[string][]string, name, value string) bool {
	return slices.Contains(attributes[name], value)
}
