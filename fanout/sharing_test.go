package fanout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target/scim"
	"github.com/openkoo/connector/target/scim/scimserver"
	"github.com/openkoo/connector/test/peers/redisserver"
)

// team is replicas of the fan-out on one store, one Redis and one target.
type team struct {
	*bundle
	redis *redisserver.Server
	peer  *scimserver.Server
}

// replica is one of them, with its own way to the target.
type replica struct {
	fanout *Fanout
	shared *coordination.Fallback
	stop   func()

	mu sync.Mutex
	// requests counts what the target got from this replica, by "POST Groups".
	requests map[string]int
}

func newTeam(t *testing.T) *team {
	server, err := scimserver.New(scimserver.Options{Token: "token"})
	require.NoError(t, err)
	return &team{bundle: newBundle(t), redis: redisserver.Start(t), peer: server}
}

// join starts a replica whose requests pass through hold first.
func (b *team) join(hold func(*http.Request)) *replica {
	b.Helper()
	r := &replica{requests: make(map[string]int)}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.requests[request.Method+" "+strings.Split(request.URL.Path, "/")[1]]++
		r.mu.Unlock()
		// Read to its end, so that a caller who hangs up is noticed.
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		if hold != nil {
			hold(request)
		}
		b.peer.ServeHTTP(w, request)
	}))
	connector, err := scim.New(scim.Config{URL: front.URL, BearerToken: "token", Timeout: time.Minute, ShortRetries: -1})
	require.NoError(b, err)
	logger := slog.New(slog.DiscardHandler)
	shared, err := redis.Open(b.redis.URL, redis.Options{Logger: logger, TaskPoll: 10 * time.Millisecond, DialTimeout: 500 * time.Millisecond, Lease: time.Second})
	require.NoError(b, err)
	r.shared = coordination.NewFallback(shared, local.New(local.Options{}), coordination.FallbackOptions{Probe: 20 * time.Millisecond, Logger: logger})
	r.fanout, err = New(b.store, []Target{{Name: "t", Type: "scim", Connector: connector}}, Options{
		Logger: logger, Coordination: r.shared, Poll: 50 * time.Millisecond,
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.fanout.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b, <-ended)
		require.NoError(b, r.shared.Close())
		require.NoError(b, connector.Close())
		front.CloseClientConnections()
		front.Close()
	})
	b.Cleanup(r.stop)
	return r
}

func (r *replica) sent(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[what]
}

// enterprises pushes departments of n tenants, some each, and returns the sum.
func (b *team) enterprises(from, n int) (departments int) {
	for i := range n {
		scope := directory.Scope{Dataset: directory.Prod, InstanceID: "i", TenantID: fmt.Sprintf("tenant-%02d", from+i)}
		b.tree(scope, "a", "b<a", "c<b", "d<a")
		departments += 4
	}
	return departments
}

// delivered waits until every slot is.
func (b *team) delivered(departments int) {
	b.Helper()
	require.Eventually(b, func() bool {
		counts, err := b.store.Counts(b.Context(), "t", nil)
		require.NoError(b, err)
		groups, _ := b.peer.Counts()
		open := 0
		for state, n := range counts.Slots {
			if state != storage.SlotDelivered {
				open += n
			}
		}
		return counts.Unrelayed == 0 && open == 0 && groups == departments
	}, patience, 10*time.Millisecond, "not all is delivered")
}

// TestReplicasShareTheWork: each takes a part, and nothing is done twice.
func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	// Nobody goes on before each has been given something to do.
	var arrived [2]sync.Once
	var both sync.WaitGroup
	both.Add(2)
	hold := func(i int) func(*http.Request) {
		return func(r *http.Request) {
			if r.Method == http.MethodPost {
				arrived[i].Do(both.Done)
				both.Wait()
			}
		}
	}
	one, other := b.join(hold(0)), b.join(hold(1))
	all := b.enterprises(0, 2*scopesAhead)
	b.delivered(all)
	require.Equal(t, all, one.sent("POST Groups")+other.sent("POST Groups"), "each department is created once")
	require.NotZero(t, one.sent("POST Groups"))
	require.NotZero(t, other.sent("POST Groups"))
}

