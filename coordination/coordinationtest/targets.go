package coordinationtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/coordination"
)

var bucketTests = map[string]func(*bundle){
	"replicas share one rate":                         bucketShared,
	"a wait longer than patience takes nothing":       bucketPatience,
	"a refusal makes all rest, then go at half":       bucketShrinks,
	"refusals of one burst shrink once":               bucketShrinksOnce,
	"the rate grows back to its own, and no further":  bucketRecovers,
	"refusals shrink it no further than to the least": bucketLeast,
	"targets have buckets of their own":               bucketApart,
	"without a rate nothing waits":                    bucketUnlimited,
}

var tenPerSecond = coordination.Rate{PerSecond: 10, Burst: 5}

const forever = 1000 * time.Hour

// take takes n tokens however long it takes and returns the wait.
func (b *bundle) take(replica coordination.Port, key string, rate coordination.Rate, n int) time.Duration {
	b.Helper()
	wait, taken, err := replica.Take(b.ctx, key, rate, n, forever)
	require.NoError(b, err)
	require.True(b, taken)
	return wait
}

func bucketShared(b *bundle) {
	require.Zero(b, b.take(b.a, "t", tenPerSecond, 3))
	require.Zero(b, b.take(b.b, "t", tenPerSecond, 2), "the burst")
	require.InDelta(b, 0.1, b.take(b.a, "t", tenPerSecond, 1).Seconds(), 1e-3)
	require.InDelta(b, 0.2, b.take(b.b, "t", tenPerSecond, 1).Seconds(), 1e-3, "each gets a turn of its own")
	b.clock.Advance(200 * time.Millisecond)
	require.InDelta(b, 0.1, b.take(b.a, "t", tenPerSecond, 1).Seconds(), 1e-3)
	b.clock.Advance(time.Hour)
	require.Zero(b, b.take(b.b, "t", tenPerSecond, 5))
	require.NotZero(b, b.take(b.b, "t", tenPerSecond, 1), "an hour saves no more than a burst")
}

func bucketPatience(b *bundle) {
	b.take(b.a, "t", tenPerSecond, 5)
	wait, taken, err := b.b.Take(b.ctx, "t", tenPerSecond, 1, 50*time.Millisecond)
	require.NoError(b, err)
	require.False(b, taken)
	require.InDelta(b, 0.1, wait.Seconds(), 1e-3)
	wait, taken, err = b.b.Take(b.ctx, "t", tenPerSecond, 1, 150*time.Millisecond)
	require.NoError(b, err)
	require.True(b, taken, "the one before has taken nothing")
	require.InDelta(b, 0.1, wait.Seconds(), 1e-3)
}

func bucketShrinks(b *bundle) {
	for range 50 { // ten a second, of late
		b.take(b.a, "t", tenPerSecond, 1)
		b.clock.Advance(100 * time.Millisecond)
	}
	require.NoError(b, b.a.Shrink(b.ctx, "t", tenPerSecond, 2*time.Second))
	wait := b.take(b.b, "t", tenPerSecond, 1)
	require.InDelta(b, 2, wait.Seconds(), 1e-3, "what the target asked for")
	b.clock.Advance(2 * time.Second)
	before := b.take(b.a, "t", tenPerSecond, 10) // more than are saved up
	gap := b.take(b.b, "t", tenPerSecond, 1) - before
	require.InDelta(b, 0.2, gap.Seconds(), 0.05, "five a second")
}

func bucketShrinksOnce(b *bundle) {
	for range 50 {
		b.take(b.a, "t", tenPerSecond, 1)
		b.clock.Advance(100 * time.Millisecond)
	}
	for range 8 {
		require.NoError(b, b.b.Shrink(b.ctx, "t", tenPerSecond, time.Millisecond))
	}
	before := b.take(b.a, "t", tenPerSecond, 5)
	gap := b.take(b.b, "t", tenPerSecond, 1) - before
	require.InDelta(b, 0.2, gap.Seconds(), 0.05)
}

