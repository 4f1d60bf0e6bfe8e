package targettest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
	"github.com/openkoo/connector/target/mapping"
)

// Renderer renders as the fan-out does: it is fanout.Target, whose Mapping is
// what set sets.
type Renderer interface {
	RenderUser(scope directory.Scope, u *directory.User, tenant *directory.Tenant, department *directory.Department, active bool) (target.User, error)
	RenderDepartment(scope directory.Scope, d *directory.Department, parentRemoteID string) (target.Department, error)
}

// MappingLaw checks that the defaults of a schema are what the connector makes
// of an object without a mapping: whoever copies one into a configuration to
// change it starts from what is. user and department are what the connector
// would send.
func MappingLaw(t *testing.T, schema mapping.Schema, render func(*mapping.Mapper) Renderer, user func(target.User) any, department func(target.Department) any) {
	t.Helper()
	mapper, err := mapping.Compile(schema, schema.Defaults())
	require.NoError(t, err)
	plain, mapped := render(nil), render(mapper)
	rapid.Check(t, func(r *rapid.T) {
		scope := directory.Scope{Dataset: directory.Prod, InstanceID: "i-1", TenantID: "t-1"}
		u, tenant, d := entities(r)
		active := rapid.Bool().Draw(r, "active")
		want, err := plain.RenderUser(scope, u, tenant, d, active)
		require.NoError(r, err)
		require.Empty(r, want.Mapped)
		got, err := mapped.RenderUser(scope, u, tenant, d, active)
		require.NoError(r, err)
		require.NotEmpty(r, got.Mapped)
		require.Equal(r, user(want), user(got))
		if d == nil {
			return
		}
		wanted, err := plain.RenderDepartment(scope, d, "remote")
		require.NoError(r, err)
		made, err := mapped.RenderDepartment(scope, d, "remote")
		require.NoError(r, err)
		require.Equal(r, department(wanted), department(made))
	})
}

// entities draws a user with what stands around it, parts of it missing or empty.
func entities(r *rapid.T) (*directory.User, *directory.Tenant, *directory.Department) {
	text := rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"张三", "Ann O'Neil", "a b", "+86 138", "<&>\"", "部门"}), rapid.StringN(0, 12, 40))
	draw := func(name string) string { return text.Draw(r, name) }
	u := &directory.User{UserName: "u-" + draw("userName"), OrgCode: "1001"}
	if rapid.Bool().Draw(r, "deleted") {
		u.Deleted = true
	} else {
		u.Name, u.Role, u.Position, u.EmployeeCode = draw("name"), draw("role"), draw("position"), draw("employeeCode")
		u.Mobile, u.Email, u.WorkPlace, u.EntryDate = draw("mobile"), draw("email"), draw("workPlace"), draw("entryDate")
		u.EmployeeType, u.Enabled = rapid.IntRange(0, 4).Draw(r, "employeeType"), rapid.Bool().Draw(r, "enabled")
	}
	var tenant *directory.Tenant
	if rapid.Bool().Draw(r, "tenant") {
		tenant = &directory.Tenant{Code: draw("tenantCode"), Name: draw("tenantName"), DomainName: draw("domainName")}
	}
	var d *directory.Department
	if rapid.Bool().Draw(r, "department") {
		d = &directory.Department{Code: "1001", Name: "d-" + draw("departmentName"), ParentCode: "1000", Meta: directory.Meta{Deleted: rapid.Bool().Draw(r, "departmentDeleted")}}
	}
	return u, tenant, d
}
