package marketplace

import (
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
	members, err := scanBody(string(body), DefaultMaxDepth)
	if err != nil {
		return nil, directory.Invalid("body", "malformed JSON: %s", err)
	}
	var b strings.Builder
	b.Grow(len(body))
	writeCanonical(&b, members)
	return []byte(b.String()), nil
}

// canonicalWriter gathers output, so that a hash is fed in large pieces.
type canonicalWriter struct {
	out io.Writer
	buf []byte
}

const canonicalBuffer = 32 << 10

func (w *canonicalWriter) text(text string) {
	if len(w.buf)+len(text) > canonicalBuffer {
		w.flush()
		for len(text) > canonicalBuffer {
			w.buf = append(w.buf, text[:canonicalBuffer]...)
			text = text[canonicalBuffer:]
			w.flush()
		}
	}
	w.buf = append(w.buf, text...)
}

func (w *canonicalWriter) flush() {
	_, _ = w.out.Write(w.buf) // a hash or a builder: never fails
	w.buf = w.buf[:0]
}

// writeCanonical writes the canonical payload of scanned members. Nothing is
// held but a buffer, however large the body.
func writeCanonical(out io.Writer, members []member) {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	w := &canonicalWriter{out: out, buf: make([]byte, 0, canonicalBuffer)}
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
		w.value(m.value, m.untidy)
	}
	w.text("}")
	w.flush()
}

// str writes a decoded string as Jackson does.
func (w *canonicalWriter) str(text string) {
	w.text(`"`)
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		w.text(text[start:i])
		start = i + 1
		switch c {
		case '"':
			w.text(`\"`)
		case '\\':
			w.text(`\\`)
		case '\b':
			w.text(`\b`)
		case '\t':
			w.text(`\t`)
		case '\n':
			w.text(`\n`)
		case '\f':
			w.text(`\f`)
		case '\r':
			w.text(`\r`)
		default:
			w.text(fmt.Sprintf(`\u%04X`, c))
		}
	}
	w.text(text[start:])
	w.text(`"`)
}

// value writes a scanned value. One without white space, escapes or repeated
// members is canonical already.
func (w *canonicalWriter) value(v value, untidy bool) {
	switch {
	case v.kind() == '"':
		if strings.IndexByte(v.text, '\\') < 0 {
			w.text(v.text)
			return
		}
		w.escaped(v.text)
	case v.kind() == '{':
		w.object(v.text)
	case v.kind() == '[' && untidy:
		w.array(v.text)
	case v.kind() == '[' && mayRepeat(v.text):
		w.array(v.text)
	default:
		w.text(v.text)
	}
}

// mayRepeat reports whether a list holds objects: only an object can hold a
// member twice.
func mayRepeat(text string) bool { return strings.IndexByte(text, '{') >= 0 }

// escaped writes a string with its escapes normalised, piece by piece.
func (w *canonicalWriter) escaped(text string) {
	inner := text[1 : len(text)-1]
	w.text(`"`)
	for {
		at := strings.IndexByte(inner, '\\')
		if at < 0 {
			w.text(inner)
			break
		}
		w.text(inner[:at])
		r, size := unescape(inner[at:])
		w.char(r)
		inner = inner[at+size:]
	}
	w.text(`"`)
}

func (w *canonicalWriter) char(r rune) {
	switch {
	case r == '"' || r == '\\':
		w.text("\\" + string(r))
	case r >= 0x20:
		if len(w.buf)+utf8.UTFMax > canonicalBuffer {
			w.flush()
		}
		w.buf = utf8.AppendRune(w.buf, r)
	default:
		switch r {
		case '\b':
			w.text(`\b`)
		case '\t':
			w.text(`\t`)
		case '\n':
			w.text(`\n`)
		case '\f':
			w.text(`\f`)
		case '\r':
			w.text(`\r`)
		default:
			w.text(fmt.Sprintf(`\u%04X`, r))
		}
	}
}

func (w *canonicalWriter) array(text string) {
	s := &scanner{text: text, max: 1 << 30}
	w.text("[")
	// The text was scanned before: it cannot fail now.
	_ = s.array(func(i int, v value) error {
		if i > 0 {
			w.text(",")
		}
		w.value(v, true)
		return nil
	})
	w.text("]")
}

// object writes a nested object in the order in which its members arrived. A
// member that comes twice stays in its first place with its last value.
func (w *canonicalWriter) object(text string) {
	type pair struct {
		name  string
		value value
	}
	var few [8]pair
	pairs := few[:0]
	s := &scanner{text: text, max: 1 << 30}
	var index map[string]int
	_ = s.object(func(name string, v value) error {
		name = unquote(name)
		if index == nil && len(pairs) == len(few) {
			index = make(map[string]int)
			for i := range pairs {
				index[pairs[i].name] = i
			}
		}
		at, twice := 0, false
		if index != nil {
			at, twice = index[name]
		} else {
			for i := range pairs {
				if pairs[i].name == name {
					at, twice = i, true
				}
			}
		}
		if twice {
			pairs[at].value = v
			return nil
		}
		if index != nil {
			index[name] = len(pairs)
		}
		pairs = append(pairs, pair{name, v})
		return nil
	})
	w.text("{")
	for i := range pairs {
		if i > 0 {
			w.text(",")
		}
		w.str(pairs[i].name)
		w.text(":")
		w.value(pairs[i].value, true)
	}
	w.text("}")
}
