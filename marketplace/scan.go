package marketplace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DefaultMaxDepth bounds how deep a body may nest. The protocol needs 4.
const DefaultMaxDepth = 32

// scanner reads JSON (RFC 8259) token by token. With relaxed set it also takes
// member names without quotes, as in the guide's example of a list sent as a
// string (spec/marketplace.md §3.5).
type scanner struct {
	text    string
	pos     int
	depth   int
	max     int
	relaxed bool
	// untidy says that the text scanned so far holds white space between
	// tokens or an escape: it is not canonical as it stands.
	untidy bool
}

// value is a scanned value: its text and where its first character says it is
// a string, number, object, array, true, false or null.
type value struct {
	text string
}

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

var errDeep = errors.New("nested too deep")

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", s.pos+1, fmt.Sprintf(format, args...))
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

// next is the next character, 0 at the end.
func (s *scanner) next() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.text) {
		return s.fail("unexpected %q after the value", s.text[s.pos])
	}
	return nil
}

// value scans one value of any kind.
func (s *scanner) value() (value, error) {
	start := s.pos
	var err error
	switch c := s.next(); {
	case c == '"':
		err = s.skipString()
	case c == '{':
		err = s.object(nil)
	case c == '[':
		err = s.array(nil)
	case c == '-' || (c >= '0' && c <= '9'):
		err = s.number()
	case c == 't':
		err = s.word("true")
	case c == 'f':
		err = s.word("false")
	case c == 'n':
		err = s.word("null")
	case c == 0 && s.pos >= len(s.text):
		err = s.fail("unexpected end")
	default:
		err = s.fail("unexpected %q", c)
	}
	return value{s.text[start:s.pos]}, err
}

func (s *scanner) word(word string) error {
	if !strings.HasPrefix(s.text[s.pos:], word) {
		return s.fail("unexpected %q", s.text[s.pos])
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) number() error {
	start := s.pos
	if s.next() == '-' {
		s.pos++
	}
	switch c := s.next(); {
	case c == '0':
		s.pos++
	case c >= '1' && c <= '9':
		s.digits()
	default:
		return s.fail("not a number")
	}
	if s.next() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("not a number")
		}
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("not a number")
		}
	}
	if s.pos-start > 64 {
		return s.fail("number is too long")
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		s.pos++
	}
	return s.pos > start
}

// skipString scans a string and checks its escapes.
func (s *scanner) skipString() error {
	s.pos++
	for {
		rest := s.text[s.pos:]
		i := 0
		for i < len(rest) && rest[i] != '"' && rest[i] != '\\' && rest[i] >= 0x20 {
			i++
		}
		s.pos += i
		switch c := s.next(); {
		case i == len(rest):
			return s.fail("string does not end")
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			s.untidy = true
			if err := s.escape(); err != nil {
				return err
			}
		default:
			return s.fail("control character in a string")
		}
	}
}

func (s *scanner) escape() error {
	if s.pos+1 >= len(s.text) {
		return s.fail("string does not end")
	}
	switch s.text[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
		_, size, err := unicodeEscape(s.text[s.pos:])
		if err != nil {
			return s.fail("%s", err)
		}
		s.pos += size
		return nil
	default:
		return s.fail("unknown escape")
	}
}

var errSurrogate = errors.New("half a surrogate pair")

// unicodeEscape reads \uXXXX, or a surrogate pair of two. Half a pair names no
// character, and is refused: it could be neither stored nor signed alike.
func unicodeEscape(text string) (r rune, size int, err error) {
	first, err := hex4(text)
	if err != nil {
		return 0, 0, err
	}
	if first < 0xD800 || first > 0xDFFF {
		return first, 6, nil
	}
	if first > 0xDBFF {
		return 0, 0, errSurrogate
	}
	second, err := hex4(text[6:])
	if err != nil || second < 0xDC00 || second > 0xDFFF {
		return 0, 0, errSurrogate
	}
	return (first-0xD800)<<10 + (second - 0xDC00) + 0x10000, 12, nil
}

