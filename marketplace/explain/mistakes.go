package explain

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/openkoo/connector/marketplace"
)

// mistake is a known way of signing wrongly.
type mistake struct {
	cause, remedy string
}

// recognise tries the known mistakes with one key: a wrong payload, a wrong
// order of the signed text, a wrong key form, a wrong encoding of the result.
func (c *call) recognise(key, given string, canonical []byte) (mistake, bool) {
	for _, p := range c.payloads(canonical) {
		if given == c.sign(key, p.text) {
			return mistake{p.cause, p.remedy}, true
		}
	}
	for _, k := range keyForms(key) {
		if given == c.sign(k.text, canonical) {
			return mistake{k.cause, k.remedy}, true
		}
	}
	text, payload := key+c.nonce+c.timestamp, string(canonical)
	if m, ok := c.order(key, given, payload); ok {
		return m, true
	}
	return c.encoding(key, text+payload)
}

// variant is a payload, or a key, as somebody may have taken it.
type variant struct {
	text          []byte
	cause, remedy string
}

const reserialised = "The body was parsed and written again by another serialiser than the marketplace's: "

func (c *call) payloads(canonical []byte) []variant {
	all := []variant{
		{nil, "The body is not signed at all", "Append the canonical payload to the signed text."},
		{reversed(canonical), "The members are sorted from Z to A", "Sort them from A to Z: one English page of the guide errs."},
		{asciiOnly(canonical), reserialised + `characters beyond ASCII are written as \uXXXX`, "Write them as they are (Python: ensure_ascii=False)."},
		{htmlEscaped(canonical), reserialised + `<, > and & are written as \u003c, \u003e and \u0026`, "Switch HTML escaping off (Go: Encoder.SetEscapeHTML(false); Gson: disableHtmlEscaping)."},
		{slashed(canonical), reserialised + `/ is written as \/`, "Write / as it is (PHP: JSON_UNESCAPED_SLASHES)."},
		{lineEnded(canonical), "A line break stands behind the payload", "Sign the payload without it."},
		{lineEnded(c.body), "A line break stands behind the body that was signed and not behind the one that was sent", "Sign the bytes that are sent."},
	}
	for _, writing := range []struct {
		text          func([]byte) []byte
		cause, remedy string
	}{
		{spaced, reserialised + "white space stands behind colons and commas", "Write the JSON compactly (Python: separators=(',', ':'))."},
		{indented, reserialised + "the JSON is indented", "Write the JSON compactly."},
		{sortedDeep, reserialised + "the members of nested objects are sorted too", "Sort the top level only; nested objects keep the order in which they arrived."},
	} {
		for _, source := range [][]byte{canonical, c.body} {
			if text := writing.text(source); text != nil {
				all = append(all, variant{text, writing.cause, writing.remedy})
			}
		}
	}
	return all
}

type keyForm struct{ text, cause, remedy string }

func keyForms(key string) []keyForm {
	forms := []keyForm{
		{strings.TrimSpace(key), "The key given here has white space around it; the signature was made without", "Remove the white space from the configured key."},
		{key + "\n", "The caller's key has a line break at its end", "Trim the key where it is read from a file."},
		{key + " ", "The caller's key has a space at its end", "Trim the key where it is read."},
		{strings.ToLower(key), "The caller's key is in lower case", "Keys are case-sensitive; use it as the console shows it."},
		{strings.ToUpper(key), "The caller's key is in upper case", "Keys are case-sensitive; use it as the console shows it."},
	}
	if raw, err := base64.StdEncoding.DecodeString(key); err == nil {
		forms = append(forms, keyForm{string(raw), "The caller decoded the key from Base64", "Use the key's characters as they are."})
	}
	if raw, err := hex.DecodeString(key); err == nil {
		forms = append(forms, keyForm{string(raw), "The caller decoded the key from hexadecimal", "Use the key's characters as they are."})
	}
	return forms
}

