package marketplace_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// badInput is a call that the door must refuse.
type badInput struct {
	name string
	kind directory.PushKind
	body []byte
	// before and after change the call before and after it is signed.
	before, after func(*call)
	status        int // 0: 200
	code          string
	says          string // in the message: the member, and the reason
}

// Bad input is answered with the code of spec/marketplace.md §2 and a message
// that names the member; nothing is written, and nothing of it that is secret
// or personal is logged.
func TestBadInput(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	valid := h.validBodies(t)
	require.Empty(t, h.stored(t))

	// Something that a nonce was used for, and that bad input could spoil.
	first := h.newCall(directory.SingleOrgSync, valid[directory.SingleOrgSync].with("orgCode", "used").json()).sign(t)
	require.Equal(t, "000000", h.do(t, first).ResultCode)

	before := h.stored(t)
	require.Len(t, before.Changes, 1)
	require.Len(t, before.Pushes, 1)
	cases := slices.Concat(wrongMembers(valid), wrongUsers(valid), wrongTrees(valid), wrongJSON(valid), wrongStamps(valid, first), wrongPlaces(valid))
	require.GreaterOrEqual(t, len(cases), 100)
	seen := map[string]bool{}
	for _, c := range cases {
		require.False(t, seen[c.name], "two cases are called %q", c.name)
		seen[c.name] = true
		// Not in parallel: each must leave the one store as it was.
		t.Run(c.name, func(t *testing.T) {
			request := h.newCall(c.kind, c.body)
			if c.before != nil {
				c.before(request)
			}
			request.sign(t)
			if c.after != nil {
				c.after(request)
			}
			h.log.take()
			got := h.do(t, request)
			require.Equal(t, cmp.Or(c.status, http.StatusOK), got.status)
			require.Equal(t, c.code, got.ResultCode, got.ResultMsg)
			require.Contains(t, got.ResultMsg, c.says)
			requireDiscreet(t, h.log.take()+got.body, request)
			after := h.stored(t)
			defer func() { before = after }()
			require.Equal(t, before, after, "something was written")
		})
	}
}

// requireDiscreet wants neither secrets nor personal data in a text, nor the
// inside of the program.
func requireDiscreet(t *testing.T, text string, c *call) {
	t.Helper()
	secret := append([]string{accessKey, oldAccessKey, plainClientSecret, "goroutine ", ".go:", "panic"}, personal...)
	if len(c.signature) > 8 {
		secret = append(secret, strings.ToLower(c.signature), c.signature)
	}
	for _, s := range secret {
		require.NotContains(t, text, s)
	}
	if _, after, ok := bytes.Cut(c.body, []byte(`"clientSecret":"`)); ok {
		if ciphertext, _, ok := bytes.Cut(after, []byte(`"`)); ok && len(ciphertext) > 8 {
			require.NotContains(t, text, string(ciphertext))
		}
	}
}

// field is a member as spec/marketplace.md §3 has it.
type field struct {
	name     string
	most     int  // characters, 0 for an integer or a list
	empty    bool // may be empty
	optional bool
}

var (
	commonFields = []field{{name: "instanceId", most: 64, empty: true}, {name: "tenantId", most: 64}, {name: "testFlag"}, {name: "timeStamp", most: 17}}
	flagField    = field{name: "flag"}
	fields       = map[directory.PushKind][]field{
		directory.TenantSync: {{name: "orderId", most: 64, empty: true}, {name: "tenantCode", most: 64},
			{name: "name", most: 255}, {name: "domainName", most: 255}, flagField},
		directory.ApplicationSync: {{name: "appId", most: 64}, {name: "clientId", most: 64}, {name: "clientSecret", most: 2048}, flagField},
		directory.AuthSync:        {{name: "appId", most: 64}, {name: "userList"}, {name: "currentSyncTime", most: 17}, flagField},
		directory.SingleOrgSync: {{name: "orgCode", most: 64}, {name: "orgName", most: 128},
			{name: "parentCode", most: 64, optional: true, empty: true}, flagField},
		directory.AllOrgSync: {{name: "orgInfoList"}},
	}
	departmentFields = []field{{name: "orgCode", most: 64}, {name: "orgName", most: 128}, {name: "parentCode", most: 64, optional: true, empty: true}}
	userFields       = []field{
		{name: "userName", most: 64}, {name: "name", most: 64}, {name: "orgCode", most: 64}, {name: "role", most: 32}, {name: "enable"},
		{name: "position", most: 64, optional: true, empty: true}, {name: "employeeCode", most: 64, optional: true, empty: true},
		{name: "employeeType", optional: true, empty: true}, {name: "mobile", most: 32, optional: true, empty: true},
		{name: "email", most: 128, optional: true, empty: true}, {name: "workPlace", most: 255, optional: true, empty: true},
		{name: "entryDate", most: 10, optional: true, empty: true},
	}
)

