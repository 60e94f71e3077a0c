package admin

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/health"
	"mirrorpool/health/files"
)

// A Status is the state of the pool and the server: the response of /api/v1/status.
type Status struct {
	Zone      string          `json:"zone"` // without the final dot; empty if the DNS face is off
	Serial    uint32          `json:"serial"`
	Panic     bool            `json:"panic"` // any group is in panic
	Ready     bool            `json:"ready"`
	Suspect   string          `json:"suspect"` // what seems wrong with this host, such as "local network", or ""
	Suspects  []SuspectStatus `json:"suspects"`
	Reference ReferenceStatus `json:"reference"`
	Groups    []GroupStatus   `json:"groups"`
	Pool      PoolStatus      `json:"pool"`
	Notify    []FeedStatus    `json:"notify"`  // the secondaries of dns.notify
	Publish   []FeedStatus    `json:"publish"` // the servers that get dynamic updates
	Reload    *ReloadStatus   `json:"reload"`  // the latest one on request; null if there was none
	Process   ProcessStatus   `json:"process"`
	Redirects uint64          `json:"redirects"` // since the start
	Works     WorksCount      `json:"works"`     // counts of the enabled mirrors
	Mirrors   []MirrorStatus  `json:"mirrors"`
	// GoneOverrides are the drains and pardons of mirrors that are not in the list.
	GoneOverrides dnspool.Overrides `json:"gone_overrides"`
	Files         files.Overview    `json:"files"`
	Verification  Verification      `json:"verification"`
	Downloads     *DownloadsStatus  `json:"downloads"` // null if they are not counted
	// DNSSEC is how the zone is signed; nil if it is not.
	DNSSEC *dnssec.Status `json:"dnssec,omitempty"`
	// Watch is the group of watchers; null if this server goes by itself.
	Watch *WatchStatus `json:"watch"`
	// Certificates are those of the redirector.
	Certificates []CertificateStatus `json:"certificates"`
}

// A FeedStatus says whether NOTIFY messages or updates reach another DNS server.
type FeedStatus struct {
	Server  string     `json:"server"`  // host:port
	Zone    string     `json:"zone"`    // without the final dot
	Problem string     `json:"problem"` // why the latest attempt failed, or ""
	Since   *time.Time `json:"since"`   // when the attempts began to fail, or to succeed; null before the first
}

// A ReloadStatus is the result of a reload.
type ReloadStatus struct {
	At      time.Time `json:"at"`
	OK      bool      `json:"ok"`
	Error   string    `json:"error"`   // or ""
	Restart []string  `json:"restart"` // keys of the configuration that need a restart
}

// A ProcessStatus identifies the process, if two copies listen at the same address.
type ProcessStatus struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
}

// A ReferenceStatus is the content that all mirrors should carry, and how many do.
type ReferenceStatus struct {
	Trace   *time.Time `json:"trace"`   // null while it is not known
	Since   *time.Time `json:"since"`   // when it became the reference
	Problem string     `json:"problem"` // why it may be out of date, or ""
	// The enabled mirrors that carry it, and all; likewise by weight.
	Mirrors       int    `json:"mirrors"`
	Enabled       int    `json:"enabled"`
	Weight        uint64 `json:"weight"`
	EnabledWeight uint64 `json:"enabled_weight"`
	// Without a reference_url: the newest trace that is ahead of the reference, null if none is, and how many enabled
	// mirrors are ahead.
	Ahead        *time.Time `json:"ahead"`
	AheadMirrors int        `json:"ahead_mirrors"`
}

// AheadText says that some mirrors carry something newer than the reference, or returns "".
func (r *ReferenceStatus) AheadText(now time.Time) string {
	if r.Ahead == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d enabled mirrors carry something newer, %s: "+
		"a release that others are yet to copy, or wrong content.", r.AheadMirrors, r.Enabled, Old(*r.Ahead, now))
}

// A SuspectStatus is a part of this host that would explain why many mirrors fail alike.
type SuspectStatus struct {
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
	Failing int       `json:"failing"` // mirrors, of Of
	Of      int       `json:"of"`
	Text    string    `json:"text"`
}