func bucketRecovers(b *bundle) {
	b.take(b.a, "t", tenPerSecond, 1)
	require.NoError(b, b.a.Shrink(b.ctx, "t", tenPerSecond, 0))
	least := coordination.DefaultRate.Least
	require.InDelta(b, 1/least, b.take(b.a, "t", tenPerSecond, 1).Seconds(), 1e-3, "few were seen: the least rate")
	b.clock.Advance(coordination.RateDoubling)
	before := b.take(b.a, "t", tenPerSecond, 100)
	gap := b.take(b.b, "t", tenPerSecond, 1) - before
	require.InDelta(b, 1/(2*least), gap.Seconds(), 1e-3, "twice of it")
	b.clock.Advance(time.Hour)
	require.Zero(b, b.take(b.b, "t", tenPerSecond, 5), "the whole burst again")
	require.InDelta(b, 0.1, b.take(b.b, "t", tenPerSecond, 1).Seconds(), 1e-3)
}

func bucketLeast(b *bundle) {
	rate := coordination.Rate{PerSecond: 10, Burst: 5, Least: 4}
	for range 5 {
		b.take(b.a, "t", rate, 1)
		require.NoError(b, b.a.Shrink(b.ctx, "t", rate, 0))
		b.clock.Advance(2 * coordination.ShrinkPause)
	}
	before := b.take(b.a, "t", rate, 100) // more than are saved up
	gap := b.take(b.b, "t", rate, 1) - before
	require.Greater(b, gap, 200*time.Millisecond)
	require.LessOrEqual(b, gap, 250*time.Millisecond, "four a second")
}

func bucketApart(b *bundle) {
	b.take(b.a, "t", tenPerSecond, 5)
	require.NoError(b, b.a.Shrink(b.ctx, "t", tenPerSecond, time.Hour))
	require.Zero(b, b.take(b.a, "u", tenPerSecond, 5))
}

func bucketUnlimited(b *bundle) {
	for range 100 {
		require.Zero(b, b.take(b.a, "t", coordination.Rate{}, 1))
	}
	require.NoError(b, b.b.Shrink(b.ctx, "t", coordination.Rate{}, time.Second))
	require.GreaterOrEqual(b, b.take(b.a, "t", coordination.Rate{}, 1), time.Second, "until it is refused")
}

// bucketLaw: over any stretch of time no more is let through than the burst
// and what the rate allows, and the implementation moves as coordination.Bucket
// does.
func bucketLaw(t *testing.T, factory Factory) {
	clock := NewClock()
	replica := factory(t, clock.Now)()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		key := "law-" + time.Duration(runs).String()
		rate := coordination.Rate{PerSecond: rapid.Float64Range(0.5, 500).Draw(r, "rate"), Burst: rapid.IntRange(1, 50).Draw(r, "burst")}
		var model coordination.Bucket
		began, through := clock.Now(), 0.0
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			clock.Advance(time.Duration(rapid.Int64Range(0, 5_000_000).Draw(r, "pass")) * time.Microsecond)
			if rapid.IntRange(0, 4).Draw(r, "which") == 0 {
				rest := time.Duration(rapid.Int64Range(0, 3_000_000).Draw(r, "rest")) * time.Microsecond
				model.Shrink(clock.Now(), rate, rest)
				require.NoError(r, replica.Shrink(t.Context(), key, rate, rest))
				continue
			}
			n := rapid.IntRange(1, 10).Draw(r, "n")
			patience := time.Duration(rapid.Int64Range(0, 10_000_000).Draw(r, "patience")) * time.Microsecond
			wantWait, wantTaken := model.Take(clock.Now(), rate, n, patience)
			wait, taken, err := replica.Take(t.Context(), key, rate, n, patience)
			require.NoError(r, err)
			if diff := wantWait - patience; diff.Abs() > time.Millisecond { // rounding decides a tie
				require.Equal(r, wantTaken, taken)
			} else if taken != wantTaken {
				r.Skip("a tie")
			}
			require.InDelta(r, wantWait.Seconds(), wait.Seconds(), 1e-3+1e-6*wantWait.Seconds())
			if !taken {
				continue
			}
			through += float64(n)
			allowed := float64(rate.Burst) + (clock.Now().Sub(began)+wait).Seconds()*rate.PerSecond
			require.LessOrEqual(r, through, allowed*(1+1e-6)+1e-3)
		}
	})
}

var breakerTests = map[string]func(*bundle){
	"closed until it trips, then open for all": breakerTrips,
	"one probe among all replicas":             breakerOneProbe,
	"a failed probe opens it again":            breakerProbeFails,
	"a probe that is never reported runs out":  breakerProbeLost,
	"reset closes it for all":                  breakerReset,
	"the first of many failures counts":        breakerTripsOnce,
	"targets have breakers of their own":       breakerApart,
}

