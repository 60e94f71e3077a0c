package health

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// A claim is believed once the resolver has shown since that it works for other hosts, or after controlTime; a new
	// address that passes while the resolver is suspected, after claimTime.
	controlTime = 2 * time.Minute
	claimTime   = 10 * time.Minute

	// A host in doubt is looked up again so often, until controlTime is over.
	controlPause = 5 * time.Second

	// While one host's addresses are in doubt, so many others are looked up each controlEvery, to judge the resolver.
	controlEvery = time.Minute
	controlHosts = 50

	// maxWithdrawn bounds the addresses of a host that serve on although DNS does not give them any more.
	maxWithdrawn = maxProbed
)

// Claims are what DNS says of a host's addresses and the checks have not confirmed yet. What a name resolves to is a
// claim: a new address serves after it has passed its checks, and one that passes serves on for a while although DNS
// does not give it any more.
type claims struct {
	fresh     map[netip.Addr]time.Time // since when DNS gives them
	withdrawn map[netip.Addr]time.Time // since when DNS does not give them any more

	missing time.Time // since when no look-up gives an address; zero if the latest did
	failed  bool      // the latest look-up failed, rather than saying that there is none
}

// follow takes in a look-up: DNS gave the addresses before, and gives others now.
func (c *claims) follow(before, after []netip.Addr, now time.Time) {
	known := len(before)+len(c.withdrawn) > 0
	for _, addr := range before {
		if slices.Contains(after, addr) {
			continue
		}
		if _, fresh := c.fresh[addr]; fresh {
			delete(c.fresh, addr)
		} else {
			c.withdrawn = with(c.withdrawn, addr, now)
		}
	}
	for _, addr := range after {
		if _, back := c.withdrawn[addr]; back {
			delete(c.withdrawn, addr)
		} else if known && !slices.Contains(before, addr) {
			c.fresh = with(c.fresh, addr, now)
		}
	}
	for len(c.withdrawn) > maxWithdrawn {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(c.withdrawn)), func(a, b netip.Addr) int {
			return c.withdrawn[a].Compare(c.withdrawn[b])
		})
		delete(c.withdrawn, oldest)
	}
}

func with(set map[netip.Addr]time.Time, addr netip.Addr, since time.Time) map[netip.Addr]time.Time {
	if set == nil {
		set = map[netip.Addr]time.Time{}
	}
	set[addr] = since
	return set
}

// note takes in whether the latest look-up gave an address.
func (c *claims) note(any, failed bool, now time.Time) {
	c.failed = failed
	switch {
	case any:
		c.missing = time.Time{}
	case c.missing.IsZero(), c.missing.After(now):
		c.missing = now
	}
}

// doubtful reports whether the latest look-ups gave nothing, or nothing but addresses that are new and unconfirmed.
func (l *lookup) doubtful(allowPrivate bool) bool {
	if !l.claims.missing.IsZero() {
		return true
	}
	for _, addr := range l.claimed(allowPrivate) {
		if _, fresh := l.claims.fresh[addr]; !fresh {
			return false
		}
	}
	return len(l.claims.fresh) > 0
}

// believe ends the claims of m's addresses that the checks have decided, and reports whether there were any.
//
// A fresh address is believed once it was checked and the resolver works, even if it fails: clients go where DNS sends
// them. A withdrawn one is given up once another one has taken its place, grace is over, or it fails and the resolver
// works. While that is suspected, none is given up, and a fresh one is believed only if it passes, and has for
// claimTime or none that was known before does; or if it is all that a mirror has.
func (m *mirror) believe(
	suspected bool, resolverWorks func(since time.Time) bool, grace time.Duration, now time.Time,
) (changed bool) {
	claims := &m.web.claims
	for addr, since := range claims.fresh {
		believed := resolverWorks(since) && (m.passesAt(addr) || m.failsAt(addr)) || now.Sub(since) > controlTime
		if suspected {
			believed = m.passesAt(addr) && (now.Sub(since) > claimTime || !m.passesElsewhere(addr))
		}
		if believed || m.onlyFresh() {
			delete(claims.fresh, addr)
			changed = true
		}
	}
	for addr, since := range claims.withdrawn {
		if !suspected && (m.replaced(addr) || now.Sub(since) > grace || m.failsAt(addr) && resolverWorks(since)) {
			delete(claims.withdrawn, addr)
			changed = true
		}
	}
	return changed
}

