package probing

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// A Result is what came of probing mirrors once: the document of probe --json. Keys that it has in common
// with /api/v1/status mean the same there.
type Result struct {
	At        time.Time `json:"at"`
	OK        bool      `json:"ok"`              // all enabled mirrors are up in all their roles: exit code 0
	Enabled   int       `json:"enabled_mirrors"` // of those in Mirrors
	Up        int       `json:"up_mirrors"`      // the enabled ones that are up in all their roles
	Reference Reference `json:"reference"`
	Suspect   string    `json:"suspect"`  // what is wrong on our side, or ""
	Warnings  []string  `json:"warnings"` // of what is not a failure yet
	Mirrors   []Mirror  `json:"mirrors"`  // in the order of the file
}

// A Reference is what the mirrors should carry, and how many of those that were probed do. That can be more
// than are shown: see withVoters.
type Reference struct {
	Trace         *time.Time `json:"trace"`   // null if it is not known
	Source        string     `json:"source"`  // FromURL, or FromMirrors: the newest trace that most of the weight has reached
	Problem       string     `json:"problem"` // why it is not known, although there is a reference_url; or ""
	Mirrors       int        `json:"mirrors"` // enabled ones that carry it
	Enabled       int        `json:"enabled_mirrors"`
	Weight        uint64     `json:"weight"` // of those that carry it
	EnabledWeight uint64     `json:"enabled_weight"`
}

// A Mirror is what was seen of one mirror.
type Mirror struct {
	URLPrefix string     `json:"url_prefix"`
	Name      string     `json:"name"`
	Weight    uint32     `json:"weight"`  // 0: disabled
	Up        bool       `json:"up"`      // in all its roles
	Problem   string     `json:"problem"` // why addresses are missing, or ""
	Endpoints []Endpoint `json:"endpoints"`
	Files     *Files     `json:"files,omitempty"` // absent unless the mirror was named, has an rsync_url, and files.origin is set
}

// A Endpoint is what was seen of a mirror at one address in one role. A step's time is 0 if it was not
// taken, or not finished.
type Endpoint struct {
	Address *netip.Addr  `json:"address"` // null in role rsync if its host has none
	Role    health.Role  `json:"role"`
	State   health.State `json:"state"`
	Reason  string       `json:"reason"`   // why State is not up, or ""
	Warning string       `json:"warning"`  // of what is not a failure yet, or ""
	ShownBy string       `json:"shown_by"` // a command that shows why State is down, or ""

	ResolveMS   float64 `json:"resolve_ms"` // the look-up of the mirror's addresses, in roles http and dns
	ConnectMS   float64 `json:"connect_ms"`
	TLSMS       float64 `json:"tls_ms"`
	FirstByteMS float64 `json:"first_byte_ms"` // from the connection until the response began
	TotalMS     float64 `json:"total_ms"`      // of the probe, without the look-up

	CertExpires *time.Time `json:"cert_expires"` // null if no certificate was seen
	CertDays    *int       `json:"cert_days"`    // whole days until then; negative once it has expired
	Trace       *time.Time `json:"trace"`        // null if it could not be read
	TraceAge    *int64     `json:"trace_age_seconds"`
	Lag         *int64     `json:"lag_seconds"` // behind the reference; 0 if not, null if one of the two is not known
}

// Where a reference comes from.
const (
	FromURL     = "reference_url"
	FromMirrors = "mirrors"
)

// newResult takes from report what it has on the mirrors that were asked for.
func newResult(plan *Plan, report *health.Report) *Result {
	r := &Result{
		At: report.At.UTC(), Suspect: report.SuspectNames(), Warnings: []string{}, Mirrors: []Mirror{},
		Reference: newReference(&report.Reference, plan.settings.ReferenceURL),
	}
	for i := range plan.shown.Mirrors {
		m := &plan.shown.Mirrors[i]
		seen := newMirror(m, &plan.settings, report)
		r.Mirrors = append(r.Mirrors, seen)
		r.Warnings = append(r.Warnings, seen.warnings()...)
		if m.Enabled() {
			r.Enabled++
			if seen.Up {
				r.Up++
			}
		}
	}
	r.OK = r.Up == r.Enabled
	return r
}

