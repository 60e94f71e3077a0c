package authority

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
)

// A signing is what a zone has besides its records once it is signed.
type signing struct {
	added   map[string]map[uint16][]dns.RR // by owner and type: keys, NSEC, and what makes a name without records exist
	chain   *dnssec.Chain
	types   map[string][]uint16           // of the records at each name of the chain
	sets    map[setKey]*dnssec.Signatures // of all sets but those below
	dealt   map[setKey]*dealtSets         // at the pool's names
	whole   map[setKey]*dnssec.Signatures // at the pool's names, of the sets that transfers have
	expires time.Time                     // the first signature
}

type setKey struct {
	owner  string
	rrtype uint16
}

// holds reports whether no signature has expired at a time.
func (s *signing) holds(now time.Time) bool { return now.Before(s.expires) }

// noAddress is the record at the name of a mirror that has no address: a name without any record cannot be told from
// one that does not exist (RFC 4035 section 2.3).
const noAddress = "no address"

// sign makes the signatures of all sets of z. transferred says that other servers serve it, too.
func (z *zone) sign(signer *dnssec.Signer, transferred bool) error {
	pass, err := signer.Begin(z.snapshot.Built)
	if err != nil {
		return err
	}
	s := &signing{
		added: map[string]map[uint16][]dns.RR{z.origin: pass.KeyRecords()}, types: map[string][]uint16{},
		sets: map[setKey]*dnssec.Signatures{}, dealt: map[setKey]*dealtSets{}, whole: map[setKey]*dnssec.Signatures{},
	}
	z.signing = s
	for key, set := range z.fixedSets() {
		s.types[key.owner] = append(s.types[key.owner], key.rrtype)
		if key.rrtype != dns.TypeNS || key.owner == z.origin { // that of a delegation is the child's
			s.sets[key] = pass.Add(set)
		}
	}
	z.signPool(pass)
	z.fillNames(pass)
	if transferred {
		s.types[z.origin] = append(s.types[z.origin], dns.TypeZONEMD)
	}
	s.chain = dnssec.NewChain(s.types, z.negativeTTL())
	for i := range s.chain.Len() {
		rr := s.chain.Record(i)
		s.add(rr)
		s.sets[setKey{rr.Hdr.Name, dns.TypeNSEC}] = pass.Add([]dns.RR{rr})
	}
	if s.expires, err = pass.End(); err != nil || !transferred {
		return err
	}
	return z.signDigest(pass)
}

// add adds a record that makes up a set by itself.
func (s *signing) add(rr dns.RR) {
	h := rr.Header()
	if s.added[h.Name] == nil {
		s.added[h.Name] = map[uint16][]dns.RR{}
	}
	s.added[h.Name][h.Rrtype] = []dns.RR{rr}
}

// fixedSets are the sets of the zone that are the same in every answer, and the NS sets of delegations: all that the
// zone has authority for or points away with (RFC 4035 section 2.3), but for the pool's addresses and NSEC.
func (z *zone) fixedSets() map[setKey][]dns.RR {
	sets := map[setKey][]dns.RR{{z.origin, dns.TypeSOA}: {z.soa(z.static.soa.Hdr.Ttl)}}
	for owner, byType := range z.static.sets {
		cut := z.static.cut(owner)
		for rrtype, set := range byType {
			if cut == "" || cut == owner && (rrtype == dns.TypeNS || rrtype == dns.TypeDS) {
				sets[setKey{owner, rrtype}] = set
			}
		}
	}
	for owner, byType := range z.signing.added {
		for rrtype, set := range byType {
			sets[setKey{owner, rrtype}] = set
		}
	}
	for owner := range z.nodes {
		if z.servesCAA(owner) && z.static.cut(owner) == "" {
			sets[setKey{owner, dns.TypeCAA}] = z.caaRecords(owner)
		}
	}
	for owner, addrs := range z.named {
		if z.static.cut(owner) != "" {
			continue // it is the child's
		}
		for _, qtype := range addressTypes {
			if set := z.addresses(owner, familyOf(qtype), addrs); len(set) > 0 {
				sets[setKey{owner, qtype}] = set
			}
		}
	}
	return sets
}

