package admin

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mirrorpool/health"
)

// namespace begins the names of all metrics.
const namespace = "mirrorpool_"

// maxScrapes is how many scrapes may be under way. It bounds their memory: one of 1,000 mirrors takes 14 MB.
const maxScrapes = 4

// metricsHandler serves /metrics: the status, the metrics of the faces, and those of the Go runtime.
//
// The metrics are made from the status at each scrape, so that the two cannot differ, and what is gone from the pool is
// gone from the metrics. They are not compressed, which would take longer than all the rest.
func metricsHandler(b Backend) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(faceCollector(b.Collect), statusCollector(b.Status),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, DisableCompression: true})
}

// A faceCollector collects the metrics of the faces.
type faceCollector func(chan<- prometheus.Metric)

// Describe sends nothing: which metrics there are depends on what is configured.
func (faceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (c faceCollector) Collect(ch chan<- prometheus.Metric) {
	if c != nil {
		c(ch)
	}
}

// A statusCollector makes metrics of the status.
type statusCollector func() Status

// Describe sends the descriptions of the metrics.
func (statusCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- buildDesc
	ch <- worksDesc
	ch <- suspectDesc
	for _, g := range poolGauges {
		ch <- g.desc
	}
	for _, g := range groupGauges {
		ch <- g.desc
	}
	for _, d := range [...]*prometheus.Desc{weightDesc, addressesDesc, eligibleDesc, overrideDesc, stateDesc, latencyDesc} {
		ch <- d
	}
	for _, g := range endpointTimes {
		ch <- g.desc
	}
	for _, d := range filesDescs {
		ch <- d
	}
}

// Collect sends the metrics as they are now.
func (c statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := c()
	gauge := gauges(ch)
	gauge(buildDesc, 1, s.Process.Version, runtime.Version())
	for _, g := range poolGauges {
		if value, ok := g.value(&s); ok {
			gauge(g.desc, value)
		}
	}
	for _, name := range health.SuspectNames {
		gauge(suspectDesc, number(s.suspects(name)), name)
	}
	gauge(worksDesc, float64(s.Works.Fully), string(WorksFully))
	gauge(worksDesc, float64(s.Works.Partly), string(WorksPartly))
	gauge(worksDesc, float64(s.Works.NotAtAll), string(WorksNot))
	for _, g := range groupGauges {
		for i := range s.Groups {
			group := &s.Groups[i]
			gauge(g.desc, g.value(group), group.Role.String(), group.Family, yesNo(group.Secure))
		}
	}
	roles := s.roles()
	for i := range s.Mirrors {
		collectMirror(gauge, &s.Mirrors[i], roles)
	}
	collectFiles(gauge, &s)
}

// gauges returns a function that sends a gauge with its labels.
func gauges(ch chan<- prometheus.Metric) func(desc *prometheus.Desc, value float64, labels ...string) {
	return func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
}

func collectMirror(gauge func(*prometheus.Desc, float64, ...string), m *MirrorStatus, roles []string) {
	name := strings.ToValidUTF8(m.URLPrefix, "\uFFFD")
	addresses := 0
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		address, role := e.Address.String(), e.Role.String()
		if e.Role == health.HTTP {
			addresses++
		}
		for _, state := range endpointStates {
			gauge(stateDesc, number(e.State == state), name, address, role, state.String())
		}
		gauge(latencyDesc, e.LatencyMS/1000, name, address, role)
		for _, g := range endpointTimes {
			if t := g.moment(e); t != nil {
				gauge(g.desc, seconds(*t), name, address, role)
			}
		}
	}
	gauge(weightDesc, float64(m.Weight), name)
	gauge(addressesDesc, float64(addresses), name) // 0 too: without addresses there are no other series
	for _, role := range roles {
		gauge(eligibleDesc, number(slices.Contains(m.Eligible, role)), name, role)
	}
	for _, o := range m.Overrides {
		gauge(overrideDesc, seconds(o.Until), name, o.Role.String(), o.Kind.String())
	}
}

