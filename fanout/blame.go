package fanout

import (
	"time"

	"github.com/openkoo/connector/directory"
)

// wellFor is how long a tenant's success speaks for the target.
const wellFor = time.Minute

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
