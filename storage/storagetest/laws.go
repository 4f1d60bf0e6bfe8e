package storagetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// counterLaw checks that the counters always equal a recount, whatever is
// applied, relayed, claimed, settled, replayed and swept.
func counterLaw(t *testing.T, factory Factory) {
	rapid.Check(t, func(r *rapid.T) {
		b := newBundle(t, factory)
		defer func() { _ = b.store.Close() }()
		versions := make(map[string]int64)
		living := make(map[string]bool)
		steps := rapid.IntRange(1, 12).Draw(r, "steps")
		for range steps {
			switch rapid.IntRange(0, 3).Draw(r, "step") {
			case 0:
				lawApply(b, r, versions, living)
			case 1:
				_, _, err := b.store.Relay(b.ctx, "t", storage.RelayOptions{Placements: true}, rapid.IntRange(1, 5).Draw(r, "limit"))
				require.NoError(b, err)
			case 2:
				lawSettle(b, r)
			case 3:
				_, err := b.store.Replay(b.ctx, storage.DeliveryFilter{Target: "t"})
				require.NoError(b, err)
			}
			recount(b, living)
		}
	})
}

func lawApply(b *bundle, r *rapid.T, versions map[string]int64, living map[string]bool) {
	code := fmt.Sprintf("d%d", rapid.IntRange(0, 5).Draw(r, "code"))
	gone := rapid.Bool().Draw(r, "gone")
	versions[code]++
	d := department(code, "", versions[code])
	d.Deleted = gone
	plan := &directory.Plan{Departments: []directory.Department{d}}
	switch {
	case living[code] && gone:
		plan.Delta.Departments = -1
	case !living[code] && !gone:
		plan.Delta.Departments = 1
	}
	living[code] = !gone
	b.apply(acme, plan)
}

func lawSettle(b *bundle, r *rapid.T) {
	var slots []storage.Slot
	for _, task := range b.claim("t", acme) {
		slot := delivered(task.Slot)
		switch slot.State = rapid.SampledFrom(storage.SlotStates()).Draw(r, "state"); slot.State {
		case storage.SlotWaiting:
			slot.Group = "d0"
		case storage.SlotDead, storage.SlotRetrying:
			slot.LastError, slot.RemoteID = "no", ""
		}
		slots = append(slots, slot)
	}
	b.settle(slots...)
}

// sameCounts compares counts of many with those of one.
func sameCounts(b *bundle) {
	targets, scopes := []string{"t", "none"}, []directory.Scope{acme, debug, {Dataset: directory.Prod, TenantID: "nobody"}}
	all, err := b.store.CountsOf(b.ctx, targets, scopes)
	require.NoError(b, err)
	for _, target := range targets {
		for _, scope := range scopes {
			one, err := b.store.Counts(b.ctx, target, &scope)
			require.NoError(b, err)
			of := all[storage.CountsKey{Target: target, Scope: scope}]
			if of.Slots == nil {
				of.Slots = storage.SlotCounts{}
			}
			require.Equal(b, one, of, "%s at %s", scope, target)
		}
	}
}

func recount(b *bundle, living map[string]bool) {
	want := make(storage.SlotCounts)
	for _, slot := range pages(b, func(p storage.Page) ([]storage.Slot, string, error) {
		return b.store.Deliveries(b.ctx, storage.DeliveryFilter{Target: "t"}, p)
	}) {
		want[slot.State]++
	}
	for _, scope := range []*directory.Scope{nil, &acme} {
		counts, err := b.store.Counts(b.ctx, "t", scope)
		require.NoError(b, err)
		require.Equal(b, want, counts.Slots)
	}
	sameCounts(b)
	alive := 0
	for _, lives := range living {
		if lives {
			alive++
		}
	}
	if len(living) > 0 {
		state, err := b.store.State(b.ctx, acme)
		require.NoError(b, err)
		require.Equal(b, alive, state.Departments)
	}
}
