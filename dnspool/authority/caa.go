package authority

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

// servesCAA reports whether the configured CAA records stand at a name: at those whose addresses are mirrors', where
// the zone file has none. A mirror's server answers there, and so its operator could prove to a certificate authority
// that the name is theirs. That holds for a mirror's own name, too: a certificate below our domain may set its cookies.
func (z *zone) servesCAA(name string) bool {
	return len(z.caa) > 0 && (z.pool[name] || z.named[name] != nil) && len(z.static.sets[name][dns.TypeCAA]) == 0
}

// caaRecords returns the configured CAA records.
func (z *zone) caaRecords(owner string) []dns.RR {
	rrs := make([]dns.RR, len(z.caa))
	for i, caa := range z.caa {
		rrs[i] = &dns.CAA{Hdr: header(owner, dns.TypeCAA, apexTTL), Flag: caa.Flags, Tag: caa.Tag, Value: caa.Value}
	}
	return rrs
}

// allCAA returns the configured CAA records at all names that have them.
func (z *zone) allCAA() (rrs []dns.RR) {
	for name := range z.nodes {
		if z.servesCAA(name) {
			rrs = append(rrs, z.caaRecords(name)...)
		}
	}
	return rrs
}

// NameWithoutCAA returns the first of the pool's names for which the operator of any mirror can get a certificate,
// because the zone has no CAA record that forbids it (RFC 8659 section 3), or "". zoneFile is nil without one.
func NameWithoutCAA(c config.DNS, zoneFile *StaticRecords) string {
	for _, name := range poolNames(c) {
		if !config.CAAKeepsMirrorsOut(RelevantCAA(c, zoneFile, name)) {
			return name
		}
	}
	return ""
}

// MirrorWithoutCAA is NameWithoutCAA for the names that mirrors have in the zone, as in the list of mirrors. There the
// mirror's own operator can get a certificate.
func MirrorWithoutCAA(c config.DNS, zoneFile *StaticRecords, mirrors []string) string {
	pool := poolNames(c)
	for _, mirror := range mirrors {
		name := absolute(mirror, c.Zone)
		if mirror == "" || zoneFile != nil && zoneFile.sets[name] != nil { // the zone file says what is there
			continue
		}
		if !config.CAAKeepsMirrorsOut(relevantCAA(c, zoneFile, append(slices.Clip(pool), name), name)) {
			return name
		}
	}
	return ""
}

// RelevantCAA returns the CAA records that hold for a name in the zone, in lower case: its own, or those of the nearest
// name above it that has some (RFC 8659 section 3). Above the zone there may be others. zoneFile is nil without one.
func RelevantCAA(c config.DNS, zoneFile *StaticRecords, name string) []config.CAA {
	return relevantCAA(c, zoneFile, poolNames(c), name)
}

// relevantCAA is RelevantCAA where the names in pool lead to mirrors.
func relevantCAA(c config.DNS, zoneFile *StaticRecords, pool []string, name string) (list []config.CAA) {
	if zoneFile == nil {
		zoneFile = defaultZone(c)
	}
	for at := name; at != "" && dns.IsSubDomain(c.Zone, at); at = parent(at) {
		source := zoneFile.source(at, pool)
		for _, rr := range zoneFile.sets[source][dns.TypeCAA] {
			caa := rr.(*dns.CAA)
			list = append(list, config.CAA{Flags: caa.Flag, Tag: strings.ToLower(caa.Tag), Value: caa.Value})
		}
		if len(list) == 0 && slices.Contains(pool, source) {
			list = c.CAA
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}
