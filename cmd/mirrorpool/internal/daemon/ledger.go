package daemon

import (
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/health/ledger"
)

// An incident that turns out to be this host's fault within so long was none: a fault in common is known once enough
// mirrors have failed.
const (
	minSettle       = 5 * time.Minute
	settleIntervals = 6
)

// noteIncidents has the ledger take in what is wrong with the enabled mirrors now: as the checks report it, and as
// persons have decided. f.mu is held.
func (f *inForce) noteIncidents(report *health.Report) {
	now := f.now()
	overrides, _ := f.overrides.Split(now)
	problems := make(map[string][]ledger.Problem, len(f.pool.Mirrors))
	doubted := !f.anyUp(report)
	for i := range f.pool.Mirrors {
		m := &f.pool.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		r := report.Mirrors[m.URLPrefix]
		list := ledger.Problems(&r, now)
		for k := range list {
			list[k].Doubted = list[k].Doubted || doubted
		}
		for _, role := range [...]health.Role{health.HTTP, health.DNS} {
			if o := overrides.Of(m.URLPrefix, role); o != nil {
				kind := map[dnspool.OverrideKind]ledger.Kind{dnspool.Drain: ledger.Drained, dnspool.ForceUp: ledger.ForcedUp}[o.Kind]
				list = append(list, ledger.Problem{Kind: kind, Where: role.String(), Reason: o.Reason, Noticed: o.By, Since: o.Since})
			}
		}
		problems[m.URLPrefix] = list
	}
	f.ledger.Note(problems, now, max(minSettle, settleIntervals*f.config.Load().Health.Interval))
}

// anyUp reports whether an enabled mirror is up at an address. If none is, the fault is more likely here.
func (f *inForce) anyUp(report *health.Report) bool {
	return slices.ContainsFunc(f.pool.Mirrors, func(m config.Mirror) bool {
		return m.Enabled() && slices.ContainsFunc(report.Mirrors[m.URLPrefix].Endpoints, func(e health.Endpoint) bool {
			return e.State == health.Up
		})
	})
}

// incidents is what /api/v1/ledger tells: of one mirror, which is named by its url_prefix, name or host, or of all. ok
// is false if there is no such mirror.
func (d *Daemon) incidents(mirror string, since time.Time) (list []ledger.Summary, ok bool) {
	now := d.now()
	if mirror == "" {
		return d.ledger.Summaries(since, now), true
	}
	prefix := mirror // it may be gone from the list
	if m, err := d.findMirror(mirror); err == nil {
		prefix = m.URLPrefix
	}
	s, ok := d.ledger.Summary(prefix, since, now)
	return []ledger.Summary{s}, ok
}
