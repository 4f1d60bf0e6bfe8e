// Package scimtest looks at a SCIM server from the outside: what it has, page
// by page, and what a stranger could do to it. It shares no code with the
// connector that it is used to check.
package scimtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/targettest"
)

const (
	coreUser   = "urn:ietf:params:scim:schemas:core:2.0:User"
	coreGroup  = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// Server is a SCIM server as a client sees it. It implements targettest.Server.
type Server struct {
	URL, Token string
}

var _ targettest.Server = Server{}

type value struct {
	Value string `json:"value"`
	Type  string `json:"type"`
}

type user struct {
	ID           string  `json:"id"`
	ExternalID   string  `json:"externalId"`
	UserName     string  `json:"userName"`
	DisplayName  string  `json:"displayName"`
	Active       bool    `json:"active"`
	Title        string  `json:"title"`
	UserType     string  `json:"userType"`
	Emails       []value `json:"emails"`
	PhoneNumbers []value `json:"phoneNumbers"`
	Enterprise   struct {
		EmployeeNumber string `json:"employeeNumber"`
		Department     string `json:"department"`
		Organization   string `json:"organization"`
	} `json:"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"`
}

type group struct {
	ID          string  `json:"id"`
	ExternalID  string  `json:"externalId"`
	DisplayName string  `json:"displayName"`
	Members     []value `json:"members"`
}

// Carried is the part of an account that Users tells.
func Carried(u target.User) target.User {
	u.Uncertain, u.AccountName, u.DepartmentCode = false, "", ""
	return u
}

// Users implements targettest.Server.
func (s Server) Users(ctx context.Context) ([]target.User, error) {
	found, err := list[user](ctx, s, "/Users")
	users := make([]target.User, len(found))
	for i, u := range found {
		users[i] = target.User{
			Object:   target.Object{RemoteID: u.ID, ExternalID: u.ExternalID},
			UserName: u.UserName, DisplayName: u.DisplayName, Active: u.Active, Title: u.Title,
			EmployeeNumber: u.Enterprise.EmployeeNumber, EmployeeType: u.UserType,
			DepartmentName: u.Enterprise.Department, Organization: u.Enterprise.Organization,
			Mobile: join(u.PhoneNumbers), Email: join(u.Emails),
		}
	}
	return users, err
}

// join shows a list that should have one element or none.
func join(values []value) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.Value
	}
	return strings.Join(texts, " and ")
}

// Departments implements targettest.Server.
func (s Server) Departments(ctx context.Context) ([]targettest.Department, error) {
	found, err := list[group](ctx, s, "/Groups")
	groups := make(map[string]bool, len(found))
	for _, g := range found {
		groups[g.ID] = true
	}
	departments := make([]targettest.Department, len(found))
	for i, g := range found {
		departments[i].Object = target.Object{RemoteID: g.ID, ExternalID: g.ExternalID}
		departments[i].Name = g.DisplayName
		for _, m := range g.Members {
			kind := target.MemberUser
			if m.Type == "Group" || groups[m.Value] {
				kind = target.MemberDepartment
			}
			departments[i].Members = append(departments[i].Members, target.Member{Kind: kind, RemoteID: m.Value})
		}
	}
	return departments, err
}

// CreateUser implements targettest.Server.
func (s Server) CreateUser(ctx context.Context, userName, externalID string) (string, error) {
	return s.create(ctx, "/Users", map[string]any{"schemas": []string{coreUser}, "userName": userName}, externalID)
}

// CreateDepartment implements targettest.Server.
func (s Server) CreateDepartment(ctx context.Context, name, externalID string) (string, error) {
	return s.create(ctx, "/Groups", map[string]any{"schemas": []string{coreGroup}, "displayName": name}, externalID)
}

func (s Server) create(ctx context.Context, path string, body map[string]any, externalID string) (string, error) {
	if externalID != "" {
		body["externalId"] = externalID
	}
	var created struct{ ID string }
	err := s.Do(ctx, http.MethodPost, path, body, &created)
	return created.ID, err
}

// Delete implements targettest.Server.
func (s Server) Delete(ctx context.Context, kind target.MemberKind, remoteID string) error {
	path := "/Users/"
	if kind == target.MemberDepartment {
		path = "/Groups/"
	}
	return s.Do(ctx, http.MethodDelete, path+url.PathEscape(remoteID), nil, nil)
}

// pageSize is how many objects are read at once.
const pageSize = 5000

// list reads all pages of a collection.
func list[T any](ctx context.Context, s Server, path string) ([]T, error) {
	var all []T
	for {
		var page struct {
			TotalResults int
			Resources    []T
		}
		query := url.Values{"startIndex": {strconv.Itoa(len(all) + 1)}, "count": {strconv.Itoa(pageSize)}}
		if err := s.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Resources...)
		if len(all) >= page.TotalResults || len(page.Resources) == 0 {
			return all, nil
		}
	}
}

// Do sends a request of anybody's and decodes the answer into into, unless nil.
func (s Server) Do(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.URL+path, reader)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Authorization", "Bearer "+s.Token)
	request.Header.Set("Content-Type", "application/scim+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode > 299 {
		return fmt.Errorf("%s %s: status %d: %s: %w", method, path, response.StatusCode, text, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}
