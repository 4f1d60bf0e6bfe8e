package simulate

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

// kitSignatures are signatures that hold, however the body is written, and
// signatures that do not (spec/marketplace.md §1).
func kitSignatures() chapter {
	return chapter{"kit-%s-signature", []entry{
		{1, 0, "Holds: a body with white space", "§1.1", goodSignature(written(func(body string) string {
			return strings.NewReplacer(`":"`, "\" :\n\t\"", `","`, `" , "`).Replace(body) + "\n"
		}))},
		{2, 0, `Holds: characters escaped as \uXXXX`, "§1.1", goodSignature(written(escaped))},
		{3, 0, `Holds: names with / \ " < > & and an emoji`, "§1.1", goodSignature(set("orgName", "研发/R&D <\"1\"> \\ 😀"))},
		{4, 0, "Holds: a member that is null is no part of what is signed", "§1.1", goodSignature(set("anOldMember", nil))},
		{5, client.V2, "Holds: x-sign in upper case", "§1.2", goodSignature(spoiled(func(r *http.Request) {
			r.Header.Set("x-sign", strings.ToUpper(r.Header.Get("x-sign")))
		}))},
		{6, client.V1, "Holds: members that are empty are no part of what is signed", "§1.4", goodSignature(signedWithoutBlanks)},
		{10, 0, "Does not hold: another access key", "§1", badSignature(signedWith("another-access-key-" + "of-nobody"))},
		{11, 0, "Does not hold: the body was changed on the way", "§1", badSignature(spoiled(otherDepartment))},
		{12, 0, "Does not hold: there is no signature", "§2", badSignature(spoiled(func(r *http.Request) {
			r.Header.Del("x-sign")
			r.Header.Del("authToken")
		}))},
		{13, 0, "Does not hold: the signature is no such thing", "§1", badSignature(spoiled(func(r *http.Request) {
			for _, name := range []string{"x-sign", "authToken"} {
				if r.Header.Get(name) != "" {
					r.Header.Set(name, "x")
				}
			}
		}))},
		{14, client.V2, "Does not hold: the timestamp was changed on the way", "§1.2", badSignature(spoiled(func(r *http.Request) {
			millis, _ := strconv.ParseInt(r.Header.Get("x-timestamp"), 10, 64)
			r.Header.Set("x-timestamp", strconv.FormatInt(millis+1, 10))
		}))},
		{15, client.V2, "Does not hold: the nonce was changed on the way", "§1.2", badSignature(spoiled(func(r *http.Request) {
			r.Header.Set("x-nonce", "A"+r.Header.Get("x-nonce"))
		}))},
		{16, client.V2, "Too old: signed five minutes ago", "§1.2", aged(-5 * time.Minute)},
		{17, client.V2, "Too new: signed ten minutes ahead", "§1.2", aged(10 * time.Minute)},
		{18, client.V2, "There is no x-timestamp", "§2", lacking("x-timestamp")},
		{19, client.V2, "There is no x-nonce", "§2", lacking("x-nonce")},
		{20, client.V2, "A nonce comes again, for another body", "§1.5", nonceAgain},
		{21, client.V2, "The very same call comes again: no error of the server", "§1.5", sameAgain},
	}}
}

// goodSignature adds a department by a call that is unusual, and right.
func goodSignature(changes ...change) func(*scene) {
	return func(s *scene) {
		s.bind()
		s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), append(changes, wants(RefusesSignature, codeSuccess))...)
	}
}

// badSignature adds a department by a call that is to be refused.
func badSignature(changes ...change) func(*scene) {
	return func(s *scene) {
		s.bind()
		s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), append(changes, wants(AcceptsSignature, codeDenied))...)
	}
}

// signedWithoutBlanks signs a V1 call as the guide's sample does.
func signedWithoutBlanks(a *attempt) {
	a.spoil = func(r *http.Request) {
		reader, err := r.GetBody()
		if err != nil {
			return
		}
		body, _ := io.ReadAll(reader)
		params, _ := marketplace.V1Params(body)
		signed := make(map[string]string, len(params))
		for _, p := range marketplace.WithoutBlanks(params) {
			signed[p.Name] = p.Value
		}
		r.Header.Set("authToken", marketplace.SignV1Params(a.key, signed))
	}
}

var bmp = regexp.MustCompile(`[^\x00-\x7F]`)

// escaped writes what is not ASCII as Java's escapes do.
func escaped(body string) string {
	return bmp.ReplaceAllStringFunc(body, func(character string) string {
		var b strings.Builder
		for _, unit := range utf16.Encode([]rune(character)) {
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(unit), 16)[1:])
		}
		return b.String()
	})
}

func otherDepartment(r *http.Request) {
	withBody(`{"instanceId":"","tenantId":"forged","orgCode":"10","orgName":"伪造","parentCode":"","flag":1,"testFlag":1,"timeStamp":"20260506150000000"}`)(r)
}

// The reference server answers a timestamp or nonce that is missing or too old
// with 000002; §2's table has 000001. Both are taken.
func refusal(kind Kind) change { return wants(kind, codeInvalid, codeDenied) }

func aged(by time.Duration) func(*scene) {
	return func(s *scene) {
		s.bind()
		s.push("a department is added", directory.FlagAdd, department("10", "总部", ""),
			stamped(client.NewStamp(s.options.Now().Add(by))), refusal(AcceptsSignature))
	}
}

func lacking(header string) func(*scene) {
	return func(s *scene) {
		s.bind()
		s.push("a department is added", directory.FlagAdd, department("10", "总部", ""),
			spoiled(func(r *http.Request) { r.Header.Del(header) }), refusal(AcceptsSignature))
	}
}

func nonceAgain(s *scene) {
	s.bind()
	stamp := client.NewStamp(s.options.Now())
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), stamped(stamp))
	s.push("another is added with the same nonce", directory.FlagAdd, department("20", "分部", ""), stamped(stamp), refusal(AcceptsReplay))
}

func sameAgain(s *scene) {
	s.bind()
	stamp, at := client.NewStamp(s.options.Now()), s.tick()
	s.push("a department is added", directory.FlagAdd, department("10", "总部", ""), stamped(stamp), dated(at))
	s.push("the call comes again, byte for byte", directory.FlagAdd, department("10", "总部", ""), stamped(stamp), dated(at),
		wants(NotIdempotent, codeSuccess, codeDenied, codeInvalid))
}
