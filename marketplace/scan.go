package marketplace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// DefaultMaxDepth bounds how deep a body may nest. The protocol needs 4.
const DefaultMaxDepth = 32

// maxMembers bounds the members of one object. The protocol needs 12; the
// bound keeps a hostile body from costing more than its bytes.
const maxMembers = 100

// maxNumber bounds a number, in characters.
const maxNumber = 64

// scanner reads JSON (RFC 8259) token by token. With relaxed set it also takes
// member names without quotes, as in the guide's example of a list sent as a
// string (spec/marketplace.md §3.5).
//
// The first error stays in err and ends the text, so that every loop ends.
type scanner struct {
	text     string
	pos      int
	depth    int
	maxDepth int
	relaxed  bool
	// untidy says that white space or an escape was passed that the canonical
	// form writes otherwise, repeats that an object named a member twice.
	untidy, repeats bool
	// names are the members' names of the objects around pos, innermost last.
	names []string
	err   error
}

func (s *scanner) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("byte %d: %s", s.pos+1, fmt.Sprintf(format, args...))
	}
	s.pos = len(s.text)
}

// next is the next character, 0 at the end.
func (s *scanner) next() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.untidy = true
			s.pos++
		default:
			return
		}
	}
}

// end wants nothing more but white space.
func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.text) {
		s.failf("unexpected %q after the value", s.text[s.pos])
	}
	return s.err
}

// first enters a list or an object, by its opening bracket, and reports
// whether there is anything in it. With another it makes a loop:
//
//	for more := s.first('[', ']'); more; more = s.another(']') {
func (s *scanner) first(opening, closing byte) bool {
	if s.next() != opening {
		s.failf("want %q", opening)
		return false
	}
	if s.depth++; s.depth > s.maxDepth {
		s.failf("nested too deep: more than %d levels", s.maxDepth)
		return false
	}
	s.pos++
	s.space()
	if s.next() == closing {
		s.pos++
		s.depth--
		return false
	}
	return true
}

// another steps to the next element, or out of the list or object.
func (s *scanner) another(closing byte) bool {
	s.space()
	switch {
	case s.err != nil:
	case s.next() == ',':
		s.pos++
		s.space()
		return true
	case s.next() == closing:
		s.pos++
		s.depth--
	default:
		s.failf("want ',' or %q", closing)
	}
	return false
}

// key scans a member's name and the colon after it.
func (s *scanner) key() string {
	var name string
	switch {
	case s.next() == '"':
		name = unquote(s.str())
	case s.relaxed:
		name = s.bareName()
	default:
		s.failf("want a member's name in quotes")
	}
	s.space()
	if s.next() != ':' {
		s.failf("want ':' after a member's name")
		return name
	}
	s.pos++
	s.space()
	return name
}

func (s *scanner) bareName() string {
	start := s.pos
	for c := s.next(); c == '_' || (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'z'); c = s.next() {
		s.pos++
	}
	if s.pos == start {
		s.failf("want a member's name")
		return ""
	}
	return s.text[start:s.pos]
}

// value scans one value of any kind.
func (s *scanner) value() value {
	start := s.pos
	switch c := s.next(); c {
	case '"':
		return value{s.str()}
	case '{':
		s.object()
	case '[':
		for more := s.first('[', ']'); more; more = s.another(']') {
			s.value()
		}
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		s.number()
	default:
		if s.pos == len(s.text) {
			s.failf("unexpected end")
		}
		s.failf("unexpected %q", c)
	}
	return value{s.text[start:s.pos]}
}

func (s *scanner) object() {
	outer := len(s.names)
	for more := s.first('{', '}'); more; more = s.another('}') {
		if len(s.names)-outer == maxMembers {
			s.failf("more than %d members in an object", maxMembers)
			return
		}
		s.names = append(s.names, s.key())
		s.value()
	}
	s.repeats = s.repeats || repeated(s.names[outer:])
	s.names = s.names[:outer]
}

// repeated reports whether a name comes twice. It may sort the names.
func repeated(names []string) bool {
	const few = 16
	if len(names) > few {
		slices.Sort(names)
		return len(slices.Compact(names)) < len(names)
	}
	for i := range names {
		for j := range i {
			if names[i] == names[j] {
				return true
			}
		}
	}
	return false
}

func (s *scanner) word(word string) {
	if !strings.HasPrefix(s.text[s.pos:], word) {
		s.failf("unexpected %q", s.text[s.pos])
		return
	}
	s.pos += len(word)
}

func (s *scanner) number() {
	start := s.pos
	if s.next() == '-' {
		s.pos++
	}
	if s.next() == '0' {
		s.pos++
	} else {
		s.digits()
	}
	if s.next() == '.' {
		s.pos++
		s.digits()
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		s.digits()
	}
	if s.pos-start > maxNumber {
		s.failf("number is longer than %d", maxNumber)
	}
}

// digits wants at least one digit.
func (s *scanner) digits() {
	start := s.pos
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		s.pos++
	}
	if s.pos == start {
		s.failf("not a number")
	}
}

// value is a scanned value as it was written.
type value struct{ text string }

// kind is the value's first character, which says what it is: one of " { [ t
// f n, or 0 for a number.
func (v value) kind() byte {
	if v.text == "" {
		return 'n'
	}
	switch c := v.text[0]; c {
	case '"', '{', '[', 't', 'f', 'n':
		return c
	default:
		return '0'
	}
}

// member is a member of an object.
type member struct {
	name  string
	value value
	// untidy and repeats are the scanner's, of this member.
	untidy, repeats bool
}

// scanBody scans a body, which is one object. Of a member that comes twice the
// last counts (spec/marketplace.md §1.1).
func scanBody(body string) ([]member, error) {
	if !utf8.ValidString(body) {
		return nil, errors.New("not valid UTF-8")
	}
	s := &scanner{text: body, maxDepth: DefaultMaxDepth}
	var members []member
	s.space()
	for more := s.first('{', '}'); more; more = s.another('}') {
		if len(members) == maxMembers {
			s.failf("more than %d members", maxMembers)
			break
		}
		name := s.key()
		s.untidy, s.repeats = false, false
		m := member{name: name, value: s.value()}
		m.untidy, m.repeats = s.untidy, s.repeats
		if at := slices.IndexFunc(members, func(have member) bool { return have.name == name }); at >= 0 {
			members[at] = m
			continue
		}
		members = append(members, m)
	}
	return members, s.end()
}

// textOf shares a body's bytes as text: copying ten megabytes for every push
// would double what it keeps in memory. Nobody writes to a body once it is read.
func textOf(body []byte) string {
	return unsafe.String(unsafe.SliceData(body), len(body)) //nolint:gosec // for the reason above
}