// suspects reports whether a part of this host is suspected.
func (s *Status) suspects(name string) bool {
	return slices.ContainsFunc(s.Suspects, func(x SuspectStatus) bool { return x.Name == name })
}

func suspectStatuses(suspects []health.Suspect) []SuspectStatus {
	list := make([]SuspectStatus, len(suspects))
	for i, s := range suspects {
		list[i] = SuspectStatus{s.Name, s.Since.UTC(), s.Failing, s.Of, s.Text}
	}
	return list
}

// A GroupStatus is a group of mirrors from which one face picks for one address family.
type GroupStatus struct {
	Role          health.Role `json:"role"`
	Family        string      `json:"family"` // "ipv4" or "ipv6"
	Secure        bool        `json:"secure"` // only the https mirrors, for requests over https
	UpWeight      float64     `json:"up_weight"`
	EnabledWeight float64     `json:"enabled_weight"`
	// NewcomerWeight is that of the enabled mirrors that have not been up since they were added. Panic leaves it out.
	NewcomerWeight float64 `json:"newcomer_weight"`
	// EligibleWeight is that of the mirrors that may be picked: of those that are up, and of others in panic.
	EligibleWeight float64 `json:"eligible_weight"`
	Panic          bool    `json:"panic"`
}

// A PoolStatus says where the list of mirrors comes from, and how the last reload went.
type PoolStatus struct {
	Source     string       `json:"source"`
	Loaded     time.Time    `json:"loaded"`      // when the list in force was accepted, before this start if Kept
	AgeSeconds float64      `json:"age_seconds"` // since Loaded
	Checked    *time.Time   `json:"checked"`     // when its source was last seen to hold it; null if never
	Kept       bool         `json:"kept"`        // it was loaded from disk, and the source has not confirmed it
	Error      string       `json:"error"`       // why the last attempt to read it failed, or ""
	KeepError  string       `json:"keep_error"`  // why the list in force could not be saved on disk, or ""
	Held       *source.Held `json:"held"`        // an update that waits for confirmation, or null
}

// A MirrorStatus is the state of one mirror.
type MirrorStatus struct {
	URLPrefix string         `json:"url_prefix"`
	Name      string         `json:"name"`
	Weight    uint32         `json:"weight"`
	DNSWeight uint32         `json:"dns_weight"`
	Email     string         `json:"email"`    // of the mirror's operators, for the administrator only
	Notes     string         `json:"notes"`    // of the mirror team, likewise
	Eligible  []string       `json:"eligible"` // what it may be picked for now: "dns", "http"
	Works     Works          `json:"works"`    // how much of it works; "" if it is disabled
	State     health.State   `json:"state"`    // of the best endpoint
	Reason    string         `json:"reason"`   // why an endpoint is not up, or ""
	Since     *time.Time     `json:"since"`    // when the endpoint that decides State entered it; null if never checked
	Place     *PlaceStatus   `json:"place"`    // null if it is not known
	Shares    []ShareStatus  `json:"shares"`   // in the roles that it may be picked for
	History   *HistoryStatus `json:"history"`  // null if none is kept
	Lacks     string         `json:"lacks"`    // names files of the release that it lacks, or ""
	Ledger    *LedgerStatus  `json:"ledger"`   // null if none is kept
	// Overrides are what a person has decided about it, for a while.
	Overrides []dnspool.Override `json:"overrides"`
	Endpoints []EndpointStatus   `json:"endpoints"`
}

// A PlaceStatus is where a mirror is.
type PlaceStatus struct {
	Country   dnspool.Code `json:"country"` // or ""
	Latitude  float64      `json:"latitude"`
	Longitude float64      `json:"longitude"`
}

// A ShareStatus is a mirror's share in one role.
//
// In role "dns" it is the share of first places in the answers of a family. Expected follows from the weights of the
// eligible mirrors; observed is the share in the prepared answers, which are used in turn and not counted. In role
// "http" it is the share of all redirects since the start: expected by weight alone, and observed. They differ if
// nearness matters.
type ShareStatus struct {
	Role     health.Role `json:"role"`
	Family   string      `json:"family"` // "" in role "http"
	Expected float64     `json:"expected"`
	Observed float64     `json:"observed"`
}

