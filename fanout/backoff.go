package fanout

import "time"

// Backoff bounds the waits after failures: Base after the first, twice as much
// after each further one, at most Max. Defaults 1 s and 1 h.
type Backoff struct {
	Base, Max time.Duration
}

// LongestWait is how far ahead a delivery is put off at the most, but for the
// deletion of accounts that are deactivated first.
func LongestWait(targets []Target) time.Duration {
	longest := max(Backoff{}.withDefaults().Max, maxRetryAfter)
	for _, t := range targets {
		longest = max(longest, t.Backoff.withDefaults().Max)
	}
	return longest
}

func (b Backoff) withDefaults() Backoff {
	if b.Base <= 0 {
		b.Base = time.Second
	}
	if b.Max <= 0 {
		b.Max = max(time.Hour, b.Base)
	}
	return b
}

// after is how long to wait after the n-th failure in a row (from 1): a draw
// from the whole of [0, Base·2^(n-1)), so that a thousand slots that failed
// together do not come back together. A floor of a tenth keeps an unlucky draw
// from trying again at once.
func (b Backoff) after(n int, jitter func(time.Duration) time.Duration) time.Duration {
	ceiling := b.Base
	for i := 1; i < n && ceiling < b.Max; i++ {
		ceiling *= 2
	}
	ceiling = min(ceiling, b.Max)
	floor := ceiling / 10
	return floor + jitter(ceiling-floor)
}

// backoff is how long this target is left alone after the n-th failure.
func (r *runner) backoff(n int) time.Duration { return r.Backoff.after(n, r.options.Jitter) }
