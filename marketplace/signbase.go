package marketplace

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/openkoo/connector/directory"
)

// SignBase is the signature of a base call: HexEncode(HMAC_SHA256(key, key +
// nonce + timestamp + HexEncode(HMAC_SHA256(key, payload)))) over the body's
// canonical payload (spec/marketplace.md §1.3).
func SignBase(key, nonce, timestamp string, body []byte) (string, error) {
	canonical, err := Canonical(body)
	if err != nil {
		return "", err
	}
	return baseSignature(key, nonce, timestamp, func(w io.Writer) { _, _ = w.Write(canonical) }), nil
}

func baseSignature(key, nonce, timestamp string, payload func(io.Writer)) string {
	inner := hmac.New(sha256.New, []byte(key))
	payload(inner)
	outer := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(outer, key+nonce+timestamp+hex.EncodeToString(inner.Sum(nil)))
	return hex.EncodeToString(outer.Sum(nil))
}

// verifyBase finds the key a base call was signed with: over the canonical
// payload, over the body as it came, over the payload with its numbers and
// booleans quoted, or with its nested objects sorted (spec/marketplace.md §1.1).
func verifyBase(keys []string, signature, nonce, timestamp string, body []byte, members []member) (key string, ok bool) {
	given := []byte(strings.ToLower(signature))
	for _, payload := range []func(io.Writer){
		func(w io.Writer) { writeCanonical(w, members) },
		func(w io.Writer) { _, _ = w.Write(body) },
		func(w io.Writer) { writeCanonical(w, quotedMembers(members)) },
		func(w io.Writer) { _, _ = w.Write(sortedPayload(members)) },
	} {
		for _, candidate := range keys {
			want := []byte(baseSignature(candidate, nonce, timestamp, payload))
			if subtle.ConstantTimeCompare(given, want) == 1 {
				key, ok = candidate, true
			}
		}
		if ok {
			return key, true
		}
	}
	return "", false
}

// quotedMembers are members as a server reads them into a map of texts.
func quotedMembers(members []member) []member {
	quoted := slices.Clone(members)
	for i := range quoted {
		switch m := &quoted[i]; m.value.kind() {
		case '0', 't', 'f':
			m.value.text = `"` + m.value.text + `"`
		}
	}
	return quoted
}

// sortedPayload is the canonical payload with its nested objects sorted too.
// Bodies of the base interface are small.
func sortedPayload(members []member) []byte {
	var canonical bytes.Buffer
	writeCanonical(&canonical, members)
	var body map[string]any
	decoder := json.NewDecoder(&canonical)
	decoder.UseNumber()
	if decoder.Decode(&body) != nil {
		return nil
	}
	var sorted bytes.Buffer
	encoder := json.NewEncoder(&sorted)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(body) != nil {
		return nil
	}
	again, err := Canonical(sorted.Bytes()) // escapes as Jackson does
	if err != nil {
		return nil
	}
	return again
}

// Param is one parameter of a V1 call as it is signed.
type Param struct{ Name, Value string }

// V1Params reads the members of a V1 body as parameters, in the order in which
// they came.
func V1Params(body []byte) ([]Param, error) {
	members, err := scanBody(textOf(body))
	if err != nil {
		return nil, malformed(err)
	}
	return memberParams(members), nil
}

// JoinV1 sorts parameters by name and joins them as V1 signs them
// (spec/marketplace.md §1.4).
func JoinV1(params []Param) string {
	sorted := slices.Clone(params)
	slices.SortStableFunc(sorted, func(a, b Param) int { return cmp.Compare(a.Name, b.Name) })
	var b strings.Builder
	for i, p := range sorted {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.Name)
		b.WriteByte('=')
		b.WriteString(p.Value)
	}
	return b.String()
}

// memberParams are a V1 body's members as they are signed: strings decoded,
// all other values as the canonical payload has them, nulls left out.
func memberParams(members []member) []Param {
	params := make([]Param, 0, len(members))
	for _, m := range members {
		switch m.value.kind() {
		case 'n':
		case '"':
			params = append(params, Param{m.name, unquote(m.value.text)})
		default:
			var b strings.Builder
			w := &canonicalWriter{out: &b}
			w.member(m)
			w.flush()
			params = append(params, Param{m.name, b.String()})
		}
	}
	return params
}

