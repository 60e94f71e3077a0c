package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// What follows says once more, in as simple words as can be, who has to be served once nothing has changed for so long
// that all verdicts are in: the package's comment of dnspool, worked out by hand and from the world itself rather than
// from what the checks have found.

// trusted is the order in which mirrors are called in.
var trusted = []string{"up", "unknown", "suspected", "stale", "down"}

const staleRank, lastResort = 3, 4 // in trusted

// A standing is how a mirror should stand in a group.
type standing struct {
	weight   float64
	newcomer bool // it has not been up since it was added
	rank     int  // in trusted
	what     []string
}

// eligible returns what should be served of a group. ok is false where that depends on what was before: where all are
// down, those are that passed last.
func eligible(group []standing) (served map[string]bool, ok bool) {
	enabled, sum := 0.0, 0.0
	for _, s := range group {
		if !s.newcomer {
			enabled += s.weight
		}
	}
	served = map[string]bool{}
	up := 0.0
	for rank := range trusted {
		if rank == lastResort && sum == 0 {
			return nil, len(group) == 0
		}
		if rank >= staleRank && up > 0 || rank == lastResort {
			break
		}
		for _, s := range group {
			if s.rank == rank {
				sum += s.weight
				for _, what := range s.what {
					served[what] = true
				}
			}
		}
		if rank == 0 {
			up = sum
		}
		if sum > 0 && sum >= enabled/2 { // panic_threshold
			break
		}
	}
	return served, true
}

// settled returns the addresses that a mirror has after a calm. ok is false where that depends on what was before.
func (m *model) settled(e modelEntry) (addrs []netip.Addr, ok bool) {
	if e.given != 0 {
		return e.addresses(), true
	}
	addrs, ok = m.world.resolved(e.host)
	if !ok || m.world.lie != truth {
		return nil, false
	}
	for _, endpoint := range m.checker.Report().Mirrors[e.prefix()].Endpoints {
		if !slices.Contains(addrs, endpoint.Address) {
			return nil, false // it passes, and serves on for a while
		}
	}
	return addrs, true
}

// checkWithdrawn holds that an address which DNS does not give any more is answered only while it does not fail.
func (m *model) checkWithdrawn(answered map[netip.Addr]bool) error {
	for _, e := range m.pool {
		addrs, ok := m.world.resolved(e.host)
		if e.given != 0 || !ok || m.world.lie != truth || e.inDNS() == 0 {
			continue
		}
		for _, addr := range hostAddresses(e.host, true) {
			if mood := m.world.moods[key(e.host, addr, health.DNS)]; answered[addr] && !slices.Contains(addrs, addr) &&
				(mood == fails || mood == hangs) {
				return fmt.Errorf("after a calm %v is answered, which DNS does not give and which fails: %v", addr, mood)
			}
		}
	}
	return nil
}

// checkFlaky holds that an endpoint which fails every third time is out, or has less than its weight; unless so many
// do that it may be this host.
func (m *model) checkFlaky() error {
	report, shaky := m.checker.Report(), 0
	for _, e := range m.pool {
		if slices.ContainsFunc(report.Mirrors[e.prefix()].Endpoints, func(endpoint health.Endpoint) bool {
			return m.world.moods[key(e.host, endpoint.Address, endpoint.Role)] == flaky
		}) {
			shaky++
		}
	}
	if shaky >= 2 { // and a third one may be an rsync daemon
		return nil
	}
	for _, e := range m.pool {
		for _, endpoint := range report.Mirrors[e.prefix()].Endpoints {
			if m.world.moods[key(e.host, endpoint.Address, endpoint.Role)] == flaky && endpoint.State == health.Up && endpoint.Share() == 1 {
				return fmt.Errorf("after a calm %v in role %v fails every third time, and has its whole weight", endpoint.Address, endpoint.Role)
			}
		}
	}
	return nil
}

// distrustsAll reports whether so many mirrors fail over https alike that this host's trust store is suspected. ok is
// false where that cannot be said.
func (m *model) distrustsAll() (suspected, ok bool) {
	failing, of, flakyOnes := 0, 0, 0
	for _, e := range m.pool {
		if e.scheme() != "https" || e.weight == 0 {
			continue
		}
		addrs, known := m.settled(e)
		if !known {
			return false, false
		}
		fails, passing, sometimes := false, false, false
		for _, addr := range addrs {
			mood := m.world.moods[key(e.host, addr, health.HTTP)]
			fails, passing, sometimes = fails || mood == distrusted, passing || mood == passes, sometimes || mood == flaky
		}
		switch { // one that fails otherwise says nothing of the trust store
		case fails || passing:
			of++
		case sometimes:
			flakyOnes++
		}
		if fails && !passing {
			failing++
		}
	}
	if failing == 2 && 2*failing > of {
		return false, false // enough for a suspicion to last, and not for it to begin
	}
	suspected = failing >= 3 && 2*failing > of
	return suspected, suspected == (failing >= 3 && 2*failing > of+flakyOnes)
}

