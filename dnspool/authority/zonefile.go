package authority

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

const (
	maxZoneBytes   = 32 << 20
	maxZoneRecords = 500_000
)

// StaticRecords are the records of the zone besides the pool's: those of the zone file (RFC 1035 section 5), or without
// one SOA and NS. They are not changed once made.
type StaticRecords struct {
	origin string
	soa    *dns.SOA
	sets   map[string]map[uint16][]dns.RR // by owner in lower case, then by type
	nodes  map[string]bool                // all names that exist, empty non-terminals too
	wire   map[string]bool                // nodes in wire format, less the apex
	cuts   map[string]bool                // names that are delegated
	sum    [sha256.Size]byte              // of the file

	sort    sync.Once // fills inOrder when it is first asked for
	inOrder transfer.Records
}

// Same reports whether s and other are of the same text. Either may be nil.
func (s *StaticRecords) Same(other *StaticRecords) bool {
	return s == other || s != nil && other != nil && s.sum == other.sum
}

// LoadZoneFile reads the zone file that c names; without one it returns nil.
//
// A record may be out of place for the reasons that RFC 1034 and 2181 give, or because the pool has that name;
// the error then begins with the file and the line, and the StaticRecords are nil.
func LoadZoneFile(c config.DNS) (*StaticRecords, error) {
	if c.ZoneFile == "" {
		return nil, nil
	}
	text, err := safefile.Read(c.ZoneFile, maxZoneBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the zone file: %w", err)
	}
	s, err := parseStatic(c.ZoneFile, text, c.Zone, poolNames(c))
	if err == nil && c.DNSSEC != nil {
		err = s.checkSignable(c.ZoneFile)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// maxSignedSets bounds the record sets of a zone file that is signed: all are signed before the first answer.
const maxSignedSets = 20_000

// checkSignable returns an error if s cannot be part of a zone that is signed.
func (s *StaticRecords) checkSignable(path string) error {
	sets := 0
	for name, byType := range s.sets {
		sets += len(byType)
		for _, rrtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD} {
			if len(byType[rrtype]) > 0 {
				return fmt.Errorf("%s: %s %s: is not served in a zone that dns.dnssec signs", path, name, dns.Type(rrtype))
			}
		}
	}
	if sets > maxSignedSets {
		return fmt.Errorf("%s: want at most %d record sets in a zone that dns.dnssec signs, got %d", path, maxSignedSets, sets)
	}
	return nil
}

// A lineCounter knows the line of what was last read from it.
type lineCounter struct {
	*bufio.Reader
	ends int // of lines, that were read
	last byte
}

// ReadByte reads the next byte.
func (c *lineCounter) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.last = b
		if b == '\n' {
			c.ends++
		}
	}
	return b, err
}

// line is the line that the last byte is on, from 1.
func (c *lineCounter) line() int {
	if c.last == '\n' {
		return c.ends
	}
	return c.ends + 1
}

func parseStatic(path string, text []byte, origin string, pool []string) (*StaticRecords, error) {
	s := &StaticRecords{origin: origin, sets: map[string]map[uint16][]dns.RR{}, nodes: map[string]bool{origin: true},
		wire: map[string]bool{}, cuts: map[string]bool{}, sum: sha256.Sum256(text)}
	lines := &lineCounter{Reader: bufio.NewReader(bytes.NewReader(text))}
	parser := dns.NewZoneParser(lines, origin, "")
	parser.SetDefaultTTL(apexTTL)
	records := 0
	scratch := make([]byte, dns.MaxMsgSize)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if records++; records > maxZoneRecords {
			return nil, fmt.Errorf("%s:%d: want at most %d records", path, lines.line(), maxZoneRecords)
		}
		err := checkPacks(rr, scratch)
		if err == nil {
			err = s.add(rr, pool)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s %s: %w", path, lines.line(), rr.Header().Name, dns.Type(rr.Header().Rrtype), err)
		}
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, lines.line(), err)
	}
	if err := s.check(pool); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// checkPacks makes sure that a record can be sent. The parser lets some pass that lack their data.
func checkPacks(rr dns.RR, scratch []byte) error {
	end, err := dns.PackRR(rr, scratch, 0, nil, false)
	if err != nil {
		return err
	}
	_, owner, err := dns.UnpackDomainName(scratch[:end], 0)
	if err != nil || end == owner+10 && !mayBeEmpty(rr) {
		return errors.New("has no data")
	}
	return nil
}

// mayBeEmpty reports whether a record is of a type whose data may have no bytes: a list that may be empty (RFC 3123),
// or one that anything goes for (RFC 1035 section 3.3.10, RFC 3597 section 5).
func mayBeEmpty(rr dns.RR) bool {
	switch rr.(type) {
	case *dns.APL, *dns.NULL, *dns.RFC3597:
		return true
	}
	return false
}

// notServed are types that need more than to be looked up, which this server does not do, and obsolete ones with which
// secondaries refuse a zone.
var notServed = []uint16{dns.TypeDNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY,
	dns.TypeMD, dns.TypeMF, dns.TypeSIG, dns.TypeNXT}

