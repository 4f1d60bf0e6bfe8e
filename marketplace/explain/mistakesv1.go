package explain

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"github.com/openkoo/connector/marketplace"
)

// recognise tries the known mistakes with one key: another text, another key of
// the HMAC, another form of the key, another encoding of the result.
func (c *callV1) recognise(key, given, joined string) (mistake, bool) {
	for _, t := range c.texts(joined) {
		if given == c.sign(key, t.text) {
			return mistake{t.cause, t.remedy}, true
		}
	}
	const use = "The HMAC's key is the access key and, right behind it, the timeStamp."
	for _, wrong := range []struct{ key, cause string }{
		{key, "The HMAC's key is the access key alone; V1 wants access key + timeStamp (the answer's Body-Sign is the one with the key alone)"},
		{c.timeStamp + key, "Access key and timeStamp are mixed up in the HMAC's key"},
		{c.timeStamp, "The HMAC's key is the timeStamp alone"},
		{key + "&" + c.timeStamp, "Something stands between access key and timeStamp in the HMAC's key"},
		{key + "+" + c.timeStamp, "Something stands between access key and timeStamp in the HMAC's key"},
		{key + " " + c.timeStamp, "Something stands between access key and timeStamp in the HMAC's key"},
	} {
		if given == base64HMAC(wrong.key, joined) {
			return mistake{wrong.cause, use}, true
		}
	}
	for _, k := range keyForms(key) {
		if given == c.sign(k.text, joined) {
			return mistake{k.cause, k.remedy}, true
		}
	}
	return c.encoding(key, given, joined)
}

// textV1 is what somebody may have signed.
type textV1 struct{ text, cause, remedy string }

const sortRemedy = "Sort the parameters by name from A to Z, byte by byte: upper case comes before lower case."

// texts are the known wrong ways to make the text that is signed.
func (c *callV1) texts(joined string) []textV1 {
	fold := func(a, b marketplace.Param) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	}
	turned := func(a, b marketplace.Param) int { return cmp.Compare(b.Name, a.Name) }
	filled := slices.DeleteFunc(slices.Clone(c.params), func(p marketplace.Param) bool { return p.Value == "" })
	timeless := slices.DeleteFunc(slices.Clone(c.params), func(p marketplace.Param) bool { return p.Name == "timeStamp" })
	all := []textV1{
		{joinAs(c.params, nil), "The parameters are not sorted", sortRemedy},
		{joinAs(c.params, turned), "The parameters are sorted from Z to A", sortRemedy},
		{joinAs(c.params, fold), "The parameters are sorted without regard to case", sortRemedy},
		{marketplace.JoinV1(filled), "Parameters that are empty are left out", "Sign them too, as name=."},
		{marketplace.JoinV1(timeless), "The timeStamp is not among the signed parameters", "Sign it like every other parameter; it ends the HMAC's key besides."},
		{marketplace.JoinV1(append(slices.Clone(c.params), marketplace.Param{Name: "authToken"})), "An empty authToken is among the signed parameters", "Leave it out."},
		{strings.ReplaceAll(joined, "&", ""), "The parameters are joined without &", "Join them as name=value with & in between."},
		{joined + "&", "The joined parameters end with &", "Put & between the parameters only."},
		{"?" + joined, "The joined parameters begin with ?", "Sign what stands behind it."},
		{joined + "\n", "A line break stands behind the signed text", "Sign the text without it."},
		{"", "The parameters are not signed at all", "Sign the joined parameters."},
	}
	if c.family == kitV1 {
		return append(all, c.bodyTexts()...)
	}
	return append(all, c.queryTexts()...)
}

