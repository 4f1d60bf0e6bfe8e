package simulate_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/simulate"
)

// found makes the outcome that is expected of a wrong server.
func found(kind simulate.Kind, ids ...string) map[string]simulate.Kind {
	all := make(map[string]simulate.Kind, len(ids))
	for _, id := range ids {
		all[id] = kind
	}
	return all
}

// both names cases of both generations.
func both(family string, numbers ...string) (ids []string) {
	for _, number := range numbers {
		for _, generation := range []string{"v1", "v2"} {
			ids = append(ids, strings.Replace(family, "*", generation, 1)+"-"+number)
		}
	}
	return ids
}

func numbered(family string, from, to int) (ids []string) {
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprintf("%s-%02d", family, i))
	}
	return ids
}

func concat(lists ...[]string) (all []string) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// seen remembers what has come before.
type seen struct{ sync.Map }

func (s *seen) before(key string) bool {
	_, there := s.LoadOrStore(key, true)
	return there
}

// wrongServer is a server that is right but for one thing.
type wrongServer struct {
	name   string
	plays  []string
	lie    func() wrong
	want   map[string]simulate.Kind
	change func(*simulate.Options)
}

// lie is a wrong server without a memory.
func lie(spoil func(c *call, r *reply)) func() wrong {
	return func() wrong {
		return func(_ http.ResponseWriter, c *call, r *reply) bool {
			spoil(c, r)
			return false
		}
	}
}

// instead is a wrong server that answers some calls in its own way.
func instead(some func(c *call) bool, answer http.HandlerFunc) func() wrong {
	return func() wrong {
		return func(w http.ResponseWriter, c *call, _ *reply) bool {
			if !some(c) {
				return false
			}
			answer(w, c.Request)
			return true
		}
	}
}

func renames(c *call) bool { return c.kit("tenantSync") && c.is("flag", 2) }

