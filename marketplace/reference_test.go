package marketplace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// tree is JSON as it is meant: an object's members are in order and may
// repeat, numbers are text.
type tree struct {
	kind    byte // { [ " 0, or the first letter of a word
	text    string
	names   []string
	members []*tree
}

// slowCanonical is the canonical form (spec/marketplace.md §1.1) written down
// once more, with encoding/json to read and nothing in mind but the rules.
func slowCanonical(body []byte) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	root, err := readTree(decoder)
	if err != nil {
		return "", err
	}
	root.lastOnes()
	type named struct {
		name  string
		value *tree
	}
	var members []named
	for i, name := range root.names {
		if root.members[i].text != "null" || root.members[i].kind != 'n' {
			members = append(members, named{name, root.members[i]})
		}
	}
	slices.SortFunc(members, func(a, b named) int { return strings.Compare(a.name, b.name) })
	root.names, root.members = nil, nil
	for _, m := range members {
		root.names, root.members = append(root.names, m.name), append(root.members, m.value)
	}
	var b strings.Builder
	root.write(&b, nil)
	return b.String(), nil
}

// lastOnes gives members that come twice their last value in their first place.
func (t *tree) lastOnes() {
	if t.kind == '{' {
		var names []string
		var members []*tree
		for i, name := range t.names {
			if at := slices.Index(names, name); at >= 0 {
				members[at] = t.members[i]
				continue
			}
			names, members = append(names, name), append(members, t.members[i])
		}
		t.names, t.members = names, members
	}
	for _, m := range t.members {
		m.lastOnes()
	}
}

func readTree(d *json.Decoder) (*tree, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		t := &tree{kind: byte(token)}
		for d.More() {
			if token == '{' {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				t.names = append(t.names, name.(string))
			}
			member, err := readTree(d)
			if err != nil {
				return nil, err
			}
			t.members = append(t.members, member)
		}
		_, err := d.Token()
		return t, err
	case string:
		return &tree{kind: '"', text: token}, nil
	case json.Number:
		return &tree{kind: '0', text: token.String()}, nil
	default:
		text := "null"
		if token != nil {
			text = fmt.Sprint(token)
		}
		return &tree{kind: text[0], text: text}, nil
	}
}

// hand is the handwriting of whoever sends a body: white space and escapes.
// The nil hand writes canonically.
type hand struct{ t *rapid.T }

func (h *hand) space(b *strings.Builder) {
	if h != nil {
		b.WriteString(rapid.SampledFrom([]string{"", "", "", " ", "\n\t", "\r\n  "}).Draw(h.t, "space"))
	}
}

func (h *hand) str(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		if h == nil && r >= ' ' && r != '"' && r != '\\' {
			b.WriteRune(r)
			continue
		}
		ways := charForms(r)
		if h != nil {
			ways = []string{rapid.SampledFrom(ways).Draw(h.t, "character")}
		}
		b.WriteString(ways[0])
	}
	b.WriteByte('"')
}

var shortForms = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`}

// charForms are the ways to write a character, Jackson's first.
func charForms(r rune) []string {
	var ways []string
	if short, ok := shortForms[r]; ok {
		ways = append(ways, short)
	} else if r >= ' ' {
		ways = append(ways, string(r))
	}
	if r == '/' {
		ways = append(ways, `\/`)
	}
	if r > 0xFFFF {
		high, low := (r-0x10000)>>10+0xD800, (r-0x10000)&0x3FF+0xDC00
		return append(ways, fmt.Sprintf(`\u%04x\u%04X`, high, low))
	}
	return append(ways, fmt.Sprintf(`\u%04X`, r), fmt.Sprintf(`\u%04x`, r))
}

func (t *tree) write(b *strings.Builder, h *hand) {
	switch t.kind {
	case '"':
		h.str(b, t.text)
	case '{', '[':
		b.WriteByte(t.kind)
		h.space(b)
		for i, m := range t.members {
			if i > 0 {
				b.WriteByte(',')
				h.space(b)
			}
			if t.kind == '{' {
				h.str(b, t.names[i])
				h.space(b)
				b.WriteByte(':')
				h.space(b)
			}
			m.write(b, h)
			h.space(b)
		}
		b.WriteByte(t.kind + 2) // } and ] come two after { and [
	default:
		b.WriteString(t.text)
	}
}

// body writes a whole body in somebody's hand.
func (t *tree) body(h *hand) []byte {
	var b strings.Builder
	h.space(&b)
	t.write(&b, h)
	h.space(&b)
	return []byte(b.String())
}

// anyText are strings with what is awkward in strings.
var anyText = rapid.StringOf(rapid.OneOf(
	rapid.RuneFrom([]rune("aZ09 中文部门\"\\/<>&'")),
	rapid.RuneFrom([]rune{0, 1, '\b', '\t', '\n', '\f', '\r', 0x1F, 0x7F, 0x80, 0xFF, 0x2028, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x1F600, 0x10FFFF}),
))

var anyName = rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "A", "aB", "orgCode", "中", ""}), anyText)

func drawValue(t *rapid.T, depth int) *tree {
	kinds := []byte{'"', '"', '0', 't', 'f', 'n'}
	if depth > 0 {
		kinds = append(kinds, '{', '{', '[', '[')
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case '"':
		return &tree{kind: kind, text: anyText.Draw(t, "text")}
	case '0':
		return &tree{kind: kind, text: rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")}
	case '{':
		return drawObject(t, depth-1, 20)
	case '[':
		list := &tree{kind: kind}
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			list.members = append(list.members, drawValue(t, depth-1))
		}
		return list
	default:
		return &tree{kind: kind, text: map[byte]string{'t': "true", 'f': "false", 'n': "null"}[kind]}
	}
}

func drawObject(t *rapid.T, depth, most int) *tree {
	object := &tree{kind: '{'}
	for range rapid.IntRange(0, rapid.SampledFrom([]int{3, 3, 3, most}).Draw(t, "most")).Draw(t, "members") {
		object.names = append(object.names, anyName.Draw(t, "name"))
		object.members = append(object.members, drawValue(t, depth))
	}
	return object
}