// wrongMembers spoils every member of every interface in every way.
func wrongMembers(valid map[directory.PushKind]object) (cases []badInput) {
	for _, kind := range directory.PushKinds() {
		for _, f := range slices.Concat(fields[kind], commonFields) {
			for _, w := range wrongs(f) {
				body := w.apply(valid[kind], f.name)
				cases = append(cases, badInput{name: fmt.Sprintf("%s: %s %s", kind, f.name, w.name), kind: kind, body: body.json(), code: "000002", says: f.name + ": " + w.says})
			}
		}
	}
	department := object{"orgCode": "10002", "orgName": "产品部", "parentCode": "10000"}
	for _, f := range departmentFields {
		for _, w := range wrongs(f) {
			list := []any{department.with("orgCode", "10003"), w.apply(department, f.name)}
			cases = append(cases, badInput{
				name: fmt.Sprintf("orgInfoList: %s %s", f.name, w.name), kind: directory.AllOrgSync,
				body: valid[directory.AllOrgSync].with("orgInfoList", list).json(),
				code: "000002", says: "orgInfoList[1]." + f.name + ": " + w.says,
			})
		}
	}
	for _, f := range userFields {
		for _, w := range wrongs(f) {
			list := []any{validUser, w.apply(validUser.with("userName", "lisi02"), f.name)}
			cases = append(cases, badInput{
				name: fmt.Sprintf("userList: %s %s", f.name, w.name), kind: directory.AuthSync,
				body: valid[directory.AuthSync].with("userList", list).json(),
				code: "000002", says: "userList[1]." + f.name + ": " + w.says,
			})
		}
	}
	return cases
}

// wrong is a way to spoil a member.
type wrong struct {
	name  string
	apply func(o object, member string) object
	says  string
}

func set(value any) func(object, string) object {
	return func(o object, member string) object { return o.with(member, value) }
}

func wrongs(f field) (all []wrong) {
	if !f.optional {
		all = append(all, wrong{"missing", object.without, "missing"}, wrong{"null", set(nil), "missing"})
		if !f.empty {
			all = append(all, wrong{"empty", set(""), ""})
		}
	}
	if f.most > 0 {
		all = append(all, wrong{"as a number", set(42), "want a string"}, wrong{"as an object", set(object{"a": 1}), "want a string"},
			wrong{"as true", set(true), "want a string"},
			wrong{"overlong", set(strings.Repeat("汉", f.most+1)), fmt.Sprintf("longer than %d", f.most)},
			wrong{"with a NUL", set("a\x00b"), ""})
		if f.most == len("20220413093539534") {
			for _, text := range []string{"2022041309353953", "20221313093539534", "20220230093539534", "20220413250000000", "20220413T93539534", "2022-04-13 09:35"} {
				all = append(all, wrong{"as " + text, set(text), ""})
			}
		}
		return all
	}
	all = append(all, wrong{"as an object", set(object{"a": 1}), "want "}, wrong{"as a fraction", set(1.5), "want "})
	switch f.name {
	case "flag", "testFlag", "employeeType":
		all = append(all, wrong{"as true", set(true), "want an integer"}, wrong{"unknown", set(7), "7 is unknown"},
			wrong{"negative", set("-1"), "-1 is unknown"}, wrong{"beyond any integer", set("99999999999999999999"), "want an integer"},
			wrong{"as a word", set("one"), "want an integer"}, wrong{"with a plus", set("+1"), "want an integer"}, wrong{"as a list", set([]int{1}), "want an integer"})
	case "enable":
		all = append(all, wrong{"as a number", set(1), `want "true" or "false"`}, wrong{"as a word", set("yes"), `want "true" or "false"`})
	default:
		all = append(all, wrong{"as true", set(true), "want a list"}, wrong{"as a word", set("departments"), "malformed list"},
			wrong{"as an object in a string", set(`{"a":1}`), "malformed list"}, wrong{"cut short in a string", set(`[{"orgCode":"1",`), "malformed list"},
			wrong{"with more after it", set(`[] []`), "malformed list"})
	}
	return all
}

