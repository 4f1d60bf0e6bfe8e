package mapping

import (
	"slices"
	"strconv"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/target"
)

// Tenant is what expressions see of the enterprise. Until the marketplace has
// told of it, all but the id is empty.
type Tenant struct {
	ID         string `expr:"id"`
	Code       string `expr:"code"`
	Name       string `expr:"name"`
	DomainName string `expr:"domainName"`
}

// Department is what expressions see of a department; of an account's, all but
// the code is empty as long as the department is not known.
type Department struct {
	Code       string `expr:"code"`
	Name       string `expr:"name"`
	ParentCode string `expr:"parentCode"`
}

// Account is what expressions see of a user.
type Account struct {
	UserName string `expr:"userName"`
	// SignInName is the name by the target's userNames: userName@tenantCode.
	SignInName   string   `expr:"signInName"`
	Name         string   `expr:"name"`
	Role         string   `expr:"role"`
	Enabled      bool     `expr:"enabled"` // as the marketplace says
	Active       bool     `expr:"active"`  // may sign in: enabled, and granted
	OrgCode      string   `expr:"orgCode"`
	Position     string   `expr:"position"`
	EmployeeCode string   `expr:"employeeCode"`
	EmployeeType string   `expr:"employeeType"` // a number as text, empty for none
	Mobile       string   `expr:"mobile"`
	Email        string   `expr:"email"`
	WorkPlace    string   `expr:"workPlace"`
	EntryDate    string   `expr:"entryDate"`
	Applications []string `expr:"applications"` // appIds granted, sorted
}

// Origin is the key that an object comes under: it never changes.
type Origin struct {
	TenantID   string `expr:"tenantId"`
	InstanceID string `expr:"instanceId"`
}

// UserEnvironment is what the expressions of a user see.
type UserEnvironment struct {
	User       Account    `expr:"user"`
	Tenant     Tenant     `expr:"tenant"`
	Department Department `expr:"department"`
	Origin     Origin     `expr:"origin"`
}

// DepartmentEnvironment is what the expressions of a department see. The
// tenant is no part of it: departments are not sent again when it changes.
type DepartmentEnvironment struct {
	Department Department `expr:"department"`
	Origin     Origin     `expr:"origin"`
}

// userEnvironment fills the environment from what the fan-out renders from.
// into has the sign-in name and whether the account is active already.
func userEnvironment(into *target.User, scope directory.Scope, u *directory.User, tenant *directory.Tenant, department *directory.Department) *UserEnvironment {
	env := &UserEnvironment{
		User: Account{
			UserName: u.UserName, SignInName: into.UserName, Name: u.Name, Role: u.Role, Enabled: u.Enabled, Active: into.Active,
			OrgCode: u.OrgCode, Position: u.Position, EmployeeCode: u.EmployeeCode, Mobile: u.Mobile, Email: u.Email,
			WorkPlace: u.WorkPlace, EntryDate: u.EntryDate, Applications: granted(u),
		},
		Tenant:     Tenant{ID: scope.TenantID},
		Department: Department{Code: u.OrgCode},
		Origin:     originOf(scope),
	}
	if u.EmployeeType != 0 {
		env.User.EmployeeType = strconv.Itoa(u.EmployeeType)
	}
	if tenant != nil {
		env.Tenant.Code, env.Tenant.Name, env.Tenant.DomainName = tenant.Code, tenant.Name, tenant.DomainName
	}
	if department != nil && !department.Deleted {
		env.Department = departmentOf(department)
	}
	return env
}

func departmentOf(d *directory.Department) Department {
	return Department{Code: d.Code, Name: d.Name, ParentCode: d.AttachedTo()}
}

func originOf(scope directory.Scope) Origin {
	return Origin{TenantID: scope.TenantID, InstanceID: scope.InstanceID}
}

// granted are the applications that the user may use.
func granted(u *directory.User) []string {
	apps := make([]string, 0, len(u.Grants))
	for app, grant := range u.Grants {
		if !grant.Revoked {
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	return apps
}
