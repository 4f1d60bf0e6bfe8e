package simulate

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

// baseCases are the activities of the base interface, once and again
// (spec/marketplace.md §4, §5).
func baseCases() chapter {
	return chapter{"base-%s", []entry{
		{1, 0, "An instance is ordered", "§4 newInstance", ordered},
		{2, 0, "The same order comes again: the same instance", "§4 newInstance", orderedAgain},
		{3, 0, "The same order comes eight times at once: one instance", "§4 newInstance", orderedAtOnce},
		{4, client.V2, "Two lines of one order: two instances", "§4 newInstance", twoLines},
		{5, 0, "queryInstance tells where the buyer signs in", "§4 queryInstance", queried},
		{6, 0, "queryInstance of three instances answers for each", "§4 queryInstance", queriedTogether},
		{7, client.V2, "An instance is renewed: every scene, each twice", "§4 refreshInstance", renewed},
		{8, client.V1, "An instance is renewed: to a date, by a period, from trial to formal; each twice", "§5 refreshInstance", renewedV1},
		{9, 0, "An instance is frozen, twice", "§4 updateInstanceStatus", frozen},
		{10, 0, "A frozen instance is resumed, twice", "§4 updateInstanceStatus", resumed},
		{11, 0, "An instance is upgraded, twice by the same order", "§4 upgradeInstance", upgraded},
		{12, 0, "An instance is released, twice", "§4 releaseInstance", released},
		{13, client.V1, "An instance expires, twice", "§5 expireInstance", expired},
		{14, client.V1, "Phone and mail come encrypted with AES-256, and what is sensitive goes back so", "§1.4", encrypted(marketplace.AES256)},
		{15, client.V1, "Phone and mail come encrypted with AES-128, and what is sensitive goes back so", "§1.4", encrypted(marketplace.AES128)},
		{16, 0, "An unknown instance is renewed: 000003", "§2", unknownRenewed},
		{17, 0, "An unknown instance is frozen: 000003", "§2", unknownFrozen},
		{18, 0, "An unknown instance is upgraded: 000003", "§2", unknownUpgraded},
		{19, 0, "An unknown instance is queried: 000003", "§2", unknownQueried},
		{20, 0, "An unknown instance is released: 000003, or a success", "§2", unknownReleased},
		{21, client.V2, "expireTime has milliseconds", "§4 refreshInstance", expireTimeWithMillis},
		{22, 0, "Parameters that nobody knows are ignored", "§3", unknownParameters},
		{23, 0, "The debugging calls are stored and replayed after the release: all go on succeeding", "§0", replayedCalls},
		{24, 0, "100 ids in one query are not too many", "§4 queryInstance", hundredIDs},
	}}
}

// line is an order line: what an instance is bought by.
type line struct{ order, number string }

func (s *scene) order() line {
	order := s.id("o")
	return line{order, order + "-1"}
}

// purchase are the members of newInstance; businessId differs in every call.
func (s *scene) purchase(l line) client.Members {
	if s.generation == client.V1 {
		return client.Members{
			{Name: "businessId", Value: s.id("b")}, {Name: "orderId", Value: l.order}, {Name: "customerId", Value: "simulated-customer"},
			{Name: "customerName", Value: "模拟企业 & Söhne"}, {Name: "skuCode", Value: "sku-1"}, {Name: "trialFlag", Value: "0"},
		}
	}
	return client.Members{{Name: "orderLineId", Value: l.number}, {Name: "orderId", Value: l.order}, {Name: "businessId", Value: s.id("b")}}
}

// buy orders an instance and returns its id.
func (s *scene) buy(step string, l line, changes ...change) string {
	changes = append([]change{wants(WrongCode, codeSuccess, codeProcessing), verified(hasInstance)}, changes...)
	id := s.call(step, "newInstance", s.purchase(l), changes...).text("instanceId")
	if id != "" && !s.over() && !slices.Contains(s.bought, id) {
		s.bought = append(s.bought, id)
	}
	return id
}

func hasInstance(a *answer) *Finding {
	switch id := a.text("instanceId"); {
	case a.members["instanceId"] == nil:
		return finding(MissingMember, "instanceId", "an answer without it")
	case id == "" || utf8.RuneCountInString(id) > 64 || strings.Contains(id, ","):
		return finding(WrongMember, "instanceId: a string of 1 to 64 characters, no comma", cut(string(a.members["instanceId"]), maxGot))
	}
	return nil
}

func ordered(s *scene) { s.buy("an instance is ordered", s.order()) }