// rank is how trusted an address should be in a role. ok is false where it depends on what was before.
func (m *model) rank(host int, addr netip.Addr, role health.Role) (rank int, ok bool) {
	standing := "up"
	switch m.world.moods[key(host, addr, role)] {
	case fails, hangs:
		standing = "down"
	case distrusted:
		standing = "down"
		if overTLS := role == health.HTTP && host%2 == 0; overTLS {
			suspected, ok := m.distrustsAll()
			if !ok {
				return 0, false
			}
			if suspected {
				standing = "suspected"
			}
		}
	case lags:
		if role != health.Rsync {
			standing = "stale"
		}
	case blind, flaky:
		return 0, false
	}
	return slices.Index(trusted, standing), true
}

// groupOf returns how the mirrors should stand in a group of the given role. The second result is false if that cannot
// be said without knowing what was before.
func (m *model) groupOf(role health.Role, family dnspool.Family, secure bool) (group []standing, ok bool) {
	for _, e := range m.pool {
		s := standing{weight: float64(e.weight), newcomer: m.newcomer(e, role)}
		if role == health.DNS {
			s.weight = float64(e.inDNS())
		}
		if s.weight == 0 || secure && e.scheme() != "https" {
			continue
		}
		addrs, known := m.settled(e)
		if !known || len(addrs) == 0 { // a name that is gone counts as enabled in the families that it had
			return nil, false
		}
		ranks := map[netip.Addr]int{}
		for _, addr := range addrs {
			if dnspool.FamilyOf(addr) != family {
				continue
			}
			rank, known := m.rank(e.host, addr, role)
			if !known {
				return nil, false
			}
			ranks[addr] = rank
		}
		if len(ranks) == 0 {
			continue
		}
		if role == health.DNS {
			s.rank = slices.Min(slices.Collect(maps.Values(ranks)))
			for addr, rank := range ranks {
				if rank == s.rank {
					s.what = append(s.what, addr.String())
				}
			}
		} else {
			s.rank, s.what = slices.Max(slices.Collect(maps.Values(ranks))), []string{e.prefix()}
			if e.rsync {
				rank, known := m.rank(e.host, netip.Addr{}, health.Rsync)
				if !known {
					return nil, false
				}
				s.rank = max(s.rank, rank)
			}
		}
		group = append(group, s)
	}
	return group, true
}

// newcomer reports whether a mirror has not been up since it was added. That depends on all that was before, so that
// it is not worked out here, but taken from the server.
func (m *model) newcomer(e modelEntry, role health.Role) bool {
	for _, served := range m.current.Load().Mirrors {
		if served.URLPrefix == e.prefix() {
			return served.Newcomer[role]
		}
	}
	return false
}

// checkCalm compares who is served with who should be, after nothing has changed for long.
func (m *model) checkCalm() error {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	addrs, _, _, err := m.transferred()
	if err != nil {
		return err
	}
	if err := errors.Join(m.checkWithdrawn(addrs), m.checkFlaky()); err != nil {
		return err
	}
	for family := range families {
		group, ok := m.groupOf(health.DNS, family, false)
		if !ok {
			continue
		}
		want, ok := eligible(group)
		if !ok {
			continue
		}
		got := map[string]bool{}
		for addr := range addrs {
			if dnspool.FamilyOf(addr) == family {
				got[addr.String()] = true
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("after a calm %v of %v are answered, want %v\npool:%v\nmoods: %v", slices.Sorted(maps.Keys(got)), family,
				slices.Sorted(maps.Keys(want)), m.pool, m.world.moods)
		}
	}
	for _, c := range modelClients {
		if err := m.checkCalmRedirects(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *model) checkCalmRedirects(c modelClient) error {
	group, ok := m.groupOf(health.HTTP, c.family, c.secure)
	if ok && len(group) == 0 {
		group, ok = m.groupOf(health.HTTP, 1-c.family, c.secure)
	}
	if !ok {
		return nil
	}
	want, ok := eligible(group)
	if !ok {
		return nil
	}
	got := map[string]bool{}
	for range 40 {
		prefixes, err := m.redirect(c)
		if err != nil {
			return err
		}
		for _, prefix := range prefixes {
			got[prefix] = true
		}
	}
	// There are at most as many as a redirect names, so each has to come up.
	if !maps.Equal(got, want) && len(want) <= 1+dnspool.MaxRunnersUp || !covers(want, got) {
		return fmt.Errorf("after a calm %+v is redirected to %s, want %s\npool:%v\nmoods: %v", c,
			strings.Join(slices.Sorted(maps.Keys(got)), " "),
			strings.Join(slices.Sorted(maps.Keys(want)), " "), m.pool, m.world.moods)
	}
	return nil
}

// covers reports whether all that is in part is in all.
func covers(all, part map[string]bool) bool {
	for what := range part {
		if !all[what] {
			return false
		}
	}
	return true
}
