package authority

import (
	"bytes"
	"cmp"
	"crypto/sha512"
	"encoding/hex"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/wire"
)

// signDigest adds the digest of the zone as it is transferred (ZONEMD, RFC 8976), with its signature. All other
// signatures have been made.
func (z *zone) signDigest(pass *dnssec.Pass) error {
	soa := z.soa(z.static.soa.Hdr.Ttl)
	rr := &dns.ZONEMD{
		Hdr: header(z.origin, dns.TypeZONEMD, soa.Header().Ttl), Serial: z.snapshot.Serial, Scheme: dns.ZoneMDSchemeSimple,
		Hash: dns.ZoneMDHashAlgSHA384, Digest: digestOf(slices.Concat([]dns.RR{soa}, z.static.all(), z.mirrorRecords(), z.signing.records())),
	}
	z.signing.add(rr)
	z.signing.sets[setKey{z.origin, dns.TypeZONEMD}] = pass.Add([]dns.RR{rr})
	var err error
	z.signing.expires, err = pass.End()
	return err
}

// A canonicalRecord is a record in canonical form (RFC 4034 section 6.2), with what it is sorted by.
type canonicalRecord struct {
	owner  string // a sort key
	rrtype uint16
	data   []byte
	wire   []byte
}

// digestOf returns the digest of a zone by the scheme SIMPLE with SHA-384, in hexadecimal.
func digestOf(rrs []dns.RR) string {
	records := make([]canonicalRecord, 0, len(rrs))
	owners := map[string]string{}
	for _, rr := range rrs {
		name := rr.Header().Name
		if owners[name] == "" {
			owners[name] = string(dnssec.AppendSortKey(nil, []byte(wire.Name(name))))
		}
		packed := make([]byte, dns.Len(rr)+1)
		if end, err := dns.PackRR(canonicalForm(rr), packed, 0, nil, false); err == nil { // the zone has no other
			const fixed = 2 + 2 + 4 + 2 // type, class, TTL, length of the data
			data := packed[len(wire.Name(name))+fixed : end]
			records = append(records, canonicalRecord{owners[name], rr.Header().Rrtype, data, packed[:end]})
		}
	}
	slices.SortFunc(records, func(a, b canonicalRecord) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.rrtype, b.rrtype), bytes.Compare(a.data, b.data))
	})
	hash := sha512.New384()
	for i, r := range records {
		if i == 0 || !bytes.Equal(r.wire, records[i-1].wire) {
			hash.Write(r.wire)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// canonicalForm returns a record with the names in its data in lower case, where that is canonical (RFC 4034 section
// 6.2, RFC 6840 section 5.1). Owners are in lower case anyway.
func canonicalForm(rr dns.RR) dns.RR {
	rr = dns.Copy(rr)
	names := func(list ...*string) {
		for _, name := range list {
			*name = dns.CanonicalName(*name)
		}
	}
	switch rr := rr.(type) {
	case *dns.NS:
		names(&rr.Ns)
	case *dns.CNAME:
		names(&rr.Target)
	case *dns.SOA:
		names(&rr.Ns, &rr.Mbox)
	case *dns.MB:
		names(&rr.Mb)
	case *dns.MG:
		names(&rr.Mg)
	case *dns.MR:
		names(&rr.Mr)
	case *dns.PTR:
		names(&rr.Ptr)
	case *dns.MINFO:
		names(&rr.Rmail, &rr.Email)
	case *dns.MX:
		names(&rr.Mx)
	case *dns.RP:
		names(&rr.Mbox, &rr.Txt)
	case *dns.AFSDB:
		names(&rr.Hostname)
	case *dns.RT:
		names(&rr.Host)
	case *dns.PX:
		names(&rr.Map822, &rr.Mapx400)
	case *dns.NAPTR:
		names(&rr.Replacement)
	case *dns.KX:
		names(&rr.Exchanger)
	case *dns.SRV:
		names(&rr.Target)
	}
	return rr
}