// wrongUsers are lists of users that contradict the guide or themselves.
func wrongUsers(valid map[directory.PushKind]object) (cases []badInput) {
	add := func(name string, body object, says string) {
		cases = append(cases, badInput{name: "users: " + name, kind: directory.AuthSync, body: body.json(), code: "000002", says: says})
	}
	auth := valid[directory.AuthSync]
	crowd := func(n int) (users []any) {
		for i := range n {
			users = append(users, validUser.with("userName", fmt.Sprint("user", i)))
		}
		return users
	}
	add("501 of them", auth.with("userList", crowd(501)), "userList: more than 500 users")
	add("501 to delete", auth.with("userList", crowd(501)).with("flag", 0), "userList: more than 500 users")
	add("the same twice", auth.with("userList", []any{validUser, validUser}), "userList[1].userName: appears twice")
	add("one is no object", auth.with("userList", []any{validUser, "zhangsan"}), "userList[1]: want an object")
	add("one is null", auth.with("userList", []any{nil}), "userList[0]: want an object")
	add("a list in a list", auth.with("userList", []any{[]any{validUser}}), "userList[0]: want an object")
	add("an unknown role", auth.with("userList", []any{validUser.with("role", "root")}), "userList[0].role: want user or admin")
	add("a flag of three is none of a user's", auth.with("flag", 4), "flag: 4 is unknown")
	add("to cancel without a name", auth.with("flag", 3).with("userList", []any{object{"name": "李四"}}), "userList[0].userName: missing")
	for _, date := range []string{"2022-13-01", "2022-00-10", "2022-1-32", "22-1-1", "2022/11/9", "11-9-2022", "2022-11"} {
		add("entry date "+date, auth.with("userList", []any{validUser.with("entryDate", date)}), "userList[0].entryDate: want yyyy-MM-d")
	}
	add("V1's extension is no object", auth.with("userList", []any{validUser.with("extension", 5)}), "userList[0].extension: want an object")
	add("V1's extension has more after it", auth.with("userList", []any{validUser.with("extension", "{} {}")}), "userList[0].extension: want an object")
	add("V1's extension holds a wrong type", auth.with("userList", []any{validUser.without("employeeType").with("extension", object{"employeeType": 9})}),
		"userList[0].employeeType: 9 is unknown")
	return cases
}

