package admin

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"mirrorpool/health"
)

// poolFamilies describe the pool as a whole.
var poolFamilies = []family{
	{"build_info", "1, with the versions of the program and of Go.", []string{"goversion", "version"}, func(s *Status, b *gaugeBuffer) {
		b.add(1, runtime.Version(), s.Process.Version)
	}},
	{"ready", "1 if DNS and HTTP answer and the checks are on time.", nil, func(s *Status, b *gaugeBuffer) { b.add(number(s.Ready)) }},
	{"dns_serial", "The zone's SOA serial.", nil, func(s *Status, b *gaugeBuffer) { b.add(float64(s.Serial)) }},
	{"suspect_local_network", "1 if most mirrors began to fail at once, so that the local network is suspected.", nil, func(s *Status, b *gaugeBuffer) { b.add(number(s.suspects(health.SuspectNetwork))) }},
	{"reference_timestamp_seconds", "The trace that all mirrors should carry, in seconds since 1970.", nil, func(s *Status, b *gaugeBuffer) { gaugeTime(b, s.Reference.Trace) }},
	{"reference_mirrors", "Enabled mirrors that carry the reference.", nil, func(s *Status, b *gaugeBuffer) { b.add(float64(s.Reference.Mirrors)) }},
	{"pool_accepted_timestamp_seconds", "When the list of mirrors in force was accepted, in seconds since 1970.", nil, func(s *Status, b *gaugeBuffer) { b.add(seconds(s.Pool.Loaded)) }},
	{"pool_checked_timestamp_seconds", "When the source was last seen to hold the list of mirrors in force, in seconds since 1970.", nil, func(s *Status, b *gaugeBuffer) { gaugeTime(b, s.Pool.Checked) }},
	{"pool_error", "1 if the last attempt to read the list of mirrors failed.", nil, func(s *Status, b *gaugeBuffer) { b.add(number(s.Pool.Error != "")) }},
	{"pool_held", "1 while an update of the list of mirrors waits for confirmation.", nil, func(s *Status, b *gaugeBuffer) { b.add(number(s.Pool.Held != nil)) }},
	{"pool_kept", "1 while the list of mirrors in force is the one saved on disk, because its source cannot be read.", nil, func(s *Status, b *gaugeBuffer) { b.add(number(s.Pool.Kept)) }},
	{"suspect", "1 if most mirrors fail in a way that a fault of this part of the host would explain.", []string{"suspect"},
		func(s *Status, b *gaugeBuffer) {
			for _, name := range health.SuspectNames {
				b.add(number(s.suspects(name)), name)
			}
		}},
	{"mirrors", "Enabled mirrors, by how much of them works.", []string{"works"}, func(s *Status, b *gaugeBuffer) {
		b.add(float64(s.Works.Fully), string(WorksFully))
		b.add(float64(s.Works.Partly), string(WorksPartly))
		b.add(float64(s.Works.NotAtAll), string(WorksNot))
	}},
}

// groupFamilies describe the groups of candidates.
var groupFamilies = []family{
	groupFamily("panic", "1 while mirrors that are not up are served, because too little of a group's weight is up.", func(g *GroupStatus) float64 { return number(g.Panic) }),
	groupFamily("up_weight", "Weight of a group's mirrors that are up.", func(g *GroupStatus) float64 { return g.UpWeight }),
	groupFamily("eligible_weight", "Weight of a group's mirrors that may be picked.", func(g *GroupStatus) float64 { return g.EligibleWeight }),
	groupFamily("enabled_weight", "Weight of a group's mirrors that are enabled, those that have lost their addresses included.", func(g *GroupStatus) float64 { return g.EnabledWeight }),
	groupFamily("newcomer_weight", "Weight of a group's mirrors that have not been up since they were added.", func(g *GroupStatus) float64 { return g.NewcomerWeight }),
}

func groupFamily(name, help string, value func(g *GroupStatus) float64) family {
	return family{name, help, []string{"family", "role", "secure"}, func(s *Status, b *gaugeBuffer) {
		for i := range s.Groups {
			g := &s.Groups[i]
			b.add(value(g), g.Family, g.Role.String(), yesNo(g.Secure))
		}
	}}
}

