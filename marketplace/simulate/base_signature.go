package simulate

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/openkoo/connector/marketplace/client"
)

// baseSignatures are signatures of the base interface that hold, and that do
// not (spec/marketplace.md §1.3, §1.4).
func baseSignatures() chapter {
	return chapter{"base-%s-signature", []entry{
		{1, client.V2, "Holds: a body with white space", "§1.1", goodOrder(written(func(body string) string {
			return strings.NewReplacer(`":"`, "\" :\n\t\"", `","`, `" , "`).Replace(body) + "\n"
		}))},
		{2, 0, `Holds: a parameter with / \ " < > & + = and Chinese`, "§1.1", goodOrder(set("customerName", "研发/R&D <\"1\"> \\ 1+1=2 😀"))},
		{3, client.V2, "Holds: a member that is null is no part of what is signed", "§1.1", goodOrder(set("anOldMember", nil))},
		{4, client.V2, "Holds: the signature in upper case", "§1.3", goodOrder(inURL(func(q map[string]string) { q["signature"] = strings.ToUpper(q["signature"]) }))},
		{5, client.V1, "Holds: a parameter that is empty", "§1.4", goodOrder(set("diskSize", ""))},
		{10, 0, "Does not hold: another access key", "§1", badOrder(signedWith("another-access-key-" + "of-nobody"))},
		{11, client.V2, "Does not hold: the body was changed on the way", "§1.3", badOrder(spoiled(withBody(`{"activity":"newInstance","businessId":"forged","orderId":"forged","orderLineId":"forged-1","testFlag":"1"}`)))},
		{12, client.V1, "Does not hold: a parameter was changed on the way", "§1.4", badOrder(inURL(func(q map[string]string) { q["orderId"] = "forged" }))},
		{13, client.V1, "Does not hold: a parameter was added on the way", "§1.4", badOrder(inURL(func(q map[string]string) { q["trialToFormal"] = "1" }))},
		{14, 0, "Does not hold: there is no signature", "§2", badOrder(inURL(func(q map[string]string) {
			delete(q, "signature")
			delete(q, "authToken")
		}))},
		{15, 0, "Does not hold: the signature is no such thing", "§1", badOrder(inURL(func(q map[string]string) {
			for _, name := range []string{"signature", "authToken"} {
				if q[name] != "" {
					q[name] = "x"
				}
			}
		}))},
		{16, client.V2, "Does not hold: the timestamp was changed on the way", "§1.3", badOrder(inURL(func(q map[string]string) {
			millis, _ := strconv.ParseInt(q["timestamp"], 10, 64)
			q["timestamp"] = strconv.FormatInt(millis+1, 10)
		}))},
		{17, client.V2, "Too old: signed five minutes ago", "§1.3", agedOrder(-5 * time.Minute)},
		{18, client.V2, "Too new: signed ten minutes ahead", "§1.3", agedOrder(10 * time.Minute)},
		{19, client.V2, "There is no timestamp", "§2", lackingOrder("timestamp")},
		{20, client.V2, "There is no nonce", "§2", lackingOrder("nonce")},
		{21, client.V2, "A nonce comes again, for another order", "§1.5", nonceOfAnotherOrder},
	}}
}

// inURL changes the parameters of the URL after they are signed.
func inURL(edit func(map[string]string)) change {
	return spoiled(func(r *http.Request) {
		query := r.URL.Query()
		params := make(map[string]string, len(query))
		for name := range query {
			params[name] = query.Get(name)
		}
		edit(params)
		for name := range query {
			if _, there := params[name]; !there {
				query.Del(name)
			}
		}
		for name, text := range params {
			query.Set(name, text)
		}
		r.URL.RawQuery = query.Encode()
	})
}

// goodOrder orders by a call that is unusual, and right.
func goodOrder(changes ...change) func(*scene) {
	return func(s *scene) {
		s.buy("an instance is ordered", s.order(), append(changes, wants(RefusesSignature, codeSuccess, codeProcessing))...)
	}
}

// forged is an order that is to be refused; refusals have no instanceId.
func (s *scene) forged(changes ...change) {
	s.call("an instance is ordered", "newInstance", s.purchase(s.order()), changes...)
}

func badOrder(changes ...change) func(*scene) {
	return func(s *scene) { s.forged(append(changes, wants(AcceptsSignature, codeDenied))...) }
}

func agedOrder(by time.Duration) func(*scene) {
	return func(s *scene) {
		s.forged(stamped(client.NewStamp(s.options.Now().Add(by))), refusal(AcceptsSignature))
	}
}

func lackingOrder(name string) func(*scene) {
	return func(s *scene) {
		s.forged(inURL(func(q map[string]string) { delete(q, name) }), refusal(AcceptsSignature))
	}
}

func nonceOfAnotherOrder(s *scene) {
	stamp := client.NewStamp(s.options.Now())
	s.buy("an instance is ordered", s.order(), stamped(stamp))
	s.forged(stamped(stamp), refusal(AcceptsReplay))
}
