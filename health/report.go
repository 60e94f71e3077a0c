package health

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Report is what the checker knew at one moment. It is not changed once made.
type Report struct {
	At      time.Time
	Mirrors map[string]MirrorReport // by url_prefix
	// Policy is by which the verdicts were made. See [Verdict.DecidesIn].
	Policy Policy
	// Reference is what the mirrors should carry.
	Reference Reference
	// Suspects are the parts of this host that would explain why many mirrors fail alike. While the local network is
	// one, no mirror becomes stale.
	Suspects []Suspect
}

// SuspectNames returns the names of the suspects, with commas between them; "" if there are none.
func (r *Report) SuspectNames() string {
	names := make([]string, len(r.Suspects))
	for i, s := range r.Suspects {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// A MirrorReport is what is known of one mirror.
type MirrorReport struct {
	// Endpoints holds each address in each of the roles HTTP and DNS: by address, IPv4 first, then by role.
	Endpoints []Endpoint
	// Rsync is the verdict on the mirror's rsync daemon, at the one address where it is asked; nil if the
	// mirror has none. The address is invalid if none is known. Whatever the family, a mirror whose
	// daemon is down is not fit for redirects.
	Rsync *Endpoint
	// Newcomer says, by role, whether the mirror has been checked and not been up since it was added.
	Newcomer [2]bool
	// LostIPv4 and LostIPv6 say, of a mirror that has no address now, in which families it had one. A mirror that was
	// resolved and never had any counts as an IPv4 mirror.
	LostIPv4, LostIPv6 bool
	// Lacks names files of the release that the mirror lacks although its trace may be new; empty if none is known.
	Lacks string
	// Release is a digest of which files of the newest release the mirror carries; 0 if that is not known.
	Release uint64
	// Problem says why addresses are missing or may be out of date; empty if all is well.
	Problem string
	// Resolve is how long the latest look-up of the addresses took; 0 if they are given.
	Resolve time.Duration
}

// RsyncDown reports whether the mirror has an rsync daemon that is down, as far as is known: not if this host's way to
// all daemons is suspected.
func (r *MirrorReport) RsyncDown() bool {
	return r.Rsync != nil && r.Rsync.State == Down && r.Rsync.Suspect == ""
}

// An Endpoint is a mirror at one address, in one role.
type Endpoint struct {
	Address netip.Addr
	Role    Role
	Verdict
	// Warning is about something that is no failure, or none yet: a certificate that ends soon, TLS that some clients
	// refuse, clients that are refused by name.
	Warning string
	// ExcludedBecause says why the endpoint does not count in selection: its address is new in DNS and has not passed
	// yet, or DNS does not give it any more; or it is "".
	ExcludedBecause string
	// Suspect is the name of what explains the latest failure by a fault of this host, or "".
	Suspect string
	// Views are what the watchers of a group say of it; nil without one, or if all say that it is up. The verdict is the
	// joint one.
	Views []View
	// JointShare is how much of the endpoint's weight counts by the word of all watchers; 0: see [Rate.Share].
	JointShare float64
	// JointPassed is when one that is unfit by the word of all watchers passed the last time, about; zero: see Verdict.
	JointPassed time.Time
}

// Share is how much of the endpoint's weight counts: 1, or less where checks fail or hesitate now and then.
func (e *Endpoint) Share() float64 {
	if e.JointShare > 0 {
		return e.JointShare
	}
	return e.Rate.Share()
}

// Report returns what is known now. Verdicts that were not renewed for too long are unknown in it.
func (c *Checker) Report() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	report := &Report{
		At: now, Mirrors: make(map[string]MirrorReport, len(c.mirrors)), Policy: c.policy, Suspects: slices.Clone(c.survey.suspects),
		Reference: Reference{ReferenceChange: c.survey.fresh.Reference(), Problem: c.origin.problem},
	}
	all := 0
	for _, m := range c.mirrors {
		all += len(m.checks)
	}
	endpoints := make([]Endpoint, 0, all) // in one piece: it takes less, and the collector has less to do
	for prefix, m := range c.mirrors {
		r := MirrorReport{Problem: m.problem(), Resolve: m.web.took}
		if m.web.known && len(m.checks) == 0 {
			r.LostIPv4, r.LostIPv6 = m.web.hadV4 || !m.web.hadV6, m.web.hadV6
		}
		for role := range r.Newcomer {
			r.Newcomer[role] = !c.sweeping && !m.everUp[role]
		}
		unresolvable := c.unresolvable(m, now)
		first := len(endpoints)
		for _, k := range m.checks {
			e := c.endpoint(k, now)
			if unresolvable != "" && k.role == HTTP {
				e.State, e.Reason, e.Since, e.Suspect = Down, unresolvable, m.web.claims.missing, ""
			}
			endpoints = append(endpoints, e)
		}
		r.Endpoints = slices.Clip(endpoints[first:])
		slices.SortFunc(r.Endpoints, func(a, b Endpoint) int {
			return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Role, b.Role))
		})
		if m.rsync != nil {
			e := c.endpoint(m.rsync, now)
			r.Rsync = &e
		}
		report.Mirrors[prefix] = r
		report.Reference.count(m, now)
	}
	if c.settings.referenceURL != nil {
		report.Reference.Ahead, report.Reference.AheadMirrors = time.Time{}, 0
	}
	return report
}