// signPool adds each set of addresses that is dealt at one of the pool's names, once, and the set of all of them.
func (z *zone) signPool(pass *dnssec.Pass) {
	for _, qtype := range addressTypes {
		group := z.snapshot.DNS(familyOf(qtype))
		cards := newCardSets(group)
		if z.geo {
			cards.addAll(len(group.Addresses), z.answers[familyOf(qtype)])
		}
		for owner := range z.pool {
			key := setKey{owner, qtype}
			if z.blind || len(cards.sets) > 0 { // while no address is known, none must be denied
				z.signing.types[owner] = append(z.signing.types[owner], qtype)
			}
			if len(cards.sets) == 0 {
				continue
			}
			all := addressSet(owner, group.Addresses, z.ttl)
			dealt := &dealtSets{cards, make([]*dnssec.Signatures, len(cards.sets))}
			for i, card := range cards.sets {
				set := make([]dns.RR, len(card))
				for k, c := range card {
					set[k] = all[c]
				}
				dealt.signatures[i] = pass.Add(set)
			}
			z.signing.dealt[key] = dealt
			z.signing.whole[key] = pass.Add(all)
		}
	}
}

// fillNames gives a record to each name of the pool and of a mirror that has none.
func (z *zone) fillNames(pass *dnssec.Pass) {
	fill := func(owner string) {
		if len(z.signing.types[owner]) > 0 || z.static.cut(owner) != "" {
			return
		}
		rr := &dns.TXT{Hdr: header(owner, dns.TypeTXT, z.ttl), Txt: []string{noAddress}}
		z.signing.add(rr)
		z.signing.types[owner] = []uint16{dns.TypeTXT}
		z.signing.sets[setKey{owner, dns.TypeTXT}] = pass.Add([]dns.RR{rr})
	}
	for owner := range z.named {
		fill(owner)
	}
	for owner := range z.pool {
		fill(owner)
	}
}

func addressSet(owner string, addrs []netip.Addr, ttl uint32) []dns.RR {
	set := make([]dns.RR, len(addrs))
	for i, addr := range addrs {
		set[i] = address(owner, addr, ttl)
	}
	return set
}

// signaturesOf returns the signatures of a set of source, or nil.
func (z *zone) signaturesOf(source string, set []dns.RR) *dnssec.Signatures {
	key := setKey{source, set[0].Header().Rrtype}
	dealt := z.signing.dealt[key]
	if dealt == nil {
		return z.signing.sets[key]
	}
	all := z.snapshot.DNS(familyOf(key.rrtype)).Addresses
	card := make([]int32, len(set))
	for i, rr := range set {
		card[i] = int32(slices.Index(all, addressOf(rr)))
	}
	return dealt.of(card)
}

// addressOf returns the address in a record.
func addressOf(rr dns.RR) (addr netip.Addr) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ = netip.AddrFromSlice(rr.A)
		addr = addr.Unmap()
	case *dns.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return addr
}

// signatures returns the signatures of a set of source, with the owner and the TTL that the set has in an answer.
func (z *zone) signatures(source string, set []dns.RR) []dns.RR {
	signatures := z.signaturesOf(source, set)
	if signatures == nil {
		return nil
	}
	rrs := make([]dns.RR, len(signatures.Records))
	for i, signature := range signatures.Records {
		rr := *signature
		rr.Hdr.Name, rr.Hdr.Ttl = set[0].Header().Name, set[0].Header().Ttl
		rrs[i] = &rr
	}
	return rrs
}

// anySet returns one of the sets at a name, which is an answer to a query for all (RFC 8482 section 4.1).
func (z *zone) anySet(source, owner string, how question) []dns.RR {
	types := slices.Clone(z.signing.types[source])
	slices.Sort(types)
	for _, qtype := range types {
		if rrs := z.records(source, owner, qtype, how); len(rrs) > 0 {
			return rrs
		}
	}
	return nil
}

// someSignatures answers a query for signatures as one for all is answered: with those of one set.
func (z *zone) someSignatures(source, owner string) []dns.RR {
	if nsec := z.signing.added[source][dns.TypeNSEC]; len(nsec) > 0 {
		return z.signatures(source, owned(nsec, source, owner))
	}
	return nil
}