// SignV1 is the authToken of a V1 call whose parameters are the members of a
// JSON body (spec/marketplace.md §1.4). timeStamp is the member of that name.
func SignV1(key, timeStamp string, body []byte) (string, error) {
	params, err := V1Params(body)
	if err != nil {
		return "", err
	}
	return authToken(key, timeStamp, JoinV1(params)), nil
}

// SignV1Params is the authToken of a V1 call with URL parameters, authToken
// itself not among them.
func SignV1Params(key string, params map[string]string) string {
	list := make([]Param, 0, len(params))
	for name, value := range params {
		list = append(list, Param{name, value})
	}
	return authToken(key, params["timeStamp"], JoinV1(list))
}

func authToken(key, timeStamp, joined string) string {
	mac := hmac.New(sha256.New, []byte(key+timeStamp))
	_, _ = io.WriteString(mac, joined)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// verifyV1 finds the key an authToken was made with, over any of the forms in
// which parameters are joined. All keys are tried, and all comparisons take the
// same time.
func verifyV1(keys []string, token, timeStamp string, forms ...[]Param) (key string, ok bool) {
	given := []byte(withPlus(token))
	for _, params := range forms {
		joined := JoinV1(params)
		for _, candidate := range keys {
			if subtle.ConstantTimeCompare(given, []byte(authToken(candidate, timeStamp, joined))) == 1 {
				key, ok = candidate, true
			}
		}
	}
	return key, ok
}

// withPlus undoes that a "+" which was not escaped in a URL arrives as a space
// (spec/marketplace.md §1.4).
func withPlus(base64 string) string { return strings.ReplaceAll(base64, " ", "+") }

// WithoutBlanks are the parameters that the guide's sample signs of a POST: those
// without a value, or with a blank one, are left out (spec/marketplace.md §1.4).
func WithoutBlanks(params []Param) []Param {
	return slices.DeleteFunc(slices.Clone(params), func(p Param) bool { return strings.TrimSpace(p.Value) == "" })
}

// v1Names are the members that V1 calls are signed with.
var v1Names = []string{
	"activity", "amount", "appId", "bandWidth", "businessId", "chargingMode", "clientId", "clientSecret", "currentSyncTime", "customerId", "customerName",
	"diskSize", "domainName", "email", "encryptType", "expireTime", "flag", "instanceId", "instanceStatus", "mobilePhone", "name", "orderAmount", "orderId",
	"orgCode", "orgInfo", "orgInfoList", "orgName", "parentCode", "periodNumber", "periodType", "productId", "saasExtendParams", "skuCode", "tenantCode",
	"tenantId", "testFlag", "timeStamp", "trialFlag", "trialToFormal", "userId", "userList", "userName",
}

// ambiguous refuses a value whose join reads as two members: whoever has
// captured a call could leave one of them out, or add one (spec/marketplace.md
// §1.4).
func ambiguous(params []Param) error {
	for _, p := range params {
		for rest := p.Value; ; {
			at := strings.IndexByte(rest, '&')
			if at < 0 {
				break
			}
			rest = rest[at+1:]
			if name, _, ok := strings.Cut(rest[:min(len(rest), maxV1Name)], "="); ok && slices.Contains(v1Names, name) {
				return directory.Invalid(p.Name, "holds &%s=, which its signature cannot tell from a member of that name", name)
			}
		}
	}
	return nil
}

// maxV1Name is longer than any member's name with the sign behind it.
const maxV1Name = 24

// BodySign is the Body-Sign header of a V1 answer, over the exact bytes of its
// body and with the key alone (spec/marketplace.md §1.4).
func BodySign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return `sign_type="HMAC-SHA256", signature="` + base64.StdEncoding.EncodeToString(mac.Sum(nil)) + `"`
}