// wrongTrees are departments that can form no tree.
func wrongTrees(valid map[directory.PushKind]object) (cases []badInput) {
	full := func(name string, list any, says string) {
		cases = append(cases, badInput{name: "tree: " + name, kind: directory.AllOrgSync,
			body: valid[directory.AllOrgSync].with("orgInfoList", list).json(), code: "000002", says: says})
	}
	department := func(code, parent string) object {
		return object{"orgCode": code, "orgName": "部门" + code, "parentCode": parent}
	}
	ring := func(n int) (list []any) {
		for i := range n {
			list = append(list, department(fmt.Sprintf("department-number-%d", i), fmt.Sprintf("department-number-%d", (i+1)%n)))
		}
		return list
	}
	full("its own parent", []any{department("a", ""), department("b", "b")}, "orgInfoList: orgCode b is its own parent")
	full("a cycle of two", []any{department("a", "b"), department("b", "a")}, "orgInfoList: cycle: ")
	full("a cycle of 500", ring(500), "orgInfoList: cycle: ")
	full("a code twice", []any{department("a", ""), department("a", "")}, "orgInfoList: orgCode a appears twice")
	full("a code twice, far apart", append(ring(40)[1:], department("x", ""), department("department-number-1", "")), "appears twice")
	full("a list in a list", []any{[]any{department("a", "")}}, "orgInfoList[0]: want an object")
	full("a number in the list", []any{department("a", ""), 7}, "orgInfoList[1]: want an object")
	full("null in the list", []any{nil}, "orgInfoList[0]: want an object")
	full("relaxed, with a value without quotes", `[{orgCode:10000, orgName:产品部}]`, "orgInfoList: malformed list")
	full("relaxed, with a name that is none", `[{org-code:"1", orgName:"产品部"}]`, "orgInfoList: malformed list")
	full("relaxed, with too many members", `[{orgCode:"1",orgName:"n"`+strings.Repeat(`,a:1`, 100)+`}]`, "more than 100 members")
	full("in a string, of a wrong type", `[{orgCode:"1", orgName:5}]`, "orgInfoList[0].orgName: want a string")

	single := func(name string, body object, says string) {
		cases = append(cases, badInput{name: "tree: " + name, kind: directory.SingleOrgSync, body: body.json(), code: "000002", says: says})
	}
	one := valid[directory.SingleOrgSync]
	single("one department, its own parent", one.with("parentCode", "10000"), "parentCode: orgCode is its own parent")
	single("a delete without a code", one.with("flag", 0).without("orgCode"), "orgCode: missing")
	return cases
}