func (b *bundle) enter(replica coordination.Port, key string) coordination.Passage {
	b.Helper()
	passage, err := replica.Enter(b.ctx, key)
	require.NoError(b, err)
	return passage
}

func breakerTrips(b *bundle) {
	require.Equal(b, coordination.Passage{State: coordination.BreakerClosed}, b.enter(b.a, "t"))
	require.NoError(b, b.a.Trip(b.ctx, "t", "连接被拒绝", 5*time.Second))
	for _, replica := range []coordination.Port{b.a, b.b} {
		require.Equal(b, coordination.Passage{State: coordination.BreakerOpen, Wait: 5 * time.Second, Failures: 1, Reason: "连接被拒绝"}, b.enter(replica, "t"))
	}
	b.clock.Advance(4 * time.Second)
	require.Equal(b, time.Second, b.enter(b.b, "t").Wait)
}

func breakerOneProbe(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "down", time.Second))
	b.clock.Advance(time.Second)
	var probes atomic.Int32
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			passage, err := []coordination.Port{b.a, b.b}[i%2].Enter(b.ctx, "t")
			switch {
			case err != nil:
				b.Errorf("enter: %v", err)
			case passage.State == coordination.BreakerProbing:
				probes.Add(1)
			case passage.State != coordination.BreakerOpen || passage.Wait <= 0:
				b.Errorf("passage %+v", passage)
			}
		})
	}
	group.Wait()
	require.EqualValues(b, 1, probes.Load())
}

func breakerProbeFails(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "down", time.Second))
	b.clock.Advance(time.Second)
	require.Equal(b, coordination.BreakerProbing, b.enter(b.b, "t").State)
	require.NoError(b, b.b.Trip(b.ctx, "t", "still down", time.Minute))
	require.Equal(b, coordination.Passage{State: coordination.BreakerOpen, Wait: time.Minute, Failures: 2, Reason: "still down"}, b.enter(b.a, "t"))
	b.clock.Advance(time.Minute)
	require.Equal(b, coordination.BreakerProbing, b.enter(b.a, "t").State)
}

func breakerProbeLost(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "down", time.Second))
	b.clock.Advance(time.Second)
	require.Equal(b, coordination.BreakerProbing, b.enter(b.a, "t").State)
	held := b.enter(b.b, "t")
	require.Equal(b, coordination.BreakerOpen, held.State)
	b.clock.Advance(held.Wait)
	require.Equal(b, coordination.BreakerProbing, b.enter(b.b, "t").State)
}

func breakerReset(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "down", time.Hour))
	require.NoError(b, b.b.Reset(b.ctx, "t"))
	require.Equal(b, coordination.Passage{State: coordination.BreakerClosed}, b.enter(b.a, "t"))
}

func breakerTripsOnce(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "first", time.Second))
	require.NoError(b, b.b.Trip(b.ctx, "t", "second", time.Hour))
	passage := b.enter(b.a, "t")
	require.Equal(b, 1, passage.Failures)
	require.Equal(b, "first", passage.Reason)
	require.Equal(b, time.Second, passage.Wait)
}

func breakerApart(b *bundle) {
	require.NoError(b, b.a.Trip(b.ctx, "t", "down", time.Hour))
	require.Equal(b, coordination.BreakerClosed, b.enter(b.a, "u").State)
}

// breakerLaw: whatever is done in whatever order, the implementation moves as
// coordination.Breaker does.
func breakerLaw(t *testing.T, factory Factory) {
	clock := NewClock()
	replica := factory(t, clock.Now)()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		key := "law-" + time.Duration(runs).String()
		var model coordination.Breaker
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			clock.Advance(time.Duration(rapid.IntRange(0, 20).Draw(r, "pass")) * time.Second)
			switch rapid.IntRange(0, 4).Draw(r, "which") {
			case 0:
				wait := time.Duration(rapid.IntRange(0, 60).Draw(r, "wait")) * time.Second
				model.Trip(clock.Now(), "down", wait)
				require.NoError(r, replica.Trip(t.Context(), key, "down", wait))
			case 1:
				model.Reset()
				require.NoError(r, replica.Reset(t.Context(), key))
			default:
				passage, err := replica.Enter(t.Context(), key)
				require.NoError(r, err)
				require.Equal(r, model.Enter(clock.Now(), ProbeLease), passage)
			}
		}
	})
}
