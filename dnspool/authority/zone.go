package authority

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/wire"
	"mirrorpool/health"
)

// TTLs of the zone's own records, and the timers of its SOA (RFC 1912 section 2.2).
const (
	apexTTL = 3600
	refresh = 3600
	retry   = 600
	expire  = 7 * 86400
)

// A zone is the whole answer to "what is at this name?": the configured names and one snapshot. Only its
// caches and counters change: another configuration or snapshot makes another zone.
type zone struct {
	origin   string    // lower case, ends in a dot
	ttl      uint32    // of named mirrors' addresses, seconds
	poolTTL  [2]uint32 // of the pool's addresses, by family
	maxSize  uint16    // of a UDP response, bytes
	nsid     string    // identifies this server (RFC 5001, RFC 4892); empty: off
	version  string    // of the software, as the operator words it; empty: off
	cookies  wire.CookieJar
	clients  []netip.Prefix                 // that may ask for the status; nil: this host
	rate     int                            // responses over UDP per second and network; 0: no limit
	limiter  *limiter                       // nil where rate is 0
	answers  [2]int                         // addresses in an answer by place, at most, by family; 0: none is by place
	geo      bool                           // answers go by place
	place    func(netip.Addr) dnspool.Place // nil unless DNS answers by place
	near     nearDecks
	pool     map[string]bool
	nodes    map[string]bool // all names that exist, empty non-terminals too
	named    map[string][]netip.Addr
	static   *StaticRecords // never nil
	caa      []config.CAA   // at the names that lead to mirrors
	snapshot *dnspool.Snapshot
	blind    bool             // no mirror's address is known: SERVFAIL, as an empty answer would be cached
	next     [2]atomic.Uint32 // the card that respond deals next, by family
	prepared *prepared
	signing  *signing     // nil: the zone is not signed
	signed   *zone        // answers where signatures count; nil: the zone is not to be signed, see lastsigned.go
	withheld *withholding // what signed must not answer with any more; nil: nothing
}

// newZone joins a configuration, the records of a zone file and a snapshot. Without a zone file, static is nil.
// start is where the dealing begins. The zone is not signed.
func newZone(c config.DNS, static *StaticRecords, s *dnspool.Snapshot, start [2]uint32) *zone {
	z := joinZone(c, static, s, start)
	z.prepared = prepare(z)
	return z
}

// newSignedZone is newZone, with what signer makes of it at the time of the snapshot.
func newSignedZone(
	c config.DNS, static *StaticRecords, s *dnspool.Snapshot, start [2]uint32, signer *dnssec.Signer,
) (*zone, error) {
	z := joinZone(c, static, s, start)
	if err := z.sign(signer, len(c.AllowTransfer) > 0); err != nil {
		return nil, err
	}
	z.signed = z
	z.prepared = prepare(z)
	return z, nil
}

// newUnsignableZone is newZone where the zone is to be signed and cannot be. signed is the last version that could be.
func newUnsignableZone(c config.DNS, static *StaticRecords, s *dnspool.Snapshot, start [2]uint32, signed *zone) *zone {
	z := joinZone(c, static, s, start)
	z.signed, z.withheld = signed, signed.withhold(s)
	z.prepared = prepare(z)
	return z
}

