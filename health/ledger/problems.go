package ledger

import (
	"time"

	"mirrorpool/health"
)

// Problems lists what a report of the checks says is wrong with a mirror.
func Problems(m *health.MirrorReport, now time.Time) (problems []Problem) {
	for i := range m.Endpoints {
		if e := &m.Endpoints[i]; e.ExcludedBecause == "" {
			problems = append(problems, endpointProblems(e, now)...)
		}
	}
	if m.Rsync != nil {
		problems = append(problems, endpointProblems(m.Rsync, now)...)
	}
	if m.Lacks != "" {
		problems = append(problems, Problem{Kind: Lacks, Reason: m.Lacks, Noticed: "listing"})
	}
	return problems
}

// endpointProblems lists what is wrong at an address in a role. One that cannot be judged now stays what it was.
func endpointProblems(e *health.Endpoint, now time.Time) (problems []Problem) {
	where := e.Role.String()
	if e.Address.IsValid() {
		where += " " + e.Address.String()
	}
	add := func(kind Kind, reason string, since time.Time) {
		problems = append(problems, Problem{Kind: kind, Where: where, Reason: reason, Noticed: "check", Since: since,
			Doubted: e.Suspect != "" || e.State == health.Unknown})
	}
	switch e.ForSelection() {
	case health.Down:
		add(Down, e.Reason, e.Since)
	case health.Stale:
		add(Stale, e.Reason, e.Since)
	}
	if e.State == health.Up && e.Share() < 1 {
		add(Unsteady, e.Rate.Warning(), time.Time{})
	}
	if warning := e.CertWarning(now); warning != "" {
		add(Certificate, warning, time.Time{})
	}
	return problems
}
