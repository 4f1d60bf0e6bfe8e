package coordination

import (
	"context"
	"time"
)

// BreakerState says whether a target may be sent to.
type BreakerState string

// The states of a breaker. A probe that is not reported within its lease
// counts as never begun.
const (
	BreakerClosed  BreakerState = "closed"  // send
	BreakerOpen    BreakerState = "open"    // do not send; see Passage.Wait
	BreakerProbing BreakerState = "probing" // the caller, and nobody else, is to probe now
)

// Passage is a breaker's answer.
type Passage struct {
	State BreakerState
	// Wait is how long it is before asking again is worth it; set when open.
	Wait time.Duration
	// Failures counts how often it tripped since it was closed.
	Failures int
	// Reason is what it tripped for last.
	Reason string
}

// Breakers keeps all replicas from a target that is down, and lets one of them
// at a time find out whether it is still.
type Breakers interface {
	// Enter asks whether the target may be sent to. Who is told to probe
	// answers with Trip or Reset.
	Enter(ctx context.Context, key string) (Passage, error)
	// Trip opens the breaker for the time given. Tripping one that is open
	// changes nothing: the first of many failures counts.
	Trip(ctx context.Context, key, reason string, wait time.Duration) error
	// Reset closes the breaker.
	Reset(ctx context.Context, key string) error
}

// Breaker is the state of one breaker and the rules it moves by. The zero
// value is closed. It is not safe for concurrent use.
type Breaker struct {
	failures int
	reason   string
	until    time.Time // open until then
	probing  time.Time // somebody probes until then
}

// Enter is Breakers.Enter at a moment; lease is how long a probe may take.
func (b *Breaker) Enter(now time.Time, lease time.Duration) Passage {
	p := Passage{State: BreakerClosed, Failures: b.failures, Reason: b.reason}
	if b.failures == 0 {
		return p
	}
	opens := b.until
	if b.probing.After(opens) {
		opens = b.probing
	}
	if now.Before(opens) {
		p.State, p.Wait = BreakerOpen, opens.Sub(now)
		return p
	}
	b.probing = now.Add(lease)
	p.State = BreakerProbing
	return p
}

// Trip is Breakers.Trip at a moment.
func (b *Breaker) Trip(now time.Time, reason string, wait time.Duration) {
	if b.failures > 0 && now.Before(b.until) {
		return
	}
	b.failures++
	b.reason, b.until, b.probing = reason, now.Add(wait), time.Time{}
}

// Reset is Breakers.Reset.
func (b *Breaker) Reset() { *b = Breaker{} }
