package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/openkoo/connector/coordination"
)

// client runs scripts, bounded in time, and renews what is held.
type client struct {
	rdb     *goredis.Client
	options Options
	id      string // of this replica
	holders atomic.Int64

	life       context.Context // ends with Close
	end        context.CancelFunc
	background sync.WaitGroup
}

// bounded makes a call with a bound on its time and sorts its error: the
// caller's own end stays what it is, all else is coordination.ErrUnavailable.
func (c *client) bounded(ctx context.Context, what string, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, c.options.DialTimeout+c.options.OpTimeout)
	defer cancel()
	err := call(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case pastDeadline(ctx): // the connection's timer was quicker than the context's
		return context.DeadlineExceeded
	default:
		return fmt.Errorf("%w: %s: %w", coordination.ErrUnavailable, what, err)
	}
}

func pastDeadline(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

// eval runs a script whose first argument is the time.
func (c *client) eval(ctx context.Context, s *script, keys []string, args ...any) (reply any, err error) {
	err = c.bounded(ctx, s.name, func(ctx context.Context) error {
		reply, err = s.Run(ctx, c.rdb, keys, append([]any{c.now()}, args...)...).Result()
		return err
	})
	return reply, err
}

// evalInt runs a script that answers a number.
func (c *client) evalInt(ctx context.Context, s *script, keys []string, args ...any) (int64, error) {
	reply, err := c.eval(ctx, s, keys, args...)
	if err != nil {
		return 0, err
	}
	n, ok := reply.(int64)
	if !ok {
		return 0, s.odd(reply)
	}
	return n, nil
}

// evalList runs a script that answers a list of at least n elements.
func (c *client) evalList(ctx context.Context, s *script, n int, keys []string, args ...any) ([]any, error) {
	reply, err := c.eval(ctx, s, keys, args...)
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok || len(list) < n {
		return nil, s.odd(reply)
	}
	return list, nil
}

// now is empty where the server is to look at its own clock.
func (c *client) now() string {
	if c.options.Now == nil {
		return ""
	}
	return strconv.FormatInt(c.options.Now().UnixMicro(), 10)
}

// key names what is kept of something. The braces keep all keys of one thing
// on one node of a cluster.
func (c *client) key(kind, name string) string {
	return c.options.Prefix + ":" + kind + ":{" + name + "}"
}

// holder is a name that nobody else goes by.
func (c *client) holder() string {
	return c.id + "/" + strconv.FormatInt(c.holders.Add(1), 10)
}

// hold renews what is held, three times a lease, until stop is called or it is
// lost. Where strict, it is also lost when a whole lease passes without a
// renewal: another may hold it by then.
func (c *client) hold(renew func(context.Context) (held bool, err error), strict bool, lost func()) (stop func()) {
	if c.life.Err() != nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(c.life)
	ended := make(chan struct{})
	c.background.Go(func() {
		defer close(ended)
		ticker := time.NewTicker(c.options.Lease / 3)
		defer ticker.Stop()
		renewed := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			asked := time.Now()
			held, err := renew(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil && held:
				renewed = asked
			case err == nil, strict && time.Since(renewed) >= c.options.Lease:
				lost()
				return
			}
		}
	})
	return func() {
		cancel()
		<-ended
	}
}

// micros is a duration as scripts take it.
func micros(d time.Duration) int64 { return d.Microseconds() }

// fromMicros reads a duration as scripts answer it.
func fromMicros(reply any) (time.Duration, error) {
	n, err := fromText(reply)
	return time.Duration(n) * time.Microsecond, err
}

// fromText reads a number that a script answers as text, being too large for
// one of Redis's own.
func fromText(reply any) (int64, error) {
	text, ok := reply.(string)
	if !ok {
		return 0, errors.New("is no text")
	}
	return strconv.ParseInt(text, 10, 64)
}
