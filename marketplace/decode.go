package marketplace

import (
	"fmt"
	"strings"

	"github.com/openkoo/connector/directory"
)

// Decode reads a kit call's body (spec/marketplace.md §3) into a push, whose ID
// and ReceivedAt are the caller's to set. What is wrong with a member is a
// *directory.InvalidError.
func Decode(kind directory.PushKind, body []byte) (*directory.Push, error) {
	members, err := scanBody(textOf(body))
	if err != nil {
		return nil, malformed(err)
	}
	return decodeMembers(kind, members, body)
}

func decodeMembers(kind directory.PushKind, members []member, body []byte) (*directory.Push, error) {
	f := &form{members: members}
	push := &directory.Push{Raw: body, Flag: directory.FlagModify}
	push.Scope.Dataset = directory.Prod
	if (&form{members: members}).oneOf("testFlag", 0, 1) == 1 { // what is wrong with it is told in its turn
		push.Scope.Dataset, f.debugging = directory.Test, true
	}
	push.Scope.InstanceID = f.text("instanceId", 64, f.unlessDebugging(mayBeEmpty))
	push.Scope.TenantID = f.text("tenantId", 64, mustBeFilled)
	f.oneOf("testFlag", 0, 1)
	push.SourceTime = f.time("timeStamp")
	switch kind {
	case directory.TenantSync:
		push.Flag = directory.Flag(f.oneOf("flag", 0, 2))
		push.Payload = decodeTenant(f, push.Flag)
	case directory.ApplicationSync:
		push.Flag = directory.Flag(f.oneOf("flag", 0, 2))
		push.Payload = decodeApplication(f, push.Flag)
	case directory.AuthSync:
		push.Flag = directory.Flag(f.oneOf("flag", 0, 3))
		push.Payload = decodeAuth(f, push.Flag)
	case directory.SingleOrgSync:
		push.Flag = directory.Flag(f.oneOf("flag", 0, 2))
		push.Payload = decodeDepartment(f, push.Flag)
	case directory.AllOrgSync:
		push.Payload = decodeFull(f)
	default:
		return nil, fmt.Errorf("marketplace: unknown interface %q", kind)
	}
	if f.err != nil {
		return nil, f.err
	}
	return push, nil
}

// ownMembers are the members that one interface has and no other, but for what
// the two generations call alike.
var ownMembers = map[directory.PushKind][]string{
	directory.TenantSync:      {"tenantCode", "domainName"},
	directory.ApplicationSync: {"clientId", "clientSecret"},
	directory.AuthSync:        {"userList"},
	directory.SingleOrgSync:   {"orgCode", "parentCode"},
	directory.AllOrgSync:      {"orgInfoList", "orgInfo"},
}

// foreign refuses a body with members of another interface: the path is not
// signed, so a captured call may have been sent elsewhere (spec/marketplace.md
// §1.4). Members without a value say nothing.
func foreign(kind directory.PushKind, members []member) error {
	f := &form{members: members}
	for other, names := range ownMembers {
		for _, name := range names {
			if v, ok := f.find(name); other != kind && ok && v.text != `""` {
				return directory.Invalid(name, "is of %s, and this is %s", other, kind)
			}
		}
	}
	return nil
}

func decodeTenant(f *form, flag directory.Flag) *directory.TenantPush {
	if flag == directory.FlagDelete {
		return &directory.TenantPush{}
	}
	return &directory.TenantPush{
		OrderID:    f.text("orderId", 64, f.unlessDebugging(mayBeEmpty)),
		Code:       f.text("tenantCode", 64, mustBeFilled),
		Name:       f.text("name", 255, mustBeFilled),
		DomainName: f.text("domainName", 255, mustBeFilled),
	}
}

// maxClientSecret bounds the Base64 of an RSA ciphertext, up to 8192 bit.
const maxClientSecret = 2048

