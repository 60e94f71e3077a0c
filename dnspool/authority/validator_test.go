package authority

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
)

// A validator checks responses as a resolver does that trusts the zone's DS records (RFC 4035 section 5).
type validator struct {
	zone string
	keys []*dns.DNSKEY
	now  time.Time
	good map[string]bool // sets with their signatures, once verified
}

// newValidator reads the keys from a response, and believes them if a DS record names one that has signed them.
func newValidator(zone string, trusted []*dns.DS, resp *dns.Msg, now time.Time) (*validator, error) {
	v := &validator{zone: zone, now: now, good: map[string]bool{}}
	for _, rr := range resp.Answer {
		if key, ok := rr.(*dns.DNSKEY); ok {
			for _, ds := range trusted {
				if same := key.ToDS(ds.DigestType); same != nil && same.KeyTag == ds.KeyTag && same.Digest == ds.Digest {
					v.keys = append(v.keys, key)
				}
			}
		}
	}
	if err := v.trusted(resp.Answer); err != nil {
		return nil, err
	}
	v.keys = nil
	for _, rr := range resp.Answer {
		if key, ok := rr.(*dns.DNSKEY); ok {
			v.keys = append(v.keys, key)
		}
	}
	return v, nil
}

// trusted checks that one of the keys that DS records name has signed the DNSKEY set.
func (v *validator) trusted(answer []dns.RR) error {
	var set []dns.RR
	var signatures []*dns.RRSIG
	for _, rr := range answer {
		if s, ok := rr.(*dns.RRSIG); ok {
			signatures = append(signatures, s)
			continue
		}
		set = append(set, rr)
	}
	for _, s := range signatures {
		if v.set(set, []*dns.RRSIG{s}) == nil {
			return nil
		}
	}
	return fmt.Errorf("no key that the parent names has signed the keys: %v", answer)
}

// sets checks that each set of a section has a good signature. unsigned says which need none. It returns an error too
// if there is a signature of nothing.
func (v *validator) sets(section []dns.RR, unsigned func(dns.RR) bool) error {
	sets := map[setKey][]dns.RR{}
	signatures := map[setKey][]*dns.RRSIG{}
	for _, rr := range section {
		h := rr.Header()
		if s, ok := rr.(*dns.RRSIG); ok {
			key := setKey{h.Name, s.TypeCovered}
			signatures[key] = append(signatures[key], s)
			continue
		}
		key := setKey{h.Name, h.Rrtype}
		sets[key] = append(sets[key], rr)
	}
	for key, set := range sets {
		if unsigned != nil && unsigned(set[0]) {
			continue
		}
		if err := v.set(set, signatures[key]); err != nil {
			return fmt.Errorf("%s %s: %w", key.owner, dns.Type(key.rrtype), err)
		}
	}
	for key := range signatures {
		if sets[key] == nil {
			return fmt.Errorf("%s %s: a signature without what it covers", key.owner, dns.Type(key.rrtype))
		}
	}
	return nil
}

// set checks the signatures of a set: all of keys that are known must be good, and there must be one.
func (v *validator) set(set []dns.RR, signatures []*dns.RRSIG) error {
	if len(signatures) == 0 {
		return errors.New("no signature")
	}
	known := func(s *dns.RRSIG) bool {
		return slices.ContainsFunc(v.keys, func(k *dns.DNSKEY) bool { return k.KeyTag() == s.KeyTag && k.Algorithm == s.Algorithm })
	}
	if !slices.ContainsFunc(signatures, known) {
		return fmt.Errorf("no signature by a key that is known: %v", signatures)
	}
	for _, s := range signatures {
		if !known(s) {
			continue // RFC 4035 section 5.3.3: another one may do
		}
		if !s.ValidityPeriod(v.now) {
			return fmt.Errorf("a signature from %d to %d", s.Inception, s.Expiration)
		}
		if s.Hdr.Ttl != set[0].Header().Ttl || set[0].Header().Ttl > s.OrigTtl {
			return fmt.Errorf("TTL %d, of the signature %d, originally %d", set[0].Header().Ttl, s.Hdr.Ttl, s.OrigTtl)
		}
		text := fmt.Sprint(s, set)
		v.good[text] = v.good[text] || slices.ContainsFunc(v.keys, func(k *dns.DNSKEY) bool {
			return k.KeyTag() == s.KeyTag && k.Algorithm == s.Algorithm && s.SignerName == v.zone && s.Verify(k, set) == nil
		})
		if !v.good[text] {
			return fmt.Errorf("a bad signature: %v", s)
		}
	}
	return nil
}

