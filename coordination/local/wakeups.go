package local

import (
	"context"
	"sync"

	"github.com/openkoo/connector/coordination"
)

// Wakeups wakes subscribers within the process.
type Wakeups struct {
	mu     sync.Mutex
	topics map[string]map[chan struct{}]struct{}
}

var _ coordination.Wakeups = (*Wakeups)(nil)

// NewWakeups makes wake-ups without subscribers.
func NewWakeups() *Wakeups {
	return &Wakeups{topics: make(map[string]map[chan struct{}]struct{})}
}

// Publish implements coordination.Wakeups. It never fails.
func (w *Wakeups) Publish(_ context.Context, topic string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for woken := range w.topics[topic] {
		wake(woken)
	}
	return nil
}

// PublishAll wakes every subscriber of every topic.
func (w *Wakeups) PublishAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, subscribers := range w.topics {
		for woken := range subscribers {
			wake(woken)
		}
	}
}

// Subscribe implements coordination.Wakeups.
func (w *Wakeups) Subscribe(topic string) (<-chan struct{}, func()) {
	woken := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.topics[topic] == nil {
		w.topics[topic] = make(map[chan struct{}]struct{})
	}
	w.topics[topic][woken] = struct{}{}
	return woken, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.topics[topic], woken)
		if len(w.topics[topic]) == 0 {
			delete(w.topics, topic)
		}
	}
}

func wake(woken chan struct{}) {
	select {
	case woken <- struct{}{}:
	default: // it has one already
	}
}