// roles are those for which mirrors may be picked: dns too if it is judged.
func (s *Status) roles() []string {
	judged := func(m MirrorStatus) bool {
		return slices.ContainsFunc(m.Endpoints, func(e EndpointStatus) bool { return e.Role == health.DNS })
	}
	if s.Zone != "" || slices.ContainsFunc(s.Mirrors, judged) {
		return []string{health.DNS.String(), health.HTTP.String()}
	}
	return []string{health.HTTP.String()}
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

var (
	buildDesc   = newDesc("build_info", "1, with the versions of the program and of Go.", "version", "goversion")
	suspectDesc = newDesc("suspect",
		"1 if most mirrors fail in a way that a fault of this part of the host would explain.", "suspect")
	worksDesc     = newDesc("mirrors", "Enabled mirrors, by how much of them works.", "works")
	weightDesc    = newDesc("mirror_weight", "Weight of a mirror; 0: disabled.", "mirror")
	addressesDesc = newDesc("mirror_addresses", "How many addresses of a mirror are known and may be used.", "mirror")
	eligibleDesc  = newDesc("mirror_eligible", "1 if a mirror may be picked in a role.", "mirror", "role")
	overrideDesc  = newDesc("mirror_override_end_timestamp_seconds",
		"When a drain or a pardon of a mirror ends, in seconds since 1970.", "mirror", "role", "kind")
	latencyDesc = endpointDesc("endpoint_latency_seconds", "How long the last probe of an endpoint took.")
	stateDesc   = newDesc("endpoint_state", "1 for the state that an endpoint is in.",
		"mirror", "address", "role", "state")
)

var endpointStates = [...]health.State{health.Unknown, health.Up, health.Stale, health.Down}

// poolGauges describe the pool as a whole. ok is false if there is no value.
var poolGauges = []struct {
	desc  *prometheus.Desc
	value func(s *Status) (value float64, ok bool)
}{
	{newDesc("ready", "1 if DNS and HTTP answer and the checks are on time."),
		func(s *Status) (float64, bool) { return number(s.Ready), true }},
	{newDesc("dns_serial", "The zone's SOA serial."),
		func(s *Status) (float64, bool) { return float64(s.Serial), true }},
	{newDesc("suspect_local_network", "1 if most mirrors began to fail at once, so that the local network is suspected."),
		func(s *Status) (float64, bool) { return number(s.suspects(health.SuspectNetwork)), true }},
	{newDesc("reference_timestamp_seconds", "The trace that all mirrors should carry, in seconds since 1970."),
		func(s *Status) (float64, bool) { return secondsOrNone(s.Reference.Trace) }},
	{newDesc("reference_mirrors", "Enabled mirrors that carry the reference."),
		func(s *Status) (float64, bool) { return float64(s.Reference.Mirrors), true }},
	{newDesc("pool_accepted_timestamp_seconds", "When the list of mirrors in force was accepted, in seconds since 1970."),
		func(s *Status) (float64, bool) { return seconds(s.Pool.Loaded), true }},
	{newDesc("pool_checked_timestamp_seconds",
		"When the source was last seen to hold the list of mirrors in force, in seconds since 1970."),
		func(s *Status) (float64, bool) { return secondsOrNone(s.Pool.Checked) }},
	{newDesc("pool_error", "1 if the last attempt to read the list of mirrors failed."),
		func(s *Status) (float64, bool) { return number(s.Pool.Error != ""), true }},
	{newDesc("pool_held", "1 while an update of the list of mirrors waits for confirmation."),
		func(s *Status) (float64, bool) { return number(s.Pool.Held != nil), true }},
	{newDesc("pool_kept",
		"1 while the list of mirrors in force is the one saved on disk, because its source cannot be read."),
		func(s *Status) (float64, bool) { return number(s.Pool.Kept), true }},
}

func groupDesc(name, help string) *prometheus.Desc {
	return newDesc(name, help, "role", "family", "secure")
}

var groupGauges = []struct {
	desc  *prometheus.Desc
	value func(g *GroupStatus) float64
}{
	{groupDesc("panic", "1 while mirrors that are not up are served, because too little of a group's weight is up."),
		func(g *GroupStatus) float64 { return number(g.Panic) }},
	{groupDesc("up_weight", "Weight of a group's mirrors that are up."),
		func(g *GroupStatus) float64 { return g.UpWeight }},
	{groupDesc("eligible_weight", "Weight of a group's mirrors that may be picked."),
		func(g *GroupStatus) float64 { return g.EligibleWeight }},
	{groupDesc("enabled_weight",
		"Weight of a group's mirrors that are enabled, those that have lost their addresses included."),
		func(g *GroupStatus) float64 { return g.EnabledWeight }},
	{groupDesc("newcomer_weight", "Weight of a group's mirrors that have not been up since they were added."),
		func(g *GroupStatus) float64 { return g.NewcomerWeight }},
}

func endpointDesc(name, help string) *prometheus.Desc {
	return newDesc(name, help, "mirror", "address", "role")
}

var endpointTimes = []struct {
	desc   *prometheus.Desc
	moment func(e *EndpointStatus) *time.Time
}{
	{endpointDesc("endpoint_checked_timestamp_seconds", "When an endpoint was last checked, in seconds since 1970."),
		func(e *EndpointStatus) *time.Time { return e.Checked }},
	{endpointDesc("endpoint_trace_timestamp_seconds", "The trace that an endpoint carries, in seconds since 1970."),
		func(e *EndpointStatus) *time.Time { return e.Trace }},
	{endpointDesc("endpoint_certificate_expiry_timestamp_seconds",
		"When an endpoint's certificate expires, in seconds since 1970."),
		func(e *EndpointStatus) *time.Time { return e.CertExpires }},
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func secondsOrNone(t *time.Time) (value float64, ok bool) {
	if t == nil {
		return 0, false
	}
	return seconds(*t), true
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