// queryTexts are ways that only a URL invites to.
func (c *callV1) queryTexts() []textV1 {
	const once = "Decode the URL once, and sign the values as they are meant."
	twice := func(decode func(string) (string, error)) string {
		params := slices.Clone(c.params)
		for i, p := range params {
			if plain, err := decode(p.Value); err == nil {
				params[i].Value = plain
			}
		}
		return marketplace.JoinV1(params)
	}
	encoded := slices.Clone(c.params)
	for i, p := range encoded {
		encoded[i].Value = url.QueryEscape(p.Value)
	}
	return []textV1{
		{marketplace.JoinV1(c.raw), "The parameters are signed as they are written in the URL, encoded", once},
		{marketplace.JoinV1(encoded), "The parameters are signed encoded", once},
		{strings.ReplaceAll(marketplace.JoinV1(encoded), "+", "%20"), "The parameters are signed encoded", once},
		{twice(url.QueryUnescape), "The parameters are URL-encoded twice", "Encode them once: what was signed is what one decoding more gives."},
		{twice(url.PathUnescape), "The parameters are URL-encoded twice", "Encode them once: what was signed is what one decoding more gives."},
	}
}

// bodyTexts are ways that only a body invites to.
func (c *callV1) bodyTexts() []textV1 {
	const join = "V1 signs name=value pairs joined with &, not JSON; V2 signs the JSON."
	all := []textV1{{string(c.body), "The body is signed as it is, as JSON", join}}
	canonical, err := marketplace.Canonical(c.body)
	if err != nil {
		return all
	}
	all = append(all, textV1{string(canonical), "The sorted JSON is signed, as in V2", join})
	for _, writing := range []struct {
		text          func([]byte) []byte
		cause, remedy string
	}{
		{spaced, reserialised + "white space stands behind colons and commas", "Write lists and objects compactly."},
		{asciiOnly, reserialised + `characters beyond ASCII are written as \uXXXX`, "Sign characters as they are."},
		{htmlEscaped, reserialised + `<, > and & are written as \u003c, \u003e and \u0026`, "Sign characters as they are."},
		{slashed, reserialised + `/ is written as \/`, "Sign / as it is."},
		{sortedDeep, reserialised + "the members of nested objects are sorted too", "Leave nested objects in the order in which they arrived."},
	} {
		params := slices.Clone(c.params)
		for i, p := range params {
			if text := writing.text([]byte(p.Value)); text != nil {
				params[i].Value = string(text)
			}
		}
		all = append(all, textV1{marketplace.JoinV1(params), writing.cause, writing.remedy})
	}
	return all
}

// joinAs joins parameters in another order than V1's.
func joinAs(params []marketplace.Param, compare func(a, b marketplace.Param) int) string {
	params = slices.Clone(params)
	if compare != nil {
		slices.SortStableFunc(params, compare)
	}
	pairs := make([]string, len(params))
	for i, p := range params {
		pairs[i] = p.Name + "=" + p.Value
	}
	return strings.Join(pairs, "&")
}

// encoding tries other encodings of the right signature.
func (c *callV1) encoding(key, given, joined string) (mistake, bool) {
	right := c.sign(key, joined)
	if again, err := url.QueryUnescape(given); err == nil && strings.ReplaceAll(again, " ", "+") == right {
		return mistake{"The authToken is URL-encoded twice", "Encode it once."}, true
	}
	mac := hmac.New(sha256.New, []byte(key+c.timeStamp))
	mac.Write([]byte(joined))
	sum := mac.Sum(nil)
	text := hex.EncodeToString(sum)
	for _, wrong := range []struct{ text, cause string }{
		{text, "The authToken is hexadecimal"},
		{strings.ToUpper(text), "The authToken is hexadecimal"},
		{base64.RawStdEncoding.EncodeToString(sum), "The authToken lacks its ="},
		{base64.URLEncoding.EncodeToString(sum), "The authToken is URL-safe Base64"},
		{base64.RawURLEncoding.EncodeToString(sum), "The authToken is URL-safe Base64"},
		{base64.StdEncoding.EncodeToString([]byte(text)), "The authToken is Base64 of the hexadecimal form"},
	} {
		if given == wrong.text {
			return mistake{wrong.cause, "Send the Base64 of the HMAC-SHA256's 32 bytes: 44 characters."}, true
		}
	}
	return mistake{}, false
}
