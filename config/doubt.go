package config

import (
	"net/mail"
	"net/netip"
	"slices"
)

// Above heavyShare of the pool's weight, one mirror more or less is the pool.
const heavyShare = 0.8

// doubt files warnings of what is allowed, but is seldom what was meant. The pool has no faults, so each
// mirror has its item in the list. A disabled mirror serves nobody, so that little of it is worth a word.
func (c *checker) doubt(root object, pool *Pool) {
	list := root.get("mirrors")
	total := pool.EnabledWeight()
	if total == 0 {
		c.warn(list, "no mirror has a weight above 0, so that nobody would be served")
		return
	}
	if !slices.ContainsFunc(pool.Mirrors, func(m Mirror) bool { return m.DNS.Weight > 0 }) {
		c.warn(list, "no mirror is in the DNS pool, so that the pool's name has no address")
	}
	rsync := slices.ContainsFunc(pool.Mirrors, func(m Mirror) bool { return m.RsyncURL != "" })
	if !rsync {
		c.warn(list, `no mirror has the key "rsync_url"; without it nobody can check what they carry`)
	}
	for i := range pool.Mirrors {
		m, o := &pool.Mirrors[i], object{c, list.order[i]}
		c.doubtEmail(o, m.Email)
		if !m.Enabled() {
			continue
		}
		if float64(m.Weight) > heavyShare*float64(total) {
			c.warn(o.get("weight"), "this mirror alone has %d %% of the pool's weight; want at most %.0f %%, so that the others can carry on without it",
				uint64(m.Weight)*100/total, heavyShare*100)
		}
		if m.URL.Scheme == "http" {
			c.warn(o.get("url_prefix"), "http only; want an https URL, since who asks over https is never sent here")
		}
		if rsync && m.RsyncURL == "" {
			c.warn(o.node, `the key "rsync_url" is missing; want a URL like rsync://host/module/, as other mirrors of the list have`)
		}
		c.doubtAddresses(o, m)
	}
	if noIPv6(pool) {
		c.warn(list, "no mirror has an IPv6 address; want one at least, or clients without IPv4 cannot be served")
	}
}

func (c *checker) doubtEmail(o object, email string) {
	if email == "" {
		return
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address == "" {
		c.warn(o.get("email"), `not an e-mail address: %s; want one such as "ops@example.net", so that somebody can be told when the mirror fails`, quote(email))
	}
}

func (c *checker) doubtAddresses(o object, m *Mirror) {
	for i, addr := range m.DNS.Addresses {
		if !isPublic(addr) {
			n := o.object("dns").get("addresses").order[i]
			c.warn(n, "%s is not a public address; clients elsewhere cannot reach it", addr)
		}
	}
	if addr, err := netip.ParseAddr(m.URL.Hostname()); err == nil && !isPublic(addr) {
		c.warn(o.get("url_prefix"), "%s is not a public address; clients elsewhere cannot reach it", addr)
	}
}

// noIPv6 reports whether no enabled mirror has an IPv6 address, as far as the file tells: a host that has to
// be looked up may have one.
func noIPv6(pool *Pool) bool {
	for i := range pool.Mirrors {
		m := &pool.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		addrs := m.DNS.Addresses
		if len(addrs) == 0 {
			addr, err := netip.ParseAddr(m.URL.Hostname())
			if err != nil {
				return false
			}
			addrs = []netip.Addr{addr}
		}
		if slices.ContainsFunc(addrs, netip.Addr.Is6) {
			return false
		}
	}
	return true
}

// documentation are the networks that stand in examples, so that whoever lists one has forgotten to put in their own.
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"),    // RFC 5737
	netip.MustParsePrefix("198.51.100.0/24"), // RFC 5737
	netip.MustParsePrefix("203.0.113.0/24"),  // RFC 5737
	netip.MustParsePrefix("2001:db8::/32"),   // RFC 3849
	netip.MustParsePrefix("3fff::/20"),       // RFC 9637
}

// isPublic reports whether clients anywhere may reach addr.
func isPublic(addr netip.Addr) bool { return IsPublic(addr) && !within(documentation, addr) }
