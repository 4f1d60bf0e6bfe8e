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

// form reads the members of one object. Its first error stays; what comes
// after it is not looked at.
type form struct {
	members   []member
	debugging bool // testFlag is 1
	err       *directory.InvalidError
}

// unlessDebugging is what a member must be in production: in debugging, members
// that the marketplace does not know yet may be absent too (spec/marketplace.md §0).
func (f *form) unlessDebugging(must presence) presence {
	if f.debugging {
		return mayBeAbsent
	}
	return must
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
