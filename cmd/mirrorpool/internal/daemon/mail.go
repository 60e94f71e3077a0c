package daemon

import (
	"slices"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/mail"
	"mirrorpool/health"
	"mirrorpool/health/files/verify"
)

// mailView is what mails may be about now, with the incidents that have ended since a time; zero: within a day.
func (d *Daemon) mailView(since time.Time) mail.View {
	now := d.now()
	if since.IsZero() {
		since = now.Add(-24 * time.Hour)
	}
	c := d.config.Load()
	view := mail.View{Now: now, Zone: strings.TrimSuffix(c.DNS.Zone, ".")}
	snapshot := d.current.Load()
	if snapshot == nil || !d.pastKnown.Load() {
		view.Starting, view.Quiet = true, errNotReady.Error()
		return view
	}
	for _, s := range d.ownCertificates() {
		if s.Overdue(now) {
			view.Certificates = append(view.Certificates, mail.Certificate{Name: s.Name, Until: s.Until, Problem: s.Problem})
		}
	}
	report := d.checker.Report()
	switch {
	case len(report.Suspects) > 0:
		view.Quiet = "this host may be the fault: " + report.SuspectNames()
	case snapshot.Panic():
		view.Quiet = "the pool is in panic"
	}
	if held := d.list.Status().Held; held != nil {
		view.Held = held.Decision.String()
	}
	copies := d.verifier.Troubled()
	for i := range snapshot.Mirrors {
		if m := &snapshot.Mirrors[i]; m.Enabled() {
			view.Mirrors = append(view.Mirrors, d.mailMirror(m, &c.Health, copies[m.URLPrefix].Condemned, since, now))
		}
	}
	return view
}

// mailMirror is what mails may say of a mirror. corrupt is the copy for which it is down, or nil.
func (d *Daemon) mailMirror(
	m *dnspool.Mirror, settings *config.Health, corrupt *verify.Finding, since, now time.Time,
) mail.Mirror {
	s, _ := d.ledger.Summary(m.URLPrefix, since, now)
	about := mail.Mirror{
		URLPrefix: m.URLPrefix, Name: m.Name, Email: m.Email, First: s.First, Incidents: s.Incidents,
		Drained: m.Overrides != [2]*dnspool.Override{}, // or pardoned, in whichever role: a person knows
	}
	endpoints := m.Endpoints
	if m.Rsync != nil {
		endpoints = append(slices.Clip(endpoints), *m.Rsync)
	}
	for i := range endpoints {
		e := &endpoints[i]
		if !e.CertExpires.IsZero() && (about.CertExpires.IsZero() || e.CertExpires.Before(about.CertExpires)) {
			about.CertExpires = e.CertExpires
		}
		if command := shownBy(m, settings, corrupt, e); command != "" && !slices.Contains(about.Commands, command) {
			about.Commands = append(about.Commands, command)
		}
	}
	return about
}

// shownBy is the command that shows why an endpoint is not up: for a corrupt copy, one that prints its checksum.
func shownBy(m *dnspool.Mirror, settings *config.Health, corrupt *verify.Finding, e *health.Endpoint) string {
	if corrupt != nil && e.Role == health.HTTP {
		if u, err := copyURL(m.URLPrefix, corrupt.Path); err == nil {
			return health.CopyShownBy(u, corrupt.Algorithm, e)
		}
	}
	return health.ShownBy(m.Mirror, settings, e)
}