// TestReplicasGoOnWithoutRedis: it may go, come back empty, and be wiped; all
// is delivered, each once, and nobody repairs anything.
func TestReplicasGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	one, other := b.join(nil), b.join(nil)
	all := b.enterprises(0, 6)
	b.redis.Kill()
	all += b.enterprises(6, 6)
	b.delivered(all)
	require.Eventually(t, func() bool { return one.shared.Health().Degraded && other.shared.Health().Degraded }, patience, 5*time.Millisecond)
	all += b.enterprises(12, 6)
	b.delivered(all)
	b.redis.Restart()
	all += b.enterprises(18, 6)
	b.delivered(all)
	require.Eventually(t, func() bool { return !one.shared.Health().Degraded && !other.shared.Health().Degraded }, patience, 5*time.Millisecond)
	all += b.enterprises(24, 6)
	b.delivered(all)
	require.Equal(t, all, one.sent("POST Groups")+other.sent("POST Groups"), "the store's lease keeps two from delivering the same")
}

// TestReplicaThatLeavesHandsItsWorkOver: what it was in the middle of is
// finished by another.
func TestReplicaThatLeavesHandsItsWorkOver(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	hanging := make(chan struct{}, 64)
	leaving := b.join(func(r *http.Request) {
		if r.Method == http.MethodPost {
			hanging <- struct{}{}
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // it was never carried out
		}
	})
	all := b.enterprises(0, 4) // more than can be under way at once
	select {
	case <-hanging:
	case <-time.After(patience):
		require.FailNow(t, "nothing was sent")
	}
	staying := b.join(nil)
	leaving.stop()
	b.delivered(all)
	require.NotZero(t, staying.sent("POST Groups"))
}

// TestReplicasHearOfATargetThatIsDown: one finds out, all stay away, and when
// it is up again all come back, each after a probe of its own.
func TestReplicasHearOfATargetThatIsDown(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	one, other := b.join(nil), b.join(nil)
	b.delivered(b.enterprises(0, 2))
	require.Eventually(t, func() bool {
		return one.sent("GET ServiceProviderConfig") > 0 && other.sent("GET ServiceProviderConfig") > 0
	}, patience, 5*time.Millisecond)
	require.NoError(t, one.shared.Trip(t.Context(), "t", "found by a third", time.Hour))
	require.NoError(t, one.shared.Publish(t.Context(), "target/t"))
	for _, r := range []*replica{one, other} {
		require.Eventually(t, func() bool { return r.fanout.Targets()[0].State == Down }, patience, 5*time.Millisecond)
		require.Equal(t, "found by a third", r.fanout.Targets()[0].LastError)
		require.InDelta(t, time.Hour.Seconds(), time.Until(r.fanout.Targets()[0].NextProbe).Seconds(), 60)
	}
	before := b.peerRequests(one, other)
	all := 8 + b.enterprises(2, 2)
	require.NoError(t, one.fanout.Resume(t.Context(), "t")) // what one operator does counts for all
	b.delivered(all)
	require.Eventually(t, func() bool {
		return one.fanout.Targets()[0].State == Up && other.fanout.Targets()[0].State == Up
	}, patience, 5*time.Millisecond)
	require.Greater(t, b.peerRequests(one, other), before)
}

func (b *team) peerRequests(replicas ...*replica) (sum int) {
	for _, r := range replicas {
		r.mu.Lock()
		for _, n := range r.requests {
			sum += n
		}
		r.mu.Unlock()
	}
	return sum
}

