package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is what is wrong with an answer. The names are for programs and do not
// change.
type Kind string

// What can be wrong.
const (
	// WrongCode is a resultCode that §2 does not have for this.
	WrongCode Kind = "wrong-code"
	// WrongStatus is an HTTP status other than 200.
	WrongStatus Kind = "wrong-status"
	// ServerError is an HTTP status of 500 and above.
	ServerError Kind = "server-error"
	// Redirected is an answer that sends the marketplace elsewhere.
	Redirected Kind = "redirect"
	// NoAnswer is a connection that was refused or broken.
	NoAnswer Kind = "no-answer"
	// BadTLS is a certificate or a TLS version that is not to be trusted.
	BadTLS Kind = "tls"
	// TimedOut is an answer that had not begun when time was up.
	TimedOut Kind = "timeout"
	// SlowAnswer is an answer that came, but late.
	SlowAnswer Kind = "slow-answer"
	// EndlessAnswer is an answer that does not end, or not in a megabyte.
	EndlessAnswer Kind = "endless-answer"
	// NotJSON is a body that is no JSON object in UTF-8.
	NotJSON Kind = "not-json"
	// WrongContentType is JSON that is called something else.
	WrongContentType Kind = "content-type"
	// MissingMember is a member that the answer should have.
	MissingMember Kind = "missing-member"
	// WrongMember is a member of another type, too long, or not what was asked for.
	WrongMember Kind = "wrong-member"
	// MissingBodySign and BadBodySign are V1 answers that are not signed, or not well.
	MissingBodySign Kind = "missing-body-sign"
	BadBodySign     Kind = "bad-body-sign"
	// BadEncryption is a sensitive member of V1 that does not decrypt.
	BadEncryption Kind = "bad-encryption"
	// RefusesSignature is a signature that holds, and was refused.
	RefusesSignature Kind = "refuses-good-signature"
	// AcceptsSignature is a signature that does not hold, and was accepted.
	AcceptsSignature Kind = "accepts-bad-signature"
	// AcceptsReplay is a nonce that was taken a second time for something else.
	AcceptsReplay Kind = "accepts-replay"
	// AcceptsInput is input that is wrong, and was accepted.
	AcceptsInput Kind = "accepts-bad-input"
	// NotIdempotent is a call that may be repeated, and was refused when it was.
	NotIdempotent Kind = "not-idempotent"
	// DeleteNotIdempotent is the same of a delete.
	DeleteNotIdempotent Kind = "delete-not-idempotent"
	// NewInstancePerRepeat is an order that got a second instance.
	NewInstancePerRepeat Kind = "new-instance-per-repeat"
	// SharedInstance is one instance for two order lines.
	SharedInstance Kind = "shared-instance"
	// NotStable is a License that differs when it is asked for again.
	NotStable Kind = "license-not-stable"
	// NeverReady is an instance that was "processing" until patience ended.
	NeverReady Kind = "never-ready"
	// LeaksKey is an answer that holds the access key.
	LeaksKey Kind = "leaks-key"
)

