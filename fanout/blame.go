package fanout

import (
	"time"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// wellFor is how long a tenant's success speaks for the target.
const wellFor = time.Minute

const (
	// closesAlone is how often one object may close the gate of a target whose
	// probes succeed before it, and not the target, is taken to be at fault.
	closesAlone = 3
	// suspectsMost bounds the objects that are remembered for it.
	suspectsMost = 1000
)

// alone notes that what was answered to an object says that the target is down,
// and reports whether it does so for this object alone: it was answered so again
// and again after probes that succeeded.
func (g *gate) alone(key storage.SlotKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now().Before(g.nextProbe) { // closed for another's sake, and not probed since
		return false
	}
	if g.suspects == nil || len(g.suspects) >= suspectsMost {
		g.suspects = make(map[storage.SlotKey]int)
	}
	g.suspects[key]++
	return g.suspects[key] > closesAlone
}

// blame tells a target that fails from a tenant whose deliveries fail: the
// others must not rest for the sake of one.
type blame struct {
	failing directory.Scope // whose deliveries failed in a row
	several bool            // of more than one tenant
	latest  success         // of any tenant
	before  success         // the latest of another tenant than that
}

// success is a delivery that was taken.
type success struct {
	scope directory.Scope
	at    time.Time
}

func (b *blame) well(scope directory.Scope, now time.Time) {
	if b.latest.scope != scope {
		b.before = b.latest
	}
	b.latest = success{scope, now}
}

// failed notes the n-th failure in a row.
func (b *blame) failed(scope directory.Scope, n int) {
	if n == 1 {
		b.failing, b.several = scope, false
	}
	b.several = b.several || scope != b.failing
}

// oneTenants reports whether the failures in a row are one tenant's, and
// another's deliveries were taken of late.
func (b *blame) oneTenants(now time.Time) bool {
	other := b.latest
	if other.scope == b.failing {
		other = b.before
	}
	return !b.several && !other.at.IsZero() && now.Sub(other.at) <= wellFor
}
