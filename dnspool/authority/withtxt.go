package authority

import (
	"maps"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

// challengeTTL is the TTL of records that are there for minutes, in seconds.
const challengeTTL = 1

// WithTXT returns the records of s, which may be nil, and TXT records: the answers to challenges of certificate
// authorities (RFC 8555 section 8.4), values by owner in lower case. s is not changed. Names that are not in the zone,
// or have a CNAME record, are passed over.
func (s *StaticRecords) WithTXT(c config.DNS, values map[string][]string) *StaticRecords {
	if len(values) == 0 {
		return s
	}
	if s == nil {
		s = defaultZone(c)
	}
	more := &StaticRecords{origin: s.origin, soa: s.soa, sets: maps.Clone(s.sets), nodes: maps.Clone(s.nodes),
		wire: maps.Clone(s.wire), cuts: s.cuts, sum: s.sum}
	if more.wire == nil {
		more.wire = map[string]bool{}
	}
	for owner, list := range values {
		if set, ok := more.sets[owner]; ok {
			more.sets[owner] = maps.Clone(set)
			more.sets[owner][dns.TypeTXT] = append([]dns.RR(nil), set[dns.TypeTXT]...)
		}
		for _, value := range list {
			rr := &dns.TXT{Hdr: header(owner, dns.TypeTXT, challengeTTL), Txt: []string{value}}
			_ = more.add(rr, poolNames(c))
		}
	}
	return more
}
