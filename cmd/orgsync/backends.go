package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/coordination"
	"github.com/openkoo/connector/coordination/local"
	"github.com/openkoo/connector/coordination/redis"
	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/storage/embedded"
	"github.com/openkoo/connector/storage/mongo"
)

// backends are what the connector stands on: a store, and what it agrees on
// with other replicas of it.
type backends struct {
	store        storage.Store
	coordination coordination.Port
	// shared says that other replicas may work on the same store.
	shared bool
	// health says how the coordination stands, nil where it cannot fail.
	health func() coordination.Health
}

// openBackends opens what the configuration names: MongoDB or the embedded
// store, Redis or this process alone.
func openBackends(ctx context.Context, c *config.Config, logger *slog.Logger) (*backends, error) {
	b := &backends{shared: c.MongoURI != ""}
	if err := b.openCoordination(c, logger); err != nil {
		return nil, err
	}
	var err error
	if b.shared {
		b.store, err = mongo.Open(ctx, c.MongoURI.Reveal(), c.MongoDatabase, mongo.Options{
			Logger: logger, Locker: scopeLocks{b.coordination}, Notifier: newFeedNews(b.coordination, logger),
		})
	} else {
		b.store, err = embedded.Open(ctx, c.DataDir, embedded.Options{Logger: logger})
	}
	if err != nil {
		return nil, errors.Join(err, b.coordination.Close())
	}
	if err := whole(ctx, b.store); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// whole refuses a store that a migration has filled in part.
func whole(ctx context.Context, store storage.Store) error {
	loader, ok := store.(storage.Loader)
	if !ok {
		return nil
	}
	name, err := loader.Loading(ctx)
	if err == nil && name != "" {
		err = errors.New("a migration into this store has not ended; run the same `orgsync migrate` again")
	}
	return err
}

func (b *backends) openCoordination(c *config.Config, logger *slog.Logger) error {
	alone := local.New(local.Options{})
	if c.RedisURL == "" {
		b.coordination = alone
		return nil
	}
	shared, err := redis.Open(c.RedisURL.Reveal(), redis.Options{Logger: logger})
	if err != nil {
		return errors.Join(err, alone.Close())
	}
	fallback := coordination.NewFallback(shared, alone, coordination.FallbackOptions{Logger: logger})
	b.coordination, b.health = fallback, fallback.Health
	return nil
}

func (b *backends) close() error {
	return errors.Join(b.store.Close(), b.coordination.Close())
}

// scopeLocks queues the writers of a scope over all replicas. That one writes
// at a time is the store's own to guarantee.
type scopeLocks struct{ locks coordination.Locks }

// queuePatience bounds the wait in the queue. Whoever is first in it may be cut
// off from the shared state and not from the store, which has the last word
// anyhow: a push must not run out of time for that.
const queuePatience = 2 * time.Second

var errQueueStands = fmt.Errorf("the queue did not move for %s", queuePatience)

// Lock implements mongo.Locker.
func (l scopeLocks) Lock(ctx context.Context, name string) (release func(), err error) {
	queueing, leave := context.WithCancelCause(ctx)
	patience := time.AfterFunc(queuePatience, func() { leave(errQueueStands) })
	lease, err := l.locks.Acquire(queueing, "scope/"+name, 0)
	patience.Stop()
	if err != nil {
		leave(nil)
		return nil, fmt.Errorf("queue for scope %s: %w", name, err)
	}
	return func() {
		lease.Release()
		leave(nil)
	}, nil
}

// feedTopic is what replicas wake each other by when the feed has grown.
const feedTopic = "feed"

// feedNews tells replicas of each other's changes.
type feedNews struct {
	wakeups coordination.Wakeups
	logger  *slog.Logger
	heard   <-chan struct{}
}

func newFeedNews(wakeups coordination.Wakeups, logger *slog.Logger) *feedNews {
	heard, _ := wakeups.Subscribe(feedTopic) // until the coordination is closed
	return &feedNews{wakeups: wakeups, logger: logger, heard: heard}
}

// Notify implements mongo.Notifier.
func (n *feedNews) Notify(ctx context.Context) {
	if err := n.wakeups.Publish(ctx, feedTopic); err != nil {
		n.logger.Debug("other replicas find the change when they look", "error", err)
	}
}

// Notified implements mongo.Notifier.
func (n *feedNews) Notified() <-chan struct{} { return n.heard }