func orderedAgain(s *scene) {
	l := s.order()
	first := s.buy("an instance is ordered", l)
	again := s.buy("the same order comes again, with another businessId", l, wants(NotIdempotent, codeSuccess, codeProcessing))
	if again != first {
		s.fail("the same order comes again, with another businessId", NewInstancePerRepeat, "instanceId "+first, again)
	}
}

// atOnce is how many times an order comes at the same moment.
const atOnce = 8

func orderedAtOnce(s *scene) {
	const step = "an order comes eight times at once"
	l := s.order()
	var calls [atOnce]*sending
	for i := range calls {
		if s.over() {
			return
		}
		ready, err := s.prepare(step, "newInstance", s.purchase(l), wants(NotIdempotent, codeSuccess, codeProcessing), verified(hasInstance))
		if err != nil {
			s.cannot(step, err)
			return
		}
		calls[i] = ready
	}
	var answers [atOnce]*answer
	var findings [atOnce]*Finding
	var group errgroup.Group
	for i := range calls {
		group.Go(func() error {
			answers[i], findings[i] = s.deliver(calls[i])
			return nil
		})
	}
	_ = group.Wait() // findings, not errors
	var ids []string
	for i := range calls {
		s.settle(calls[i], answers[i], findings[i])
		if id := answers[i].text("instanceId"); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	s.bought = append(s.bought, ids...)
	if len(ids) > 1 {
		s.fail(step, NewInstancePerRepeat, "one instanceId", fmt.Sprintf("%d: %s", len(ids), cut(strings.Join(ids, ", "), maxGot)))
	}
}

func twoLines(s *scene) {
	l := s.order()
	first := s.buy("the first line of an order", l)
	l.number = l.order + "-2"
	if second := s.buy("the second line of the order", l); second == first {
		s.fail("the second line of the order", SharedInstance, "another instanceId", second)
	}
}

func query(ids ...string) client.Members {
	return client.Members{{Name: "instanceId", Value: strings.Join(ids, ",")}}
}

// ready queries until the instances are provisioned, as the marketplace does
// after 000004.
func (s *scene) ready(ids ...string) {
	step := "the instance is queried"
	if len(ids) > 1 {
		step = fmt.Sprintf("%d instances are queried", len(ids))
	}
	until := time.Now().Add(s.options.Patience)
	for {
		a := s.call(step, "queryInstance", query(ids...), wants(WrongCode, codeSuccess, codeProcessing), tells(ids))
		switch {
		case s.over() || a.code == codeSuccess:
			return
		case time.Now().After(until):
			s.fail(step, NeverReady, fmt.Sprintf("000000 within %s", s.options.Patience), "000004, still processing")
			return
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(s.options.Poll):
		}
	}
}

func queried(s *scene) { s.ready(s.buy("an instance is ordered", s.order())) }

func queriedTogether(s *scene) {
	var ids []string
	for range 3 {
		ids = append(ids, s.buy("an instance is ordered", s.order()))
	}
	s.ready(ids...)
}

// twice makes a call that changes an instance, and again.
func (s *scene) twice(step, activity string, members client.Members) {
	s.call(step, activity, members)
	s.call(step+", again", activity, members, wants(NotIdempotent, codeSuccess))
}

func renewal(id, sceneName string, l line) client.Members {
	return client.Members{
		{Name: "scene", Value: sceneName}, {Name: "orderLineId", Value: l.number}, {Name: "orderId", Value: l.order},
		{Name: "instanceId", Value: id}, {Name: "productId", Value: "product-1"}, {Name: "expireTime", Value: "20991231235959"},
	}
}

func renewed(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	for _, name := range []string{"TRIAL_TO_FORMAL", "RENEWAL", "UNSUBSCRIBE_RENEWAL_PERIOD", "RENEWAL_CHANGE"} {
		s.twice("scene "+name, "refreshInstance", renewal(id, name, s.order()))
	}
}

func renewedV1(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	of := func(more ...client.Member) client.Members {
		return append(client.Members{{Name: "instanceId", Value: id}, {Name: "orderId", Value: s.order().order}, {Name: "productId", Value: "product-1"}}, more...)
	}
	s.twice("to a date", "refreshInstance", of(client.Member{Name: "expireTime", Value: "20991231235959"}))
	s.twice("by a year", "refreshInstance", of(client.Member{Name: "periodType", Value: "year"}, client.Member{Name: "periodNumber", Value: "1"}))
	s.twice("from trial to formal", "refreshInstance", of(client.Member{Name: "trialToFormal", Value: "1"}, client.Member{Name: "expireTime", Value: "20991231235959"}))
}

// status freezes or resumes in the words of the generation.
func (s *scene) status(id string, freeze bool) (activity string, members client.Members) {
	if s.generation == client.V1 {
		words := map[bool]string{true: "FREEZE", false: "NORMAL"}
		return "instanceStatus", client.Members{{Name: "instanceId", Value: id}, {Name: "instanceStatus", Value: words[freeze]}}
	}
	words := map[bool]string{true: "FREEZE", false: "UNFREEZE"}
	return "updateInstanceStatus", client.Members{{Name: "instanceId", Value: id}, {Name: "status", Value: words[freeze]}}
}

func frozen(s *scene) {
	activity, members := s.status(s.buy("an instance is ordered", s.order()), true)
	s.twice("it is frozen", activity, members)
}

func resumed(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	activity, members := s.status(id, true)
	s.call("it is frozen", activity, members)
	activity, members = s.status(id, false)
	s.twice("it is resumed", activity, members)
}

func (s *scene) upgrade(id string, l line) (activity string, members client.Members) {
	members = client.Members{{Name: "instanceId", Value: id}, {Name: "orderId", Value: l.order}, {Name: "skuCode", Value: "sku-2"}, {Name: "productId", Value: "product-2"}}
	if s.generation == client.V1 {
		return "upgrade", members
	}
	return "upgradeInstance", append(members, client.Member{Name: "orderLineId", Value: l.number})
}

func upgraded(s *scene) {
	activity, members := s.upgrade(s.buy("an instance is ordered", s.order()), s.order())
	s.twice("it is upgraded", activity, members)
}

func released(s *scene) {
	members := query(s.buy("an instance is ordered", s.order()))
	s.call("it is released", "releaseInstance", members)
	s.call("it is released again", "releaseInstance", members, wants(DeleteNotIdempotent, codeSuccess))
}

func expired(s *scene) {
	members := query(s.buy("an instance is ordered", s.order()))
	s.twice("it expires", "expireInstance", members)
}

// unknown is what §2 has for an instance that nobody has bought.
func unknown() change { return wants(AcceptsInput, codeUnknownInstance) }

func unknownRenewed(s *scene) {
	s.call("it is renewed", "refreshInstance", renewal(s.id("nobody"), "RENEWAL", s.order()), unknown())
}

func unknownFrozen(s *scene) {
	activity, members := s.status(s.id("nobody"), true)
	s.call("it is frozen", activity, members, unknown())
}

func unknownUpgraded(s *scene) {
	activity, members := s.upgrade(s.id("nobody"), s.order())
	s.call("it is upgraded", activity, members, unknown())
}

func unknownQueried(s *scene) {
	s.call("it is queried", "queryInstance", query(s.id("nobody")), unknown())
}

// A release that comes again is a success, and a server that has forgotten
// what it released cannot tell one from the other.
func unknownReleased(s *scene) {
	s.call("it is released", "releaseInstance", query(s.id("nobody")), wants(WrongCode, codeUnknownInstance, codeSuccess))
}

func expireTimeWithMillis(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	s.call("it is renewed", "refreshInstance", renewal(id, "RENEWAL", s.order()), set("expireTime", "20991231235959999"))
}

func unknownParameters(s *scene) {
	s.buy("an instance is ordered", s.order(), set("aNewParameter", "of tomorrow"))
}

// replayedCalls are the life of an instance, kept as it is and sent again.
func replayedCalls(s *scene) {
	if s.options.Production {
		s.leaveOut("only debugging calls are replayed")
		return
	}
	type call struct {
		activity string
		members  client.Members
	}
	bought := s.purchase(s.order())
	at := s.tick()
	taken := []change{wants(NotIdempotent, codeSuccess, codeProcessing), dated(at)}
	id := s.call("newInstance", "newInstance", bought, append(taken, verified(hasInstance))...).text("instanceId")
	s.bought = append(s.bought, id)
	renew := renewal(id, "RENEWAL", s.order())
	freeze, frozen := s.status(id, true)
	resume, resumed := s.status(id, false)
	upgrade, upgraded := s.upgrade(id, s.order())
	calls := []call{
		{"queryInstance", query(id)}, {"refreshInstance", renew}, {freeze, frozen}, {resume, resumed}, {upgrade, upgraded}, {"releaseInstance", query(id)},
	}
	for _, c := range calls {
		s.call(c.activity, c.activity, c.members, taken...)
	}
	for _, c := range append([]call{{"newInstance", bought}}, calls...) {
		s.call(c.activity+", replayed", c.activity, c.members, taken...)
	}
}
