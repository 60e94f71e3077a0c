package publish

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// A place is where a set of addresses is kept.
type place struct {
	name   string // absolute
	family dnspool.Family
}

func (p place) rrtype() uint16 {
	if p.family == dnspool.IPv6 {
		return dns.TypeAAAA
	}
	return dns.TypeA
}

func (p place) String() string { return p.name + " " + dns.TypeToString[p.rrtype()] }

// A set is what a place holds: the addresses, sorted; and for how long they may be kept, in seconds, if there are any.
type set struct {
	addrs []netip.Addr
	ttl   uint32
}

func (s set) equal(other set) bool {
	return s.sameAddresses(other) && (s.ttl == other.ttl || len(s.addrs) == 0)
}

func (s set) sameAddresses(other set) bool { return slices.Equal(s.addrs, other.addrs) }

func (s set) String() string {
	if len(s.addrs) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%v with a TTL of %d", s.addrs, s.ttl)
}

// sets are what all places of a target hold.
type sets map[place]set

// placesOf returns all places of a target.
func placesOf(c config.Publish) []place {
	var places []place
	for _, name := range c.Names {
		for _, family := range [...]dnspool.Family{dnspool.IPv4, dnspool.IPv6} {
			places = append(places, place{absolute(name, c.Zone), family})
		}
	}
	return places
}

// places returns the places in order.
func (s sets) places() []place {
	places := make([]place, 0, len(s))
	for p := range s {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.family, b.family)) })
	return places
}

func (s sets) equal(other sets) bool { return len(s) == len(other) && len(compare(s, other)) == 0 }

// A change is what one place has to be changed from and to.
type change struct {
	place
	from, to set
}

// compare returns what has to be changed for seen to become want. Both have the same places.
func compare(seen, want sets) []change {
	var changes []change
	for _, p := range want.places() {
		if !seen[p].equal(want[p]) {
			changes = append(changes, change{p, seen[p], want[p]})
		}
	}
	return changes
}

// errNoAddress is why no mirror is published.
var errNoAddress = errors.New("no enabled mirror has a known address: removing disabled mirrors and changing nothing else")

// wanted is what a target should hold, which holds what is seen. It is a pure function, so that the sets change only
// when eligibility does. err is errNoAddress or nil.
//
// Of the eligible, those with most weight are listed, and of the same weight those with lower addresses. Where no
// enabled mirror has an address of a family, nothing is to be there. But while no address is known at all, or (only
// while patient is true) the addresses of some mirrors are not known yet, such a place keeps what it has, without
// disabled mirrors.
func wanted(c config.Publish, s *dnspool.Snapshot, patient bool, seen sets) (want sets, err error) {
	chosen := map[dnspool.Family][]netip.Addr{}
	for _, family := range [...]dnspool.Family{dnspool.IPv4, dnspool.IPv6} {
		if best := heaviest(s.DNS(family), c.MaxAnswers); len(best) > 0 {
			chosen[family] = best
		}
	}
	if len(chosen) == 0 {
		err = errNoAddress
	}
	waiting := err != nil || patient && slices.ContainsFunc(s.Mirrors, func(m dnspool.Mirror) bool {
		return m.InDNSPool() && !known(&m)
	})
	gone := disabled(s)
	want = sets{}
	for _, p := range placesOf(c) {
		if addrs := chosen[p.family]; addrs != nil || !waiting {
			want[p] = set{addrs, uint32(c.TTL / time.Second)}
		} else {
			want[p] = seen[p].without(gone)
		}
	}
	return want, err
}

// disabled returns the addresses that only mirrors have that are disabled, or drained.
func disabled(s *dnspool.Snapshot) map[netip.Addr]bool {
	gone := map[netip.Addr]bool{}
	for _, enabled := range [...]bool{false, true} {
		for i := range s.Mirrors {
			m := &s.Mirrors[i]
			if serves := m.Enabled() && m.Drained(health.DNS) == nil; serves != enabled {
				continue
			}
			for _, e := range m.Endpoints {
				gone[e.Address.Unmap()] = !enabled
			}
			for _, addr := range m.DNS.Addresses {
				gone[addr.Unmap()] = !enabled
			}
		}
	}
	return gone
}

// without returns s without some addresses.
func (s set) without(gone map[netip.Addr]bool) set {
	kept := slices.DeleteFunc(slices.Clone(s.addrs), func(addr netip.Addr) bool { return gone[addr] })
	return set{kept, s.ttl}
}

// known reports whether a mirror's addresses are known.
func known(m *dnspool.Mirror) bool {
	return slices.ContainsFunc(m.Endpoints, func(e health.Endpoint) bool { return e.Role == health.DNS })
}

// heaviest returns the n addresses of a group with most weight, sorted.
func heaviest(g *dnspool.DNSGroup, n int) []netip.Addr {
	order := make([]int, len(g.Addresses))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(g.Weights[b], g.Weights[a]), g.Addresses[a].Compare(g.Addresses[b]))
	})
	var chosen []netip.Addr
	for _, i := range order[:min(n, len(order))] {
		chosen = append(chosen, g.Addresses[i].Unmap())
	}
	slices.SortFunc(chosen, netip.Addr.Compare)
	return chosen
}

// absolute returns the full name of a configured one.
func absolute(name, zone string) string {
	if name == "@" {
		return zone
	}
	return name + "." + zone
}

// update is one message that makes all changes, or none: it is carried out only if each place still holds what was
// seen there (RFC 2136 section 2.4), so that of two writers the second has to look again.
func update(zone string, changes []change) *dns.Msg {
	m := new(dns.Msg).SetUpdate(zone)
	for _, c := range changes {
		if len(c.from.addrs) == 0 {
			m.RRsetNotUsed([]dns.RR{c.any()})
		} else {
			m.Used(c.records(c.from, 0))
		}
	}
	for _, c := range changes {
		m.RemoveRRset([]dns.RR{c.any()})
		m.Insert(c.records(c.to, c.to.ttl))
	}
	return m
}

// any is a record that stands for the whole set.
func (p place) any() dns.RR { return &dns.ANY{Hdr: dns.RR_Header{Name: p.name, Rrtype: p.rrtype()}} }

// records are the records of s at p.
func (p place) records(s set, ttl uint32) []dns.RR {
	rrs := make([]dns.RR, len(s.addrs))
	for i, addr := range s.addrs {
		header := dns.RR_Header{Name: p.name, Rrtype: p.rrtype(), Class: dns.ClassINET, Ttl: ttl}
		if p.family == dnspool.IPv4 {
			rrs[i] = &dns.A{Hdr: header, A: addr.AsSlice()}
		} else {
			rrs[i] = &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}
		}
	}
	return rrs
}

// script is the input for nsupdate that sends the same update.
func script(zone string, changes []change) string {
	var text strings.Builder
	fmt.Fprintf(&text, "zone %s\n", zone)
	for _, c := range changes {
		if len(c.from.addrs) == 0 {
			fmt.Fprintf(&text, "prereq nxrrset %v\n", c.place)
		}
		for _, addr := range c.from.addrs {
			fmt.Fprintf(&text, "prereq yxrrset %v %s\n", c.place, addr)
		}
	}
	for _, c := range changes {
		fmt.Fprintf(&text, "update delete %v\n", c.place)
		for _, addr := range c.to.addrs {
			fmt.Fprintf(&text, "update add %s %d %s %s\n", c.name, c.to.ttl, dns.TypeToString[c.rrtype()], addr)
		}
	}
	text.WriteString("send\n")
	return text.String()
}