// remedies say what to do about each kind.
var remedies = map[Kind]string{
	WrongCode:            "Answer with the code of the table in §2.",
	WrongStatus:          "Answer HTTP 200 whatever came of the call; resultCode says what did. A 404 or 405 usually means another path or method than the one of §0.",
	ServerError:          "Your server, or the proxy before it, failed. Look into its log at this time; answer HTTP 200 with 000005 where it is your own fault.",
	Redirected:           "The marketplace follows no redirect. Register the address that the redirect leads to, and mind the slash at its end.",
	NoAnswer:             "Nothing answers, or the connection breaks. Check that the server is up, and the proxy before it.",
	BadTLS:               "The marketplace wants TLS 1.2 or newer and a certificate that is trusted, not expired, for this name, with its intermediates.",
	TimedOut:             "Answer within the time. Do what takes long later: 000004 for newInstance, 000000 for what you have taken in.",
	SlowAnswer:           "Do what takes long after the answer.",
	EndlessAnswer:        "End the answer: a Content-Length, or a last chunk; and keep it short.",
	NotJSON:              "Answer with one JSON object in UTF-8, also for errors: no web page of a framework, a proxy or a firewall.",
	WrongContentType:     "Send Content-Type: application/json; charset=utf-8.",
	MissingMember:        "Put the member in; the section names it as mandatory.",
	WrongMember:          "Correct the member's value; the section says what it holds.",
	MissingBodySign:      "Set the header Body-Sign on every V1 answer, those of refused calls too.",
	BadBodySign:          `Sign the exact bytes of the body with the access key alone (no timeStamp), and write: sign_type="HMAC-SHA256", signature="<Base64>", with the double quotes. Nothing may change the body afterwards: no compression, no pretty-printing.`,
	BadEncryption:        "Write iv (16 characters) + Base64(AES-CBC-PKCS5(value)) with the key that Java's SHA1PRNG makes of the access key; answer the encryptType that was asked for.",
	RefusesSignature:     "Sort the top-level members, drop those that are null, write compactly and unescaped, and sign that: not the body as your framework re-writes it. `orgsync explain-signature` takes such a call apart.",
	AcceptsSignature:     "Compare the signature, and refuse: 000001. It is the only authentication there is.",
	AcceptsReplay:        "Keep nonces for at least two minutes, and refuse one that comes again with another signature.",
	AcceptsInput:         "Check the members before anything is stored, and answer 000002 with the member's name.",
	NotIdempotent:        "Any call may come again, at any time: what is there already is a success, 000000.",
	DeleteNotIdempotent:  "Deleting what is gone, or never was, is a success: 000000. Deletes do not check that the instance exists.",
	NewInstancePerRepeat: "Look the order line up (orderId, orderLineId; for on-demand goods orderId, productId) in the same transaction that makes the instance; answer the instanceId that it has.",
	SharedInstance:       "Each order line has an instance of its own: the key is (orderId, orderLineId), not orderId alone; for on-demand goods (orderId, productId).",
	NotStable:            "Keep the License with its eventId, and answer the same one again.",
	NeverReady:           "Finish the instance, so that queryInstance answers 000000 with appInfo (orgsync serve: set instances.frontEndUrl); or wait longer: --patience.",
	LeaksKey:             "Take the access key out of answers, and rotate it: what was answered may be in logs by now.",
}

// codeHints say what a refusal usually means.
var codeHints = map[string]string{
	codeDenied:          "The access key differs (--key-file, --base-key-file), or the signature is not computed as §1 has it; `orgsync explain-signature` takes such a call apart.",
	codeInvalid:         "The call is valid. resultMsg should say which member was not liked.",
	codeUnknownInstance: "The instance is not known. Give one that is with --instance, or let the base interface be played as well.",
	codeInternal:        "Your server failed. Look into its log at this time.",
	codeNoResource:      "There was no instance to be had. Stock up, also for debugging calls.",
	codeClientSecret:    "clientSecret does not decrypt. Check that --public-key is of the pair whose private key your server has.",
}

// Finding is what is wrong, where, and what to do about it.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Step     string `json:"step"` // of the case
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Remedy   string `json:"remedy"`
	Request  string `json:"request,omitempty"` // the line and the body, cut; no signature
	Answer   string `json:"answer,omitempty"`  // the body, cut; no password
}

// String is a finding in one line.
func (f *Finding) String() string {
	return fmt.Sprintf("%s: %s: expected %s, got %s", f.Kind, f.Step, f.Expected, f.Got)
}

// unanswered reports whether there was no whole answer.
func (f *Finding) unanswered() bool {
	return f != nil && slices.Contains([]Kind{NoAnswer, TimedOut, EndlessAnswer, BadTLS}, f.Kind)
}

func finding(kind Kind, expected, got string) *Finding {
	return &Finding{Kind: kind, Expected: expected, Got: got, Remedy: remedies[kind]}
}

// wrongCode is a finding about a resultCode. kind is what it means that a
// success is a refusal, or a refusal a success.
func wrongCode(kind Kind, want []string, a *answer) *Finding {
	if success(a.code) == success(want[0]) {
		kind = WrongCode
	}
	f := finding(kind, strings.Join(want, " or "), strings.TrimSpace(a.code+" "+cut(a.message, maxGot)))
	if hint := codeHints[a.code]; kind == WrongCode && success(want[0]) && hint != "" {
		f.Remedy = hint
	}
	return f
}

// Kinds lists all kinds, in alphabetical order.
func Kinds() []Kind { return slices.Sorted(maps.Keys(remedies)) }