// passesElsewhere reports whether m passes at an address of addr's family that is not fresh.
func (m *mirror) passesElsewhere(addr netip.Addr) bool {
	for _, k := range m.checks {
		if _, fresh := m.web.claims.fresh[k.address]; !fresh && k.address.Is4() == addr.Is4() && m.passesAt(k.address) {
			return true
		}
	}
	return false
}

// onlyFresh reports whether all of m's addresses are fresh, so that none of them is worth more.
func (m *mirror) onlyFresh() bool {
	for _, k := range m.checks {
		if _, fresh := m.web.claims.fresh[k.address]; !fresh {
			return false
		}
	}
	return true
}

// passesAt reports whether a check at an address passes.
func (m *mirror) passesAt(addr netip.Addr) bool {
	return m.isUp(addr, HTTP) || m.isUp(addr, DNS)
}

// failsAt reports whether all checks at an address have failed for long enough.
func (m *mirror) failsAt(addr netip.Addr) bool {
	for _, k := range m.checks {
		if k.address == addr && k.verdict.State != Down {
			return false
		}
	}
	return true
}

func (m *mirror) isUp(addr netip.Addr, role Role) bool {
	k := m.check(endpointKey{addr, role})
	return k != nil && k.verdict.State == Up
}

// replaced reports whether one of the addresses that DNS gives does in each role what a withdrawn one of its family
// does.
func (m *mirror) replaced(withdrawn netip.Addr) bool {
	for _, k := range m.checks {
		addr := k.address
		if addr.Is4() != withdrawn.Is4() || m.web.claims.unconfirmed(addr) {
			continue
		}
		if (m.isUp(addr, HTTP) || !m.isUp(withdrawn, HTTP)) && (m.isUp(addr, DNS) || !m.isUp(withdrawn, DNS)) {
			return true
		}
	}
	return false
}

// unconfirmed reports whether an address is fresh or withdrawn.
func (c *claims) unconfirmed(addr netip.Addr) bool {
	_, fresh := c.fresh[addr]
	_, withdrawn := c.withdrawn[addr]
	return fresh || withdrawn
}

// excludedBecause says why an endpoint does not count in selection, or returns "". A redirect leads to the addresses
// that DNS gives the client.
func (m *mirror) excludedBecause(key endpointKey, suspected bool) string {
	if _, fresh := m.web.claims.fresh[key.address]; fresh {
		return "new in DNS: has to pass its checks first"
	}
	if _, withdrawn := m.web.claims.withdrawn[key.address]; !withdrawn || key.role != HTTP {
		return ""
	}
	for _, other := range m.checks {
		// An address of the other family is enough to prove that DNS gives none of this one.
		if !m.web.claims.unconfirmed(other.address) && (!suspected || other.address.Is4() == key.address.Is4()) {
			return "no longer in DNS"
		}
	}
	return ""
}

// unresolvable says why clients cannot be redirected to m, because its name does not resolve, or returns "". That the
// name has no address is believed once the resolver works, that it cannot be resolved after maxUnresolved, and neither
// while the resolver is suspected.
func (m *mirror) unresolvable(
	suspected bool, resolverWorks func(since time.Time) bool, maxUnresolved time.Duration, now time.Time,
) string {
	c := &m.web.claims
	switch {
	case m.web.task == nil || c.missing.IsZero() || suspected:
		return ""
	case c.failed && now.Sub(c.missing) <= maxUnresolved, !c.failed && !resolverWorks(c.missing):
		return ""
	}
	return fmt.Sprintf("%s: %q has had no address for %v, so clients cannot resolve it either", StepResolve, m.web.host,
		now.Sub(c.missing).Round(time.Second))
}