// mirrorFamilies describe the mirrors.
var mirrorFamilies = []family{
	mirrorFamily("mirror_weight", "Weight of a mirror; 0: disabled.", func(m *MirrorStatus) float64 { return float64(m.Weight) }),
	mirrorFamily("mirror_addresses", "How many addresses of a mirror are known and may be used.", countAddresses),
	{"mirror_eligible", "1 if a mirror may be picked in a role.", []string{"mirror", "role"}, func(s *Status, b *gaugeBuffer) {
		roles := s.roles()
		for i := range s.Mirrors {
			m := &s.Mirrors[i]
			for _, role := range roles {
				b.add(number(slices.Contains(m.Eligible, role)), m.label(), role)
			}
		}
	}},
	{"mirror_override_end_timestamp_seconds", "When a drain or a pardon of a mirror ends, in seconds since 1970.",
		[]string{"kind", "mirror", "role"}, func(s *Status, b *gaugeBuffer) {
			for i := range s.Mirrors {
				m := &s.Mirrors[i]
				for _, o := range m.Overrides {
					b.add(seconds(o.Until), o.Kind.String(), m.label(), o.Role.String())
				}
			}
		}},
}

func mirrorFamily(name, help string, value func(m *MirrorStatus) float64) family {
	return family{name, help, []string{"mirror"}, func(s *Status, b *gaugeBuffer) {
		for i := range s.Mirrors {
			m := &s.Mirrors[i]
			b.add(value(m), m.label())
		}
	}}
}

// countAddresses counts those that redirects may use. It is 0, too, where a mirror has none: then there are no other
// series of it.
func countAddresses(m *MirrorStatus) (n float64) {
	for i := range m.Endpoints {
		if m.Endpoints[i].Role == health.HTTP {
			n++
		}
	}
	return n
}

// label is what the mirror is called in metrics.
func (m *MirrorStatus) label() string { return strings.ToValidUTF8(m.URLPrefix, "\uFFFD") }

// endpointFamilies describe the mirrors' endpoints.
var endpointFamilies = []family{
	{"endpoint_state", "1 for the state that an endpoint is in.", []string{"address", "mirror", "role", "state"},
		func(s *Status, b *gaugeBuffer) {
			s.eachEndpoint(func(mirror string, e *EndpointStatus) {
				address, role := e.Address.String(), e.Role.String()
				for _, state := range endpointStates {
					b.add(number(e.State == state), address, mirror, role, state.String())
				}
			})
		}},
	{"endpoint_latency_seconds", "How long the last probe of an endpoint took.", endpointLabels, func(s *Status, b *gaugeBuffer) {
		s.eachEndpoint(func(mirror string, e *EndpointStatus) {
			b.add(e.LatencyMS/1000, e.Address.String(), mirror, e.Role.String())
		})
	}},
	endpointTime("endpoint_checked_timestamp_seconds", "When an endpoint was last checked, in seconds since 1970.",
		func(e *EndpointStatus) *time.Time { return e.Checked }),
	endpointTime("endpoint_trace_timestamp_seconds", "The trace that an endpoint carries, in seconds since 1970.",
		func(e *EndpointStatus) *time.Time { return e.Trace }),
	endpointTime("endpoint_certificate_expiry_timestamp_seconds", "When an endpoint's certificate expires, in seconds since 1970.",
		func(e *EndpointStatus) *time.Time { return e.CertExpires }),
}

var endpointLabels = []string{"address", "mirror", "role"}

// endpointTime is the family of a time, for endpoints where it is known.
func endpointTime(name, help string, moment func(e *EndpointStatus) *time.Time) family {
	return family{name, help, endpointLabels, func(s *Status, b *gaugeBuffer) {
		s.eachEndpoint(func(mirror string, e *EndpointStatus) {
			if t := moment(e); t != nil {
				b.add(seconds(*t), e.Address.String(), mirror, e.Role.String())
			}
		})
	}}
}

func (s *Status) eachEndpoint(f func(mirror string, e *EndpointStatus)) {
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		mirror := m.label()
		for k := range m.Endpoints {
			f(mirror, &m.Endpoints[k])
		}
	}
}

var endpointStates = [...]health.State{health.Unknown, health.Up, health.Stale, health.Down}

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

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// gaugeTime sends a time, if it is known.
func gaugeTime(b *gaugeBuffer, t *time.Time) {
	if t != nil {
		b.add(seconds(*t))
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