func hex4(text string) (rune, error) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, errors.New(`want \u and four hex digits`)
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	if err != nil {
		return 0, errors.New(`want \u and four hex digits`)
	}
	return rune(n), nil
}

func (s *scanner) enter() error {
	s.pos++
	s.depth++
	if s.depth > s.max {
		return fmt.Errorf("%w: more than %d levels", errDeep, s.max)
	}
	s.space()
	return nil
}

// object scans an object and shows each member, in order, to visit (nil: to
// nobody). The name is as written, quotes included unless relaxed.
func (s *scanner) object(visit func(name string, v value) error) error {
	if s.next() != '{' {
		return s.fail("want an object")
	}
	if err := s.enter(); err != nil {
		return err
	}
	for first := true; ; first = false {
		if s.next() == '}' && first {
			break
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		s.space()
		if s.next() != ':' {
			return s.fail("want ':' after a member's name")
		}
		s.pos++
		s.space()
		v, err := s.value()
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(name, v); err != nil {
				return err
			}
		}
		s.space()
		if s.next() == '}' {
			break
		}
		if s.next() != ',' {
			return s.fail("want ',' or '}' in an object")
		}
		s.pos++
		s.space()
	}
	s.pos++
	s.depth--
	return nil
}

func (s *scanner) name() (string, error) {
	start := s.pos
	if s.next() == '"' {
		err := s.skipString()
		return s.text[start:s.pos], err
	}
	if !s.relaxed {
		return "", s.fail("want a member's name in quotes")
	}
	for c := s.next(); c == '_' || (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'z'); c = s.next() {
		s.pos++
	}
	if s.pos == start {
		return "", s.fail("want a member's name")
	}
	return s.text[start:s.pos], nil
}

// array scans an array and shows each element to visit (nil: to nobody).
func (s *scanner) array(visit func(i int, v value) error) error {
	if s.next() != '[' {
		return s.fail("want a list")
	}
	if err := s.enter(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if s.next() == ']' && i == 0 {
			break
		}
		v, err := s.value()
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(i, v); err != nil {
				return err
			}
		}
		s.space()
		if s.next() == ']' {
			break
		}
		if s.next() != ',' {
			return s.fail("want ',' or ']' in a list")
		}
		s.pos++
		s.space()
	}
	s.pos++
	s.depth--
	return nil
}

// unquote decodes a scanned string; one without escapes shares its text.
func unquote(text string) string {
	inner := text
	if len(text) >= 2 && text[0] == '"' {
		inner = text[1 : len(text)-1]
	}
	at := strings.IndexByte(inner, '\\')
	if at < 0 {
		return inner
	}
	var b strings.Builder
	b.Grow(len(inner))
	for at >= 0 {
		b.WriteString(inner[:at])
		r, size := unescape(inner[at:])
		b.WriteRune(r)
		inner = inner[at+size:]
		at = strings.IndexByte(inner, '\\')
	}
	b.WriteString(inner)
	return b.String()
}

// unescape decodes one escape that the scanner has checked.
func unescape(text string) (rune, int) {
	switch text[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, size, _ := unicodeEscape(text)
		return r, size
	default:
		return rune(text[1]), 2
	}
}

// members scans a body: one object, whose members are returned by name. Of a
// member that comes twice the last counts (spec/marketplace.md §1.1).
type member struct {
	name   string
	value  value
	untidy bool
}

func scanBody(body string, maxDepth int) ([]member, error) {
	if !utf8.ValidString(body) {
		return nil, errors.New("not valid UTF-8")
	}
	s := &scanner{text: body, max: maxDepth}
	s.space()
	var members []member
	index := make(map[string]int)
	err := s.object(func(name string, v value) error {
		m := member{name: unquote(name), value: v, untidy: s.untidy}
		s.untidy = false
		if at, twice := index[m.name]; twice {
			members[at] = m
			return nil
		}
		index[m.name] = len(members)
		members = append(members, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, s.end()
}
