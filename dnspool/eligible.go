package dnspool

import (
	"net/netip"
	"slices"
	"time"

	"mirrorpool/health"
)

// A rank orders candidates by how much is to be hoped for of them. The lowest is the best.
type rank uint8

const (
	rankUp rank = iota
	rankUnknown
	rankSuspected // down, for a reason that a fault of this host explains; or passing again, though not for long enough
	rankStale
	rankDown
)

// state is the state of health that a rank comes from.
func (r rank) state() health.State {
	return [...]health.State{health.Up, health.Unknown, health.Down, health.Stale, health.Down}[r]
}

// rankOf ranks an endpoint.
func rankOf(e *health.Endpoint) rank {
	switch e.ForSelection() {
	case health.Up:
		return rankUp
	case health.Unknown:
		return rankUnknown
	case health.Stale:
		return rankStale
	}
	if e.Suspect != "" || !e.PassingSince.IsZero() && e.JointPassed.IsZero() {
		return rankSuspected
	}
	return rankDown
}

// A candidate is a mirror in a group, with how it stands there.
type candidate struct {
	mirror    *Mirror
	weight    float64
	rank      rank
	passed    time.Time    // of one that is down: when it last passed, about
	behind    bool         // it is up, without the reference's content
	newcomer  bool         // it has not been up since it was added
	addresses []netip.Addr // of that rank; not for redirects
	shares    []float64    // of addresses, how much of the weight counts; not for redirects
	share     float64      // for redirects, how much of the weight counts
	eligible  bool
}

// see takes in an endpoint that has c's rank.
func (c *candidate) see(e *health.Endpoint, reference time.Time) {
	c.behind = c.behind || !e.Trace.IsZero() && e.Trace.Before(reference)
	if passed := lastPassed(e); c.passed.IsZero() || passed.Before(c.passed) {
		c.passed = passed
	}
}

// lastPassed is about when an endpoint passed the last time: when it was last checked if it passes, but not for long
// enough to be up; otherwise when it became what it is. Servers with a joint verdict say the same.
func lastPassed(e *health.Endpoint) time.Time {
	if !e.JointPassed.IsZero() {
		return e.JointPassed
	}
	if !e.PassingSince.IsZero() {
		return e.Checked
	}
	return e.Since
}

// force takes c for a mirror that is up, steady and current, because a person says so.
func (c *candidate) force() {
	c.rank, c.behind, c.newcomer, c.share = rankUp, false, false, 1
	for i := range c.shares {
		c.shares[i] = 1
	}
}

// counts reports whether an endpoint says how its mirror stands in a role and family.
func counts(e *health.Endpoint, role health.Role, family Family) bool {
	return e.Role == role && e.ExcludedBecause == "" && FamilyOf(e.Address) == family
}

// best returns m as a candidate for DNS answers of a family, with its most trusted addresses. ok is false
// if it has none of the family.
func (m *Mirror) best(family Family, reference time.Time) (c candidate, ok bool) {
	c = candidate{mirror: m, weight: float64(m.DNS.Weight), newcomer: m.Newcomer[health.DNS]}
	forced := m.ForcedUp(health.DNS) != nil
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		r := rankOf(e)
		if forced {
			r = rankUp // at all addresses
		}
		if !counts(e, health.DNS, family) || ok && r > c.rank {
			continue
		}
		if !ok || r < c.rank {
			c.rank, c.addresses, c.shares, c.behind, c.passed = r, nil, nil, false, time.Time{}
		}
		ok = true
		c.addresses, c.shares = append(c.addresses, e.Address), append(c.shares, e.Share())
		c.see(e, reference)
		c.behind = c.behind || m.Lacks != ""
	}
	if forced {
		c.force()
	}
	return c, ok
}

// worst returns m as a candidate for redirects, as its least trusted address of a family stands. ok is false if it has
// none.
func (m *Mirror) worst(family Family, reference time.Time) (c candidate, ok bool) {
	c = candidate{mirror: m, weight: float64(m.Weight), newcomer: m.Newcomer[health.HTTP], share: 1}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		r := rankOf(e)
		if !counts(e, health.HTTP, family) {
			continue
		}
		c.share = min(c.share, e.Share())
		if ok && r < c.rank {
			continue
		}
		if !ok || r > c.rank {
			c.rank, c.passed = r, time.Time{}
		}
		ok = true
		c.see(e, reference)
	}
	if ok && m.RsyncDown() {
		c.rank, c.passed = rankDown, lastPassed(m.Rsync)
	}
	if m.ForcedUp(health.HTTP) != nil {
		c.force()
	}
	return c, ok
}