// problem says what is wrong with m's addresses.
func (m *mirror) problem() string {
	switch {
	case m.rsyncHost == nil || m.rsyncHost.problem == "":
		return m.web.problem
	case m.web.problem == "":
		return "rsync: " + m.rsyncHost.problem
	default:
		return m.web.problem + "; rsync: " + m.rsyncHost.problem
	}
}

func (c *Checker) endpoint(k *check, now time.Time) Endpoint {
	e := Endpoint{
		Address: k.address, Role: k.role, Verdict: c.verdict(k, now),
		Suspect:         c.survey.explanation(k),
		ExcludedBecause: k.mirror.excludedBecause(k.endpointKey, c.suspectsLookup(k.mirror.web)),
	}
	if c.policy.Lossy {
		e.Rate = Rate{}
	}
	var warnings []string
	refuses := ""
	if k.endpointKey == k.mirror.refusesAt {
		refuses = k.mirror.refuses
	}
	rate := ""
	if e.State == Up {
		rate = e.Rate.Warning()
	}
	for _, text := range [...]string{rate, e.CertWarning(now), k.verdict.TLSWarning, refuses} {
		if text != "" {
			warnings = append(warnings, text)
		}
	}
	e.Warning = strings.Join(warnings, "; ")
	return e
}

func (c *Checker) verdict(k *check, now time.Time) Verdict {
	v := k.verdict
	switch {
	case !c.settings.Enabled:
		return Verdict{State: Up, Reason: "checks are off"}
	case v.Restored:
		return v.At(now, restoredIntervals*c.policy.Interval)
	default:
		every := max(c.policy.Interval, v.Wait(c.policy), c.visitTime(k.mirror, now))
		return v.At(now, verdictIntervals*every+maxRequests*c.settings.Timeout)
	}
}

// count adds m to the mirrors that carry r, or do not.
func (r *Reference) count(m *mirror, now time.Time) {
	if !m.Enabled() {
		return
	}
	r.Enabled++
	r.EnabledWeight += uint64(m.Weight)
	if v := m.voter(now); v.trace.After(r.Trace) && !r.Trace.IsZero() && !v.down {
		r.AheadMirrors++
		if v.trace.After(r.Ahead) {
			r.Ahead = v.trace
		}
	}
	carried := false
	for _, k := range m.checks {
		switch {
		case k.role != HTTP || k.verdict.Trace.IsZero():
		case r.Trace.IsZero() || k.verdict.Trace.Before(r.Trace):
			return
		default:
			carried = true
		}
	}
	if carried {
		r.Mirrors++
		r.Weight += uint64(m.Weight)
	}
}
