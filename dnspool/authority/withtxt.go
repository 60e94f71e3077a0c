package authority

import (
	"fmt"
	"maps"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/wire"
)

// challengeTTL is the TTL of records that are there for minutes, in seconds.
const challengeTTL = 1

// CheckTXT returns why the zone cannot have a TXT record at a name in lower case, and what to do instead, or nil.
func (s *StaticRecords) CheckTXT(c config.DNS, owner string) error {
	if s == nil {
		s = defaultZone(c)
	}
	cut := s.cut(owner)
	switch {
	case !dns.IsSubDomain(s.origin, owner):
		return fmt.Errorf("cannot add a TXT record at %s, which is not in the zone %s: "+
			"publish the zone that has the name, or use another challenge", owner, s.origin)
	case cut != "":
		return fmt.Errorf("cannot add a TXT record at %s: %s is delegated to other servers; "+
			"publish to one of them, or use another challenge", owner, cut)
	case len(s.sets[owner][dns.TypeCNAME]) > 0:
		return fmt.Errorf("cannot add a TXT record at %s, which has a CNAME record: "+
			"remove that from the zone file, or use another challenge", owner)
	case s.existsByWildcard(parent(owner), poolNames(c)):
		return fmt.Errorf("cannot add a TXT record at %s: %s exists by a wildcard, and would lose the wildcard's answers "+
			"(RFC 4592 section 2.2.1); give it records of its own, or use another challenge", owner, parent(owner))
	}
	return nil
}

// WithTXT returns the records of s, which may be nil, and TXT records: the answers to challenges of certificate
// authorities (RFC 8555 section 8.4), values by owner in lower case. s is not changed. Names that
// [StaticRecords.CheckTXT] refuses are passed over.
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
		if s.CheckTXT(c, owner) == nil {
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

// existsByWildcard reports whether a name has no records of its own, but those of a wildcard.
func (s *StaticRecords) existsByWildcard(name string, pool []string) bool {
	source := s.source(name, pool)
	return source != "" && source != name
}

// source returns the name whose records answer for a name: itself if it exists in s or among the pool's names, or else
// the wildcard that covers it; "" if there is none.
func (s *StaticRecords) source(name string, pool []string) string {
	exists := func(name string) bool {
		return s.nodes[name] || slices.ContainsFunc(pool, func(of string) bool { return dns.IsSubDomain(name, of) })
	}
	if exists(name) {
		return name
	}
	for name != "" && !exists(name) {
		name = parent(name)
	}
	if wildcard := "*." + name; exists(wildcard) {
		return wildcard
	}
	return ""
}
