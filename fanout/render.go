package fanout

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

// objectOf names the entity of a task at the target.
func objectOf(scope directory.Scope, t storage.Task) target.Object {
	origin := target.Origin{Scope: scope, Key: t.Key, Version: t.Desired, Mark: t.Marks}
	switch {
	case t.Department != nil:
		origin.ChangedAt = t.Department.ChangedAt
	case t.User != nil:
		origin.ChangedAt = t.User.ChangedAt
	}
	return target.Object{ExternalID: scope.ExternalID(t.Key), RemoteID: t.RemoteID, Uncertain: t.Uncertain, Origin: origin}
}

// fingerprint names how the target's objects are rendered, and by which policies
// it is decided who is; empty for the way without any settings.
func (t *Target) fingerprint() string {
	mapped, policies := "", ""
	if t.Mapping != nil {
		mapped = t.Mapping.Fingerprint()
	}
	if decided := [...]Policy{t.OnRevoke, t.OnDelete, t.OnFreeze, t.OnRelease}; decided != [...]Policy{Deactivate, Delete, Deactivate, Deactivate} {
		policies = fmt.Sprintf("/%s", decided)
	}
	if mapped == "" && policies == "" && t.UserNames == Qualified {
		return ""
	}
	return string(t.UserNames) + "/" + mapped + policies
}

// RenderDepartment is the department as the target is to have it.
func (t *Target) RenderDepartment(scope directory.Scope, d *directory.Department, parentRemoteID string) (target.Department, error) {
	department := target.Department{
		Object:         target.Object{ExternalID: scope.ExternalID(d.Code)},
		Code:           d.Code,
		Name:           d.Name,
		ParentRemoteID: parentRemoteID,
	}
	if parentRemoteID != "" {
		department.ParentCode = d.AttachedTo()
	}
	if t.Mapping == nil {
		return department, nil
	}
	err := t.Mapping.MapDepartment(&department, scope, d)
	return department, err
}

// RenderUser is the account as the target is to have it, without a name for the
// object at the target. active says whether it may sign in. It fails where the
// mapping does.
func (t *Target) RenderUser(scope directory.Scope, u *directory.User, tenant *directory.Tenant, department *directory.Department, active bool) (target.User, error) {
	user := target.User{
		Object:         target.Object{ExternalID: scope.ExternalID(u.UserName)},
		UserName:       signInName(scope, u.UserName, tenant, t.UserNames),
		AccountName:    u.UserName,
		DisplayName:    u.Name,
		Active:         active,
		Role:           u.Role,
		Title:          u.Position,
		EmployeeNumber: u.EmployeeCode,
		DepartmentCode: u.OrgCode,
		Mobile:         u.Mobile,
		Email:          u.Email,
		WorkPlace:      u.WorkPlace,
		EntryDate:      u.EntryDate,
	}
	if user.DisplayName == "" {
		user.DisplayName = u.UserName // a tombstone keeps no name
	}
	if u.EmployeeType != 0 {
		user.EmployeeType = strconv.Itoa(u.EmployeeType)
	}
	if department != nil && !department.Deleted {
		user.DepartmentName = department.Name
	}
	if tenant != nil {
		user.Organization = tenant.Name
	}
	if t.Mapping == nil {
		return user, nil
	}
	err := t.Mapping.MapUser(&user, scope, u, tenant, department)
	return user, err
}

// signInName makes the name unique over tenants: userName@tenantCode, as the
// marketplace itself does (spec/marketplace.md §3.3). Until the tenant is
// known its id stands in; the name follows when the tenant comes.
func signInName(scope directory.Scope, userName string, tenant *directory.Tenant, naming Naming) string {
	switch {
	case naming == Plain:
		return userName
	case tenant != nil && tenant.Code != "":
		return userName + "@" + tenant.Code
	default:
		return userName + "@" + scope.TenantID
	}
}

// digest names a rendered form: equal digest, nothing to send. What the target
// calls the object, and whether an attempt is under way, are no part of it.
func digest(rendered any) string {
	text, err := json.Marshal(rendered)
	if err != nil {
		// Plain structs of strings and booleans always marshal.
		panic("fanout: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return base64.RawStdEncoding.EncodeToString(sum[:12])
}

func digestDepartment(d target.Department) string {
	d.RemoteID, d.Uncertain = "", false
	return digest(d)
}

func digestUser(u target.User) string {
	u.RemoteID, u.Uncertain = "", false
	return digest(u)
}

// fate is what a target is to do with an account.
type fate int

const (
	fatePut    fate = iota // have it as rendered
	fateAbsent             // not have it
	fateLeave              // leave it as it is
)

// decideUser applies the target's policies: what becomes of the account of an
// instance that stands so, and whether it may sign in. known says that the
// target has, or may have, it.
func (t *Target) decideUser(u *directory.User, known bool, standing directory.Standing) (what fate, active bool) {
	var policy Policy
	switch {
	case u == nil || u.Deleted:
		policy = t.OnDelete
	case !u.Granted():
		policy = t.OnRevoke
	case t.onStanding(standing) == Nothing:
		return fatePut, u.Enabled
	default:
		policy = t.onStanding(standing)
	}
	switch {
	case !known:
		return fateLeave, false // never made only to be barred or deleted
	case policy == Delete:
		return fateAbsent, false
	case policy == Keep || u == nil:
		return fateLeave, false
	default:
		return fatePut, false
	}
}
