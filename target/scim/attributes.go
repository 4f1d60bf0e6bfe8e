package scim

import (
	"slices"
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

// removes reports whether some attribute is not to be there.
func (a attributes) removes() bool {
	return slices.ContainsFunc(a, func(one attribute) bool { return one.value == nil })
}

// resource is the object as it is created, empty attributes left out: many
// servers refuse an empty value.
func (a attributes) resource(schema string) document {
	body := document{"schemas": []any{schema}}
	a.onto(body)
	return body
}

// onto sets each attribute in an object, and takes out those that are empty.
// What is not among them stays.
func (a attributes) onto(d document) {
	for _, one := range a {
		outer, name := one.place()
		switch {
		case outer == "" && one.value == nil:
			delete(d, d.name(name))
		case outer == "":
			d[d.name(name)] = one.value
		case one.value == nil:
			inside := d.within(outer)
			if delete(inside, inside.name(name)); len(inside) == 0 {
				delete(d, d.name(outer))
			}
		default:
			inside := d.within(outer)
			inside[inside.name(name)] = one.value
			d.carries(outer)
		}
	}
}

// place parts a path: the object that the attribute is in, empty for the
// resource itself, and its name there.
func (a attribute) place() (outer, name string) {
	if strings.HasPrefix(a.path, "urn:") {
		at := strings.LastIndexByte(a.path, ':')
		return a.path[:at], a.path[at+1:]
	}
	if parent, child, ok := strings.Cut(a.path, "."); ok {
		return parent, child
	}
	return "", a.path
}

// name is how the object spells an attribute: names differ by more than case
// (RFC 7643 §2.1).
func (d document) name(attribute string) string {
	if _, ok := d[attribute]; ok {
		return attribute
	}
	for name := range d {
		if strings.EqualFold(name, attribute) {
			return name
		}
	}
	return attribute
}

// within is the object that a resource has under a name.
func (d document) within(name string) document {
	name = d.name(name)
	inside, ok := d[name].(map[string]any)
	if !ok {
		inside = make(map[string]any)
		d[name] = inside
	}
	return inside
}

// carries notes that the object has attributes of an extension.
func (d document) carries(schema string) {
	if !strings.HasPrefix(schema, "urn:") {
		return
	}
	name := d.name("schemas")
	listed, _ := d[name].([]any)
	if !slices.ContainsFunc(listed, func(one any) bool { text, _ := one.(string); return strings.EqualFold(text, schema) }) {
		d[name] = append(listed, any(schema))
	}
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
		{"emails", list(u.Email, "work", true)},
		{"phoneNumbers", list(u.Mobile, "mobile", false)},
		{enterpriseSchema + ":employeeNumber", text(u.EmployeeNumber)},
		{enterpriseSchema + ":department", text(u.DepartmentName)},
		{enterpriseSchema + ":organization", text(u.Organization)},
	}
}

// splitAttributes are a name in parts, for servers that want them.
func splitAttributes(displayName string) attributes {
	family, given := splitName(displayName)
	return attributes{{"name.familyName", family}, {"name.givenName", given}}
}

// text is an attribute's value, none if it is empty.
func text(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// list is a list of one value of a type, none if it is empty.
func list(value, kind string, primary bool) any {
	if value == "" {
		return nil
	}
	element := map[string]any{"value": value, "type": kind}
	if primary {
		element["primary"] = true
	}
	return []any{element}
}
