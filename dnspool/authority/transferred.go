package authority

import (
	"net/netip"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/transfer"
)

// toTransfer is the version of the zone as a transfer gives it.
func (z *zone) toTransfer() transfer.Version {
	v := transfer.Version{SOA: z.soa(z.static.soa.Hdr.Ttl).(*dns.SOA), Records: z.transferred, Expires: z.expiry()}
	if z.signing == nil { // each server's signatures are its own
		v.Content = z.snapshot.Content
	}
	if agreement := z.snapshot.Agreement; agreement != nil {
		v.Others = make(map[string]transfer.ZoneVersion, len(agreement.Versions))
		for name, other := range agreement.Versions {
			v.Others[name] = transfer.ZoneVersion(other)
		}
	}
	return v
}

// transferred returns the records that a transfer gives, without the SOA: those of the zone file, at the pool's names
// all addresses that are eligible, as many as there are, and at a mirror's name its own. Records have no weights.
// Their TTL is the configured one even while a verdict is in doubt, which is not worth a serial.
func (z *zone) transferred() transfer.Records {
	records := transfer.Merge(z.static.sorted(), transfer.Sort(z.mirrorRecords()))
	if z.signing != nil {
		records = transfer.Merge(records, transfer.Sort(z.signing.records()))
	}
	return records
}

// records returns what signing adds to a zone that is transferred: a set of the pool is one there, and has one
// signature.
func (s *signing) records() (rrs []dns.RR) {
	for _, sets := range s.added {
		for _, set := range sets {
			rrs = append(rrs, set...)
		}
	}
	for _, signed := range []map[setKey]*dnssec.Signatures{s.sets, s.whole} {
		for _, signatures := range signed {
			for _, signature := range signatures.Records {
				rrs = append(rrs, signature)
			}
		}
	}
	return rrs
}

// mirrorRecords returns the records that come from the mirrors.
func (z *zone) mirrorRecords() []dns.RR {
	rrs := z.allCAA()
	for name := range z.pool {
		for _, family := range [...]dnspool.Family{dnspool.IPv4, dnspool.IPv6} {
			rrs = append(rrs, z.addresses(name, family, z.snapshot.DNS(family).Addresses)...)
		}
	}
	for name, addrs := range z.named {
		for _, family := range [...]dnspool.Family{dnspool.IPv4, dnspool.IPv6} {
			rrs = append(rrs, z.addresses(name, family, unmapped(addrs))...)
		}
	}
	return rrs
}

// unmapped returns addrs with IPv4-mapped IPv6 addresses as IPv4, so that each is there once.
func unmapped(addrs []netip.Addr) []netip.Addr {
	plain := make([]netip.Addr, len(addrs))
	for i, addr := range addrs {
		plain[i] = addr.Unmap()
	}
	return plain
}

// sorted returns all records of s but the SOA, as transfers have them.
func (s *StaticRecords) sorted() transfer.Records {
	s.sort.Do(func() { s.inOrder = transfer.Sort(s.all()) })
	return s.inOrder
}

func (s *StaticRecords) all() []dns.RR {
	var rrs []dns.RR
	for _, sets := range s.sets {
		for _, set := range sets {
			rrs = append(rrs, set...)
		}
	}
	return rrs
}
