package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/config"

	"go.uber.org/zap"
)

// lookupTimeout bounds one look-up of a host.
const lookupTimeout = 10 * time.Second

// maxProbed is how many of the addresses that DNS gives for a host are used. Each is probed and has its own metrics.
const maxProbed = 8

// A lookup knows the addresses of a host, and finds them out again and again unless they are given.
type lookup struct {
	host    string
	v4, v6  Answer // as last found out
	known   bool   // it was found out once, or given
	hadV4   bool   // it has, or once had, an address of the family
	hadV6   bool
	problem string        // why addresses are missing or may be out of date
	claims  claims        // what of this the checks have not confirmed
	at      time.Time     // of the latest look-up
	took    time.Duration // by it
	task    *task         // nil if the addresses are given
}

// give replaces what is known by addrs, which are trusted like the configuration that they come from.
func (l *lookup) give(addrs []netip.Addr) {
	l.v4, l.v6 = Answer{Local: true}, Answer{Local: true}
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() {
			l.v4.Addresses = append(l.v4.Addresses, addr)
		} else {
			l.v6.Addresses = append(l.v6.Addresses, addr)
		}
	}
	l.known, l.problem, l.took, l.claims = true, "", 0, claims{}
	l.noteFamilies()
}

func (l *lookup) noteFamilies() {
	l.hadV4 = l.hadV4 || len(l.v4.Addresses) > 0
	l.hadV6 = l.hadV6 || len(l.v6.Addresses) > 0
}

// learn takes in what a look-up found: where it failed, the addresses that were known before remain.
func (l *lookup) learn(v4, v6 Answer, allowPrivate bool, now time.Time) {
	before := l.claimed(allowPrivate)
	keep := func(old, found Answer) Answer {
		if found.Err != nil {
			found.Addresses, found.Local = old.Addresses, old.Local
		}
		return found
	}
	l.v4, l.v6, l.known = keep(l.v4, v4), keep(l.v6, v6), true
	l.noteFamilies()
	after := l.claimed(allowPrivate)
	l.claims.follow(before, after, now)
	found := len(v4.permitted(allowPrivate)) + len(v6.permitted(allowPrivate))
	if v4.Local || v6.Local {
		l.claims = claims{}
	}
	l.claims.note(found > 0, v4.Err != nil || v6.Err != nil, now)
	l.problem = l.findProblem(allowPrivate)
}

// addresses returns the addresses that may be probed: those that are claimed, and those that were withdrawn and serve
// on.
func (l *lookup) addresses(allowPrivate bool) []netip.Addr {
	withdrawn := slices.SortedFunc(maps.Keys(l.claims.withdrawn), netip.Addr.Compare)
	return append(l.claimed(allowPrivate), withdrawn...)
}

// claimed returns the addresses that are given, or that DNS gives and that may be probed, IPv4 first: of those found at
// most maxProbed, of both families if there are.
func (l *lookup) claimed(allowPrivate bool) []netip.Addr {
	v4, v6 := l.v4.permitted(allowPrivate), l.v6.permitted(allowPrivate)
	if !l.v4.Local {
		v4 = v4[:min(len(v4), max(maxProbed/2, maxProbed-len(v6)))]
	}
	if !l.v6.Local {
		v6 = v6[:min(len(v6), max(maxProbed/2, maxProbed-len(v4)))]
	}
	return append(v4, v6...)
}

// serving returns the addresses that are used, permitted or not: without fresh ones, and with withdrawn ones.
func (l *lookup) serving() (v4, v6 []netip.Addr) {
	addrs := slices.Concat(l.v4.Addresses, l.v6.Addresses, slices.SortedFunc(maps.Keys(l.claims.withdrawn), netip.Addr.Compare))
	for _, addr := range addrs {
		switch _, fresh := l.claims.fresh[addr]; {
		case fresh:
		case addr.Is4():
			v4 = append(v4, addr)
		default:
			v6 = append(v6, addr)
		}
	}
	return v4, v6
}