func newReference(r *health.Reference, url string) Reference {
	p := Reference{
		Trace: utcOrNull(r.Trace), Source: FromMirrors, Problem: r.Problem,
		Mirrors: r.Mirrors, Enabled: r.Enabled, Weight: r.Weight, EnabledWeight: r.EnabledWeight,
	}
	if url != "" {
		p.Source = FromURL
	}
	return p
}

func newMirror(m *config.Mirror, settings *config.Health, report *health.Report) Mirror {
	seen := report.Mirrors[m.URLPrefix]
	p := Mirror{
		URLPrefix: m.URLPrefix, Name: m.Name, Weight: m.Weight, Up: isUp(m, &seen), Problem: seen.Problem,
		Endpoints: []Endpoint{},
	}
	for _, e := range seen.Endpoints {
		row := newEndpoint(&e, report)
		row.ShownBy = health.ShownBy(m, settings, &e)
		row.ResolveMS = milliseconds(seen.Resolve)
		p.Endpoints = append(p.Endpoints, row)
	}
	if seen.Rsync != nil {
		row := newEndpoint(seen.Rsync, report)
		row.ShownBy = health.ShownBy(m, settings, seen.Rsync)
		p.Endpoints = append(p.Endpoints, row)
	}
	return p
}

func newEndpoint(e *health.Endpoint, report *health.Report) Endpoint {
	p := Endpoint{
		Role: e.Role, State: e.State, Reason: e.Reason, Warning: e.Warning,
		ConnectMS: milliseconds(e.Timings.Connect), TLSMS: milliseconds(e.Timings.TLS),
		FirstByteMS: milliseconds(e.Timings.FirstByte), TotalMS: milliseconds(e.Timings.Total),
		CertExpires: utcOrNull(e.CertExpires), Trace: utcOrNull(e.Trace),
	}
	if e.Address.IsValid() {
		p.Address = &e.Address
	}
	if days, ok := e.CertDays(report.At); ok {
		p.CertDays = &days
	}
	if e.Trace.IsZero() {
		return p
	}
	age := int64(report.At.Sub(e.Trace) / time.Second)
	p.TraceAge = &age
	if reference := report.Reference.Trace; !reference.IsZero() {
		lag := int64(max(0, reference.Sub(e.Trace)) / time.Second)
		p.Lag = &lag
	}
	return p
}

// isUp reports whether a mirror is up in all its roles: at one address at least, and stale or down at none. Where
// this host cannot tell, an address speaks neither for nor against it. Role dns does not count for a mirror that
// is kept out of DNS by its weight there.
func isUp(m *config.Mirror, seen *health.MirrorReport) bool {
	endpoints := seen.Endpoints
	if seen.Rsync != nil {
		endpoints = append(slices.Clone(endpoints), *seen.Rsync)
	}
	up := map[health.Role]bool{health.HTTP: false}
	for _, e := range endpoints {
		switch {
		case e.Role == health.DNS && m.DNS.Weight == 0 && m.Enabled():
		case e.Role == health.Rsync && e.State == health.Unknown: // such as a busy daemon
		case e.State == health.Stale || e.State == health.Down:
			return false
		default:
			up[e.Role] = up[e.Role] || e.State == health.Up
		}
	}
	for _, ok := range up {
		if !ok {
			return false
		}
	}
	return true
}

// hasAddresses reports whether the mirror could be probed in the roles http and dns at all.
func (m *Mirror) hasAddresses() bool {
	return slices.ContainsFunc(m.Endpoints, func(e Endpoint) bool { return e.Role != health.Rsync })
}

// warnings are of what is not a failure yet, or may be none of the mirror's.
func (m *Mirror) warnings() []string {
	var list []string
	warn := func(format string, args ...any) {
		text := m.URLPrefix + ": " + fmt.Sprintf(format, args...)
		if !slices.Contains(list, text) { // the roles at an address often share a certificate
			list = append(list, text)
		}
	}
	if m.Problem != "" && m.hasAddresses() { // without addresses it is the reason for all
		warn("%s", m.Problem)
	}
	for _, e := range m.Endpoints {
		expired := e.CertDays != nil && *e.CertDays < 0
		if e.Warning != "" && !(expired && e.State == health.Down) { // which is the reason then
			warn("%v: %s", e.Address, e.Warning)
		}
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// utcOrNull makes JSON's null of no time.
func utcOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
