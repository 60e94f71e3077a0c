package health

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// lookUp finds the addresses of m's host. The returned function, called under the lock, takes them in.
func (c *Checker) lookUp(ctx context.Context, m *mirror) func(time.Time) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	v4, v6 := c.resolver.Lookup(ctx, strings.ToLower(m.trace.Hostname()))
	return func(now time.Time) time.Duration {
		before, problem := m.addresses(c.settings.AllowPrivate), m.problem
		m.v4, m.v6 = learn(m.v4, v4), learn(m.v6, v6)
		m.problem = m.lookupProblem(c.settings.AllowPrivate)
		after := m.addresses(c.settings.AllowPrivate)
		if !slices.Equal(before, after) {
			c.setAddresses(m, after, now)
			notify(c.changed)
		}
		if m.problem != problem {
			c.log.Warn("look-up of a mirror's addresses changed",
				zap.String("mirror", m.URLPrefix), zap.String("problem", m.problem), zap.Stringers("addresses", after))
		}
		return min(v4.TTL, v6.TTL)
	}
}

// learn returns what is known after a look-up: if it failed, the addresses that were known before.
func learn(old, found Answer) Answer {
	if found.Err != nil {
		found.Addresses, found.Local = old.Addresses, old.Local
	}
	return found
}

// addresses returns the addresses that were found and may be probed.
func (m *mirror) addresses(allowPrivate bool) []netip.Addr {
	var addrs []netip.Addr
	for _, answer := range [...]Answer{m.v4, m.v6} {
		for _, addr := range answer.Addresses {
			if allowPrivate || answer.Local || checkPublic(addr) == nil {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// lookupProblem says what is wrong with the addresses that were found, or "".
func (m *mirror) lookupProblem(allowPrivate bool) string {
	for _, answer := range [...]Answer{m.v4, m.v6} {
		if answer.Err != nil {
			return fmt.Sprintf("%s: %v; keeping %d known addresses", stepResolve, answer.Err, len(m.v4.Addresses)+len(m.v6.Addresses))
		}
	}
	if len(m.v4.Addresses)+len(m.v6.Addresses) == 0 {
		return fmt.Sprintf("%s: %q has no address", stepResolve, m.trace.Hostname())
	}
	for _, answer := range [...]Answer{m.v4, m.v6} {
		for _, addr := range answer.Addresses {
			if err := checkPublic(addr); err != nil && !allowPrivate && !answer.Local {
				return fmt.Sprintf("%s: %v, which DNS gives for %q, %v: set health.allow_private to probe it", stepResolve, addr, m.trace.Hostname(), err)
			}
		}
	}
	return ""
}
