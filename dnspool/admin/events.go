package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"mirrorpool/health"
)

// Events count probes and reloads. They are safe for concurrent use.
type Events struct {
	probes  *prometheus.CounterVec
	took    *prometheus.HistogramVec
	reloads *prometheus.CounterVec
}

// NewEvents returns counters that are all 0.
func NewEvents() *Events {
	e := &Events{
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + "probes_total",
			Help: "Probes of mirrors, by role and result: up, stale, down, or unknown if a probe could not tell.",
		}, []string{"role", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: namespace + "probe_duration_seconds",
			Help: "How long probes took.", Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
		}, []string{"role"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + "reloads_total",
			Help: "Attempts to reload the configuration or the list of mirrors, by result.",
		}, []string{"what", "result"}),
	}
	for _, result := range [...]string{"applied", "unchanged", "refused"} {
		e.reloads.WithLabelValues("config", result)
		e.reloads.WithLabelValues("pool", result)
	}
	e.reloads.WithLabelValues("pool", "held")
	return e
}

// Probe counts a probe.
func (e *Events) Probe(role health.Role, o health.Observation) {
	e.probes.WithLabelValues(role.String(), o.Result.String()).Inc()
	e.took.WithLabelValues(role.String()).Observe(o.Took.Seconds())
}

// ReloadPool counts an attempt to reload the list of mirrors.
func (e *Events) ReloadPool(r *PoolReload) {
	result := "unchanged"
	switch {
	case r.Applied:
		result = "applied"
	case r.Held != nil:
		result = "held"
	case r.Error != "":
		result = "refused"
	}
	e.reloads.WithLabelValues("pool", result).Inc()
}

// ReloadSettings counts an attempt to reload the configuration.
func (e *Events) ReloadSettings(r *SettingsReload) {
	result := "unchanged"
	switch {
	case r.Error != "":
		result = "refused"
	case len(r.Applied) > 0:
		result = "applied"
	}
	e.reloads.WithLabelValues("config", result).Inc()
}

// Collect sends the metrics.
func (e *Events) Collect(ch chan<- prometheus.Metric) {
	e.probes.Collect(ch)
	e.took.Collect(ch)
	e.reloads.Collect(ch)
}
