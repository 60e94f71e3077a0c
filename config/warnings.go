package config

import (
	"fmt"
	"net/mail"
	"net/netip"
	"path"
	"slices"
)

// A WarningKind is the short name of a kind of warning, by which an administrator allows it: mirrorpool check --allow
// NAME.
type WarningKind string

// The kinds of warning. An error has none.
const (
	WarnUnknownKey     WarningKind = "unknown-key"
	WarnNoVersion      WarningKind = "no-version"
	WarnHeavyWeight    WarningKind = "heavy-weight"
	WarnHTTPOnly       WarningKind = "http-only"
	WarnNoRsync        WarningKind = "no-rsync"
	WarnEmail          WarningKind = "email"
	WarnNotPublic      WarningKind = "not-public"
	WarnNoIPv6         WarningKind = "no-ipv6"
	WarnEmptyServeOnly WarningKind = "empty-serve-only"
	WarnNotInDNS       WarningKind = "not-in-dns"
	WarnLegacyList     WarningKind = "legacy-list"
	WarnNoneEnabled    WarningKind = "none-enabled" // a server refuses such a list

	WarnNoReference      WarningKind = "no-reference"
	WarnNetworkBits      WarningKind = "network-bits"
	WarnGeoWithoutData   WarningKind = "geo-without-data"
	WarnNameserverInZone WarningKind = "nameserver-in-zone"
	WarnTimeout          WarningKind = "timeout"
	WarnExposedSecret    WarningKind = "exposed-secret"
	WarnAsRoot           WarningKind = "as-root"
	WarnNoCAA            WarningKind = "no-caa"
	WarnCAARefuses       WarningKind = "caa-refuses"
	WarnNoLeader         WarningKind = "no-leader"
	WarnKeysEnd          WarningKind = "keys-end"
	WarnNoAddress        WarningKind = "no-address"
	WarnUnverified       WarningKind = "unverified"
)

// WarningKinds lists all kinds of warning.
func WarningKinds() []WarningKind {
	return []WarningKind{
		WarnUnknownKey, WarnNoVersion, WarnHeavyWeight, WarnHTTPOnly, WarnNoRsync, WarnEmail, WarnNotPublic, WarnNoIPv6,
		WarnEmptyServeOnly, WarnNotInDNS, WarnLegacyList, WarnNoneEnabled, WarnNoReference, WarnNetworkBits, WarnGeoWithoutData,
		WarnNameserverInZone, WarnTimeout, WarnExposedSecret, WarnAsRoot, WarnNoCAA, WarnCAARefuses,
		WarnNoLeader, WarnKeysEnd, WarnNoAddress, WarnUnverified,
	}
}

// A WarningGroup is the warnings of one kind about one file, or about keys of one name.
type WarningGroup struct {
	First *Error
	More  int // further ones
}

// maxUnknownKeys is how many unknown keys have a group each. Others share one.
const maxUnknownKeys = 20

// GroupWarnings gathers warnings of one kind about one file, in the order in which the kinds first occur. Of unknown
// keys, it gathers those of one name, so that each misspelt key is named.
func GroupWarnings(list []*Error) []WarningGroup {
	type key struct {
		file string
		kind WarningKind
		name string // of an unknown key
	}
	index := make(map[key]int)
	var groups []WarningGroup
	unknown := 0
	for _, w := range list {
		k := key{w.File, w.Kind, ""}
		if w.Kind == WarnUnknownKey {
			k.name = path.Base(w.Pointer)
			if _, ok := index[k]; !ok && unknown == maxUnknownKeys {
				k.name = ""
			} else if !ok {
				unknown++
			}
		}
		if i, ok := index[k]; ok {
			groups[i].More++
			continue
		}
		index[k] = len(groups)
		groups = append(groups, WarningGroup{First: w})
	}
	return groups
}

// String is the first warning with its kind, and how many more there are.
func (g WarningGroup) String() string {
	switch g.More {
	case 0:
		return fmt.Sprintf("%v [%s]", g.First, g.First.Kind)
	default:
		return fmt.Sprintf("%v [%s, and %d more]", g.First, g.First.Kind, g.More)
	}
}

// heavyTimes is how many times the median weight one mirror may have without a warning: ten times is a digit too many.
const heavyTimes = 10

// heavyShare is the share of the total weight above which one mirror draws a warning.
const heavyShare = 0.8

