package redis_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/test/peers/redisserver"
)

func TestMain(m *testing.M) {
	// Tests wait for the ends of leases more than they compute: some go on at
	// once, on few cores too.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	// go-redis looks for a server that is away once a second, and only then
	// finds out that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var deployments atomic.Int64

// prefix is one that no other test uses.
func prefix(t *testing.T) string {
	return fmt.Sprintf("%s-%d-%d", t.Name(), os.Getpid(), deployments.Add(1))
}

// open starts a replica, closed when the test ends.
func open(t *testing.T, url string, options redis.Options) *redis.Coordinator {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.TaskPoll == 0 {
		options.TaskPoll = 10 * time.Millisecond
	}
	// The machine may be busy with other tests.
	if options.OpTimeout == 0 {
		options.OpTimeout = 20 * time.Second
	}
	if options.DialTimeout == 0 {
		options.DialTimeout = 20 * time.Second
	}
	c, err := redis.Open(url, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// do runs a command on a server.
func do(t *testing.T, server *redisserver.Server, args ...any) {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: server.Socket})
	defer func() { require.NoError(t, client.Close()) }()
	require.NoError(t, client.Do(t.Context(), args...).Err())
}

// exists reports whether a server has a key.
func exists(t *testing.T, server *redisserver.Server, key string) bool {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: server.Socket})
	defer func() { require.NoError(t, client.Close()) }()
	n, err := client.Exists(t.Context(), key).Result()
	require.NoError(t, err)
	return n == 1
}

// proxy stands between a replica and the server: it can be slow, and be cut.
type proxy struct {
	url    string
	server string
	delay  atomic.Int64 // of each answer, in nanoseconds
	isCut  atomic.Bool

	listener net.Listener
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	running  sync.WaitGroup
	ctx      context.Context
}

func newProxy(t *testing.T, server *redisserver.Server) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{url: "redis://" + listener.Addr().String(), server: server.Socket, listener: listener, open: make(map[net.Conn]struct{}), ctx: ctx}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		front, err := p.listener.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("unix", p.server)
		if err != nil || !p.track(front, back) {
			_ = front.Close()
			continue
		}
		p.running.Go(func() { p.copy(back, front, false) })
		p.running.Go(func() { p.copy(front, back, true) })
	}
}

func (p *proxy) track(both ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isCut.Load() {
		for _, c := range both {
			_ = c.Close()
		}
		return false
	}
	for _, c := range both {
		p.open[c] = struct{}{}
	}
	return true
}

func (p *proxy) copy(to io.WriteCloser, from io.ReadCloser, answers bool) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }() // either side may have gone
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if answers {
			select {
			case <-time.After(time.Duration(p.delay.Load())):
			case <-p.ctx.Done():
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections and lets no new one through.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut.Store(true)
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

// mend lets connections through again.
func (p *proxy) mend() { p.isCut.Store(false) }
