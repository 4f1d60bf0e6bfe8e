package simulate

import "github.com/openkoo/connector/marketplace/client"

// onDemand are orders of on-demand goods, which are known by order and product
// (spec/marketplace.md §4). They are played only where they are asked for: most
// goods are sold for a period.
func onDemand() chapter {
	return chapter{"ondemand-%s", []entry{
		{1, client.V2, "The same order and product come again with another order line: the same instance", "§4 newInstance", productAgain},
		{2, client.V1, "The same order and product come again: the same instance", "§4 newInstance", productAgain},
		{3, 0, "Another product of the same order: another instance", "§4 newInstance", otherProduct},
	}}
}

func product(id string) change { return set("productId", id) }

func productAgain(s *scene) {
	const step = "the same order and product come again"
	l := s.order()
	first := s.buy("on-demand goods are ordered", l, product("product-1"))
	l.number = l.order + "-2"
	again := s.buy(step, l, product("product-1"), wants(NotIdempotent, codeSuccess, codeProcessing))
	if again != first {
		s.fail(step, NewInstancePerRepeat, "instanceId "+first, again)
	}
}

func otherProduct(s *scene) {
	const step = "another product of the order"
	l := s.order()
	first := s.buy("on-demand goods are ordered", l, product("product-1"))
	l.number = l.order + "-2"
	if second := s.buy(step, l, product("product-2")); second == first {
		s.fail(step, SharedInstance, "another instanceId", second)
	}
}