// joinZone is newZone without what is made from the records.
func joinZone(c config.DNS, static *StaticRecords, s *dnspool.Snapshot, start [2]uint32) *zone {
	if static == nil {
		static = defaultZone(c)
	}
	z := &zone{
		origin: c.Zone, ttl: uint32(c.TTL / time.Second), maxSize: uint16(c.UDPSize), nsid: c.NSID, version: c.Version,
		cookies: cookieJarOf(c), clients: c.StatusClients, rate: c.RateLimit, geo: c.Geo,
		near: nearDecks{decks: map[nearKey]*nearDeck{}},
		pool: map[string]bool{}, nodes: map[string]bool{c.Zone: true}, named: map[string][]netip.Addr{},
		static: static, caa: c.CAA, snapshot: s, blind: s.Blind(health.DNS),
	}
	for f := range z.poolTTL {
		group := s.DNS(dnspool.Family(f))
		z.poolTTL[f] = poolTTL(c, group.Settles)
		if z.answers[f] = c.MaxAnswers; c.DNSSEC != nil {
			z.answers[f] = nearSize(len(group.Addresses), c.MaxAnswers)
		}
	}
	for _, name := range poolNames(c) {
		z.pool[name] = true
		z.addNode(name)
	}
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		name := absolute(m.Name, z.origin)
		if m.Name == "" || z.pool[name] || static.sets[name] != nil {
			continue
		}
		z.named[name] = []netip.Addr{} // a disabled mirror is in no answer, not even by its name
		if m.Enabled() {
			z.named[name] = m.Addresses()
		}
		z.addNode(name)
	}
	for f := range z.next {
		z.next[f].Store(start[f])
	}
	return z
}

// defaultZone returns the records that a zone without a zone file has: what the configuration says of its apex.
func defaultZone(c config.DNS) *StaticRecords {
	ttl := uint32(c.TTL / time.Second)
	mname := "."
	if len(c.Nameservers) > 0 {
		mname = c.Nameservers[0]
	}
	s := &StaticRecords{origin: c.Zone, sets: map[string]map[uint16][]dns.RR{c.Zone: {}}, nodes: map[string]bool{c.Zone: true},
		soa: &dns.SOA{
			Hdr: header(c.Zone, dns.TypeSOA, apexTTL), Ns: mname, Mbox: c.Hostmaster,
			Refresh: refresh, Retry: retry, Expire: expire, Minttl: ttl,
		}}
	for _, name := range c.Nameservers {
		s.sets[c.Zone][dns.TypeNS] = append(s.sets[c.Zone][dns.TypeNS], &dns.NS{Hdr: header(c.Zone, dns.TypeNS, apexTTL), Ns: name})
	}
	return s
}

// cookieJarOf returns a jar with the secrets of a configuration, or with a random one if it has none.
func cookieJarOf(c config.DNS) wire.CookieJar {
	if len(c.CookieSecrets) == 0 {
		return wire.RandomCookieJar()
	}
	return wire.NewCookieJar(c.CookieSecrets)
}

// poolNames returns the pool's names, in full.
func poolNames(c config.DNS) []string {
	names := make([]string, len(c.Names))
	for i, name := range c.Names {
		names[i] = absolute(name, c.Zone)
	}
	return names
}

// poolTTL is the TTL of the pool's addresses, in seconds. While one of them is in doubt it is no longer than the
// time in which that is settled.
func poolTTL(c config.DNS, settles time.Duration) uint32 {
	ttl := c.TTL
	if settles > 0 {
		ttl = min(ttl, max(c.TTLMin, settles.Round(time.Second)))
	}
	return uint32(ttl / time.Second)
}

// randomStart returns where the dealing of a new snapshot begins: servers of one pool, and one server after
// many changes, must not all begin with the same card.
func randomStart() [2]uint32 { return [2]uint32{rand.Uint32(), rand.Uint32()} }

// absolute returns the full name of a configured one.
func absolute(name, origin string) string {
	switch {
	case name == "@":
		return origin
	case strings.HasSuffix(name, "."):
		return name
	default:
		return name + "." + origin
	}
}

// addNode notes that name exists, and with it all names between it and the apex (RFC 4592 section 2.2.2).
func (z *zone) addNode(name string) {
	for ; name != z.origin && name != ""; name = parent(name) {
		z.nodes[name] = true
	}
}

// canonicalName returns a name in lower case, with each character spelled as miekg/dns spells it when it reads a
// message. A zone file may spell a character in several ways, such as `\032` and `\ `.
func canonicalName(name string) string {
	packed := make([]byte, wire.MaxNameSize)
	end, err := dns.PackDomainName(dns.Fqdn(name), packed, 0, nil, false)
	if err != nil {
		return dns.CanonicalName(name)
	}
	if spelled, _, err := dns.UnpackDomainName(packed[:end], 0); err == nil {
		name = spelled
	}
	return dns.CanonicalName(name)
}