// Works reports whether m is fit to serve in a role, or cannot be judged: it is neither down nor stale at all its
// addresses, nor drained.
func (m *Mirror) Works() bool {
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		if e.Role != health.Rsync && m.Drained(e.Role) == nil && e.ExcludedBecause == "" &&
			(rankOf(e) < rankStale || m.ForcedUp(e.Role) != nil) {
			return true
		}
	}
	return len(m.Endpoints) == 0 && !m.Newcomer[health.HTTP]
}

// lost reports whether a mirror has lost its addresses, and had one of a family.
func (m *Mirror) lost(family Family) bool {
	if family == IPv6 {
		return m.LostIPv6
	}
	return m.LostIPv4
}

// calmMargin is by how much of the enabled weight the threshold has to be passed for panic to end, in a group of
// calmSize mirrors or more. In a smaller one a single mirror is more than that, so that its own rise and fall
// keep panic from coming and going.
const (
	calmMargin = 0.05
	calmSize   = 20
)

// markEligible marks those of all that are eligible. Those that are lost only count in the tally. panicked says whether
// the group was in panic before. See the package's comment, Who is eligible.
func markEligible(all, lost []candidate, in *Input, panicked bool) (tally Tally) {
	for _, c := range lost {
		tally.count(&c)
	}
	var weight [rankDown + 1]float64
	for _, c := range all {
		weight[c.rank] += c.weight
		tally.count(&c)
	}
	tally.UpWeight = weight[rankUp]
	threshold := in.Policy.PanicThreshold
	if panicked && len(all) >= calmSize && in.Agree == nil { // what was before differs from server to server
		threshold = min(1, threshold+calmMargin)
	}
	// A newcomer's weight is not missed: it has never served anyone.
	enough := func(w float64) bool { return w > 0 && w >= threshold*(tally.EnabledWeight-tally.NewcomerWeight) }

	join(all, rankUp)
	sum := tally.UpWeight
	for _, r := range [...]rank{rankUnknown, rankSuspected, rankStale} {
		// A mirror that is up proves that a stale one is: freshness is no reason for panic.
		if enough(sum) || r == rankStale && tally.UpWeight > 0 {
			break
		}
		tally.Panic = join(all, r) || tally.Panic
		sum += weight[r]
	}
	if most := in.Policy.MaxLoad; most > 0 && !enough(sum) {
		tally.Load = max(most, sum/(tally.EnabledWeight-tally.NewcomerWeight))
	}
	if sum == 0 {
		tally.Load = 0
		tally.Panic = joinByEvidence(all, in.Health.Policy, enough) || tally.Panic
	}
	if !tally.Panic {
		preferCurrent(all, &in.Policy)
	}
	return tally
}

// join makes those of a rank eligible, and reports whether there are any.
func join(all []candidate, r rank) (any bool) {
	for i := range all {
		if all[i].rank == r {
			all[i].eligible, any = true, true
		}
	}
	return any
}

// joinByEvidence makes as many eligible as it takes of a group that is down as a whole: those first that passed last.
// It reports whether there are any. Those that failed within two intervals of each other, the time it takes to notice,
// count as failed together.
func joinByEvidence(all []candidate, p health.Policy, enough func(weight float64) bool) bool {
	together := 2*p.Interval + p.Timeout
	latest := make([]*candidate, len(all))
	for i := range all {
		latest[i] = &all[i]
	}
	slices.SortStableFunc(latest, func(a, b *candidate) int { return b.passed.Compare(a.passed) })
	sum, last := 0.0, time.Time{}
	for _, c := range latest {
		if enough(sum) && last.Sub(c.passed) > together {
			break
		}
		c.eligible = true
		if !enough(sum) {
			sum, last = sum+c.weight, c.passed
		}
	}
	return len(all) > 0
}

// currentShare is how much of the eligible weight mirrors with the reference's content must have to be enough.
const currentShare = 0.25

// preferCurrent leaves out mirrors that are behind the reference, where the others are enough: as many as should
// compete, with currentShare of the weight, and none of them with more than max_share of theirs.
func preferCurrent(all []candidate, p *Policy) {
	n, sum, most, eligible := 0, 0.0, 0.0, 0.0
	for i := range all {
		c := &all[i]
		if c.eligible {
			eligible += c.weight
		}
		if c.eligible && !c.behind {
			n++
			sum += c.weight
			most = max(most, c.weight)
		}
	}
	if n == 0 || n < p.wanted() || most > p.MaxShare*sum || sum < currentShare*eligible {
		return
	}
	for i := range all {
		all[i].eligible = all[i].eligible && !all[i].behind
	}
}

// count adds an enabled mirror.
func (t *Tally) count(c *candidate) {
	t.EnabledWeight += c.weight
	if c.newcomer {
		t.NewcomerWeight += c.weight
	}
}
