package coordination

import "context"

// Wakeups tells other parts of the connector, on this replica and on others,
// that it is worth looking at the store. A wake-up may be lost: the store is
// looked at now and then anyway.
type Wakeups interface {
	// Publish wakes all who subscribed to the topic. Those on this replica are
	// woken even when it fails.
	Publish(ctx context.Context, topic string) error
	// Subscribe returns a channel that gets a value after a Publish; many that
	// come together are one value. It also gets one when wake-ups may have been
	// missed. Call stop in the end.
	Subscribe(topic string) (woken <-chan struct{}, stop func())
}