func wrongServers() []wrongServer {
	all := []string{"v1", "v2"}
	return []wrongServer{
		{"wrong code", []string{"kit-v2", "life-v2"}, lie(func(c *call, r *reply) {
			if renames(c) {
				r.code("000009")
			}
		}), found(simulate.WrongCode, "kit-v2-03"), nil},
		{"new instance per repeat", []string{"base", "license", "life"}, lie(func(c *call, r *reply) {
			if c.is("activity", "newInstance") && r.has("000000") && !c.is("businessId", r.text["instanceId"]) {
				r.set("instanceId", c.members["businessId"])
			}
		}), found(simulate.NewInstancePerRepeat, both("base-*", "02", "03")...), nil},
		{"missing Body-Sign", all, lie(func(_ *call, r *reply) { r.Header().Del("Body-Sign") }), missingBodySign(), nil},
		{"missing Body-Sign on what is refused", []string{"kit-v1"}, lie(func(_ *call, r *reply) {
			if !r.has("000000") {
				r.Header().Del("Body-Sign")
			}
		}), found(simulate.MissingBodySign, concat(numbered("kit-v1-signature", 10, 13), numbered("kit-v1-input", 1, 2), numbered("kit-v1-input", 5, 14),
			[]string{"kit-v1-input-16"}, numbered("kit-v1-input", 18, 26))...), nil},
		{"Body-Sign with the key and something more", []string{"base-v1-01", "base-v1-input", "kit-v2-01"}, lie(func(c *call, r *reply) {
			if c.v1() {
				r.Header().Set("Body-Sign", marketplace.BodySign(accessKey+fmt.Sprint(c.members["timeStamp"]), r.Body.Bytes()))
			}
		}), badBodySign(), nil},
		{"accepts bad signature", []string{"kit", "base"}, lie(func(_ *call, r *reply) {
			if r.has("000001") {
				r.code("000000")
			}
		}), acceptsSignature(), nil},
		{"not idempotent delete", []string{"kit", "base"}, notIdempotentDelete, refusesRepeatedDeletes(), nil},
		{"500s", []string{"kit-v2", "life"}, instead(func(c *call) bool { return c.kit("authSync") && c.is("flag", 3) }, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		}), found(simulate.ServerError, concat([]string{"kit-v2-13", "kit-v2-31", "kit-v2-33", "kit-v2-binding-03"}, both("life-*", "02", "03"))...), nil},
		{"a web page of a firewall for what is large", []string{"kit-v2", "life-v1"}, instead(func(c *call) bool { return len(c.body) > 64<<10 }, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>\x1b[31mblocked</html>")
		}), found(simulate.NotJSON, "kit-v2-15", "kit-v2-input-22"), nil},
		{"JSON that is called text", []string{"base"}, lie(func(c *call, r *reply) {
			if c.is("activity", "queryInstance") && r.has("000000") {
				r.Header().Set("Content-Type", "text/plain; charset=utf-8")
			}
		}), found(simulate.WrongContentType, both("base-*", "05", "06", "23")...), nil},
		{"answer without end", []string{"base-v2"}, instead(func(c *call) bool { return c.is("activity", "upgradeInstance") }, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
					return
				}
			}
		}), found(simulate.EndlessAnswer, "base-v2-11", "base-v2-18", "base-v2-23", "base-v2-input-20"), nil},
		{"a connection that breaks", []string{"kit-v2-02", "kit-v2-03", "kit-v2-04", "kit-v2-binding"}, instead(renames, func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}), found(simulate.NoAnswer, "kit-v2-03"), nil},
		{"a redirect", []string{"kit-v2-02", "kit-v2-03", "kit-v2-04", "kit-v2-binding"}, instead(renames, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}), found(simulate.Redirected, "kit-v2-03"), nil},
		{"not found", []string{"kit-v2-02", "kit-v2-03", "kit-v2-04", "kit-v2-binding"}, instead(renames, http.NotFound), found(simulate.WrongStatus, "kit-v2-03"), nil},
		{"accepts bad input", []string{"kit-v2", "base-v2-input"}, lie(func(c *call, r *reply) {
			if r.has("000002") && (c.kit("singleOrgSync") || c.is("activity", "queryInstance")) && c.Header.Get("x-sign") != "-" {
				r.code("000000")
			}
		}), acceptsInput(), nil},
		{"the access key in a message", []string{"kit-v2-signature"}, lie(func(_ *call, r *reply) {
			if r.has("000001") {
				r.set("resultMsg", "wrong signature, want one made with "+accessKey)
			}
		}), found(simulate.LeaksKey, append(numbered("kit-v2-signature", 10, 15), "kit-v2-signature-20")...), nil},
		{"signs what is escaped as it came", []string{"kit-v1-signature", "kit-v2-signature"}, lie(func(c *call, r *reply) {
			if strings.Contains(string(c.body), `\u`) {
				r.code("000001")
			}
		}), found(simulate.RefusesSignature, both("kit-*-signature", "02")...), nil},
		{"no instanceId", []string{"base-v2-01", "base-v2-12"}, lie(func(_ *call, r *reply) { r.set("instanceId", nil) }),
			found(simulate.MissingMember, "base-v2-01", "base-v2-12"), nil},
		{"no resultCode", []string{"kit-v2-01"}, lie(func(_ *call, r *reply) { r.set("resultCode", nil) }), found(simulate.MissingMember, "kit-v2-01"), nil},
		{"resultCode is a number", []string{"kit-v2-01"}, lie(func(_ *call, r *reply) { r.set("resultCode", 0) }), found(simulate.WrongMember, "kit-v2-01"), nil},
		{"resultMsg is long", []string{"kit-v2-01"}, lie(func(_ *call, r *reply) { r.set("resultMsg", strings.Repeat("长", 256)) }), found(simulate.WrongMember, "kit-v2-01"), nil},
		{"a query that forgets one", []string{"base"}, lie(func(_ *call, r *reply) {
			if list, ok := r.text["info"].([]any); ok && len(list) > 1 {
				r.set("info", list[1:])
			}
		}), found(simulate.MissingMember, both("base-*", "06")...), nil},
		{"an address that is none", []string{"base-v2"}, lie(func(_ *call, r *reply) {
			if list, ok := r.text["info"].([]any); ok {
				list[0].(map[string]any)["appInfo"] = map[string]any{"frontEndUrl": "app.example.com"}
				r.set("info", list)
			}
		}), found(simulate.WrongMember, "base-v2-05", "base-v2-06"), nil},
		{"never ready", []string{"base-v2"}, lie(func(c *call, r *reply) {
			if c.is("activity", "queryInstance") && r.has("000000") {
				r.code("000004")
			}
		}), found(simulate.NeverReady, "base-v2-05", "base-v2-06"), func(o *simulate.Options) { o.Patience = time.Millisecond }},
		{"one instance for two lines", []string{"base-v2"}, sharedInstance, found(simulate.SharedInstance, "base-v2-04"), nil},
		{"another License each time", []string{"license-v2"}, anotherLicense, found(simulate.NotStable, "license-v2-02"), nil},
		{"a user name that is not encrypted", []string{"base-v1"}, lie(func(c *call, r *reply) { answerUser(c, r, "sim-admin-in-clear") }),
			found(simulate.BadEncryption, "base-v1-14", "base-v1-15"), nil},
		{"another encryptType", []string{"base-v1"}, lie(func(c *call, r *reply) {
			answerUser(c, r, marketplace.EncryptSensitive(accessKey, "admin", marketplace.AES256))
			if c.is("encryptType", 2) {
				r.set("encryptType", "1")
			}
		}), found(simulate.BadEncryption, "base-v1-15"), nil},
		{"slow", []string{"kit-v2-05", "base-v2-19"}, lie(func(*call, *reply) {}), found(simulate.SlowAnswer, "kit-v2-05", "base-v2-19"),
			func(o *simulate.Options) { o.Slow = 1 }},
	}
}

