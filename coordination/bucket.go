package coordination

import (
	"context"
	"math"
	"time"
)

// Rate is what a target may be sent at most. What is zero is as in
// DefaultRate; a Burst without a word is a second's worth.
type Rate struct {
	PerSecond float64 // requests a second
	Burst     int     // requests at once after a rest
	// Least is what refusals never shrink it below, requests a second: that
	// few were sent of late says little of how many could be.
	Least float64
}

// DefaultRate is more than any target takes: only refusals slow it down.
var DefaultRate = Rate{PerSecond: 100_000, Burst: 10_000, Least: 1}

// The bucket's constants. coordination/redis has them too.
const (
	// RateDoubling is how long a rate that was shrunk takes to double.
	RateDoubling = 10 * time.Second
	// ShrinkPause is how long a rate is not shrunk again: requests under way
	// when it was are refused at the old rate.
	ShrinkPause = time.Second
)

// Buckets bounds how fast each target is sent to, by all replicas together.
type Buckets interface {
	// Take takes n tokens of a key's bucket and says how long to wait before
	// using them. When that is longer than patience nothing is taken, and wait
	// says when to try again.
	Take(ctx context.Context, key string, rate Rate, n int, patience time.Duration) (wait time.Duration, taken bool, err error)
	// Shrink tells that the target refused a request for coming too fast: it
	// rests for the time given, then gets half of what it was being sent, and
	// more again as time goes by without a refusal.
	Shrink(ctx context.Context, key string, rate Rate, rest time.Duration) error
}

// OrDefault fills in what is not set.
func (r Rate) OrDefault() Rate {
	if r.PerSecond <= 0 {
		r.PerSecond = DefaultRate.PerSecond
		if r.Burst <= 0 {
			r.Burst = DefaultRate.Burst
		}
	}
	if r.Burst <= 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	if r.Least <= 0 {
		r.Least = DefaultRate.Least
	}
	r.Least = min(r.Least, r.PerSecond)
	return r
}

// Bucket is the state of one bucket and the rules it moves by. The zero value
// is a full bucket at full rate. It is not safe for concurrent use.
type Bucket struct {
	perSecond float64   // the rate now; 0: as given
	tokens    float64   // below zero: taken ahead
	seen      float64   // tokens taken a second, of late
	at        time.Time // when the three were so
	rested    time.Time // nothing may be sent before
	shrunk    time.Time
}

// Take is Buckets.Take at a moment.
func (b *Bucket) Take(now time.Time, rate Rate, n int, patience time.Duration) (wait time.Duration, taken bool) {
	rate = rate.OrDefault()
	b.advance(now, rate)
	left := b.tokens - float64(n)
	if left < 0 {
		wait = time.Duration(-left / b.perSecond * float64(time.Second))
	}
	wait = max(wait, b.rested.Sub(now))
	if wait > patience {
		return wait, false
	}
	b.tokens = left
	b.seen += float64(n)
	return wait, true
}

// Shrink is Buckets.Shrink at a moment.
func (b *Bucket) Shrink(now time.Time, rate Rate, rest time.Duration) {
	rate = rate.OrDefault()
	b.advance(now, rate)
	if until := now.Add(rest); until.After(b.rested) {
		b.rested = until
	}
	if now.Sub(b.shrunk) < ShrinkPause {
		return
	}
	b.shrunk = now
	b.perSecond = max(min(b.perSecond, b.seen)/2, rate.Least)
	b.tokens = min(b.tokens, 0)
}

// advance brings the state to now: the rate grows back, tokens come in, and
// what was sent is forgotten by and by.
func (b *Bucket) advance(now time.Time, rate Rate) {
	if b.perSecond == 0 {
		b.perSecond, b.tokens, b.at = rate.PerSecond, float64(rate.Burst), now
	}
	passed := max(0, now.Sub(b.at).Seconds())
	b.perSecond = min(rate.PerSecond, b.perSecond*math.Exp2(passed/RateDoubling.Seconds()))
	full := max(1, float64(rate.Burst)*b.perSecond/rate.PerSecond)
	b.tokens = min(full, b.tokens+passed*b.perSecond)
	b.seen *= math.Exp(-passed)
	if passed > 0 {
		b.at = now
	}
}