// A HistoryStatus has a letter for each quarter of an hour of the last 24 hours, the oldest first, for the worst state
// seen in it: u for up, s for stale, d for down, - for none. The seconds say how long each state lasted.
type HistoryStatus struct {
	HTTP        string       `json:"http"` // of the worst address
	DNS         string       `json:"dns"`  // of the best address
	HTTPSeconds StateSeconds `json:"http_seconds"`
	DNSSeconds  StateSeconds `json:"dns_seconds"`
}

// StateSeconds say how long a mirror was in each state in the last 24 hours.
type StateSeconds struct {
	Up    int64 `json:"up"`
	Stale int64 `json:"stale"`
	Down  int64 `json:"down"`
}

// An EndpointStatus is the verdict on one endpoint in one role. In role "rsync" it is that on the mirror's rsync
// daemon, which is checked at one address.
type EndpointStatus struct {
	Address     netip.Addr    `json:"address"`
	Role        health.Role   `json:"role"`
	State       health.State  `json:"state"`
	Reason      string        `json:"reason"`
	Since       *time.Time    `json:"since"`   // null if it was never checked
	Checked     *time.Time    `json:"checked"` // null if it was never checked
	LatencyMS   float64       `json:"latency_ms"`
	Trace       *time.Time    `json:"trace"`           // the mirror's trace file, null if it was never read
	CertExpires *time.Time    `json:"cert_expires"`    // null without TLS
	Warning     string        `json:"warning"`         // of what is no failure yet, such as a certificate that expires soon
	Aside       string        `json:"aside"`           // why it does not count in selection, or ""
	Suspect     string        `json:"suspect"`         // of this host, what explains its latest failure, or ""
	Views       []health.View `json:"views,omitempty"` // of the watchers, unless all find it up; State is what they come to
	Share       float64       `json:"share"`           // how much of its weight counts: less than 1 where checks fail now and then
}

// Note says in a line what is to be known of an endpoint, or returns "".
func (e *EndpointStatus) Note() string {
	notes := []string{cmp.Or(e.Reason, e.Warning), e.Aside}
	if e.Suspect != "" {
		notes = append(notes, "not counted, suspect: "+e.Suspect)
	}
	if e.State == health.Up && e.disputed() {
		notes = append(notes, health.ViewsText(e.Views)+": "+e.objection())
	}
	return strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), "; ")
}

// Describe returns the status of a snapshot, with the verdicts of a report that may be newer.
func Describe(s *dnspool.Snapshot, report *health.Report) Status {
	r := report.Reference
	status := Status{
		Serial: s.Serial, Panic: s.Panic(), Suspect: report.SuspectNames(), Suspects: suspectStatuses(report.Suspects),
		Reference: ReferenceStatus{
			Trace: timeOrNull(r.Trace), Since: timeOrNull(r.Since), Problem: r.Problem,
			Mirrors: r.Mirrors, Enabled: r.Enabled, Weight: r.Weight, EnabledWeight: r.EnabledWeight,
			Ahead: timeOrNull(r.Ahead), AheadMirrors: r.AheadMirrors,
		},
		Groups:  []GroupStatus{},
		Mirrors: mirrorsOf(s, report),
	}
	status.countWorks()
	for _, g := range s.Groups() {
		status.Groups = append(status.Groups, GroupStatus{
			Role: g.Role, Family: g.Family.String(), Secure: g.Secure, UpWeight: g.UpWeight, EnabledWeight: g.EnabledWeight,
			NewcomerWeight: g.NewcomerWeight, EligibleWeight: g.Eligible, Panic: g.Panic,
		})
	}
	return status
}

// Only leaves the mirrors that a person may mean by a name: see [config.Mirror.IsCalled]. It reports whether there is
// one.
func (s *Status) Only(name string) bool {
	s.Mirrors = slices.DeleteFunc(s.Mirrors, func(m MirrorStatus) bool {
		u, err := url.Parse(m.URLPrefix)
		of := config.Mirror{URLPrefix: m.URLPrefix, Name: m.Name, URL: u}
		return err != nil || !of.IsCalled(name)
	})
	return len(s.Mirrors) > 0
}

