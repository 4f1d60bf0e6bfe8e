package doctor

import (
	"context"
	"time"

	"github.com/openkoo/connector/target/egress"
)

// CheckSeller looks whether the seller's server, which is told of instances, can
// be reached. It is sent nothing: whatever came would be an event to it.
func CheckSeller(route egress.Route) Check {
	return Check{Name: "seller's server", Run: func(ctx context.Context, notes *Notes) {
		state, err := route.Reach(ctx)
		if err != nil {
			notes.Problemf("Start it, or correct instances.webhookUrl and instances.caFile. Orders are answered 000004 meanwhile, and it is told all of it later.",
				"the server of instances.webhookUrl %s (%s)", egress.Explain(err), innermost(err))
			return
		}
		if state != nil {
			judgeExpiry(state, time.Now(), notes)
		}
		if !notes.unwell() {
			notes.OKf("can be reached; no event was sent")
		}
	}}
}