// parent returns name without its first label, or "" for the root.
func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return ""
	}
	return name[next:]
}

// contains reports whether a name in lower case is in the zone.
func (z *zone) contains(name string) bool { return dns.IsSubDomain(z.origin, name) }

// exists reports whether there is a node at name.
func (z *zone) exists(name string) bool { return z.nodes[name] || z.static.nodes[name] }

// find returns the name whose records answer for name, in lower case: itself if it exists, or else the
// wildcard that covers it (RFC 4592 section 3.3.1). ok is false if there is neither.
func (z *zone) find(name string) (source string, ok bool) {
	if z.exists(name) {
		return name, true
	}
	for encloser := parent(name); encloser != ""; encloser = parent(encloser) {
		if z.exists(encloser) {
			wildcard := "*." + encloser
			return wildcard, z.exists(wildcard)
		}
	}
	return "", false
}

// records returns the records of a type at source, a name that exists, with the given owner.
func (z *zone) records(source, owner string, qtype uint16, how question) []dns.RR {
	address := isAddress(qtype)
	switch {
	case qtype == dns.TypeSOA && source == z.origin:
		return []dns.RR{z.soa(z.static.soa.Hdr.Ttl)}
	case address && z.pool[source]:
		return z.poolRecords(owner, familyOf(qtype), how)
	case address && z.named[source] != nil:
		return z.addresses(owner, familyOf(qtype), z.named[source])
	case qtype == dns.TypeCAA && z.servesCAA(source):
		return z.caaRecords(owner)
	}
	if rrs := z.static.records(source, owner, qtype); len(rrs) > 0 || z.signing == nil {
		return rrs
	}
	return owned(z.signing.added[source][qtype], source, owner)
}

func isAddress(qtype uint16) bool { return qtype == dns.TypeA || qtype == dns.TypeAAAA }

// poolRecords returns the next card.
func (z *zone) poolRecords(owner string, family dnspool.Family, how question) []dns.RR {
	group := z.snapshot.DNS(family)
	if group.Deck.Len() == 0 {
		return nil
	}
	card := z.card(family, how)
	rrs := make([]dns.RR, len(card))
	for i, c := range card {
		rrs[i] = address(owner, group.Addresses[c], z.poolTTL[family])
	}
	return rrs
}

// card returns the next card for a client. There is one.
func (z *zone) card(family dnspool.Family, how question) []int32 {
	if how.withheld != nil {
		return how.withheld.card(z, family, how.place)
	}
	if card, ok := z.nearCard(family, how.place); ok {
		return card
	}
	return z.snapshot.DNS(family).Deck.Card(z.next[family].Add(1))
}

// addresses returns records for those of addrs that are of the family.
func (z *zone) addresses(owner string, family dnspool.Family, addrs []netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, addr := range addrs {
		if dnspool.FamilyOf(addr) == family {
			rrs = append(rrs, address(owner, addr, z.ttl))
		}
	}
	return rrs
}

func address(owner string, addr netip.Addr, ttl uint32) dns.RR {
	if dnspool.FamilyOf(addr) == dnspool.IPv4 {
		return &dns.A{Hdr: header(owner, dns.TypeA, ttl), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: addr.AsSlice()}
}

// negativeTTL is for how long it holds that something does not exist (RFC 2308 section 3).
func (z *zone) negativeTTL() uint32 { return min(z.static.soa.Hdr.Ttl, z.static.soa.Minttl) }

// soa returns the zone's SOA record, with the serial of the snapshot.
func (z *zone) soa(ttl uint32) dns.RR {
	soa := *z.static.soa
	soa.Hdr = header(z.origin, dns.TypeSOA, ttl)
	soa.Serial = z.snapshot.Serial
	return &soa
}

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func familyOf(qtype uint16) dnspool.Family {
	if qtype == dns.TypeAAAA {
		return dnspool.IPv6
	}
	return dnspool.IPv4
}
