package keycloak

import (
	"errors"
	"regexp"
	"strings"

	"github.com/openkoo/connector/target/mapping"
)

// attributePrefix stands before the name of a user's attribute that is not one
// of the user itself.
const attributePrefix = "attributes."

// attributeName is one that the server's query language and console take.
var attributeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,254}$`)

// Schema is what may be mapped in the realm.
func (Config) Schema() mapping.Schema {
	user := []mapping.Attribute{
		{Name: "username", Part: mapping.SignIn, Default: "user.signInName"},
		{Name: "firstName", Default: `user.name != "" ? user.name : user.userName`},
		{Name: "email", Default: "user.email"},
	}
	for i, expression := range []string{
		"user.userName", "user.role", "user.position", "user.employeeCode", "user.employeeType", "user.orgCode", "department.name",
		"tenant.name", "user.mobile", "user.workPlace", "user.entryDate",
	} {
		user = append(user, mapping.Attribute{Name: attributePrefix + userAttributeNames[i], Kind: mapping.Texts, Default: expression})
	}
	return mapping.Schema{
		User: mapping.Object{
			Attributes: append(user,
				mapping.Attribute{Name: attributePrefix + externalID, Fixed: "it keeps our name for the account"},
				mapping.Attribute{Name: "enabled", Fixed: "onRevoke and onDelete decide who may sign in"},
			),
			Further: further,
		},
		Department: mapping.Object{Attributes: []mapping.Attribute{{Name: "name", Part: mapping.Name, Default: "department.name"}}},
	}
}

func further(name string) (mapping.Kind, error) {
	attribute, ok := strings.CutPrefix(name, attributePrefix)
	switch {
	case name == "lastName":
		return mapping.Text, nil
	case ok && attributeName.MatchString(attribute):
		return mapping.Texts, nil
	default:
		return 0, errors.New("no such attribute; want lastName, or one of your own as attributes.name")
	}
}