// check checks a whole response to a question with DO.
func (v *validator) check(q dns.Question, resp *dns.Msg) error {
	name := dns.CanonicalName(q.Name)
	if err := v.sets(resp.Answer, nil); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	referral := !hasType(resp.Ns, dns.TypeSOA) && hasType(resp.Ns, dns.TypeNS)
	if err := v.sets(resp.Ns, func(rr dns.RR) bool { return referral && rr.Header().Rrtype == dns.TypeNS }); err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	var proofs []*dns.NSEC
	for _, rr := range resp.Ns {
		if nsec, ok := rr.(*dns.NSEC); ok {
			proofs = append(proofs, nsec)
		}
	}
	p := proof{v.zone, proofs}
	for range maxChain + 1 {
		signatures, cname := signaturesAt(resp.Answer, name)
		for _, s := range signatures {
			if labels := dns.CountLabel(name); int(s.Labels) < labels && !strings.HasPrefix(name, "*.") && !p.covers(name) {
				return fmt.Errorf("no proof that %s is the wildcard's", name)
			}
		}
		if cname == "" || q.Qtype == dns.TypeCNAME || q.Qtype == dns.TypeANY {
			if len(signatures) > 0 {
				return nil
			}
			break
		}
		name = dns.CanonicalName(cname)
		if !dns.IsSubDomain(v.zone, name) || slices.ContainsFunc(resp.Answer, func(rr dns.RR) bool {
			c, ok := rr.(*dns.CNAME)
			return ok && rr.Header().Name == name && c.Target != "" && len(resp.Ns) == 0
		}) {
			return nil // the target is another zone's, or the chain runs in a circle
		}
	}
	switch {
	case referral:
		return p.delegation(resp.Ns)
	case resp.Rcode == dns.RcodeNameError:
		return p.noName(name)
	case resp.Rcode == dns.RcodeSuccess:
		return p.noData(name, q.Qtype)
	default:
		return fmt.Errorf("unexpected %s", dns.RcodeToString[resp.Rcode])
	}
}

func hasType(rrs []dns.RR, rrtype uint16) bool {
	return slices.ContainsFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == rrtype })
}

// signaturesAt returns the signatures at a name, and the target of its CNAME record.
func signaturesAt(section []dns.RR, name string) (signatures []*dns.RRSIG, target string) {
	for _, rr := range section {
		if dns.CanonicalName(rr.Header().Name) != name {
			continue
		}
		switch rr := rr.(type) {
		case *dns.RRSIG:
			signatures = append(signatures, rr)
		case *dns.CNAME:
			target = rr.Target
		}
	}
	return signatures, target
}

// A proof is the NSEC records of a response.
type proof struct {
	zone string
	nsec []*dns.NSEC
}

// covers reports whether a record shows that there is no such name. It is the part of the validator that must not be
// wrong in the way the server is: it compares label by label.
func (p proof) covers(name string) bool {
	return slices.ContainsFunc(p.nsec, func(n *dns.NSEC) bool {
		after, before := canonicalCompare(n.Hdr.Name, name) < 0, canonicalCompare(name, n.NextDomain) < 0
		last := n.NextDomain == p.zone
		// A delegation says nothing of what is below it (RFC 6840 section 4.1).
		below := dns.IsSubDomain(n.Hdr.Name, name) && slices.Contains(n.TypeBitMap, dns.TypeNS) && !slices.Contains(n.TypeBitMap, dns.TypeSOA)
		return after && (before || last) && !below
	})
}

func (p proof) at(name string) *dns.NSEC {
	for _, n := range p.nsec {
		if dns.CanonicalName(n.Hdr.Name) == name {
			return n
		}
	}
	return nil
}

// encloser returns the closest name that exists, as the records tell: the longest that name has in common with an
// owner or a next name.
func (p proof) encloser(name string) string {
	best := 0
	for _, n := range p.nsec {
		best = max(best, dns.CompareDomainName(n.Hdr.Name, name), dns.CompareDomainName(n.NextDomain, name))
	}
	labels := dns.Split(name)
	return name[labels[len(labels)-best]:]
}

