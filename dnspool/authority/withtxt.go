package authority

import (
	"maps"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/wire"
)

// challengeTTL is the TTL of records that are there for minutes, in seconds.
const challengeTTL = 1

// WithTXT returns the records of s, which may be nil, and TXT records: the answers to challenges of certificate
// authorities (RFC 8555 section 8.4), values by owner in lower case. s is not changed. Names that are not in the zone,
// or have a CNAME record, are passed over. So are those of hosts that exist by a wildcard alone: the record would take
// the wildcard's answers from them (RFC 4592 section 2.2.1).
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
		if dns.IsSubDomain(s.origin, owner) && len(s.sets[owner][dns.TypeCNAME]) == 0 && !s.wild(parent(owner), poolNames(c)) {
			more.addTXT(owner, list)
		}
	}
	return more
}

// addTXT adds TXT records. Sets and records that are there already, which others may read, are not changed.
func (s *StaticRecords) addTXT(owner string, values []string) {
	set := maps.Clone(s.sets[owner])
	if set == nil {
		set = map[uint16][]dns.RR{}
	}
	s.sets[owner] = set
	ttl := uint32(challengeTTL)
	if beside := set[dns.TypeTXT]; len(beside) > 0 {
		ttl = beside[0].Header().Ttl // RFC 2181 section 5.2
	}
	set[dns.TypeTXT] = slices.Clip(set[dns.TypeTXT])
	for _, value := range values {
		set[dns.TypeTXT] = append(set[dns.TypeTXT], &dns.TXT{Hdr: header(owner, dns.TypeTXT, ttl), Txt: []string{value}})
	}
	for name := owner; !s.nodes[name]; name = parent(name) {
		s.nodes[name] = true
		s.wire[wire.Name(name)] = true
	}
}

// wild reports whether a name exists by a wildcard alone, of s or among the pool's names.
func (s *StaticRecords) wild(name string, pool []string) bool {
	exists := func(name string) bool {
		return s.nodes[name] || slices.ContainsFunc(pool, func(of string) bool { return dns.IsSubDomain(name, of) })
	}
	if exists(name) {
		return false
	}
	for name != "" && !exists(name) {
		name = parent(name)
	}
	return exists("*." + name)
}
