package marketplace

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/openkoo/connector/directory"
)

// Canonical returns the canonical payload of a body (spec/marketplace.md
// §1.1): top-level members sorted by name, those that are null left out, no
// white space, strings escaped as Jackson does, numbers as written.
func Canonical(body []byte) ([]byte, error) {
	members, err := scanBody(textOf(body))
	if err != nil {
		return nil, malformed(err)
	}
	var b bytes.Buffer
	b.Grow(len(body))
	writeCanonical(&b, members)
	return b.Bytes(), nil
}

// malformed is a body that is not one JSON object.
func malformed(err error) error {
	return directory.Invalid("body", "malformed JSON: %s", err)
}

// writeCanonical writes the canonical payload of scanned members. It holds no
// more than a buffer, however large the body.
func writeCanonical(out io.Writer, members []member) {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	w := &canonicalWriter{out: out, buf: make([]byte, 0, 2*canonicalBuffer)}
	w.text("{")
	first := true
	for _, m := range sorted {
		if m.value.kind() == 'n' {
			continue
		}
		if !first {
			w.text(",")
		}
		first = false
		w.str(m.name)
		w.text(":")
		w.member(m)
	}
	w.text("}")
	w.flush()
}

// canonicalBuffer is how much is gathered before it is written, in bytes, so
// that a hash is fed in large pieces.
const canonicalBuffer = 32 << 10

// canonicalWriter writes canonical JSON.
type canonicalWriter struct {
	out io.Writer
	buf []byte
	// hold keeps everything in buf, for what may yet have to be taken back.
	hold bool
}

func (w *canonicalWriter) text(text string) {
	switch {
	case w.hold || len(w.buf)+len(text) <= canonicalBuffer:
		w.buf = append(w.buf, text...)
	default:
		w.flush()
		for len(text) > canonicalBuffer {
			w.buf = append(w.buf, text[:canonicalBuffer]...)
			text = text[canonicalBuffer:]
			w.flush()
		}
		w.buf = append(w.buf, text...)
	}
}

func (w *canonicalWriter) flush() {
	_, _ = w.out.Write(w.buf) // a hash or a buffer: never fails
	w.buf = w.buf[:0]
}

// member writes a member's value. Most are canonical as they were sent.
func (w *canonicalWriter) member(m member) {
	if !m.untidy && !m.repeats {
		w.text(m.value.text)
		return
	}
	w.hold = m.repeats
	w.value(&scanner{text: m.value.text, maxDepth: len(m.value.text)})
	w.hold = false
}

// value rewrites the value at s, which has been scanned before: it cannot fail.
func (w *canonicalWriter) value(s *scanner) {
	switch s.next() {
	case '"':
		w.quoted(s.str())
	case '{':
		if w.hold {
			w.lastOnes(s)
		} else {
			w.object(s)
		}
	case '[':
		w.array(s)
	default:
		w.text(s.value().text)
	}
}

func (w *canonicalWriter) array(s *scanner) {
	w.text("[")
	separator := ""
	for more := s.first('[', ']'); more; more = s.another(']') {
		w.text(separator)
		w.value(s)
		separator = ","
	}
	w.text("]")
}

// object writes a nested object in the order in which its members arrived.
func (w *canonicalWriter) object(s *scanner) {
	w.text("{")
	separator := ""
	for more := s.first('{', '}'); more; more = s.another('}') {
		w.text(separator)
		w.str(s.key())
		w.text(":")
		w.value(s)
		separator = ","
	}
	w.text("}")
}

// lastOnes writes a nested object whose members may come twice: such a member
// stays in its first place with its last value, as in Java's linked map.
func (w *canonicalWriter) lastOnes(s *scanner) {
	type part struct {
		name     string
		from, to int // of what was written for it
	}
	var parts []part
	start := len(w.buf)
	for more := s.first('{', '}'); more; more = s.another('}') {
		p := part{name: s.key(), from: len(w.buf)}
		w.str(p.name)
		w.text(":")
		w.value(s)
		p.to = len(w.buf)
		if at := slices.IndexFunc(parts, func(have part) bool { return have.name == p.name }); at >= 0 {
			parts[at] = p
		} else {
			parts = append(parts, p)
		}
	}
	written := slices.Clone(w.buf[start:])
	w.buf = append(w.buf[:start], '{')
	for i, p := range parts {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, written[p.from-start:p.to-start]...)
	}
	w.buf = append(w.buf, '}')
}

// quoted writes a string given as it was sent, its escapes normalised.
func (w *canonicalWriter) quoted(text string) {
	for at := strings.IndexByte(text, '\\'); at >= 0; at = strings.IndexByte(text, '\\') {
		w.text(text[:at])
		r, size := unescape(text[at:])
		w.char(r)
		text = text[at+size:]
	}
	w.text(text)
}

// str writes a string given as it reads.
func (w *canonicalWriter) str(text string) {
	w.text(`"`)
	for at := strings.IndexFunc(text, mustEscape); at >= 0; at = strings.IndexFunc(text, mustEscape) {
		w.text(text[:at])
		w.char(rune(text[at]))
		text = text[at+1:]
	}
	w.text(text)
	w.text(`"`)
}

func mustEscape(r rune) bool { return r < ' ' || r == '"' || r == '\\' }

// char writes one character as Jackson does: escaped only if it must be.
func (w *canonicalWriter) char(r rune) {
	if short := strings.IndexRune("\"\\\b\t\n\f\r", r); short >= 0 {
		w.text(`\` + `"\btnfr`[short:short+1])
		return
	}
	if r < ' ' {
		w.text(fmt.Sprintf(`\u%04X`, r))
		return
	}
	var encoded [utf8.UTFMax]byte
	w.text(string(encoded[:utf8.EncodeRune(encoded[:], r)]))
}