// wrongJSON are bodies that no parser should take.
func wrongJSON(valid map[directory.PushKind]object) (cases []badInput) {
	tidy := string(valid[directory.SingleOrgSync].json())
	add := func(name, body, says string) {
		cases = append(cases, badInput{name: "body: " + name, kind: directory.SingleOrgSync, body: []byte(body), code: "000002", says: says})
	}
	name := func(with string) string { return strings.Replace(tidy, "开发部", with, 1) }
	member := func(with string) string { return strings.TrimSuffix(tidy, "}") + `,"more":` + with + "}" }
	add("empty", "", "body: malformed JSON")
	add("white space", " \r\n\t ", "body: malformed JSON")
	add("a word", "orgCode", "body: malformed JSON")
	add("null", "null", "body: malformed JSON")
	add("a list", "["+tidy+"]", "body: malformed JSON")
	add("a string", `"`+strings.ReplaceAll(tidy, `"`, `\"`)+`"`, "body: malformed JSON")
	add("a form", "orgCode=10000&orgName=x", "body: malformed JSON")
	add("XML", "<orgCode>10000</orgCode>", "body: malformed JSON")
	add("cut short", tidy[:len(tidy)-1], "want ',' or '}'")
	add("cut before a value", tidy[:strings.LastIndex(tidy, ":")+1], "unexpected end")
	add("cut within a string", tidy[:20], "string does not end")
	add("two bodies", tidy+tidy, "after the value")
	add("a comma too many", strings.TrimSuffix(tidy, "}")+",}", "want a member's name in quotes")
	add("a comma too few", strings.Replace(tidy, ",", " ", 1), "want ','")
	add("no colon", strings.Replace(tidy, ":", " ", 1), "want ':'")
	add("a name without quotes", strings.Replace(tidy, `"flag"`, "flag", 1), "want a member's name in quotes")
	add("single quotes", strings.ReplaceAll(tidy, `"`, "'"), "want a member's name in quotes")
	add("a comment", "/* push */"+tidy, "body: malformed JSON")
	add("a byte order mark", "\uFEFF"+tidy, "body: malformed JSON")
	add("UTF-16", "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", "body: malformed JSON")
	add("GBK", name("\xbf\xaa\xb7\xa2\xb2\xbf"), "not valid UTF-8")
	add("invalid UTF-8", name("\xff\xfe"), "not valid UTF-8")
	add("UTF-8 cut within a character", name("\xe5\xbc"), "not valid UTF-8")
	add("an overlong UTF-8 form", name("\xc0\xaf"), "not valid UTF-8")
	add("a surrogate in UTF-8", name("\xed\xa0\xbd"), "not valid UTF-8")
	add("half a surrogate pair", name(`\ud83d`), "half a surrogate pair")
	add("the second half alone", name(`\ude00`), "half a surrogate pair")
	add("two first halves", name(`\ud83d\ud83d`), "half a surrogate pair")
	add("an escaped NUL", name(`a\u0000b`), "orgName: holds a NUL")
	add("a raw NUL", name("a\x00b"), "control character")
	add("a raw line break in a string", name("a\nb"), "control character")
	add("an unknown escape", name(`\x41`), "unknown escape")
	add("a short unicode escape", name(`\u4e2`), "four hex digits")
	add("an escape at the very end", `{"orgName":"\`, "string does not end")
	for _, number := range []string{"01", "+1", ".5", "1.", "1e", "0x10", "--1", "1e+", "-", "NaN", "Infinity", strings.Repeat("9", 65)} {
		add("the number "+number, member(number), "body: malformed JSON")
	}
	add("a broken word", member("tru"), "body: malformed JSON")
	add("undefined", member("undefined"), "body: malformed JSON")
	add("deep lists", member(strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), "nested too deep")
	add("deep objects", member(strings.Repeat(`{"a":`, 10_000)+"1"+strings.Repeat("}", 10_000)), "nested too deep")
	add("deep and never closed", member(strings.Repeat("[", 100_000)), "nested too deep")
	var many string
	for i := range 100 {
		many += fmt.Sprintf(`,"m%d":1`, i)
	}
	add("too many members", member(`{`+strings.Repeat(`"a":1,`, 200)+`"z":1}`), "more than 100 members")
	add("too many top-level members", strings.TrimSuffix(tidy, "}")+many+"}", "more than 100 members")
	add("over the limit", member(`"`+strings.Repeat("x", maxBody)+`"`), fmt.Sprintf("body: larger than %d bytes", maxBody))
	return cases
}

// wrongStamps are headers and signatures that do not hold.
func wrongStamps(valid map[directory.PushKind]object, used *call) (cases []badInput) {
	body := valid[directory.SingleOrgSync].json()
	add := func(name, code, says string, before, after func(*call)) {
		cases = append(cases, badInput{name: "stamp: " + name, kind: directory.SingleOrgSync, body: body, before: before, after: after, code: code, says: says})
	}
	at := func(ago time.Duration) func(*call) {
		return func(c *call) { c.timestamp = strconv.FormatInt(houseBegins.Add(-ago).UnixMilli(), 10) }
	}
	stamp := func(text string) func(*call) { return func(c *call) { c.timestamp = text } }
	nonce := func(text string) func(*call) { return func(c *call) { c.nonce = text } }
	signature := func(change func(string) string) func(*call) {
		return func(c *call) { c.signature = change(c.signature) }
	}
	const noMatch = "x-sign: does not match"
	add("no timestamp", "000002", "x-timestamp: missing", stamp(""), nil)
	add("timestamp in seconds", "000002", "x-timestamp: want UNIX milliseconds", stamp("1649813739"), nil)
	add("timestamp in microseconds", "000002", "x-timestamp: want UNIX milliseconds", stamp("1649813739534000"), nil)
	add("timestamp with a sign", "000002", "x-timestamp: want UNIX milliseconds", stamp("+649813739534"), nil)
	add("timestamp is a word", "000002", "x-timestamp: want UNIX milliseconds", stamp("thirteen char"), nil)
	add("timestamp in other digits", "000002", "x-timestamp: want UNIX milliseconds", stamp("１６４９８１３７３９５３４"), nil)
	add("timestamp just expired", "000002", "x-timestamp: expired", at(time.Minute+time.Millisecond), nil)
	add("timestamp of another day", "000002", "x-timestamp: expired", at(24*time.Hour), nil)
	add("timestamp just in the future", "000002", "x-timestamp: in the future", at(-5*time.Minute-time.Millisecond), nil)
	add("timestamp of another age", "000002", "x-timestamp: in the future", stamp("9999999999999"), nil)
	add("timestamp of 1970", "000002", "x-timestamp: expired", stamp("0000000000000"), nil)
	add("no nonce", "000002", "x-nonce: missing", nonce(""), nil)
	add("nonce of 129", "000002", "x-nonce: longer than 128", nonce(strings.Repeat("n", 129)), nil)
	add("no signature", "000001", "x-sign: missing", nil, signature(func(string) string { return "" }))
	add("not hex", "000001", noMatch, nil, signature(func(string) string { return "not a signature" }))
	add("signature cut short", "000001", noMatch, nil, signature(func(s string) string { return s[:63] }))
	add("signature and more", "000001", noMatch, nil, signature(func(s string) string { return s + "0" }))
	add("signature with one digit changed", "000001", noMatch, nil, signature(func(s string) string {
		return s[:63] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", s[63])+1)%16])
	}))
	add("signature in Base64", "000001", noMatch, nil, signature(func(string) string { return "0N4Yoi0H3zWX8sQb0jv3m9k1Y0b2l6w5m0u7q8r9s0A=" }))
	add("signature of another key", "000001", noMatch, func(c *call) { c.key = "ak-of-somebody-else" }, nil)
	add("signature of an empty key", "000001", noMatch, func(c *call) { c.key = "" }, nil)
	add("signed for another nonce", "000001", noMatch, nil, nonce("ANOTHER"))
	add("signed for another timestamp", "000001", noMatch, nil, at(time.Second))
	add("signed for another body", "000001", noMatch, nil, func(c *call) { c.body = bytes.Replace(c.body, []byte("10000"), []byte("10009"), 1) })
	add("signed for a body with a member more", "000001", noMatch, nil, func(c *call) {
		c.body = append(bytes.TrimSuffix(c.body, []byte("}")), `,"more":1}`...)
	})
	add("signed over a nested null dropped", "000001", noMatch, func(c *call) { c.body = []byte(`{"a":{"b":1}}`) },
		func(c *call) { c.body = []byte(`{"a":{"b":1,"c":null}}`) })
	add("nonce used, other body", "000001", "x-nonce: used before", nonce(used.nonce), nil)
	add("nonce used, other timestamp", "000001", "x-nonce: used before", func(c *call) {
		c.nonce, c.body = used.nonce, used.body
		at(time.Second)(c)
	}, nil)
	return cases
}

// wrongPlaces are calls of what is not there, and secrets that do not open.
func wrongPlaces(valid map[directory.PushKind]object) (cases []badInput) {
	body := valid[directory.SingleOrgSync].json()
	add := func(name string, status int, change func(*call)) {
		cases = append(cases, badInput{name: "place: " + name, kind: directory.SingleOrgSync, body: body, after: change,
			status: status, code: "000002", says: "no such interface; the production address takes POST /saasproduce/produceAPI/v2/"})
	}
	path := func(text string) func(*call) { return func(c *call) { c.path = text } }
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		add("method "+method, http.StatusMethodNotAllowed, func(c *call) { c.method = method })
	}
	add("the root", http.StatusNotFound, path("/"))
	add("the base path alone", http.StatusNotFound, path("/saasproduce"))
	add("without the base path", http.StatusNotFound, path("/produceAPI/v2/singleOrgSync"))
	add("an unknown interface", http.StatusNotFound, path("/saasproduce/produceAPI/v2/orgSync"))
	add("in lower case", http.StatusNotFound, path("/saasproduce/produceapi/v2/singleorgsync"))
	add("an unknown generation", http.StatusNotFound, path("/saasproduce/produceAPI/v3/singleOrgSync"))
	add("a slash too many", http.StatusNotFound, path("/saasproduce/produceAPI/v2/singleOrgSync/"))
	add("a path that climbs", http.StatusNotFound, path("/saasproduce/produceAPI/v2/../../../etc/passwd"))

	application := valid[directory.ApplicationSync]
	for name, secret := range map[string]string{
		"not Base64": "this is no Base64!", "in clear": "czNjcmV0", "cut short": application["clientSecret"].(string)[:256],
		"changed": "AAAA" + application["clientSecret"].(string)[4:],
	} {
		cases = append(cases, badInput{name: "client secret: " + name, kind: directory.ApplicationSync,
			body: application.with("clientSecret", secret).json(), code: "000101", says: "clientSecret: does not decrypt"})
	}
	return cases
}
