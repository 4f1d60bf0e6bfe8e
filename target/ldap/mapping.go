package ldap

import (
	"errors"
	"slices"
	"strings"

	"github.com/openkoo/connector/target/mapping"
)

const displayName = `user.name != "" ? user.name : user.userName`

// Schema is what may be mapped in the directory.
func (c Config) Schema() mapping.Schema {
	c = c.withDefaults()
	return mapping.Schema{
		User: mapping.Object{
			Attributes: append([]mapping.Attribute{
				{Name: "uid", Part: mapping.SignIn, Default: "user.signInName"},
				{Name: "cn", Kind: mapping.Texts, Required: true, Default: displayName},
				{Name: "sn", Kind: mapping.Texts, Required: true, Default: displayName},
				{Name: "displayName", Default: displayName},
				{Name: "mail", Kind: mapping.Texts, Default: "user.email"},
				{Name: "mobile", Kind: mapping.Texts, Default: "user.mobile"},
				{Name: "title", Kind: mapping.Texts, Default: "user.position"},
				{Name: "employeeNumber", Default: "user.employeeCode"},
				{Name: "employeeType", Kind: mapping.Texts, Default: "user.employeeType"},
				{Name: "departmentNumber", Kind: mapping.Texts, Default: "user.orgCode"},
				{Name: "ou", Kind: mapping.Texts, Default: "department.name"},
				{Name: "o", Kind: mapping.Texts, Default: "tenant.name"},
				{Name: "physicalDeliveryOfficeName", Kind: mapping.Texts, Default: "user.workPlace"},
			}, c.fixed()...),
			Further: c.further,
		},
		Department: mapping.Object{
			Attributes: append([]mapping.Attribute{
				{Name: "ou", Part: mapping.Name, Default: "department.name"},
			}, c.fixed()...),
			Further: c.further,
		},
	}
}

// fixed are the attributes by which the connector finds and bars entries.
func (c Config) fixed() []mapping.Attribute {
	all := []mapping.Attribute{
		{Name: c.ExternalIDAttribute, Fixed: "it keeps our name for the entry"},
		{Name: c.RemoteIDAttribute, Fixed: "the server names the entry by it"},
		{Name: "objectClass", Fixed: "it makes the entry what it is"},
		{Name: "userPassword", Fixed: "the connector sets no passwords"},
	}
	if c.InactiveAttribute != "" {
		all = append(all, mapping.Attribute{Name: c.InactiveAttribute, Fixed: "it bars accounts; onRevoke and onDelete decide which"})
	}
	return all
}

// further takes any attribute that the server may have; whether it does, and
// whether the entry's classes allow it, the server says.
func (Config) further(name string) (mapping.Kind, error) {
	if !attributeName.MatchString(name) {
		return 0, errors.New("no attribute of LDAP: want letters, digits and dashes, without options")
	}
	if slices.ContainsFunc([]string{"memberOf", "modifyTimestamp", "createTimestamp"}, func(kept string) bool { return strings.EqualFold(kept, name) }) {
		return 0, errors.New("the server keeps it")
	}
	return mapping.Texts, nil
}