func decodeApplication(f *form, flag directory.Flag) *directory.ApplicationPush {
	app := &directory.ApplicationPush{AppID: f.text("appId", 64, mustBeFilled)}
	if flag != directory.FlagDelete {
		app.ClientID = f.text("clientId", 64, mustBeFilled)
		app.ClientSecret = f.text("clientSecret", maxClientSecret, mustBeFilled)
	}
	return app
}

func decodeDepartment(f *form, flag directory.Flag) *directory.DepartmentPush {
	push := &directory.DepartmentPush{}
	push.Code = f.text("orgCode", 64, mustBeFilled)
	if flag != directory.FlagDelete {
		push.Name = f.text("orgName", 128, mustBeFilled)
		push.ParentCode = f.text("parentCode", 64, mayBeAbsent)
	}
	if f.err == nil && flag != directory.FlagDelete && push.ParentCode == push.Code {
		f.fail("parentCode", "orgCode is its own parent")
	}
	return push
}

// decodeFull takes orgInfoList, or V1's orgInfo, as a list or as a string that
// holds one (spec/marketplace.md §3.5).
func decodeFull(f *form) *directory.FullPush {
	name := f.either("orgInfoList", "orgInfo")
	list := f.openList(name)
	if list == nil {
		return nil
	}
	push := &directory.FullPush{Departments: make([]directory.DepartmentItem, 0, mostDepartments(list.text))}
	f.each(name, list, func(item *form) {
		push.Departments = append(push.Departments, directory.DepartmentItem{
			Code:       item.text("orgCode", 64, mustBeFilled),
			Name:       item.text(item.either("orgName", "OrgName", "name"), 128, mustBeFilled),
			ParentCode: item.text("parentCode", 64, mayBeAbsent),
		})
	})
	return push
}

// mostDepartments estimates from above how many departments a list holds, so
// that a long one is allocated once. Braces in names may mislead it, but not
// beyond what the shortest departments would take.
func mostDepartments(list string) int {
	const shortest = `{orgCode:"1",name:"1"},`
	return min(strings.Count(list, "{"), len(list)/len(shortest)+1)
}

func decodeAuth(f *form, flag directory.Flag) *directory.AuthPush {
	push := &directory.AuthPush{AppID: f.text("appId", 64, mustBeFilled)}
	if f.has("currentSyncTime") || flag == directory.FlagAdd || flag == directory.FlagModify {
		f.time("currentSyncTime")
	}
	keyOnly := flag == directory.FlagDelete || flag == directory.FlagCancel
	f.each("userList", f.openList("userList"), func(item *form) {
		if len(push.Users) >= directory.MaxUsers {
			f.fail("userList", fmt.Sprintf("more than %d users", directory.MaxUsers))
			return
		}
		push.Users = append(push.Users, decodeUser(item, keyOnly))
	})
	return push
}

func decodeUser(f *form, keyOnly bool) directory.UserItem {
	user := directory.UserItem{UserName: f.text("userName", 64, mustBeFilled)}
	if keyOnly {
		return user
	}
	user.Name = f.text("name", 64, mustBeFilled)
	user.OrgCode = f.text("orgCode", 64, mustBeFilled)
	user.Role = f.text("role", 32, mustBeFilled)
	if f.err == nil && user.Role != "user" && user.Role != "admin" {
		f.fail("role", "want user or admin")
	}
	user.Enabled = f.boolean("enable")
	user.Position = f.text("position", 64, mayBeAbsent)
	user.EmployeeCode = f.text("employeeCode", 64, mayBeAbsent)
	user.Mobile = f.text("mobile", 32, mayBeAbsent)
	user.Email = f.text("email", 128, mayBeAbsent)
	f.merge("extension") // V1 keeps the next three there
	user.EmployeeType = f.employeeType()
	user.WorkPlace = f.text("workPlace", 255, mayBeAbsent)
	user.EntryDate = f.date("entryDate")
	return user
}
