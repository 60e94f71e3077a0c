package admin

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mirrorpool/health"
)

// metricsHandler serves /metrics: what the status tells, what the faces count, and the Go runtime.
func metricsHandler(b Backend) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(backendCollector{b}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// A backendCollector turns the status into metrics at each scrape, so that the two cannot differ, and what is
// gone from the pool is gone from the metrics.
type backendCollector struct{ Backend }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mirrorpool_"+name, help, labels, nil)
}

var (
	readyDesc      = desc("ready", "1 if the faces answer and the checks go on.")
	serialDesc     = desc("dns_serial", "The zone's SOA serial.")
	suspectDesc    = desc("suspect_local_network", "1 while most mirrors began to fail together, so that our own network is suspected.")
	referenceDesc  = desc("reference_timestamp_seconds", "The trace that all mirrors should carry, in seconds since 1970.")
	currentDesc    = desc("reference_mirrors", "Enabled mirrors that carry the reference.")
	panicDesc      = desc("panic", "1 while a group of mirrors has too little weight up, so that the checks are not trusted.", "role", "family", "secure")
	upWeightDesc   = desc("up_weight", "Weight of a group's mirrors that are up.", "role", "family", "secure")
	weightDesc     = desc("enabled_weight", "Weight of a group's mirrors that are enabled.", "role", "family", "secure")
	poolTimeDesc   = desc("pool_accepted_timestamp_seconds", "When the list of mirrors in force was accepted, in seconds since 1970.")
	poolErrorDesc  = desc("pool_error", "1 if the last attempt to read the list of mirrors failed.")
	poolHeldDesc   = desc("pool_held", "1 while an update of the list of mirrors waits for confirmation.")
	poolKeptDesc   = desc("pool_kept", "1 while the list of mirrors in force is the one kept on disk, because its source cannot be read.")
	mirrorDesc     = desc("mirror_weight", "Weight of a mirror; 0: disabled.", "mirror")
	eligibleDesc   = desc("mirror_eligible", "1 if a mirror may be picked in a role.", "mirror", "role")
	endpointDesc   = desc("endpoint_state", "1 for the state that an endpoint is in.", "mirror", "address", "role", "state")
	latencyDesc    = desc("endpoint_latency_seconds", "How long the last probe of an endpoint took.", "mirror", "address", "role")
	checkedDesc    = desc("endpoint_checked_timestamp_seconds", "When an endpoint was last checked, in seconds since 1970.", "mirror", "address", "role")
	traceDesc      = desc("endpoint_trace_timestamp_seconds", "The trace that an endpoint carries, in seconds since 1970.", "mirror", "address", "role")
	expiresDesc    = desc("endpoint_certificate_expiry_timestamp_seconds", "When an endpoint's certificate expires, in seconds since 1970.", "mirror", "address", "role")
	endpointStates = [...]health.State{health.Unknown, health.Up, health.Stale, health.Down}
)

// Describe sends nothing: which metrics there are depends on the pool.
func (backendCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (c backendCollector) Collect(ch chan<- prometheus.Metric) {
	if c.Backend.Collect != nil {
		c.Backend.Collect(ch)
	}
	s := c.Status()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	moment := func(d *prometheus.Desc, t *time.Time, labels ...string) {
		if t != nil {
			gauge(d, float64(t.UnixMilli())/1000, labels...)
		}
	}
	gauge(readyDesc, number(s.Ready))
	gauge(serialDesc, float64(s.Serial))
	gauge(suspectDesc, number(s.Suspect != ""))
	moment(referenceDesc, s.Reference.Trace)
	gauge(currentDesc, float64(s.Reference.Mirrors))
	moment(poolTimeDesc, &s.Pool.Loaded)
	gauge(poolErrorDesc, number(s.Pool.Error != ""))
	gauge(poolHeldDesc, number(s.Pool.Held != nil))
	gauge(poolKeptDesc, number(s.Pool.Kept))
	for _, g := range s.Groups {
		labels := []string{g.Role.String(), g.Family, yesNo(g.Secure)}
		gauge(panicDesc, number(g.Panic), labels...)
		gauge(upWeightDesc, g.UpWeight, labels...)
		gauge(weightDesc, g.EnabledWeight, labels...)
	}
	for _, m := range s.Mirrors {
		gauge(mirrorDesc, float64(m.Weight), m.URLPrefix)
		for _, role := range m.Eligible {
			gauge(eligibleDesc, 1, m.URLPrefix, role)
		}
		for _, e := range m.Endpoints {
			labels := []string{m.URLPrefix, e.Address.String(), e.Role.String()}
			for _, state := range endpointStates {
				gauge(endpointDesc, number(e.State == state), append(labels[:3:3], state.String())...)
			}
			gauge(latencyDesc, e.LatencyMS/1000, labels...)
			moment(checkedDesc, e.Checked, labels...)
			moment(traceDesc, e.Trace, labels...)
			moment(expiresDesc, e.CertExpires, labels...)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
