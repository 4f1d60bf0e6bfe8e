package marketplace

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"
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
// payload, or else over the body as it came.
func verifyBase(keys []string, signature, nonce, timestamp string, body []byte, members []member) (key string, ok bool) {
	given := []byte(strings.ToLower(signature))
	for _, payload := range []func(io.Writer){
		func(w io.Writer) { writeCanonical(w, members) },
		func(w io.Writer) { _, _ = w.Write(body) },
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

// verifyV1 finds the key an authToken was made with. All keys are tried, and
// all comparisons take the same time.
func verifyV1(keys []string, token, timeStamp string, params []Param) (key string, ok bool) {
	// A "+" that was not escaped in a URL arrives as a space.
	given, joined := []byte(strings.ReplaceAll(token, " ", "+")), JoinV1(params)
	for _, candidate := range keys {
		if subtle.ConstantTimeCompare(given, []byte(authToken(candidate, timeStamp, joined))) == 1 {
			key, ok = candidate, true
		}
	}
	return key, ok
}

// BodySign is the Body-Sign header of a V1 answer, over the exact bytes of its
// body and with the key alone (spec/marketplace.md §1.4).
func BodySign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return `sign_type="HMAC-SHA256", signature="` + base64.StdEncoding.EncodeToString(mac.Sum(nil)) + `"`
}
