package explain

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Answer is the answer to a captured call, where the capture holds it.
type Answer struct {
	Header http.Header
	Body   []byte
	// Cut says that white space may have been lost at the body's end: nothing
	// in the capture tells its length.
	Cut bool
}

// bodySign is the header's form (spec/marketplace.md §1.4).
var bodySign = regexp.MustCompile(`^sign_type="HMAC-SHA256", ?signature="([^"]*)"$`)

// explainAnswer takes the Body-Sign of a V1 answer apart. timeStamp is that of
// the call, if it is known.
func (r *Report) explainAnswer(a *Answer, keys []string, timeStamp string) {
	header := a.Header.Get("Body-Sign")
	r.Steps = append(r.Steps, Step{"Body-Sign of the answer", shown(header)},
		Step{"Signed text: the answer's body, byte by byte", excerpt(a.Body)}, Step{"Key of the HMAC", "accessKey alone"})
	for i, key := range keys {
		r.Steps = append(r.Steps, Step{fmt.Sprintf("signature expected with key %d", i+1), base64HMAC(key, string(a.Body))})
	}
	if header == "" {
		r.Valid = false
		r.find("The answer has no header Body-Sign", `Send Body-Sign: sign_type="HMAC-SHA256", signature="…" with every V1 answer, errors too.`)
		return
	}
	match := bodySign.FindStringSubmatch(strings.TrimSpace(header))
	if match == nil {
		r.Valid = false
		r.find("Body-Sign does not have its form", `Write sign_type="HMAC-SHA256", signature="…", with the double quotes.`)
		match = []string{"", looseSignature(header)}
	}
	if !r.judge(a.trial(match[1], timeStamp), keys) {
		r.Valid = false
	}
}

// looseSignature finds the signature in a header of another form.
func looseSignature(header string) string {
	_, rest, found := strings.Cut(header, "signature=")
	if !found {
		rest = header
	}
	rest, _, _ = strings.Cut(rest, ",")
	return strings.Trim(strings.TrimSpace(rest), `"'`)
}

func (a *Answer) trial(given, timeStamp string) trial {
	bodies := [][]byte{a.Body}
	if a.Cut {
		bodies = append(bodies, append(bytes.Clone(a.Body), '\n'), append(bytes.Clone(a.Body), "\r\n"...))
	}
	return trial{
		name: "Body-Sign", given: given,
		right: func(key string) (all []string) {
			for _, body := range bodies {
				all = append(all, base64HMAC(key, string(body)))
			}
			return all
		},
		recognise: func(key string) (mistake, bool) { return recogniseAnswer(key, given, timeStamp, a.Body) },
		stranger: mistake{
			"No known mistake makes this Body-Sign: most likely another access key made it, or the body was changed after it was signed (a gateway that compresses or rewrites JSON)",
			"Sign the bytes that are sent, as the last thing, with the access key that the call was signed with.",
		},
	}
}

// recogniseAnswer tries the known ways of signing an answer wrongly.
func recogniseAnswer(key, given, timeStamp string, body []byte) (mistake, bool) {
	const last = "Sign the bytes that are sent: the body goes through another serialiser after it was signed."
	if timeStamp != "" && given == base64HMAC(key+timeStamp, string(body)) {
		return mistake{"The answer is signed with access key + timeStamp, as the call is", "Sign answers with the access key alone."}, true
	}
	for _, writing := range []func([]byte) []byte{sortedDeep, spaced, indented, asciiOnly, htmlEscaped, slashed, compacted, lineEnded, bytes.TrimSpace} {
		if text := writing(body); text != nil && given == base64HMAC(key, string(text)) {
			return mistake{"Another writing of the answer is signed than the one that is sent", last}, true
		}
	}
	if given == base64HMAC(key, "") {
		return mistake{"An empty body is signed", "Sign the body; a framework may hand it out only after it was written."}, true
	}
	for _, k := range keyForms(key) {
		if given == base64HMAC(k.text, string(body)) {
			return mistake{k.cause, k.remedy}, true
		}
	}
	raw, err := base64.StdEncoding.DecodeString(base64HMAC(key, string(body)))
	if err != nil {
		return mistake{}, false
	}
	wrong := []string{hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), base64.URLEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw)}
	if slices.Contains(wrong, given) {
		return mistake{"The Body-Sign is not plain Base64", "Send the Base64 of the HMAC-SHA256's 32 bytes: 44 characters."}, true
	}
	return mistake{}, false
}
