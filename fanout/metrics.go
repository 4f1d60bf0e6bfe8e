package fanout

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	deliveries *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	up         *prometheus.GaugeVec
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
			Help: "1 while the target answers and is not paused.",
		}, []string{"target"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.deliveries, m.seconds, m.up)
	}
	return m
}
