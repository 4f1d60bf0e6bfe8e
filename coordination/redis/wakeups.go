package redis

import (
	"context"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/openkoo/connector/coordination/local"
)

// wakeups carries topics over one channel that all replicas hear.
type wakeups struct {
	*client
	here   *local.Wakeups
	pubsub *goredis.PubSub
}

func newWakeups(c *client) *wakeups {
	w := &wakeups{client: c, here: local.NewWakeups(), pubsub: c.rdb.Subscribe(c.life)}
	c.background.Go(w.listen)
	return w
}

// Publish implements coordination.Wakeups.
func (w *wakeups) Publish(ctx context.Context, topic string) error {
	_ = w.here.Publish(ctx, topic) // never fails
	return w.bounded(ctx, "publish", func(ctx context.Context) error {
		return w.rdb.Publish(ctx, w.channel(), w.message(w.id, topic)).Err()
	})
}

// Subscribe implements coordination.Wakeups.
func (w *wakeups) Subscribe(topic string) (woken <-chan struct{}, stop func()) {
	return w.here.Subscribe(topic)
}

// listen passes on what other replicas, and scripts, publish.
func (w *wakeups) listen() {
	// Without an error to heed: the library connects, again and again.
	_ = w.pubsub.Subscribe(w.life, w.channel())
	for received := range w.pubsub.ChannelWithSubscriptions() {
		switch m := received.(type) {
		case *goredis.Subscription: // (re)connected; something may be missed
			w.here.PublishAll()
		case *goredis.Message:
			if sender, topic, _ := strings.Cut(m.Payload, " "); sender != w.id {
				_ = w.here.Publish(w.life, topic) // never fails
			}
		}
	}
}

func (c *client) channel() string { return c.options.Prefix + ":wakeups" }

// message is a topic and who it is from: the sender has woken its own already.
// Nobody is the sender of what a script publishes.
func (w *wakeups) message(sender, topic string) string { return sender + " " + topic }

func (w *wakeups) close() error { return w.pubsub.Close() }