// order tries other orders and omissions in the signed text, and the formulas
// of the other generations.
func (c *call) order(key, given, payload string) (mistake, bool) {
	n, t := c.nonce, c.timestamp
	inner := hexHMAC(key, payload)
	if c.family == baseV2 {
		payload, inner = inner, payload
	}
	const use = "Sign accessKey + nonce + timestamp + payload, in this order, with accessKey as the HMAC's key."
	for _, wrong := range []struct{ text, cause string }{
		{n + t + payload, "The access key is missing in front of the signed text"},
		{key + t + n + payload, "Nonce and timestamp are mixed up"},
		{n + key + t + payload, "Access key and nonce are mixed up"},
		{n + t + key + payload, "The access key stands behind nonce and timestamp"},
		{t + n + key + payload, "The access key stands behind timestamp and nonce"},
		{t + n + payload, "Nonce and timestamp are mixed up and the access key is missing"},
		{key + payload + n + t, "The payload stands in front of nonce and timestamp"},
		{key + payload + t + n, "The payload stands in front of timestamp and nonce"},
		{payload + key + n + t, "The payload stands in front of everything"},
		{key + n + payload, "The timestamp is not signed"},
		{key + t + payload, "The nonce is not signed"},
		{key + payload, "Neither nonce nor timestamp is signed"},
		{payload, "Only the payload is signed"},
		{key + n + t + inner, "The formula of the other interface family was used: base hashes the payload first, kit does not"},
	} {
		if given == hexHMAC(key, wrong.text) {
			return mistake{wrong.cause, use}, true
		}
	}
	for _, wrong := range []string{key + t, t, n} {
		if given == hexHMAC(wrong, key+n+t+payload) {
			return mistake{"The HMAC's key is not the access key alone (V1 takes key + timestamp)", use}, true
		}
	}
	return mistake{}, false
}

// encoding tries other digests and encodings of the right text.
func (c *call) encoding(key, text string) (mistake, bool) {
	given := strings.TrimSpace(c.signature)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	sum := mac.Sum(nil)
	plain := sha256.Sum256([]byte(text))
	for _, wrong := range []struct{ text, cause string }{
		{base64.StdEncoding.EncodeToString(sum), "The signature is Base64"},
		{base64.RawURLEncoding.EncodeToString(sum), "The signature is URL-safe Base64"},
		{base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum))), "The signature is Base64 of its hexadecimal form"},
		{hex.EncodeToString(plain[:]), "The signature is a bare SHA-256, no HMAC"},
	} {
		if given == wrong.text {
			return mistake{wrong.cause, "Send the HMAC-SHA256 in hexadecimal."}, true
		}
	}
	return mistake{}, false
}

// reversed writes the top-level members from Z to A.
func reversed(canonical []byte) []byte {
	members := topMembers(canonical)
	slices.Reverse(members)
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}"))
}

// topMembers are the texts of a compact object's members.
func topMembers(object []byte) (members [][]byte) {
	depth, quoted, start := 0, false, 1
	for i := 0; i < len(object); i++ {
		switch c := object[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 && i > start {
				members = append(members, object[start:i])
			}
		case c == ',' && depth == 1:
			members = append(members, object[start:i])
			start = i + 1
		}
	}
	return members
}

func asciiOnly(text []byte) []byte {
	out := make([]byte, 0, len(text))
	const digits = "0123456789abcdef"
	escape := func(u uint16) {
		out = append(out, '\\', 'u', digits[u>>12], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	for _, r := range string(text) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			escape(uint16(high))
			escape(uint16(low))
		default:
			escape(uint16(r))
		}
	}
	return out
}

func slashed(text []byte) []byte { return bytes.ReplaceAll(text, []byte("/"), []byte(`\/`)) }

func lineEnded(text []byte) []byte { return append(bytes.Clone(text), '\n') }

func compacted(text []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return nil
	}
	return b.Bytes()
}

func htmlEscaped(text []byte) []byte {
	var b bytes.Buffer
	json.HTMLEscape(&b, text)
	return b.Bytes()
}

func indented(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return nil
	}
	return b.Bytes()
}

// spaced puts a space behind every colon and comma, as Python does.
func spaced(text []byte) []byte {
	compact := new(bytes.Buffer)
	if json.Compact(compact, text) != nil {
		return nil
	}
	out := make([]byte, 0, compact.Len()*5/4)
	quoted := false
	for i, c := range compact.Bytes() {
		out = append(out, c)
		switch {
		case c == '"' && !escapedAt(compact.Bytes(), i):
			quoted = !quoted
		case !quoted && (c == ':' || c == ','):
			out = append(out, ' ')
		}
	}
	return out
}

// escapedAt reports whether the character at i has an odd number of
// backslashes before it.
func escapedAt(text []byte, i int) bool {
	n := 0
	for i--; i >= 0 && text[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// sortedDeep sorts the members of all objects, as a round trip through maps does.
func sortedDeep(text []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]any{"": value}); err != nil {
		return nil
	}
	sorted, err := marketplace.Canonical(b.Bytes())
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(bytes.TrimPrefix(sorted, []byte(`{"":`)), []byte("}"))
}