// wrongShops are wrong about orders and about what may be left out.
func wrongShops() []wrongServer {
	return []wrongServer{
		{"an instance for each call of what is sold on demand", []string{"ondemand"}, lie(func(c *call, r *reply) {
			if r.text["instanceId"] != nil {
				r.set("instanceId", c.members["businessId"])
			}
		}), found(simulate.NewInstancePerRepeat, "ondemand-v2-01", "ondemand-v1-02"), nil},
		{"one instance for all products of an order", []string{"ondemand"}, sharedInstance, found(simulate.SharedInstance, both("ondemand-*", "03")...), nil},
		{"a hundred ids are too many", []string{"base-v1", "base-v2-06", "base-v2-24"}, lie(func(c *call, r *reply) {
			if strings.Count(fmt.Sprint(c.members["instanceId"]), ",") > 50 {
				r.code("000002")
			}
		}), found(simulate.WrongCode, both("base-*", "24")...), nil},
		{"members that may be left out are asked for", both("kit-*", "11", "13", "14", "16", "32", "33"), lie(func(c *call, r *reply) {
			list := fmt.Sprint(c.members["orgInfoList"], c.members["orgInfo"], c.members["userList"])
			if (c.kit("singleOrgSync") && c.members["parentCode"] == nil) || strings.Contains(list, "userName:sim00001]") || strings.Contains(list, `{"userName":"sim00001"}`) {
				r.code("000002")
			}
		}), found(simulate.WrongCode, both("kit-*", "32", "33")...), nil},
	}
}

func missingBodySign() map[string]simulate.Kind {
	want := make(map[string]simulate.Kind)
	v1, _ := simulate.Select(simulate.Catalogue(), []string{"v1"})
	for _, c := range v1 {
		if c.ID != "life-v1-02" && c.ID != "life-v1-03" { // not begun
			want[c.ID] = simulate.MissingBodySign
		}
	}
	return want
}

func badBodySign() map[string]simulate.Kind {
	want := found(simulate.BadBodySign, "base-v1-01")
	input, _ := simulate.Select(simulate.Catalogue(), []string{"base-v1-input"})
	for _, c := range input {
		want[c.ID] = simulate.BadBodySign
	}
	return want
}

func acceptsSignature() map[string]simulate.Kind {
	want := found(simulate.AcceptsSignature, concat(
		numbered("kit-v2-signature", 10, 15), numbered("kit-v1-signature", 10, 13),
		numbered("base-v2-signature", 10, 11), numbered("base-v2-signature", 14, 16),
		[]string{"base-v1-signature-10"}, numbered("base-v1-signature", 12, 15))...)
	want["kit-v2-signature-20"], want["base-v2-signature-21"] = simulate.AcceptsReplay, simulate.AcceptsReplay
	return want
}

func acceptsInput() map[string]simulate.Kind {
	want := found(simulate.AcceptsInput, concat(numbered("kit-v2-input", 1, 12), []string{"kit-v2-input-25", "base-v2-input-11", "base-v2-input-12"})...)
	for _, id := range numbered("kit-v2-signature", 16, 19) {
		want[id] = simulate.AcceptsSignature // a timestamp or a nonce that §2 answers 000002
	}
	return want
}

func refusesRepeatedDeletes() map[string]simulate.Kind {
	want := found(simulate.DeleteNotIdempotent, concat(both("kit-*", "04", "08", "13", "14", "19"), both("base-*", "12"))...)
	for _, id := range concat(both("kit-*", "31"), both("base-*", "23")) {
		want[id] = simulate.NotIdempotent // replays are of more than deletes
	}
	return want
}

// notIdempotentDelete finds nothing to delete the second time.
func notIdempotentDelete() wrong {
	var memory seen
	return func(_ http.ResponseWriter, c *call, r *reply) bool {
		deletes := c.is("flag", 0) || c.is("flag", 3) || c.is("activity", "releaseInstance")
		key := c.URL.Path + fmt.Sprint(c.members["flag"], c.members["tenantId"], c.members["orgCode"], c.members["userList"], c.members["instanceId"])
		if deletes && r.has("000000") && memory.before(key) {
			r.code("000003")
		}
		return false
	}
}

func sharedInstance() wrong {
	var first sync.Map
	return func(_ http.ResponseWriter, c *call, r *reply) bool {
		if c.is("activity", "newInstance") && r.has("000000") {
			if id, there := first.LoadOrStore(c.members["orderId"], r.text["instanceId"]); there {
				r.set("instanceId", id)
			}
		}
		return false
	}
}

func anotherLicense() wrong {
	var memory seen
	return func(_ http.ResponseWriter, c *call, r *reply) bool {
		if r.text["license"] != nil && memory.before(fmt.Sprint(c.members["eventId"])) {
			r.set("license", "LIC-another")
		}
		return false
	}
}

// answerUser adds a user to what V1's newInstance answers.
func answerUser(c *call, r *reply, user string) {
	if c.is("activity", "newInstance") && r.has("000000") {
		r.set("appInfo", map[string]any{"frontEndUrl": "https://app.example.com", "userName": user})
	}
}
