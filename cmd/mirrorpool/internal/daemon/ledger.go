package daemon

import (
	"time"

	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/health/ledger"
)

// noteIncidents has the ledger take in what is wrong with the enabled mirrors now: as the checks report it, and as
// persons have decided. f.mu is held.
func (f *inForce) noteIncidents(report *health.Report) {
	now := f.now()
	overrides, _ := f.overrides.Split(now)
	problems := make(map[string][]ledger.Problem, len(f.pool.Mirrors))
	for i := range f.pool.Mirrors {
		m := &f.pool.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		r := report.Mirrors[m.URLPrefix]
		list := ledger.Problems(&r, now)
		for _, role := range [...]health.Role{health.HTTP, health.DNS} {
			if o := overrides.Of(m.URLPrefix, role); o != nil {
				kind := map[dnspool.OverrideKind]ledger.Kind{dnspool.Drain: ledger.Drained, dnspool.ForceUp: ledger.ForcedUp}[o.Kind]
				list = append(list, ledger.Problem{Kind: kind, Where: role.String(), Reason: o.Reason, Noticed: o.By, Since: o.Since})
			}
		}
		problems[m.URLPrefix] = list
	}
	f.ledger.Note(problems, now)
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
