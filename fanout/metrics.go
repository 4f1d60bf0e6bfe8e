package fanout

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	deliveries *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	up         *prometheus.GaugeVec
	resyncs    *prometheus.CounterVec
	drift      *prometheus.GaugeVec
	compared   *prometheus.GaugeVec
	state      *prometheus.GaugeVec
	removals   *prometheus.CounterVec
	held       *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orgsync_deliveries_total",
			Help: "Requests to targets by target, operation and outcome (ok or the class of failure).",
		}, []string{"target", "op", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "orgsync_delivery_seconds",
			Help:    "How long a request to a target took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"target", "op"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orgsync_target_up",
			Help: "1 while the target answers and is not stopped.",
		}, []string{"target"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orgsync_target_state",
			Help: "1 for the state the target is in (up, down, paused, disabled, quarantined), 0 for the others.",
		}, []string{"target", "state"}),
		removals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orgsync_removals_total",
			Help: "Deletions and deactivations at targets by what became of them: cleared (within the limit) or held.",
		}, []string{"target", "outcome"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orgsync_target_held",
			Help: "1 while deletions or deactivations at the target wait for a decision.",
		}, []string{"target"}),
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orgsync_resyncs_total",
			Help: "Resyncs by target, whether they were dry runs, and how they ended.",
		}, []string{"target", "dry_run", "state"}),
		drift: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orgsync_drift",
			Help: "Differences that the latest resync of a target found, by finding.",
		}, []string{"target", "finding"}),
		compared: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orgsync_resync_timestamp_seconds",
			Help: "When the latest resync that read a target to its end began.",
		}, []string{"target"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.deliveries, m.seconds, m.up, m.state, m.removals, m.held, m.resyncs, m.drift, m.compared)
	}
	return m
}
