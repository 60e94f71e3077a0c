package admin

import (
	"cmp"
	"net/netip"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// A Status is what the server thinks of its pool: the answer of /api/v1/status.
type Status struct {
	Zone    string         `json:"zone"` // without the final dot; empty if the DNS face is off
	Serial  uint32         `json:"serial"`
	Panic   bool           `json:"panic"`
	Ready   bool           `json:"ready"`
	Pool    PoolStatus     `json:"pool"`
	Mirrors []MirrorStatus `json:"mirrors"`
}

// A PoolStatus says where the list of mirrors comes from, and how the last reload went.
type PoolStatus struct {
	Source     string      `json:"source"`
	Loaded     time.Time   `json:"loaded"`      // when the list in force was accepted, before this start if Kept
	AgeSeconds float64     `json:"age_seconds"` // since Loaded
	Checked    *time.Time  `json:"checked"`     // when its source was last seen to hold it; null if never
	Kept       bool        `json:"kept"`        // it is the one kept on disk, and its source was not seen to hold it
	Error      string      `json:"error"`       // why the last attempt to read it failed, or ""
	KeepError  string      `json:"keep_error"`  // why the list in force could not be kept on disk, or ""
	Held       *HeldStatus `json:"held"`        // an update that waits for confirmation, or null
}

// A HeldStatus is an update of the pool that the guard holds back, until somebody confirms it.
type HeldStatus struct {
	Since time.Time `json:"since"`
	config.Decision
	Change config.Change `json:"change"`
}

// A MirrorStatus is what is known of one mirror.
type MirrorStatus struct {
	URLPrefix string           `json:"url_prefix"`
	Name      string           `json:"name"`
	Weight    uint32           `json:"weight"`
	DNSWeight uint32           `json:"dns_weight"`
	Eligible  []string         `json:"eligible"` // what it may be picked for now: "dns", "http"
	State     health.State     `json:"state"`    // of the best endpoint
	Reason    string           `json:"reason"`   // why an endpoint is not up, or ""
	Since     *time.Time       `json:"since"`    // when the endpoint that decides State entered it; null if never checked
	Endpoints []EndpointStatus `json:"endpoints"`
}

// An EndpointStatus is the verdict on one endpoint in one role.
type EndpointStatus struct {
	Address     netip.Addr   `json:"address"`
	Role        health.Role  `json:"role"`
	State       health.State `json:"state"`
	Reason      string       `json:"reason"`
	Since       *time.Time   `json:"since"`   // null if it was never checked
	Checked     *time.Time   `json:"checked"` // null if it was never checked
	LatencyMS   float64      `json:"latency_ms"`
	Trace       *time.Time   `json:"trace"`        // the mirror's trace file, null if it was never read
	CertExpires *time.Time   `json:"cert_expires"` // null without TLS
}

// MirrorsOf describes the mirrors of a snapshot with the verdicts of a report, which may be newer.
func MirrorsOf(s *dnspool.Snapshot, report *health.Report) []MirrorStatus {
	mirrors := make([]MirrorStatus, len(s.Mirrors))
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		mirrors[i] = MirrorStatus{
			URLPrefix: m.URLPrefix, Name: m.Name, Weight: m.Weight, DNSWeight: m.DNS.Weight,
			Eligible:  eligible(m),
			Endpoints: []EndpointStatus{},
		}
		mirrors[i].summarise(report.Mirrors[m.URLPrefix])
	}
	return mirrors
}

// eligible lists the roles for which m may be picked.
func eligible(m *dnspool.Mirror) []string {
	roles := []string{}
	if m.InDNS {
		roles = append(roles, health.DNS.String())
	}
	if m.InWeb {
		roles = append(roles, health.HTTP.String())
	}
	return roles
}

// summarise fills in what r knows.
func (m *MirrorStatus) summarise(r health.MirrorReport) {
	m.Reason = r.Problem
	for i, e := range r.Endpoints {
		m.Endpoints = append(m.Endpoints, EndpointStatus{
			Address: e.Address, Role: e.Role, State: e.State, Reason: e.Reason,
			Since: timeOrNull(e.Since), Checked: timeOrNull(e.Checked),
			LatencyMS: float64(e.Latency.Microseconds()) / 1000,
			Trace:     timeOrNull(e.Trace), CertExpires: timeOrNull(e.CertExpires),
		})
		if e.State != health.Up && e.Reason != "" {
			m.Reason = cmp.Or(m.Reason, e.Role.String()+" at "+e.Address.String()+": "+e.Reason)
		}
		if i == 0 || rank(e.State) < rank(m.State) {
			m.State, m.Since = e.State, timeOrNull(e.Since)
		}
	}
}

// rank orders states from good to bad.
func rank(s health.State) int {
	switch s {
	case health.Up:
		return 0
	case health.Stale:
		return 1
	case health.Down:
		return 2
	default:
		return 3
	}
}

// timeOrNull makes JSON's null of no time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
