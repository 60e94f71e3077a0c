package health

import (
	"context"
	"errors"
	"fmt"
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
	took    time.Duration // by the latest look-up
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
	l.known, l.problem, l.took = true, "", 0
	l.noteFamilies()
}

func (l *lookup) noteFamilies() {
	l.hadV4 = l.hadV4 || len(l.v4.Addresses) > 0
	l.hadV6 = l.hadV6 || len(l.v6.Addresses) > 0
}

// learn takes in what a look-up found: where it failed, the addresses that were known before remain.
func (l *lookup) learn(v4, v6 Answer, allowPrivate bool) {
	keep := func(old, found Answer) Answer {
		if found.Err != nil {
			found.Addresses, found.Local = old.Addresses, old.Local
		}
		return found
	}
	l.v4, l.v6, l.known = keep(l.v4, v4), keep(l.v6, v6), true
	l.noteFamilies()
	l.problem = l.findProblem(allowPrivate)
}

// addresses returns the addresses that may be probed, IPv4 first: all that are given, and of those found at most
// maxProbed, of both families if there are.
func (l *lookup) addresses(allowPrivate bool) []netip.Addr {
	v4, v6 := l.v4.permitted(allowPrivate), l.v6.permitted(allowPrivate)
	if !l.v4.Local {
		v4 = v4[:min(len(v4), max(maxProbed/2, maxProbed-len(v6)))]
	}
	if !l.v6.Local {
		v6 = v6[:min(len(v6), max(maxProbed/2, maxProbed-len(v4)))]
	}
	return append(v4, v6...)
}

// permitted returns the addresses of an answer that may be probed.
func (a Answer) permitted(allowPrivate bool) []netip.Addr {
	var addrs []netip.Addr
	for _, addr := range a.Addresses {
		if allowPrivate || a.Local || checkPublic(addr) == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// findProblem says what is wrong with the addresses that were found, or "".
func (l *lookup) findProblem(allowPrivate bool) string {
	known := len(l.v4.Addresses) + len(l.v6.Addresses)
	for _, answer := range [...]Answer{l.v4, l.v6} {
		switch {
		case answer.Err != nil && known == 0:
			return fmt.Sprintf("%s: %v; no address is known", StepResolve, answer.Err)
		case answer.Err != nil:
			return fmt.Sprintf("%s: %v; keeping %d known addresses", StepResolve, answer.Err, known)
		}
	}
	if known == 0 {
		return fmt.Sprintf("%s: %q has no address", StepResolve, l.host)
	}
	for _, answer := range [...]Answer{l.v4, l.v6} {
		for _, addr := range answer.Addresses {
			if err := checkPublic(addr); err != nil && !allowPrivate && !answer.Local {
				return fmt.Sprintf("%s: %v, which DNS gives for %q, %v: set health.allow_private to probe it",
					StepResolve, addr, l.host, err)
			}
		}
	}
	if used := len(l.addresses(allowPrivate)); used < known {
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
		before, problem := l.addresses(c.settings.AllowPrivate), l.problem
		l.learn(v4, v6, c.settings.AllowPrivate)
		l.took = took
		after := l.addresses(c.settings.AllowPrivate)
		c.setAddresses(m, now)
		if !slices.Equal(before, after) {
			signal(c.changed)
		}
		if l.problem != problem {
			level := zap.WarnLevel
			if l.problem == "" {
				level = zap.InfoLevel
			}
			c.log.Log(level, "addresses of a mirror changed", zap.String("mirror", m.URLPrefix),
				zap.String("host", l.host), zap.String("problem", l.problem), zap.Stringers("addresses", after))
		}
		return min(v4.TTL, v6.TTL)
	}
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