// warnPool warns of what is allowed but seldom meant. The pool has no faults, so each mirror has its item in the
// list. Little is worth a warning at a disabled mirror.
func (c *checker) warnPool(root object, pool *Pool) {
	list := root.get("mirrors")
	total := pool.EnabledWeight()
	if total == 0 {
		c.warn(list, WarnNoneEnabled, "no mirror has a weight above 0; give at least one a weight, or no client is served")
		return
	}
	if !slices.ContainsFunc(pool.Mirrors, func(m Mirror) bool { return m.InDNSPool() }) {
		c.warn(list, WarnNotInDNS, "no mirror is in the DNS pool, so that the pool's name has no address")
	}
	rsync := slices.ContainsFunc(pool.Mirrors, func(m Mirror) bool { return m.RsyncURL != "" })
	if !rsync {
		c.warn(list, WarnNoRsync, `no mirror has the key "rsync_url", without which their rsync daemons are not checked`)
	}
	median := medianWeight(pool)
	for i := range pool.Mirrors {
		m, o := &pool.Mirrors[i], object{c, list.order[i]}
		c.warnEmail(o, m.Email)
		if !m.Enabled() {
			continue
		}
		if float64(m.Weight) > heavyShare*float64(total) {
			c.warn(o.get("weight"), WarnHeavyWeight,
				"this mirror alone has %d %% of the pool's weight; want at most %.0f %%, so that the others can carry on without it",
				uint64(m.Weight)*100/total, heavyShare*100)
		} else if float64(m.Weight) > heavyTimes*median {
			c.warn(o.get("weight"), WarnHeavyWeight,
				"%d is over %d times the weight of the mirror in the middle (%g); want less, unless it is meant: is it a typo?",
				m.Weight, heavyTimes, median)
		}
		if m.URL.Scheme == "http" {
			c.warn(o.get("url_prefix"), WarnHTTPOnly,
				"http only; want an https URL, since clients that ask over https are never sent here")
		}
		if rsync && m.RsyncURL == "" {
			c.warn(o.node, WarnNoRsync, `the key "rsync_url" is missing; want a URL like rsync://host/module/, as other mirrors of the list have`)
		}
		c.warnAddresses(o, m)
	}
	if size := legacyListSize(pool); size > maxLegacyList {
		c.warn(list, WarnLegacyList, "with all mirrors up, /mirrors.json has %d bytes; Tails Upgrader up to 5.8 refuses more than %d", size, maxLegacyList)
	}
	if noIPv6(pool) {
		c.warn(list, WarnNoIPv6, "no mirror has an IPv6 address; want one at least, or clients without IPv4 cannot be served")
	}
}

// maxLegacyList is how many bytes of /mirrors.json Tails Upgrader up to 5.8 takes.
const maxLegacyList = 8192

// legacyListSize is the size of /mirrors.json, as the redirector writes it, while all enabled mirrors are up.
func legacyListSize(pool *Pool) int {
	size := len(`{"version":1,"mirrors":[]}` + "\n")
	for i := range pool.Mirrors {
		if m := &pool.Mirrors[i]; m.Enabled() {
			size += len(fmt.Sprintf(`{"url_prefix":%q,"weight":%d},`, m.URLPrefix, m.Weight))
		}
	}
	return size
}

func (c *checker) warnEmail(o object, email string) {
	if email == "" {
		return
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address == "" {
		c.warn(o.get("email"), WarnEmail, `not an e-mail address: %s; want one such as "ops@example.net"`, quote(email))
	}
}

func (c *checker) warnAddresses(o object, m *Mirror) {
	for i, addr := range m.DNS.Addresses {
		if !isPublic(addr) {
			n := o.object("dns").get("addresses").order[i]
			c.warn(n, WarnNotPublic, "%s is not a public address; clients elsewhere cannot reach it", addr)
		}
	}
	if addr, err := netip.ParseAddr(m.URL.Hostname()); err == nil && !isPublic(addr) {
		c.warn(o.get("url_prefix"), WarnNotPublic, "%s is not a public address; clients elsewhere cannot reach it", addr)
	}
}

// medianWeight is the median of the weights of the enabled mirrors; where there are two in the middle, the larger one.
func medianWeight(p *Pool) float64 {
	var weights []uint32
	for i := range p.Mirrors {
		if m := &p.Mirrors[i]; m.Enabled() {
			weights = append(weights, m.Weight)
		}
	}
	slices.Sort(weights)
	return float64(weights[len(weights)/2])
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

// documentation lists the networks of examples: an address in one was copied and not replaced.
var documentation = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"),    // RFC 5737
	netip.MustParsePrefix("198.51.100.0/24"), // RFC 5737
	netip.MustParsePrefix("203.0.113.0/24"),  // RFC 5737
	netip.MustParsePrefix("2001:db8::/32"),   // RFC 3849
	netip.MustParsePrefix("3fff::/20"),       // RFC 9637
}

// isPublic reports whether clients anywhere may reach addr.
func isPublic(addr netip.Addr) bool { return IsPublic(addr) && !within(documentation, addr) }