// mirrorsOf describes the mirrors of a snapshot, with the verdicts of a report that may be newer.
func mirrorsOf(s *dnspool.Snapshot, report *health.Report) []MirrorStatus {
	mirrors := make([]MirrorStatus, len(s.Mirrors))
	first := s.FirstShares()
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		mirrors[i] = MirrorStatus{
			URLPrefix: m.URLPrefix, Name: m.Name, Weight: m.Weight, DNSWeight: m.DNS.Weight, Email: m.Email, Notes: m.Notes,
			Eligible: eligible(m), Place: placeOf(m), Lacks: m.Lacks,
			Shares: []ShareStatus{}, Endpoints: []EndpointStatus{}, Overrides: overridesOf(m),
		}
		for _, share := range first[i] {
			mirrors[i].Shares = append(mirrors[i].Shares,
				ShareStatus{health.DNS, share.Family.String(), share.Expected, share.Dealt})
		}
		mirrors[i].summarise(report.Mirrors[m.URLPrefix])
	}
	return mirrors
}

// AddPast adds shares and history of the mirrors. Either may be nil.
func (s *Status) AddPast(shares *Shares, history *health.History, now time.Time) {
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		if shares != nil {
			if expected, observed, ok := shares.Of(m.URLPrefix); ok {
				m.Shares = append(m.Shares, ShareStatus{health.HTTP, "", expected, observed})
			}
		}
		if history != nil {
			strips, times := history.Strips(m.URLPrefix, now), history.Times(m.URLPrefix, now)
			m.History = &HistoryStatus{
				HTTP: strips[health.HTTP].String(), HTTPSeconds: stateSeconds(times[health.HTTP]),
				DNS: strips[health.DNS].String(), DNSSeconds: stateSeconds(times[health.DNS]),
			}
		}
	}
	if shares != nil {
		s.Redirects = shares.redirects()
	}
}

func stateSeconds(t health.StateTimes) StateSeconds {
	return StateSeconds{
		Up:    int64(t[health.Up] / time.Second),
		Stale: int64(t[health.Stale] / time.Second),
		Down:  int64(t[health.Down] / time.Second),
	}
}

func placeOf(m *dnspool.Mirror) *PlaceStatus {
	if !m.Place.HasPosition {
		return nil
	}
	return &PlaceStatus{m.Place.Country, m.Place.Latitude, m.Place.Longitude}
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

// summarise fills in state, reason and endpoints from a report.
func (m *MirrorStatus) summarise(r health.MirrorReport) {
	m.Reason = r.Problem
	endpoints := r.Endpoints
	if r.Rsync != nil {
		endpoints = append(slices.Clip(endpoints), *r.Rsync)
	}
	for i := range endpoints {
		e := &endpoints[i]
		m.Endpoints = append(m.Endpoints, describeEndpoint(e))
		if e.State != health.Up && e.Reason != "" && e.ExcludedBecause == "" {
			m.Reason = cmp.Or(m.Reason, e.Role.String()+" at "+e.Address.String()+": "+e.Reason)
		}
		if e.Role != health.Rsync && (i == 0 || rank(e.State) < rank(m.State)) {
			m.State, m.Since = e.State, timeOrNull(e.Since)
		}
	}
}

func describeEndpoint(e *health.Endpoint) EndpointStatus {
	return EndpointStatus{
		Address: e.Address, Role: e.Role, State: e.State, Reason: e.Reason,
		Since: timeOrNull(e.Since), Checked: timeOrNull(e.Checked),
		LatencyMS: float64(e.Latency.Microseconds()) / 1000,
		Trace:     timeOrNull(e.Trace), CertExpires: timeOrNull(e.CertExpires), Warning: e.Warning,
		Aside: e.ExcludedBecause, Suspect: e.Suspect, Share: e.Share(), Views: e.Views,
	}
}

// rank orders states for the state of a mirror: the best that is known of it. Selection orders them otherwise, by how
// much is to be hoped for: there an endpoint that was not checked yet stands before one that is stale.
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

// timeOrNull returns nil, which is null in JSON, for the zero time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