func (p proof) noName(name string) error {
	if !p.covers(name) {
		return fmt.Errorf("no proof that %s does not exist", name)
	}
	if star := "*." + p.encloser(name); !p.covers(star) {
		return fmt.Errorf("no proof that %s does not exist", star)
	}
	return nil
}

func (p proof) noData(name string, qtype uint16) error {
	at := p.at(name)
	if at == nil {
		if !p.covers(name) {
			return fmt.Errorf("no proof about %s", name)
		}
		if slices.ContainsFunc(p.nsec, func(n *dns.NSEC) bool { return dns.IsSubDomain(name, n.NextDomain) }) {
			return nil // an empty non-terminal
		}
		star := "*." + p.encloser(name)
		if at = p.at(star); at == nil {
			if p.covers(star) && slices.ContainsFunc(p.nsec, func(n *dns.NSEC) bool { return dns.IsSubDomain(star, n.NextDomain) }) {
				return nil // the wildcard is one
			}
			return fmt.Errorf("no proof about %s", star)
		}
	}
	if slices.Contains(at.TypeBitMap, qtype) || slices.Contains(at.TypeBitMap, dns.TypeCNAME) {
		return fmt.Errorf("%v denies %s", at, dns.Type(qtype))
	}
	return nil
}

func (p proof) delegation(authority []dns.RR) error {
	for _, rr := range authority {
		if ns, ok := rr.(*dns.NS); ok {
			if hasType(authority, dns.TypeDS) {
				return nil
			}
			at := p.at(dns.CanonicalName(ns.Hdr.Name))
			if at == nil || slices.Contains(at.TypeBitMap, dns.TypeDS) || slices.Contains(at.TypeBitMap, dns.TypeSOA) ||
				!slices.Contains(at.TypeBitMap, dns.TypeNS) {
				return fmt.Errorf("no proof that %s is not signed", ns.Hdr.Name)
			}
			return nil
		}
	}
	return errors.New("no NS record")
}

// canonicalCompare compares names as RFC 4034 section 6.1 says.
func canonicalCompare(a, b string) int {
	x, y := labelsOf(a), labelsOf(b)
	for len(x) > 0 && len(y) > 0 {
		if c := bytes.Compare(x[len(x)-1], y[len(y)-1]); c != 0 {
			return c
		}
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	return len(x) - len(y)
}

// labelsOf returns the labels of a name as bytes, in lower case.
func labelsOf(name string) (labels [][]byte) {
	packed := make([]byte, 256)
	if _, err := dns.PackDomainName(name, packed, 0, nil, false); err != nil {
		panic(err)
	}
	for packed[0] != 0 {
		labels = append(labels, bytes.ToLower(packed[1:1+packed[0]]))
		packed = packed[1+packed[0]:]
	}
	return labels
}

// signedConfig is testConfig with a key in a new folder.
func signedConfig(tb testing.TB, c config.DNS) (config.DNS, *dnssec.Keys) {
	tb.Helper()
	c.DNSSEC = &config.DNSSEC{Auto: true, Algorithm: "ECDSAP256SHA256", Validity: 7 * 24 * time.Hour}
	keys, err := dnssec.Read(c, "", time.Unix(1_790_000_000, 0))
	if err != nil {
		tb.Fatal(err)
	}
	return c, keys
}

func newTestSigner(keys *dnssec.Keys) *dnssec.Signer {
	signer := dnssec.NewSigner(rand.New(rand.NewPCG(1, 2)))
	signer.SetKeys(keys, 7*24*time.Hour)
	return signer
}

// newTestSignedZone is a zone with keys of its own, and a validator that trusts them.
func newTestSignedZone(tb testing.TB, c config.DNS, static *StaticRecords, s *dnspool.Snapshot) (*zone, *validator) {
	tb.Helper()
	c, keys := signedConfig(tb, c)
	z, err := newSignedZone(c, static, s, [2]uint32{}, newTestSigner(keys))
	if err != nil {
		tb.Fatal(err)
	}
	v, err := newValidator(c.Zone, []*dns.DS{keys.All[0].DS()}, exchange(tb, z, attestedQuery(c.Zone, dns.TypeDNSKEY), overTCP), s.Built)
	if err != nil {
		tb.Fatal(err)
	}
	return z, v
}

// attestedQuery is a query with DO.
func attestedQuery(name string, qtype uint16) *dns.Msg {
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	req.SetEdns0(1232, true)
	return req
}