// add takes in one record.
func (s *StaticRecords) add(rr dns.RR, pool []string) error {
	h := rr.Header()
	h.Name = canonicalName(h.Name)
	name, rrtype := h.Name, h.Rrtype
	isPool := slices.Contains(pool, name)
	switch {
	case !dns.IsSubDomain(s.origin, name):
		return fmt.Errorf("is outside of the zone %s", s.origin)
	case h.Class != dns.ClassINET:
		return fmt.Errorf("want class IN, got %s", dns.ClassToString[h.Class])
	case slices.Contains(notServed, rrtype) || isMeta(rrtype):
		return errors.New("is of a type that is not served")
	case rrtype == dns.TypeDS && name == s.origin:
		return errors.New("belongs into the parent zone (RFC 4034 section 5)")
	case rrtype == dns.TypeSOA && name != s.origin:
		return fmt.Errorf("want the SOA record at %s", s.origin)
	case rrtype == dns.TypeSOA && s.soa != nil:
		return errors.New("is a second SOA record")
	case isPool && (rrtype == dns.TypeA || rrtype == dns.TypeAAAA || rrtype == dns.TypeCNAME):
		return errors.New("is the pool's: its addresses come from the mirrors")
	}
	if rrtype == dns.TypeSOA {
		s.soa = rr.(*dns.SOA)
		return nil
	}
	set := s.sets[name]
	if set == nil {
		set = map[uint16][]dns.RR{}
		s.sets[name] = set
	}
	if !slices.ContainsFunc(set[rrtype], func(old dns.RR) bool { return dns.IsDuplicate(old, rr) }) {
		set[rrtype] = append(set[rrtype], rr)
	}
	if len(set[dns.TypeCNAME]) > 0 && (len(set) > 1 || len(set[dns.TypeCNAME]) > 1) {
		return errors.New("stands beside a CNAME record, which has to be alone (RFC 2181 section 10.1)")
	}
	for _, old := range set[rrtype] { // RFC 2181 section 5.2
		h.Ttl = min(h.Ttl, old.Header().Ttl)
	}
	for _, old := range set[rrtype] {
		old.Header().Ttl = h.Ttl
	}
	if rrtype == dns.TypeNS && name != s.origin {
		s.cuts[name] = true
	}
	for ; !s.nodes[name]; name = parent(name) {
		s.nodes[name] = true
		s.wire[wire.Name(name)] = true
	}
	return nil
}

// check says what is wrong with the zone as a whole.
func (s *StaticRecords) check(pool []string) error {
	if s.soa == nil {
		return fmt.Errorf("want an SOA record at %s", s.origin)
	}
	if len(s.sets[s.origin][dns.TypeNS]) == 0 {
		return fmt.Errorf("want NS records at %s", s.origin)
	}
	for _, name := range pool {
		if cut := s.cut(name); cut != "" {
			return fmt.Errorf("%s NS: delegates the pool's name %s away", cut, name)
		}
	}
	for name, set := range s.sets {
		cut := s.cut(name)
		for rrtype, rrs := range set {
			if cut != "" && !(name == cut && (rrtype == dns.TypeNS || rrtype == dns.TypeDS)) && rrtype != dns.TypeA &&
				rrtype != dns.TypeAAAA {
				return fmt.Errorf("%s %s: is below the delegation of %s; only addresses may be, as glue", name, dns.Type(rrtype), cut)
			}
			if rrtype != dns.TypeNS {
				continue
			}
			for _, rr := range rrs {
				target := canonicalName(rr.(*dns.NS).Ns)
				if dns.IsSubDomain(s.origin, target) && len(s.addresses(target)) == 0 {
					return fmt.Errorf("%s NS %s: want A or AAAA records at %s, which is in the zone", name, target, target)
				}
			}
		}
	}
	return nil
}

// cut returns the delegation that name is at or below, the one nearest to the apex, or "".
func (s *StaticRecords) cut(name string) (cut string) {
	if len(s.cuts) == 0 {
		return ""
	}
	for ; name != s.origin && name != ""; name = parent(name) {
		if s.cuts[name] {
			cut = name
		}
	}
	return cut
}

// LongestTTL is the longest TTL in the zone that a configuration and a zone file make; static is nil without one.
func LongestTTL(c config.DNS, static *StaticRecords) time.Duration {
	longest := max(c.TTL, apexTTL*time.Second)
	if static == nil {
		return longest
	}
	longest = max(longest, time.Duration(static.soa.Hdr.Ttl)*time.Second)
	for _, byType := range static.sets {
		for _, set := range byType {
			longest = max(longest, time.Duration(set[0].Header().Ttl)*time.Second)
		}
	}
	return longest
}

// Nameservers are those of the zone that a configuration and a zone file make; static is nil without one.
func Nameservers(c config.DNS, static *StaticRecords) (names []string) {
	if static == nil {
		return c.Nameservers
	}
	for _, rr := range static.sets[static.origin][dns.TypeNS] {
		if ns, ok := rr.(*dns.NS); ok {
			names = append(names, dns.CanonicalName(ns.Ns))
		}
	}
	return names
}

// records returns the records of a type at source, with the given owner.
func (s *StaticRecords) records(source, owner string, rrtype uint16) []dns.RR {
	return owned(s.sets[source][rrtype], source, owner)
}

// owned returns records of source with the given owner.
func owned(rrs []dns.RR, source, owner string) []dns.RR {
	if source == owner {
		return rrs
	}
	synthesised := make([]dns.RR, len(rrs)) // from a wildcard
	for i, rr := range rrs {
		synthesised[i] = dns.Copy(rr)
		synthesised[i].Header().Name = owner
	}
	return synthesised
}

// addresses returns the address records at name.
func (s *StaticRecords) addresses(name string) []dns.RR {
	return slices.Concat(s.sets[name][dns.TypeA], s.sets[name][dns.TypeAAAA])
}
