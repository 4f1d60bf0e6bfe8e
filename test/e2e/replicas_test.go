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

// editing is every buyer editing its departments and its users, both at once,
// in parts.
type editing struct {
	cluster *cluster
	gates   []chan struct{} // of the parts that have not begun
	group   *errgroup.Group
	failed  <-chan struct{}
}

// editing begins so many parts of so many edits each; a part begins with more.
func (c *cluster) editing(ctx context.Context, buyers []*buyer, edits, parts int) *editing {
	group, ctx := errgroup.WithContext(ctx)
	e := &editing{cluster: c, group: group, failed: ctx.Done()}
	for range parts {
		e.gates = append(e.gates, make(chan struct{}))
	}
	gates := e.gates
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
	return e
}

// more lets the next part begin and returns with a push on its way to the
// replica.
func (e *editing) more(replica string) {
	sent := e.cluster.sending(replica)
	close(e.gates[0])
	e.gates = e.gates[1:]
	select {
	case <-sent:
	case <-e.failed: // wait tells why
	}
}

// wait waits for the end of all edits.
func (e *editing) wait() error { return e.group.Wait() }

// wait waits until the hold is upon a request.
func (h *hold) wait(t *testing.T) {
	t.Helper()
	select {
	case <-h.held:
	case <-time.After(2 * time.Minute):
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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := newCluster(t, redisserver.Start(t).URL, "r1", "r2", "r3")
	var buyers []*buyer
	for n := range 4 {
		buyers = append(buyers, c.buyer(n))
	}
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))

	edits := c.editing(ctx, buyers, 2, 3)
	killed := c.spy.holdNext(http.MethodPatch, "Groups")
	edits.more("r1")
	killed.wait(t)
	edits.more(killed.replica)
	c.named(killed.replica).stop(syscall.SIGKILL)

	stopped := c.spy.holdNext("", "", killed.replica)
	stopped.wait(t)
	require.NotEqual(t, killed.replica, stopped.replica)
	edits.more(stopped.replica)
	c.named(stopped.replica).stop(syscall.SIGTERM)
	require.NoError(t, edits.wait())

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

// Pushes go on while Redis is killed, comes back empty, is wiped, and answers
// nobody: each is answered 000000 the first time, readiness tells of it, and
// everything converges by itself, nothing sent twice.
func TestPushesGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	redis := redisserver.Start(t)
	c := newCluster(t, redis.URL, "r1", "r2")
	buyers := []*buyer{c.buyer(0), c.buyer(1)}
	c.all("ready")
	require.NoError(t, all(ctx, buyers, func(ctx context.Context, b *buyer) error { return b.bind(ctx) }))

	edits := c.editing(ctx, buyers, 2, 5)
	edits.more("r1")
	redis.Kill()
	c.all("degraded")
	edits.more("r1")
	redis.Restart()
	c.all("ready")
	edits.more("r1")
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: redis.Socket})
	require.NoError(t, client.FlushAll(ctx).Err())
	require.NoError(t, client.Close())
	edits.more("r1")
	redis.Freeze()
	c.all("degraded")
	edits.more("r1")
	redis.Thaw()
	c.all("ready")
	require.NoError(t, edits.wait())

	require.Empty(t, refusals(buyers), "a push was not accepted")
	for _, r := range c.replicas {
		c.agree(r, buyers)
	}
	c.sentOnce()
}
