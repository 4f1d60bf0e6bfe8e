package marketplace

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/openkoo/connector/directory"
)

// Decode reads a kit call's body (spec/marketplace.md §3) into a push, whose ID
// and ReceivedAt are the caller's to set. What is wrong with a member is a
// *directory.InvalidError.
func Decode(kind directory.PushKind, body []byte) (*directory.Push, error) {
	members, err := scanBody(string(body), DefaultMaxDepth)
	if err != nil {
		return nil, directory.Invalid("body", "malformed JSON: %s", err)
	}
	return decodeMembers(kind, members, body)
}

func decodeMembers(kind directory.PushKind, members []member, body []byte) (*directory.Push, error) {
	f := newForm("", members)
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
	name := "orgInfoList"
	if _, ok := f.members[name]; !ok {
		if _, v1 := f.members["orgInfo"]; v1 {
			name = "orgInfo"
		}
	}
	push := &directory.FullPush{}
	f.list(name, func(item *form) {
		d := directory.DepartmentItem{
			Code:       item.text("orgCode", 64, mustBeFilled),
			Name:       item.text(item.either("orgName", "OrgName", "name"), 128, mustBeFilled),
			ParentCode: item.text("parentCode", 64, mayBeAbsent),
		}
		push.Departments = append(push.Departments, d)
	})
	return push
}

func decodeAuth(f *form, flag directory.Flag) *directory.AuthPush {
	push := &directory.AuthPush{AppID: f.text("appId", 64, mustBeFilled)}
	if f.has("currentSyncTime") || flag == directory.FlagAdd || flag == directory.FlagModify {
		f.time("currentSyncTime")
	}
	keyOnly := flag == directory.FlagDelete || flag == directory.FlagCancel
	f.list("userList", func(item *form) {
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
	more := f
	if inner := f.nested("extension"); inner != nil {
		more = inner // V1 keeps these three there
	}
	user.EmployeeType = more.employeeType()
	user.WorkPlace = more.text("workPlace", 255, mayBeAbsent)
	user.EntryDate = more.date("entryDate")
	if f.err == nil {
		f.err = more.err
	}
	return user
}

// form reads the members of one object. Its first error stays; what comes
// after it is not looked at.
type form struct {
	path    string
	members map[string]value
	err     error
}

func newForm(path string, members []member) *form {
	f := &form{path: path, members: make(map[string]value, len(members))}
	for _, m := range members {
		f.members[m.name] = m.value
	}
	return f
}

type presence int

const (
	mustBeFilled presence = iota // there, and not empty
	mayBeEmpty                   // there
	mayBeAbsent
)

func (f *form) fail(name, reason string) {
	if f.err == nil {
		f.err = directory.Invalid(f.path+name, "%s", reason)
	}
}

// has reports whether a member is there and not null.
func (f *form) has(name string) bool {
	v, ok := f.members[name]
	return ok && v.kind() != 'n'
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
	if !f.has(name) {
		if must != mayBeAbsent {
			f.fail(name, "missing")
		}
		return ""
	}
	v := f.members[name]
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
	if !f.has(name) {
		f.fail(name, "missing")
		return 0, false
	}
	v := f.members[name]
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
	if !f.has(name) {
		f.fail(name, "missing")
		return false
	}
	switch unquote(f.members[name].text) {
	case "true":
		return true
	case "false":
		return false
	default:
		f.fail(name, `want "true" or "false"`)
		return false
	}
}

func (f *form) employeeType() int {
	if !f.has("employeeType") {
		return 0
	}
	if v := f.members["employeeType"]; v.text == `""` {
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

// nested reads an object member, nil if it is absent or empty text.
func (f *form) nested(name string) *form {
	if f.err != nil || !f.has(name) {
		return nil
	}
	text, relaxed := f.members[name].text, false
	if f.members[name].kind() == '"' {
		if text = strings.TrimSpace(unquote(text)); text == "" {
			return nil
		}
		relaxed = true
	}
	inner := &form{path: f.path + name + ".", members: make(map[string]value)}
	s := &scanner{text: text, max: DefaultMaxDepth, relaxed: relaxed}
	if err := inner.fill(s); err != nil {
		f.fail(name, "want an object")
	}
	return inner
}

// fill reads an object's members, those of before forgotten.
func (f *form) fill(s *scanner) error {
	clear(f.members)
	return s.object(func(name string, v value) error {
		f.members[unquote(name)] = v
		return nil
	})
}

// list reads a list of objects, given as a list or as a string that holds one
// in strict JSON or in the guide's relaxed form.
func (f *form) list(name string, visit func(*form)) {
	if f.err != nil {
		return
	}
	if !f.has(name) {
		f.fail(name, "missing")
		return
	}
	v := f.members[name]
	s := &scanner{text: v.text, max: DefaultMaxDepth}
	switch v.kind() {
	case '[':
	case '"':
		s.text, s.relaxed = strings.TrimSpace(unquote(v.text)), true
	default:
		f.fail(name, "want a list")
		return
	}
	item := &form{members: make(map[string]value, 8)}
	err := s.array(func(i int, v value) error {
		if f.err != nil {
			return f.err
		}
		item.path, item.err = "", nil
		if err := item.fill(&scanner{text: v.text, max: DefaultMaxDepth, relaxed: s.relaxed}); err != nil {
			f.fail(fmt.Sprintf("%s[%d]", name, i), "want an object")
			return f.err
		}
		visit(item)
		if item.err != nil && f.err == nil {
			f.err = at(item.err, fmt.Sprintf("%s%s[%d].", f.path, name, i))
		}
		return f.err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil && f.err == nil {
		f.fail(name, "malformed list: "+err.Error())
	}
}

// at puts a place before the member that an error names.
func at(err error, place string) error {
	if invalid, ok := err.(*directory.InvalidError); ok { //nolint:errorlint // made by form.fail, never wrapped
		return &directory.InvalidError{Member: place + invalid.Member, Reason: invalid.Reason}
	}
	return err
}
