package simulate

import (
	"strings"

	"github.com/openkoo/connector/marketplace/client"
)

// baseInput are calls that are signed well, and wrong (spec/marketplace.md §2).
func baseInput() chapter {
	return chapter{"base-%s-input", []entry{
		{1, 0, "activity is unknown", "§4", refusedCall("danceInstance", nil)},
		{2, 0, "activity is missing", "§4", refusedOrder(without("activity"))},
		{3, 0, "orderId is missing", "§4 newInstance", refusedOrder(without("orderId"))},
		{4, client.V2, "orderLineId is missing", "§4 newInstance", refusedOrder(without("orderLineId"))},
		{5, 0, "businessId is missing", "§4 newInstance", refusedOrder(without("businessId"))},
		{6, 0, "orderId has 65 characters", "§4 newInstance", refusedOrder(set("orderId", strings.Repeat("9", 65)))},
		{7, client.V2, "testFlag is unknown", "§4", refusedOrder(set("testFlag", "7"))},
		{8, client.V1, "customerId is missing", "§5 newInstance", refusedOrder(without("customerId"))},
		{9, client.V1, "mobilePhone does not decrypt", "§1.4", refusedOrder(set("mobilePhone", "A1b2C3d4E5f6G7h8QUJDREVGR0hJSktMTU5PUA=="))},
		{10, client.V1, "encryptType is unknown", "§1.4", refusedOrder(set("encryptType", "3"))},
		{11, 0, "instanceId of a query is missing", "§4 queryInstance", refusedCall("queryInstance", nil)},
		{12, 0, "101 ids in one query", "§4 queryInstance", tooManyIDs},
		{13, client.V2, "scene is unknown", "§4 refreshInstance", refusedChange("refreshInstance", func(id string, l line) client.Members { return renewal(id, "DANCE", l) })},
		{14, client.V2, "scene is missing", "§4 refreshInstance", refusedChange("refreshInstance", func(id string, l line) client.Members { return renewal(id, "", l).Without("scene") })},
		{15, client.V2, "expireTime is missing", "§4 refreshInstance", refusedChange("refreshInstance", func(id string, l line) client.Members {
			return renewal(id, "RENEWAL", l).Without("expireTime")
		})},
		{16, 0, "expireTime is no time", "§4 refreshInstance", refusedChange("refreshInstance", func(id string, l line) client.Members {
			return renewal(id, "RENEWAL", l).With("expireTime", "next year")
		})},
		{17, client.V2, "status is unknown", "§4 updateInstanceStatus", refusedChange("updateInstanceStatus", func(id string, _ line) client.Members {
			return query(id).With("status", "DANCE")
		})},
		{18, client.V1, "instanceStatus is unknown", "§5 instanceStatus", refusedChange("instanceStatus", func(id string, _ line) client.Members {
			return query(id).With("instanceStatus", "DANCE")
		})},
		{19, 0, "instanceId of a release is missing", "§4 releaseInstance", refusedCall("releaseInstance", nil)},
		{20, client.V2, "orderId of an upgrade is missing", "§4 upgradeInstance", refusedChange("upgradeInstance", func(id string, l line) client.Members {
			return query(id).With("orderLineId", l.number)
		})},
		{21, client.V2, "The body is not JSON", "§2", func(s *scene) { s.forged(spoiled(withBody(`{"activity":`)), refusal(AcceptsInput)) }},
	}}
}

func invalid() change { return wants(AcceptsInput, codeInvalid) }

func refusedCall(activity string, members client.Members) func(*scene) {
	return func(s *scene) { s.call("the call", activity, members, invalid()) }
}

func refusedOrder(change change) func(*scene) {
	return func(s *scene) { s.forged(change, invalid()) }
}

// refusedChange is a call about an instance that exists.
func refusedChange(activity string, members func(id string, l line) client.Members) func(*scene) {
	return func(s *scene) {
		id := s.buy("before: an instance is ordered", s.order())
		s.call("the call", activity, members(id, s.order()), invalid())
	}
}

func tooManyIDs(s *scene) {
	s.call("101 instances are queried", "queryInstance", query(s.strangers(101)...), invalid())
}

// hundredIDs are of instances that nobody has bought: that is for the server to
// say, but not that they are too many.
func hundredIDs(s *scene) {
	s.call("100 instances are queried", "queryInstance", query(s.strangers(100)...), wants(WrongCode, codeUnknownInstance, codeSuccess, codeProcessing))
}

// strangers are ids of instances that nobody has bought.
func (s *scene) strangers(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = s.id("i")
	}
	return ids
}
