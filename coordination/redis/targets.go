package redis

import (
	"context"
	"time"

	"github.com/openkoo/connector/coordination"
)

// buckets keeps each target's token bucket.
type buckets struct{ *client }

// Take implements coordination.Buckets.
func (b *buckets) Take(ctx context.Context, key string, rate coordination.Rate, n int, patience time.Duration) (time.Duration, bool, error) {
	list, err := b.move(ctx, key, rate, "take", int64(n), patience)
	if err != nil {
		return 0, false, err
	}
	wait, err := fromMicros(list[1])
	if err != nil {
		return 0, false, bucketMove.odd(list)
	}
	return wait, list[0] == int64(1), nil
}

// Shrink implements coordination.Buckets.
func (b *buckets) Shrink(ctx context.Context, key string, rate coordination.Rate, rest time.Duration) error {
	_, err := b.move(ctx, key, rate, "shrink", micros(rest), 0)
	return err
}

func (b *buckets) move(ctx context.Context, key string, rate coordination.Rate, how string, amount int64, patience time.Duration) ([]any, error) {
	rate = rate.OrDefault()
	return b.evalList(ctx, bucketMove, 2, []string{b.key("bucket", key)}, rate.PerSecond, rate.Burst,
		coordination.RateDoubling.Seconds(), micros(coordination.ShrinkPause), rate.Least,
		how, amount, micros(patience))
}

// breakers keeps each target's breaker.
type breakers struct{ *client }

// Enter implements coordination.Breakers.
func (b *breakers) Enter(ctx context.Context, key string) (coordination.Passage, error) {
	list, err := b.evalList(ctx, breakerMove, 4, []string{b.key("breaker", key)}, "enter", micros(b.options.ProbeLease), "")
	if err != nil {
		return coordination.Passage{}, err
	}
	state, isText := list[0].(string)
	wait, err := fromMicros(list[1])
	failures, isNumber := list[2].(int64)
	reason, isReason := list[3].(string)
	if err != nil || !isText || !isNumber || !isReason {
		return coordination.Passage{}, breakerMove.odd(list)
	}
	return coordination.Passage{State: coordination.BreakerState(state), Wait: wait, Failures: int(failures), Reason: reason}, nil
}

// Trip implements coordination.Breakers.
func (b *breakers) Trip(ctx context.Context, key, reason string, wait time.Duration) error {
	_, err := b.eval(ctx, breakerMove, []string{b.key("breaker", key)}, "trip", micros(wait), reason)
	return err
}

// Reset implements coordination.Breakers.
func (b *breakers) Reset(ctx context.Context, key string) error {
	_, err := b.eval(ctx, breakerMove, []string{b.key("breaker", key)}, "reset", 0, "")
	return err
}
