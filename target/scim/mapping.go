package scim

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
)

// extended is an attribute of an extension by its full name (RFC 7643 §10,
// RFC 7644 §3.10): the extension's schema, a colon, and the attribute's name.
var extended = regexp.MustCompile(`^urn:[A-Za-z0-9][A-Za-z0-9-]{0,31}(:[A-Za-z0-9._()+,=@;$!*'%/?#-]+)+:[A-Za-z][A-Za-z0-9_-]*$`)

// further are the core attributes of one text that the connector leaves alone.
var further = []string{
	"name.givenName", "name.familyName", "name.middleName", "name.honorificPrefix", "name.honorificSuffix",
	"nickName", "profileUrl", "preferredLanguage", "locale", "timezone",
}

const displayName = `user.name != "" ? user.name : user.userName`

// Schema is what may be mapped at a SCIM server.
func (Config) Schema() mapping.Schema {
	return mapping.Schema{
		User: mapping.Object{
			Attributes: []mapping.Attribute{
				{Name: "userName", Part: mapping.SignIn, Default: "user.signInName"},
				{Name: "displayName", Default: displayName},
				{Name: "name.formatted", Default: displayName},
				{Name: "title", Default: "user.position"},
				{Name: "userType", Default: "user.employeeType"},
				{Name: "emails", Kind: mapping.Texts, Default: "user.email"},
				{Name: "phoneNumbers", Kind: mapping.Texts, Default: "user.mobile"},
				{Name: enterpriseSchema + ":employeeNumber", Default: "user.employeeCode"},
				{Name: enterpriseSchema + ":department", Default: "department.name"},
				{Name: enterpriseSchema + ":organization", Default: "tenant.name"},
				{Name: "externalId", Fixed: "it keeps our name for the account"},
				{Name: "active", Fixed: "onRevoke and onDelete decide who may sign in"},
				{Name: "password", Fixed: "the connector sets no passwords"},
				{Name: "groups", Fixed: "the departments' groups have the members"},
			},
			Further: func(name string) (mapping.Kind, error) {
				switch {
				case slices.Contains(further, name):
					return mapping.Text, nil
				case isExtended(name):
					return mapping.Any, nil
				default:
					return 0, errors.New("no such attribute; one of an extension is urn:…:name, of the core " + strings.Join(further, ", "))
				}
			},
		},
		Department: mapping.Object{
			Attributes: []mapping.Attribute{
				{Name: "displayName", Part: mapping.Name, Default: "department.name"},
				{Name: "externalId", Fixed: "it keeps our name for the group"},
				{Name: "members", Fixed: "the directory says who is in a department"},
			},
			Further: func(name string) (mapping.Kind, error) {
				if isExtended(name) {
					return mapping.Any, nil
				}
				return 0, errors.New("no such attribute; one of an extension is urn:…:name")
			},
		},
	}
}

// isExtended leaves out the attributes of the core schemas spelt in full: they
// are named without.
func isExtended(name string) bool {
	core := strings.HasPrefix(strings.ToLower(name), "urn:ietf:params:scim:schemas:core:")
	return extended.MatchString(name) && !core
}

// overlay sets what is mapped, in place of what there is. Mapped attributes are
// sent even to a server that does not tell of them in its schemas.
func (a attributes) overlay(mapped []target.Mapped) attributes {
	for _, m := range mapped {
		one := attribute{m.Name, m.Value}
		switch m.Name {
		case "emails":
			one.value = entries(m.Value, "work", true)
		case "phoneNumbers":
			one.value = entries(m.Value, "mobile", false)
		}
		if at := slices.IndexFunc(a, func(b attribute) bool { return b.path == m.Name }); at >= 0 {
			a[at] = one
		} else {
			a = append(a, one)
		}
	}
	return a
}

// entries makes the complex values of a list, the first of them primary.
func entries(value any, kind string, primary bool) any {
	texts, ok := value.([]any)
	switch {
	case value == nil:
		return nil
	case !ok:
		texts = []any{value}
	}
	all := make([]any, len(texts))
	for i, text := range texts {
		entry := map[string]any{"value": text, "type": kind}
		if primary && i == 0 {
			entry["primary"] = true
		}
		all[i] = entry
	}
	return all
}
