package e2e

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/openkoo/connector/test/peers/redisserver"
)

// all runs a step of every buyer at the same time.
func all(ctx context.Context, buyers []*buyer, step func(context.Context, *buyer) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, b := range buyers {
		group.Go(func() error { return step(ctx, b) })
	}
	return group.Wait()
}

// editing has every buyer edit its departments and its users, both at once, and
// returns what waits for the end. The edits come in parts, each of which waits
// for its gate.
func (c *cluster) editing(ctx context.Context, buyers []*buyer, edits int, gates ...<-chan struct{}) (wait func() error) {
	group, ctx := errgroup.WithContext(ctx)
	for _, b := range buyers {
		for _, edit := range []editor{b.editDepartments, b.editUsers} {
			group.Go(func() error {
				for _, gate := range gates {
					select {
					case <-gate:
					case <-ctx.Done():
					}
					for range edits {
						if err := b.push(ctx, edit); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
	}
	return group.Wait
}

// wait waits until the hold is upon a request.
func (h *hold) wait(t *testing.T) {
	t.Helper()
	select {
	case <-h.held:
	case <-time.After(time.Minute):
		require.Fail(t, "no replica sends", "%s /%s", h.method, h.collection)
	}
}

// Four enterprises bind and edit through three replicas at once. One replica is
// killed after the SCIM server has done what it asked for and before it hears
// so; another one, as far, is told to end. What is left is enough: every push
// is answered in the end, the store, the slots and the SCIM server agree with
// the truth, and nothing was sent twice but what the log has a reason for.
func TestReplicasLoseNothingWhenOthersDie(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	c := newCluster(t, redisserver.Start(t).URL, "r1", "r2", "r3")
	var buyers []*buyer
	for n := range 4 {
		buyers = append(buyers, c.buyer(n))
	}
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))

	now, afterKill, afterStop := make(chan struct{}), make(chan struct{}), make(chan struct{})
	close(now)
	killed := c.spy.holdNext(http.MethodPatch, "Groups")
	wait := c.editing(ctx, buyers, 2, now, afterKill, afterStop)
	killed.wait(t)
	sent := c.sending(killed.replica)
	close(afterKill)
	<-sent // the next push is on its way to the replica
	c.named(killed.replica).stop(syscall.SIGKILL)

	stopped := c.spy.holdNext("", "")
	stopped.wait(t)
	require.NotEqual(t, killed.replica, stopped.replica)
	sent = c.sending(stopped.replica)
	close(afterStop)
	<-sent
	c.named(stopped.replica).stop(syscall.SIGTERM)
	require.NoError(t, wait())

	left := c.left(killed.replica, stopped.replica)
	c.agree(left, buyers)
	c.sentOnce(killed.replica, stopped.replica)
	lost := c.lost()
	require.Contains(t, lost, killed.slot, "the log does not tell of the answer lost to the kill")
	require.Contains(t, lost, stopped.slot, "the log does not tell of the answer lost to the stop")
	require.Zero(t, c.named(stopped.replica).child.Code(), "an end that was asked for is none in error")
	for _, r := range c.replicas {
		require.NotContains(t, r.child.String(), "panic", r.name)
	}
	t.Logf("%d pushes were answered 000000, after these other answers:\n%s", c.answered.Load(), strings.Join(refusals(buyers), "\n"))
}

// left is the replica that is none of the others.
func (c *cluster) left(others ...string) *connector {
	for _, r := range c.replicas {
		if r.name != others[0] && r.name != others[1] {
			return r
		}
	}
	return nil
}

// Pushes go on while Redis is killed, comes back empty, and is wiped: each is
// answered 000000 the first time, readiness tells of it, and everything
// converges by itself, nothing sent twice.
func TestPushesGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	redis := redisserver.Start(t)
	c := newCluster(t, redis.URL, "r1", "r2")
	buyers := []*buyer{c.buyer(0), c.buyer(1)}
	for _, r := range c.replicas {
		r.says("ready")
	}
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))

	now, killed, back, wiped := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	close(now)
	// Each part begins before Redis is touched, and goes on meanwhile.
	wait := c.editing(ctx, buyers, 2, now, killed, back, wiped)
	redis.Kill()
	for _, r := range c.replicas {
		r.says("degraded")
	}
	close(killed)
	redis.Restart()
	for _, r := range c.replicas {
		r.says("ready")
	}
	sent := c.sending("r1")
	close(back)
	<-sent
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: redis.Socket})
	require.NoError(t, client.FlushAll(ctx).Err())
	require.NoError(t, client.Close())
	close(wiped)
	require.NoError(t, wait())

	require.Empty(t, refusals(buyers), "a push was not accepted")
	for _, r := range c.replicas {
		c.agree(r, buyers)
	}
	c.sentOnce()
}
