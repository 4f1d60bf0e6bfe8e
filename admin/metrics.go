package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/storage"
)

// The slots are counted for /metrics no more often than this, and no longer:
// in MongoDB a count costs the more the more slots there are.
const (
	countEvery   = 30 * time.Second
	countTimeout = 10 * time.Second
)

var (
	slotsDesc  = prometheus.NewDesc("orgsync_slots", "Entities at a target by the state of their delivery.", []string{"target", "state"}, nil)
	oldestDesc = prometheus.NewDesc("orgsync_oldest_pending_seconds", "How long the oldest change has not reached the target.", []string{"target"}, nil)
)

// slotMetrics tells Prometheus how the deliveries to each target stand.
type slotMetrics struct {
	api *API

	mu   sync.Mutex
	at   time.Time // when it was counted
	seen []TargetStatus
}

// Describe implements prometheus.Collector.
func (m *slotMetrics) Describe(into chan<- *prometheus.Desc) { into <- slotsDesc; into <- oldestDesc }

// Collect implements prometheus.Collector. Of a target that cannot be counted
// nothing is said: what else is measured is not to go with it.
func (m *slotMetrics) Collect(into chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.api.Now()
	if age := now.Sub(m.at); age < 0 || age >= countEvery { // or the clock was set
		m.seen, m.at = m.count(), now
	}
	for _, t := range m.seen {
		for state, n := range map[storage.SlotState]int{
			storage.SlotPending: t.Pending, storage.SlotRetrying: t.Retrying, storage.SlotWaiting: t.Waiting, storage.SlotDelivered: t.Delivered,
			storage.SlotDead: t.Dead, storage.SlotHeld: t.Held, storage.SlotKept: t.Kept, storage.SlotLeaving: t.Leaving,
		} {
			into <- prometheus.MustNewConstMetric(slotsDesc, prometheus.GaugeValue, float64(n), t.Name, state.String())
		}
		into <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, t.OldestPendingSeconds, t.Name)
	}
}

func (m *slotMetrics) count() (seen []TargetStatus) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	for _, t := range m.api.Deliverer.Targets() {
		counts, err := m.api.Reader.Counts(ctx, t.Name, nil)
		if err != nil {
			m.api.Logger.Error("cannot count the slots of a target for /metrics", "target", t.Name, "error", err)
			continue
		}
		seen = append(seen, m.api.targetStatus(t, counts))
	}
	return seen
}
