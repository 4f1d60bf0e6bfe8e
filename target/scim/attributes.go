package scim

import (
	"strings"

	"github.com/openkoo/connector/target"
)

// The schemas of RFC 7643 and the PATCH message of RFC 7644.
const (
	userSchema       = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupSchema      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterpriseSchema = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	patchSchema      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
)

// attribute is one attribute of an object as the target is to have it.
type attribute struct {
	path  string // as PATCH names it
	value any    // nil: the target is not to have it
}

// attributes are all that we set of an object. What is not among them is the
// target's own and left alone.
type attributes []attribute

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
}

type patchBody struct {
	Schemas    []string    `json:"schemas"`
	Operations []operation `json:"Operations"`
}

// patch sets each attribute by an operation with a path of its own: without
// one, servers are at odds about lists, and some append to them. An empty one
// is removed, so that what was cleared is cleared there too.
func (a attributes) patch() patchBody {
	body := patchBody{Schemas: []string{patchSchema}, Operations: make([]operation, len(a))}
	for i, one := range a {
		if one.value == nil {
			body.Operations[i] = operation{Op: "remove", Path: one.path}
		} else {
			body.Operations[i] = operation{Op: "replace", Path: one.path, Value: one.value}
		}
	}
	return body
}

// resource is the object as it is created, empty attributes left out: many
// servers refuse an empty value.
func (a attributes) resource(k collection) map[string]any {
	schemas := []string{groupSchema}
	if k.path == "/Users" {
		schemas = []string{userSchema, enterpriseSchema}
	}
	body := map[string]any{"schemas": schemas}
	for _, one := range a {
		if one.value == nil {
			continue
		}
		into, name := body, one.path
		if inside, ok := strings.CutPrefix(one.path, enterpriseSchema+":"); ok {
			into, name = within(body, enterpriseSchema), inside
		} else if parent, child, ok := strings.Cut(one.path, "."); ok && !strings.HasPrefix(name, "urn:") {
			into, name = within(body, parent), child
		}
		into[name] = one.value
	}
	return body
}

// within is the object that a resource has under a name.
func within(body map[string]any, name string) map[string]any {
	inside, ok := body[name].(map[string]any)
	if !ok {
		inside = make(map[string]any)
		body[name] = inside
	}
	return inside
}

func departmentAttributes(d target.Department) attributes {
	return attributes{{"displayName", d.Name}, {"externalId", d.ExternalID}}
}

func userAttributes(u target.User) attributes {
	return attributes{
		{"userName", u.UserName},
		{"externalId", u.ExternalID},
		{"displayName", u.DisplayName},
		{"active", u.Active},
		{"name.formatted", u.DisplayName},
		{"title", text(u.Title)},
		{"userType", text(u.EmployeeType)},
		{"emails", list(u.Email, map[string]any{"value": u.Email, "type": "work", "primary": true})},
		{"phoneNumbers", list(u.Mobile, map[string]any{"value": u.Mobile, "type": "mobile"})},
		{enterpriseSchema + ":employeeNumber", text(u.EmployeeNumber)},
		{enterpriseSchema + ":department", text(u.DepartmentName)},
		{enterpriseSchema + ":organization", text(u.Organization)},
	}
}

// text is an attribute's value, none if it is empty.
func text(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// list is a list of one element, none if what is in it is empty.
func list(value string, element map[string]any) any {
	if value == "" {
		return nil
	}
	return []any{element}
}
