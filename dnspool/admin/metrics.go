package admin

import (
	"bytes"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"mirrorpool/health"
)

// maxScrapes is how many scrapes may be under way.
const maxScrapes = 4

// metricsHandler serves /metrics: what the status tells, what the faces count, and the Go runtime.
//
// It is written from the status at each scrape, so that the two cannot differ, and what is gone from the pool is gone
// from the metrics. It is not compressed: that takes longer than all the rest.
func metricsHandler(b Backend) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(faceCollector(b.Collect), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	free := make(chan *exposition, maxScrapes) // memory of scrapes that are over
	for range maxScrapes {
		free <- new(exposition)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var e *exposition
		select {
		case e = <-free:
			defer func() { free <- e }()
		default:
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		text := bytes.NewBuffer(e.text[:0])
		families, err := registry.Gather()
		for i := 0; i < len(families) && err == nil; i++ {
			_, err = expfmt.MetricFamilyToText(text, families[i])
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		e.text = text.Bytes()
		status := b.Status()
		e.writeStatus(&status)
		if b.Redirects != nil {
			e.writeRedirects(b.Redirects)
		}
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		w.Write(e.text) // the client's going away is its own affair
	})
}

// A faceCollector collects what the faces have counted.
type faceCollector func(chan<- prometheus.Metric)

// Describe sends nothing: which metrics there are depends on what is configured.
func (faceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (c faceCollector) Collect(ch chan<- prometheus.Metric) {
	if c != nil {
		c(ch)
	}
}

var endpointStates = [...]health.State{health.Unknown, health.Up, health.Stale, health.Down}

// writeStatus writes what a status tells.
func (e *exposition) writeStatus(s *Status) {
	gauge := func(name, help string, value float64) { e.family(name, "gauge", help).add(value, "", "") }
	e.family("build_info", "gauge", "1, with the versions of the program and of Go.").add(1, labels("version", s.Process.Version, "goversion", runtime.Version()), "")
	gauge("ready", "1 if the faces answer and the checks go on.", number(s.Ready))
	gauge("dns_serial", "The zone's SOA serial.", float64(s.Serial))
	gauge("suspect_local_network", "1 while most mirrors began to fail together, so that our own network is suspected.", number(s.Suspect != ""))
	if s.Reference.Trace != nil {
		gauge("reference_timestamp_seconds", "The trace that all mirrors should carry, in seconds since 1970.", seconds(*s.Reference.Trace))
	}
	gauge("reference_mirrors", "Enabled mirrors that carry the reference.", float64(s.Reference.Mirrors))
	gauge("pool_accepted_timestamp_seconds", "When the list of mirrors in force was accepted, in seconds since 1970.", seconds(s.Pool.Loaded))
	if s.Pool.Checked != nil {
		gauge("pool_checked_timestamp_seconds", "When the source was last seen to hold the list of mirrors in force, in seconds since 1970.", seconds(*s.Pool.Checked))
	}
	gauge("pool_error", "1 if the last attempt to read the list of mirrors failed.", number(s.Pool.Error != ""))
	gauge("pool_held", "1 while an update of the list of mirrors waits for confirmation.", number(s.Pool.Held != nil))
	gauge("pool_kept", "1 while the list of mirrors in force is the one kept on disk, because its source cannot be read.", number(s.Pool.Kept))
	works := e.family("mirrors", "gauge", "Enabled mirrors, by how much of them works.")
	works.add(float64(s.Works.Fully), labels("works", string(WorksFully)), "")
	works.add(float64(s.Works.Partly), labels("works", string(WorksPartly)), "")
	works.add(float64(s.Works.NotAtAll), labels("works", string(WorksNot)), "")
	e.writeGroups(s.Groups)
	e.writeMirrors(s.Mirrors, s.roles())
}

func (e *exposition) writeGroups(groups []GroupStatus) {
	for _, m := range []struct {
		name, help string
		value      func(g *GroupStatus) float64
	}{
		{"panic", "1 while a group of mirrors has too little weight up, so that the checks are not trusted.", func(g *GroupStatus) float64 { return number(g.Panic) }},
		{"up_weight", "Weight of a group's mirrors that are up.", func(g *GroupStatus) float64 { return g.UpWeight }},
		{"eligible_weight", "Weight of a group's mirrors that may be picked.", func(g *GroupStatus) float64 { return g.EligibleWeight }},
		{"enabled_weight", "Weight of a group's mirrors that are enabled, those that have lost their addresses included.", func(g *GroupStatus) float64 { return g.EnabledWeight }},
		{"newcomer_weight", "Weight of a group's mirrors that have not been up since they were added.", func(g *GroupStatus) float64 { return g.NewcomerWeight }},
	} {
		f := e.family(m.name, "gauge", m.help)
		for i := range groups {
			g := &groups[i]
			f.add(m.value(g), labels("role", g.Role.String(), "family", g.Family, "secure", yesNo(g.Secure)), "")
		}
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

func (e *exposition) writeMirrors(mirrors []MirrorStatus, roles []string) {
	weights := e.family("mirror_weight", "gauge", "Weight of a mirror; 0: disabled.")
	names := make([]string, len(mirrors))
	for i := range mirrors {
		names[i] = labels("mirror", mirrors[i].URLPrefix)
		weights.add(float64(mirrors[i].Weight), names[i], "")
	}
	e.writeAddresses(mirrors, names)
	eligible := e.family("mirror_eligible", "gauge", "1 if a mirror may be picked in a role.")
	var endpoints []*EndpointStatus
	var where []string // their labels
	for i := range mirrors {
		m := &mirrors[i]
		for _, role := range roles {
			eligible.add(number(slices.Contains(m.Eligible, role)), names[i], `,role="`+role+`"`)
		}
		for k := range m.Endpoints {
			p := &m.Endpoints[k]
			endpoints = append(endpoints, p)
			where = append(where, names[i]+`,address="`+p.Address.String()+`",role="`+p.Role.String()+`"`)
		}
	}
	states := e.family("endpoint_state", "gauge", "1 for the state that an endpoint is in.")
	for i, p := range endpoints {
		for _, state := range endpointStates {
			states.add(number(p.State == state), where[i], stateLabels[state])
		}
	}
	latency := e.family("endpoint_latency_seconds", "gauge", "How long the last probe of an endpoint took.")
	for i, p := range endpoints {
		latency.add(p.LatencyMS/1000, where[i], "")
	}
	for _, m := range []struct {
		name, help string
		moment     func(p *EndpointStatus) *time.Time
	}{
		{"endpoint_checked_timestamp_seconds", "When an endpoint was last checked, in seconds since 1970.", func(p *EndpointStatus) *time.Time { return p.Checked }},
		{"endpoint_trace_timestamp_seconds", "The trace that an endpoint carries, in seconds since 1970.", func(p *EndpointStatus) *time.Time { return p.Trace }},
		{"endpoint_certificate_expiry_timestamp_seconds", "When an endpoint's certificate expires, in seconds since 1970.", func(p *EndpointStatus) *time.Time { return p.CertExpires }},
	} {
		f := e.family(m.name, "gauge", m.help)
		for i, p := range endpoints {
			if t := m.moment(p); t != nil {
				f.add(seconds(*t), where[i], "")
			}
		}
	}
}

// writeAddresses writes how many addresses each mirror has, 0 too: of a mirror without, there is no endpoint to tell of.
func (e *exposition) writeAddresses(mirrors []MirrorStatus, names []string) {
	f := e.family("mirror_addresses", "gauge", "How many addresses of a mirror are known and may be used.")
	for i := range mirrors {
		n := 0
		for k := range mirrors[i].Endpoints {
			if mirrors[i].Endpoints[k].Role == health.HTTP {
				n++
			}
		}
		f.add(float64(n), names[i], "")
	}
}

var stateLabels = [...]string{`,state="unknown"`, `,state="up"`, `,state="stale"`, `,state="down"`} // by health.State

// writeRedirects writes how often clients were sent to each mirror.
func (e *exposition) writeRedirects(each func(yield func(mirror, reason string, n uint64))) {
	f := e.family("redirects_total", "counter", "Redirects to a mirror, by what it was picked by.")
	each(func(mirror, reason string, n uint64) {
		f.add(float64(n), labels("mirror", mirror, "reason", reason), "")
	})
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

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