// TestReplicasKeepOnePace: what one was refused for, the other does not try.
func TestReplicasKeepOnePace(t *testing.T) {
	t.Parallel()
	b := newTeam(t)
	first := make(chan time.Time, 1)
	one := b.join(func(r *http.Request) {
		if r.Method == http.MethodPost {
			select {
			case first <- time.Now():
			default:
			}
		}
	})
	require.Eventually(t, func() bool { return one.sent("GET ServiceProviderConfig") > 0 }, patience, 5*time.Millisecond)
	third, err := redis.Open(b.redis.URL, redis.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, third.Close()) }()
	const rest = 400 * time.Millisecond
	refused := time.Now()
	require.NoError(t, third.Shrink(t.Context(), "t", coordination.Rate{}, rest))
	b.tree(acme, "a")
	b.delivered(1)
	require.GreaterOrEqual(t, (<-first).Sub(refused), rest)
}

// pacing is a bucket that answers what it is told to, and counts.
type pacing struct {
	*local.Coordinator
	wait  atomic.Int64
	asked atomic.Int64
	took  atomic.Int64
}

func (p *pacing) Take(_ context.Context, _ string, _ coordination.Rate, n int, patience time.Duration) (time.Duration, bool, error) {
	p.asked.Add(1)
	wait := time.Duration(p.wait.Load())
	if wait > patience {
		return wait, false, nil
	}
	p.took.Add(int64(n))
	return wait, true, nil
}

// pacedRunner is a runner that goes by a clock; waiting hears of each wait.
func pacedRunner(p *pacing) (r *runner, c *clock, waiting <-chan struct{}) {
	c = &clock{at: epoch, waiters: make(map[chan time.Time]time.Time)}
	waits := make(chan struct{}, 1)
	at := func(at time.Time) <-chan time.Time {
		woken := c.wakeAt(at)
		waits <- struct{}{}
		return woken
	}
	options := Options{Now: c.now, At: at, Logger: slog.New(slog.DiscardHandler), Coordination: p}.withDefaults()
	return newRunner(nil, Target{Name: "t", Concurrency: 1}, options, newMetrics(nil)), c, waits
}

// TestAFastTargetIsAskedForSeldom: turns are taken ahead, more and more.
func TestAFastTargetIsAskedForSeldom(t *testing.T) {
	t.Parallel()
	p := &pacing{Coordinator: local.New(local.Options{})}
	r, c, _ := pacedRunner(p)
	const requests = 1000
	for range requests {
		require.True(t, r.admitted(t.Context()))
	}
	require.LessOrEqual(t, p.asked.Load(), int64(requests/meterMost+10))
	require.LessOrEqual(t, p.took.Load(), int64(requests+meterMost))
	asked := p.asked.Load()
	c.advance(meterKeeps)
	require.True(t, r.admitted(t.Context()))
	require.Equal(t, asked+1, p.asked.Load(), "what was taken ahead lapses")
}

// TestAPaceTooSlowEndsTheRound: nothing is taken, and the gate says until when.
func TestAPaceTooSlowEndsTheRound(t *testing.T) {
	t.Parallel()
	p := &pacing{Coordinator: local.New(local.Options{})}
	r, c, _ := pacedRunner(p)
	p.wait.Store(int64(time.Minute))
	require.False(t, r.admitted(t.Context()))
	open, probe, until := r.gate.open()
	require.False(t, open)
	require.False(t, probe)
	require.Equal(t, epoch.Add(time.Minute), until)
	require.Zero(t, p.took.Load())
	require.Equal(t, Up, r.gate.status().State, "slow is not down")
	c.advance(time.Minute)
	p.wait.Store(0)
	require.True(t, r.admitted(t.Context()))
}

// TestARequestWaitsForItsTurn, and no longer than its context.
func TestARequestWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	p := &pacing{Coordinator: local.New(local.Options{})}
	r, c, waiting := pacedRunner(p)
	p.wait.Store(int64(time.Second))
	admitted := make(chan bool)
	go func() { admitted <- r.admitted(context.Background()) }()
	<-waiting
	c.advance(time.Second)
	require.True(t, <-admitted)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, r.admitted(ctx))
}
