package marketplace

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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
	push.Scope.InstanceID = f.text("instanceId", 64, mayBeEmpty)
	push.Scope.TenantID = f.text("tenantId", 64, mustBeFilled)
	push.Scope.Dataset = directory.Prod
	if f.oneOf("testFlag", 0, 1) == 1 {
		push.Scope.Dataset = directory.Test
	}
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

func decodeTenant(f *form, flag directory.Flag) *directory.TenantPush {
	if flag == directory.FlagDelete {
		return &directory.TenantPush{}
	}
	return &directory.TenantPush{
		OrderID:    f.text("orderId", 64, mayBeEmpty),
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

// form reads the members of one object. Its first error stays; what comes
// after it is not looked at.
type form struct {
	members []member
	err     *directory.InvalidError
}

type presence int

const (
	mustBeFilled presence = iota // there, and not empty
	mayBeEmpty                   // there
	mayBeAbsent
)

func (f *form) fail(name, reason string) {
	if f.err == nil {
		f.err = &directory.InvalidError{Member: name, Reason: reason}
	}
}

// find returns a member's value. Of one that comes twice the last counts.
func (f *form) find(name string) (value, bool) {
	for _, v := range slices.Backward(f.members) {
		if v.name == name {
			return v.value, v.value.kind() != 'n'
		}
	}
	return value{}, false
}

// has reports whether a member is there and not null.
func (f *form) has(name string) bool {
	_, ok := f.find(name)
	return ok
}

// either is the first of the names that is there, or the first of them.
func (f *form) either(names ...string) string {
	for _, name := range names {
		if f.has(name) {
			return name
		}
	}
	return names[0]
}

func (f *form) text(name string, most int, must presence) string {
	if f.err != nil {
		return ""
	}
	v, ok := f.find(name)
	if !ok {
		if must != mayBeAbsent {
			f.fail(name, "missing")
		}
		return ""
	}
	if v.kind() != '"' {
		f.fail(name, "want a string")
		return ""
	}
	text := unquote(v.text)
	switch {
	case text == "" && must == mustBeFilled:
		f.fail(name, "empty")
	case len(text) > most && utf8.RuneCountInString(text) > most:
		f.fail(name, fmt.Sprintf("longer than %d", most))
	case strings.IndexByte(text, 0) >= 0:
		f.fail(name, "holds a NUL character")
	}
	return text
}

// integer reads an integer given as a number or as a string.
func (f *form) integer(name string) (int, bool) {
	if f.err != nil {
		return 0, false
	}
	v, ok := f.find(name)
	if !ok {
		f.fail(name, "missing")
		return 0, false
	}
	text := v.text
	if v.kind() == '"' {
		text = unquote(text)
	} else if v.kind() != '0' {
		f.fail(name, "want an integer")
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || strings.HasPrefix(text, "+") {
		f.fail(name, "want an integer")
		return 0, false
	}
	return n, true
}

// oneOf reads an integer from low to high.
func (f *form) oneOf(name string, low, high int) int {
	n, ok := f.integer(name)
	if ok && (n < low || n > high) {
		f.fail(name, fmt.Sprintf("%d is unknown; want %d to %d", n, low, high))
	}
	return n
}

func (f *form) time(name string) directory.SourceTime {
	text := f.text(name, 17, mustBeFilled)
	if f.err != nil {
		return 0
	}
	at, err := directory.ParseSourceTime(text, directory.China)
	if err != nil {
		f.fail(name, err.Error())
	}
	return at
}

// boolean reads true, false, "true" or "false".
func (f *form) boolean(name string) bool {
	if f.err != nil {
		return false
	}
	v, ok := f.find(name)
	if !ok {
		f.fail(name, "missing")
		return false
	}
	switch v.text {
	case `true`, `"true"`:
		return true
	case `false`, `"false"`:
		return false
	default:
		f.fail(name, `want "true" or "false"`)
		return false
	}
}

func (f *form) employeeType() int {
	if v, ok := f.find("employeeType"); !ok || v.text == `""` {
		return 0
	}
	return f.oneOf("employeeType", 1, 4)
}

var datePattern = regexp.MustCompile(`^\d{4}-(0?[1-9]|1[0-2])-(0?[1-9]|[12]\d|3[01])$`)

func (f *form) date(name string) string {
	text := f.text(name, 10, mayBeAbsent)
	if f.err == nil && text != "" && !datePattern.MatchString(text) {
		f.fail(name, "want yyyy-MM-d")
	}
	return text
}

// merge adds the members of an object, given as an object or as a string that
// holds one, to those that are there already, which come first.
func (f *form) merge(name string) {
	v, ok := f.find(name)
	if f.err != nil || !ok || v.text == `""` {
		return
	}
	s := inside(v)
	inner := &form{}
	inner.fill(s)
	if s.end() != nil {
		f.fail(name, "want an object")
		return
	}
	f.members = append(inner.members, f.members...)
}

// inside is a scanner of a value, or of what a string holds: strict JSON or
// the guide's relaxed form.
func inside(v value) *scanner {
	if v.kind() != '"' {
		return &scanner{text: v.text, maxDepth: DefaultMaxDepth}
	}
	return &scanner{text: strings.TrimSpace(unquote(v.text)), maxDepth: DefaultMaxDepth, relaxed: true}
}

// fill reads an object's members; those of before are forgotten.
func (f *form) fill(s *scanner) {
	f.members, f.err = f.members[:0], nil
	for more := s.first('{', '}'); more; more = s.another('}') {
		if len(f.members) == maxMembers {
			s.failf("more than %d members in an object", maxMembers)
			return
		}
		name := s.key()
		f.members = append(f.members, member{name: name, value: s.value()})
	}
}

// openList finds a list of objects, nil if there is none.
func (f *form) openList(name string) *scanner {
	if f.err != nil {
		return nil
	}
	v, ok := f.find(name)
	switch {
	case !ok:
		f.fail(name, "missing")
		return nil
	case v.kind() != '[' && v.kind() != '"':
		f.fail(name, "want a list")
		return nil
	}
	return inside(v)
}

// each shows the objects of an open list to visit, one after the other in the
// same form.
func (f *form) each(name string, s *scanner, visit func(*form)) {
	if f.err != nil {
		return
	}
	item := &form{}
	i := 0
	for more := s.first('[', ']'); more; more = s.another(']') {
		if s.next() != '{' {
			f.fail(fmt.Sprintf("%s[%d]", name, i), "want an object")
			return
		}
		item.fill(s)
		if s.err != nil {
			break
		}
		if visit(item); item.err != nil {
			f.fail(fmt.Sprintf("%s[%d].%s", name, i, item.err.Member), item.err.Reason)
		}
		if f.err != nil {
			return
		}
		i++
	}
	if err := s.end(); err != nil {
		f.fail(name, "malformed list: "+err.Error())
	}
}
