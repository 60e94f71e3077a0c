package dnspool

import (
	"net/netip"
	"sync/atomic"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// A Family is an IP address family.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// String returns "ipv4" or "ipv6".
func (f Family) String() string {
	if f == IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

// FamilyOf returns addr's family. An IPv4-mapped IPv6 address (::ffff:192.0.2.1) is an IPv4 address.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() || addr.Is4In6() {
		return IPv4
	}
	return IPv6
}

// A Snapshot is all that an answer needs, frozen: nothing in it is written after Build has returned.
type Snapshot struct {
	Content uint64    // a hash of what DNS tells; 0 without an Agreement
	Serial  uint32    // SOA serial (RFC 1035 section 3.3.13): grows when anything that DNS tells changes
	Built   time.Time // when it was built
	Mirrors []Mirror  // of the pool, in the order of the file, disabled ones too

	// Agreement is that with other servers; nil without any.
	Agreement *Agreement

	policy Policy
	dns    [2]DNSGroup    // by family
	http   [2][2]webGroup // by family, then 1 for https only
}

// A Mirror is a mirror of the pool with what is known of its health.
type Mirror struct {
	*config.Mirror // of the pool
	health.MirrorReport

	// Number is the mirror's in [Request].Carriers.
	Number int

	// Place is where it is, as far as that is known.
	Place Place

	// Overrides are those of a person, by role; nil: none.
	Overrides [2]*Override

	// InDNS and InWeb say whether the mirror is eligible for DNS answers and for redirects, of either
	// family.
	InDNS, InWeb bool

	id                 uint64    // stands for it in draws
	serveOnly, exclude *placeSet // nil: all, none
}

// A DNSGroup holds the mirrors eligible for DNS answers of one family.
type DNSGroup struct {
	Tally
	Addresses []netip.Addr // eligible, each once
	Weights   []float64    // of Addresses, one by one
	Deck      Deck         // of indices in Addresses

	// Settles is how soon one of Addresses may leave, because its latest check failed; 0 if all is well.
	Settles time.Duration

	at      map[*Mirror][]int32   // places of an eligible mirror's addresses in Addresses
	derated map[*Mirror][]float64 // how much of the weight counts at these
	entries []entry               // of the eligible mirrors, by their ids
	limited bool                  // some of entries serve only some clients
}

// A webGroup holds the mirrors eligible for redirects.
type webGroup struct {
	Tally
	entries []entry // of all that are enabled, by their ids
	limited bool    // some serve only some clients
	index   *index  // nil: the group is small
}

// A Tally is the weight behind a group.
type Tally struct {
	UpWeight, EnabledWeight float64 // weight of the mirrors that are up, and of all that are enabled
	NewcomerWeight          float64 // weight of those of the enabled that have not been up yet since they were added
	Panic                   bool    // too little of it is up, newcomers aside
	// Load is the share of the requests that are redirected while few mirrors are up; 0 for all. See config.Selection.
	Load float64
}

// DNS returns the mirrors eligible for DNS answers with addresses of family f.
func (s *Snapshot) DNS(f Family) *DNSGroup { return &s.dns[f] }

// Panic reports whether any group of candidates is in panic.
func (s *Snapshot) Panic() bool {
	for f := range s.dns {
		if s.dns[f].Panic || s.http[f][0].Panic || s.http[f][1].Panic {
			return true
		}
	}
	return false
}

// A Group is a group of candidates, and the weight behind it.
type Group struct {
	Role   health.Role
	Family Family
	Secure bool // only the mirrors that speak https
	Tally
	Eligible float64 // weight of those that may be picked
}

// Groups returns the groups in which there is an enabled mirror.
func (s *Snapshot) Groups() []Group {
	var groups []Group
	for f := range s.dns {
		family := Family(f)
		for _, g := range []Group{
			{health.DNS, family, false, s.dns[f].Tally, s.eligibleWeight(health.DNS, family, 0)},
			{health.HTTP, family, false, s.http[f][0].Tally, s.eligibleWeight(health.HTTP, family, 0)},
			{health.HTTP, family, true, s.http[f][1].Tally, s.eligibleWeight(health.HTTP, family, 1)},
		} {
			if g.EnabledWeight > 0 {
				groups = append(groups, g)
			}
		}
	}
	return groups
}

// LegacyMirrors returns the mirrors to which a client at an unknown place that asks over http and IPv4 may be
// redirected; over IPv6 where no enabled mirror has an IPv4 address. They are in the order of Mirrors.
func (s *Snapshot) LegacyMirrors() []*Mirror {
	group := &s.http[IPv4][0]
	if group.EnabledWeight == 0 {
		group = &s.http[IPv6][0]
	}
	eligible := make(map[*Mirror]bool)
	for i := range group.entries {
		e := &group.entries[i]
		if e.eligible && e.mirror.admits(&Place{}) {
			eligible[e.mirror] = true
		}
	}
	var mirrors []*Mirror
	for i := range s.Mirrors {
		if m := &s.Mirrors[i]; eligible[m] {
			mirrors = append(mirrors, m)
		}
	}
	return mirrors
}

// Blind reports whether no address is known of any enabled mirror that is to serve in a role: then there is no answer
// to give, not an empty one.
func (s *Snapshot) Blind(role health.Role) bool {
	wanted := false
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		if !m.serves(role) {
			continue
		}
		wanted = true
		for e := range m.Endpoints {
			if x := &m.Endpoints[e]; counts(x, role, FamilyOf(x.Address)) {
				return false
			}
		}
	}
	return wanted
}

// Addresses returns the mirror's addresses of both families, sorted, without those that do not count in any role.
func (m *Mirror) Addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, e := range m.Endpoints { // sorted by address
		if e.ExcludedBecause != "" {
			continue
		}
		if len(addrs) == 0 || addrs[len(addrs)-1] != e.Address {
			addrs = append(addrs, e.Address)
		}
	}
	return addrs
}

// Current holds the snapshot that is in force.
type Current struct{ p atomic.Pointer[Snapshot] }

// Load returns the snapshot in force, or nil before the first one. Load it once per query, so that no
// answer mixes two.
func (c *Current) Load() *Snapshot { return c.p.Load() }

// Publish puts next in force.
func (c *Current) Publish(next *Snapshot) { c.p.Store(next) }