// permitted returns the addresses of an answer that may be probed.
func (a Answer) permitted(allowPrivate bool) []netip.Addr {
	var addrs []netip.Addr
	for _, addr := range a.Addresses {
		if a.Local || checkPublic(addr) == nil || allowPrivate && !addr.IsUnspecified() && !addr.IsMulticast() {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// findProblem says what is wrong with the addresses that were found, or "".
func (l *lookup) findProblem(allowPrivate bool) string {
	known := len(l.v4.Addresses) + len(l.v6.Addresses)
	kept := ""
	if n := len(l.claims.withdrawn); n > 0 {
		kept = fmt.Sprintf("; keeping %d that DNS gave before", n)
	}
	for _, answer := range [...]Answer{l.v4, l.v6} {
		switch {
		case answer.Err != nil && known == 0:
			return fmt.Sprintf("%s: %v; no address is known", StepResolve, answer.Err)
		case answer.Err != nil:
			return fmt.Sprintf("%s: %v; keeping %d known addresses", StepResolve, answer.Err, known)
		}
	}
	if known == 0 {
		return fmt.Sprintf("%s: %q has no address%s", StepResolve, l.host, kept)
	}
	for _, answer := range [...]Answer{l.v4, l.v6} {
		for _, addr := range answer.Addresses {
			if err := checkPublic(addr); err != nil && !allowPrivate && !answer.Local {
				return fmt.Sprintf("%s: %v, which DNS gives for %q, %v: set health.allow_private to probe it%s",
					StepResolve, addr, l.host, err, kept)
			}
		}
	}
	if used := len(l.claimed(allowPrivate)); used < known {
		return fmt.Sprintf("%s: %q has %d addresses, of which %d are used: give those that matter in dns.addresses",
			StepResolve, l.host, known, used)
	}
	return ""
}

// findProblems finds the problem anew, if addresses were found out.
func (l *lookup) findProblems(allowPrivate bool) {
	if l.known && l.task != nil {
		l.problem = l.findProblem(allowPrivate)
	}
}

// literal returns the address that host is, if it is one.
func literal(host string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(host)
	return addr.Unmap(), err == nil
}

// startLookup starts looking up l's host for m, unless that is under way already.
func (c *Checker) startLookup(l *lookup, m *mirror, now time.Time) {
	if l.task != nil {
		return
	}
	l.task = c.schedule.add(&task{due: now, work: func(ctx context.Context) func(time.Time) time.Duration {
		return c.lookUp(ctx, l, m)
	}})
}

// lookUp finds the addresses of l's host. The returned function, called under the lock, takes them in.
func (c *Checker) lookUp(ctx context.Context, l *lookup, m *mirror) func(time.Time) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	start := c.now()
	v4, v6 := c.resolver.Lookup(ctx, l.host)
	took := c.now().Sub(start)
	return func(now time.Time) time.Duration {
		allowPrivate := c.settings.AllowPrivate
		before, problem, doubtful := l.addresses(allowPrivate), l.problem, l.doubtful(allowPrivate)
		unresolvable := c.unresolvable(m, now) != ""
		old4, old6, served := l.v4, l.v6, len(l.claimed(allowPrivate)) > 0
		l.learn(v4, v6, allowPrivate, now)
		if l != m.web && served && len(l.claimed(allowPrivate)) == 0 && !c.believesAbsence(l, now) {
			l.v4.Addresses, l.v6.Addresses = old4.Addresses, old6.Addresses
		}
		missing, failed := l.claims.missing, l.claims.failed
		if l.at, l.took = now, took; l != m.web || !c.settings.Enabled {
			l.claims = claims{missing: missing, failed: failed} // without checks, or with those of rsync alone, DNS is believed
		}
		if l == m.web && l.doubtful(allowPrivate) && (!doubtful || now.Sub(c.survey.controlled) >= controlEvery) {
			c.controlResolver(l, now)
		}
		if l.doubtful(allowPrivate) || doubtful {
			c.takeSurvey(now)
		}
		c.settleAddresses(m, now)
		after := l.addresses(allowPrivate)
		c.setAddresses(m, now)
		if !slices.Equal(before, after) || unresolvable != (c.unresolvable(m, now) != "") {
			signal(c.changed)
		}
		if l.problem != problem {
			log := c.log.With(zap.String("mirror", m.URLPrefix), zap.String("host", l.host), zap.Stringers("addresses", after))
			if l.problem != "" {
				log.Warn("problem with a mirror's addresses", zap.String("problem", l.problem))
			} else {
				log.Info("no more problem with a mirror's addresses")
			}
		}
		if wait := min(v4.TTL, v6.TTL); !l.doubtful(allowPrivate) {
			return wait
		}
		return l.pauseInDoubt(now)
	}
}

// pauseInDoubt is when to look up a host again whose addresses are in doubt.
func (l *lookup) pauseInDoubt(now time.Time) time.Duration {
	since := l.claims.missing
	for _, began := range l.claims.fresh {
		if since.IsZero() || began.After(since) {
			since = began
		}
	}
	if now.Sub(since) < controlTime {
		return controlPause
	}
	return controlTime / 4
}

// resolverWorks returns a function that reports whether the resolver has shown since a time that it works: by giving
// the addresses of other hosts than l's, controlHosts of them or all that there are, or by nothing to the contrary for
// controlTime.
func (c *Checker) resolverWorks(l *lookup, now time.Time) func(since time.Time) bool {
	return func(since time.Time) bool {
		hosts, lookedUp, resolved := map[string]bool{l.host: true}, 0, 0
		for _, m := range c.mirrors {
			other := m.web
			if other.task == nil || hosts[other.host] {
				continue
			}
			hosts[other.host] = true
			if other.at.After(since) {
				lookedUp++
				if !other.doubtful(c.settings.AllowPrivate) {
					resolved++
				}
			}
		}
		shown := resolved >= suspectMirrors && lookedUp >= min(controlHosts, len(hosts)-1)
		return shown || now.Sub(since) > controlTime
	}
}

// suspectsLookup reports whether the latest look-up of a host says nothing: the resolver is suspected, or was when it
// answered. What it said then has to be said again.
func (c *Checker) suspectsLookup(l *lookup) bool {
	return c.survey.suspect(SuspectResolver) != nil || l.at.Before(c.survey.cleared)
}

// settleAddresses ends the claims of m's addresses that are decided.
func (c *Checker) settleAddresses(m *mirror, now time.Time) {
	if m.believe(c.suspectsLookup(m.web), c.resolverWorks(m.web, now), c.settings.AddressGrace, now) {
		c.setAddresses(m, now)
		m.web.findProblems(c.settings.AllowPrivate)
		signal(c.changed)
	}
}

// unresolvable says why clients cannot be redirected to m, or returns "". See mirror.unresolvable.
func (c *Checker) unresolvable(m *mirror, now time.Time) string {
	return m.unresolvable(c.suspectsLookup(m.web), c.resolverWorks(m.web, now), c.settings.MaxUnresolved, now)
}

// believesAbsence reports whether it is believed that a host has no address.
func (c *Checker) believesAbsence(l *lookup, now time.Time) bool {
	return !c.suspectsLookup(l) && c.resolverWorks(l, now)(l.claims.missing)
}

// controlResolver has other hosts than l's looked up now, to see whether the resolver fails for them as well.
func (c *Checker) controlResolver(l *lookup, now time.Time) {
	c.survey.controlled = now
	left := controlHosts
	for _, m := range c.mirrors {
		if m.web != l && m.web.task != nil && left > 0 {
			c.schedule.move(m.web.task, now)
			left--
		}
	}
	signal(c.wake)
}

// ConfirmAddresses makes the addresses that DNS gives those of the mirrors, whatever the checks say of them and of the
// resolver. A mirror for which DNS gives none keeps those that it has.
func (c *Checker) ConfirmAddresses() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for _, m := range c.mirrors {
		if m.web.claims.fresh = nil; len(m.web.claimed(c.settings.AllowPrivate)) > 0 {
			m.web.claims.withdrawn = nil
		}
		c.setAddresses(m, now)
		m.web.findProblems(c.settings.AllowPrivate)
	}
	signal(c.changed)
	signal(c.wake)
}

// An Answer is what a Resolver found for one host and address family.
type Answer struct {
	Addresses []netip.Addr  // sorted, without duplicates; empty if the host has none
	TTL       time.Duration // for how long that holds
	Local     bool          // from this host's own files, which are trusted like the configuration
	Err       error         // why nothing is known
}

// A Resolver finds the addresses of a host, which is not an address itself.
type Resolver interface {
	Lookup(ctx context.Context, host string) (v4, v6 Answer)
}

// errPrivate is why an address learnt through DNS is not probed.
var errPrivate = errors.New("is not a public address")

// checkPublic refuses addresses that are not on the public Internet. Otherwise the DNS of a mirror could point our
// probes into our own network.
func checkPublic(addr netip.Addr) error {
	if !config.IsPublic(addr) {
		return errPrivate
	}
	return nil
}
