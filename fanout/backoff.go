package fanout

import "time"

// backoff is how long to wait after the n-th failure in a row (from 1): a draw
// from the whole of [0, base·2^(n-1)), so that a thousand slots that failed
// together do not come back together. A floor of a tenth keeps an unlucky draw
// from trying again at once.
func (o Options) backoff(n int) time.Duration {
	ceiling := o.BackoffBase
	for i := 1; i < n && ceiling < o.BackoffMax; i++ {
		ceiling *= 2
	}
	ceiling = min(ceiling, o.BackoffMax)
	floor := ceiling / 10
	return floor + o.Jitter(ceiling-floor)
}
