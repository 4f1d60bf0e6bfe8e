// Package redis coordinates any number of replicas through a Redis server
// (6.0 or later, or one that speaks its protocol and runs Lua scripts).
//
// Every call is one script, so it happens as a whole, and is bounded in time.
// Scripts are safe to repeat: who calls again after a lost answer gets it.
// Times are the server's, so replicas need not agree on theirs. Redis may be
// restarted or wiped at any moment; see coordination for what that may cost.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/local"
)

// Options shape a Coordinator; the zero value serves.
type Options struct {
	// Prefix begins every key, so that several connectors can share a server.
	// Default "orgsync".
	Prefix string
	// DialTimeout bounds connecting, OpTimeout waiting for an answer; together
	// they bound a call. Defaults 1 s and 500 ms.
	DialTimeout, OpTimeout time.Duration
	// Lease is how long what a replica holds (a nonce being served, a lock, a
	// task) stays its own after its last sign of life. Default 10 s.
	Lease time.Duration
	// ProbeLease is how long a probe of a target may take. Default 30 s.
	ProbeLease time.Duration
	// TaskPoll is how often a queue that is empty is looked at. Default 100 ms.
	TaskPoll time.Duration
	// Now replaces the server's clock, for tests.
	Now    func() time.Time
	Logger *slog.Logger // default slog.Default
}

// Coordinator is the whole port on a Redis server.
type Coordinator struct {
	*nonces
	*locks
	*buckets
	*breakers
	*wakeups
	*dispatcher
	client *client
}

var _ coordination.Port = (*Coordinator)(nil)

// Open makes a coordinator on the server that url names. It does not connect
// yet: a server that is away is found out by Ping, and by every call.
func Open(url string, options Options) (*Coordinator, error) {
	connection, err := goredis.ParseURL(url)
	if err != nil {
		// The library's error may quote the URL, and with it the password.
		return nil, errors.New("redisUrl: is no Redis address; want redis://user:password@host:6379/0, rediss://… for TLS, or unix:///path/of/socket")
	}
	options = options.withDefaults()
	c := newClient(connection, options)
	hub := newWakeups(c)
	return &Coordinator{
		nonces:     &nonces{client: c, hub: hub},
		locks:      &locks{client: c, hub: hub, turns: local.NewLocks(nil)},
		buckets:    &buckets{client: c},
		breakers:   &breakers{client: c},
		wakeups:    hub,
		dispatcher: newDispatcher(c, connection),
		client:     c,
	}, nil
}

// Ping tries to write, as every other call would.
func (c *Coordinator) Ping(ctx context.Context) error {
	return c.client.bounded(ctx, "ping", func(ctx context.Context) error {
		return c.client.rdb.Set(ctx, c.client.options.Prefix+":ping", c.client.id, time.Minute).Err()
	})
}

// Close ends every Serve and every renewal and waits for them. Locks not
// released run out.
func (c *Coordinator) Close() error {
	c.client.end()
	c.serves.Wait()
	err := errors.Join(c.wakeups.close(), c.dispatcher.close())
	c.client.background.Wait()
	if err = errors.Join(err, c.client.rdb.Close()); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "orgsync"
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.DialTimeout, time.Second},
		{&o.OpTimeout, 500 * time.Millisecond},
		{&o.Lease, 10 * time.Second},
		{&o.ProbeLease, local.DefaultProbeLease},
		{&o.TaskPoll, 100 * time.Millisecond},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// quiet keeps the library from writing to the standard error: its errors come
// back to the caller as well. Its logger is one for the whole process.
var quiet = sync.OnceFunc(logging.Disable)

func newClient(connection *goredis.Options, options Options) *client {
	quiet()
	connection.DialTimeout = options.DialTimeout
	connection.ReadTimeout, connection.WriteTimeout = options.OpTimeout, options.OpTimeout
	connection.PoolTimeout = options.OpTimeout
	connection.ContextTimeoutEnabled = true
	// Once more, at once: the connection may be from before a restart.
	connection.MaxRetries, connection.DialerRetries = 1, 1
	connection.MinRetryBackoff, connection.MaxRetryBackoff = -1, -1
	connection.DisableIdentity = true
	connection.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	life, end := context.WithCancel(context.Background())
	return &client{rdb: goredis.NewClient(connection), options: options, id: uuid.NewString(), life: life, end: end}
}
