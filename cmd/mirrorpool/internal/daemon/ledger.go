package daemon

import (
	"maps"
	"slices"
	"time"

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
	settle := max(minSettle, settleIntervals*f.config.Load().Health.Interval)
	overrides, _ := f.overrides.Split(now)
	problems := make(map[string][]ledger.Problem, len(f.pool.Mirrors))
	doubted := f.failedTogether(report, settle)
	for i := range f.pool.Mirrors {
		m := &f.pool.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		r := report.Mirrors[m.URLPrefix]
		list := ledger.Problems(&r, now)
		for k := range list {
			list[k].Doubted = list[k].Doubted || doubted[m.URLPrefix]
		}
		for _, role := range [...]health.Role{health.HTTP, health.DNS} {
			if o := overrides.Of(m.URLPrefix, role); o != nil {
				list = append(list, overrideProblem(o))
			}
		}
		problems[m.URLPrefix] = list
	}
	f.ledger.Note(problems, now, settle)
}

// overrideProblem is an override for the ledger.
func overrideProblem(o *dnspool.Override) ledger.Problem {
	kind := ledger.Drained
	if o.Kind == dnspool.ForceUp {
		kind = ledger.ForcedUp
	}
	return ledger.Problem{Kind: kind, Where: o.Role.String(), Reason: o.Reason, Noticed: o.By, Since: o.Since, Until: o.Until}
}

// failedTogether returns the enabled mirrors whose failures are more likely this host's, because no mirror is up and
// another one has failed within a time of them.
func (f *inForce) failedTogether(report *health.Report, within time.Duration) map[string]bool {
	failed := make(map[string]time.Time)
	for i := range f.pool.Mirrors {
		m := &f.pool.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		for k := range report.Mirrors[m.URLPrefix].Endpoints {
			e := &report.Mirrors[m.URLPrefix].Endpoints[k]
			if e.State == health.Up {
				return nil
			}
			if e.ForSelection() == health.Down && e.Since.After(failed[m.URLPrefix]) {
				failed[m.URLPrefix] = e.Since
			}
		}
	}
	together := make(map[string]bool)
	order := slices.SortedFunc(maps.Keys(failed), func(a, b string) int { return failed[a].Compare(failed[b]) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; failed[b].Sub(failed[a]) <= within {
			together[a], together[b] = true, true
		}
	}
	return together
}

// incidents is what /api/v1/ledger tells: of the mirrors with a url_prefix, name or host, or of all. ok is false if
// there is none. A mirror that is gone from the list is named by its url_prefix.
func (d *Daemon) incidents(mirror string, since time.Time) (list []ledger.Summary, ok bool) {
	now := d.now()
	if mirror == "" {
		return d.ledger.Summaries(since, now), true
	}
	prefixes := []string{mirror, mirror + "/"}
	d.mu.Lock()
	for i := range d.pool.Mirrors {
		if m := &d.pool.Mirrors[i]; m.IsCalled(mirror) && !slices.Contains(prefixes, m.URLPrefix) {
			prefixes = append(prefixes, m.URLPrefix)
		}
	}
	d.mu.Unlock()
	for _, prefix := range prefixes {
		if s, ok := d.ledger.Summary(prefix, since, now); ok {
			list = append(list, s)
		}
	}
	return list, len(list) > 0
}
