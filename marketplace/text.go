package marketplace

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	errEscape    = errors.New(`want \u and four hex digits`)
	errSurrogate = errors.New("half a surrogate pair")
)

// plain are the characters that stand for themselves in a string.
var plain = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

// str scans a string and returns it as it was written, quotes and all.
func (s *scanner) str() string {
	text, start, at := s.text, s.pos, s.pos+1
	for {
		for at < len(text) && plain[text[at]] {
			at++
		}
		s.pos = at
		switch {
		case at >= len(text):
			s.failf("string does not end")
			return ""
		case text[at] == '"':
			s.pos++
			return text[start:s.pos]
		case text[at] == '\\':
			at += s.escape()
		default:
			s.failf("control character in a string")
		}
		if s.err != nil {
			return ""
		}
	}
}

// escape checks the escape at pos and returns its length.
func (s *scanner) escape() int {
	if s.pos+1 == len(s.text) {
		s.failf("string does not end")
		return 0
	}
	switch s.text[s.pos+1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return 2
	case '/':
		s.untidy = true
		return 2
	case 'u':
		s.untidy = true
		_, size, err := unicodeEscape(s.text[s.pos:])
		if err != nil {
			s.failf("%s", err)
		}
		return size
	default:
		s.failf("unknown escape")
		return 0
	}
}

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
		return 0, errEscape
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	if err != nil {
		return 0, errEscape
	}
	return rune(n), nil
}

// unquote decodes a string that the scanner has checked. One without escapes
// shares its text.
func unquote(text string) string {
	if len(text) < 2 {
		return "" // the scanner failed at it
	}
	rest := text[1 : len(text)-1]
	at := strings.IndexByte(rest, '\\')
	if at < 0 {
		return rest
	}
	decoded := make([]byte, 0, len(rest))
	for ; at >= 0; at = strings.IndexByte(rest, '\\') {
		r, size := unescape(rest[at:])
		decoded = utf8.AppendRune(append(decoded, rest[:at]...), r)
		rest = rest[at+size:]
	}
	return textOf(append(decoded, rest...))
}

// unescape decodes one escape that the scanner has checked.
func unescape(text string) (r rune, size int) {
	switch c := text[1]; c {
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
		r, size, _ = unicodeEscape(text)
		return r, size
	default:
		return rune(c), 2
	}
}
