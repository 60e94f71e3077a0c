package dnssec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config/safefile"
)

// A key whose private part is elsewhere signs the keys of the zone ahead: files beside its public one, whose names
// begin with its own and end in signedEnd, hold DNSKEY sets, and CDS and CDNSKEY sets if there are any, with signatures
// for periods that follow each other.

const signedEnd = ".signed"

// A signedSet is a set that was signed elsewhere, for a period.
type signedSet struct {
	records   []dns.RR
	signature *dns.RRSIG
}

func (s *signedSet) from() time.Time  { return time.Unix(int64(s.signature.Inception), 0) }
func (s *signedSet) until() time.Time { return time.Unix(int64(s.signature.Expiration), 0) }

// settled reports whether clocks that are behind by no more than signatures are backdated take a set for good.
func (s *signedSet) settled(now time.Time) bool { return !now.Before(s.from().Add(backdating)) }

// better compares sets by which of two that hold now is to be served: the latest that is settled, and else the first.
func (s *signedSet) better(other *signedSet, now time.Time) int {
	switch settled := s.settled(now); {
	case settled != other.settled(now):
		if settled {
			return -1
		}
		return 1
	case settled:
		return other.from().Compare(s.from())
	default:
		return s.from().Compare(other.from())
	}
}

// keyTypes are the types of sets that keys for keys sign.
var keyTypes = []uint16{dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY}

// readSigned returns what a key has signed ahead, as the files beside it have it.
func readSigned(stem string, key *dns.DNSKEY) (sets []signedSet, err error) {
	files, err := filesNamed(filepath.Dir(stem), filepath.Base(stem), signedEnd)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := safefile.ReadTrusted(file, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read signed keys: %w", err)
		}
		found, err := parseSigned(string(text), key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		sets = append(sets, found...)
	}
	return sets, nil
}

// parseSigned reads sets with their signatures by a key.
func parseSigned(text string, key *dns.DNSKEY) (sets []signedSet, err error) {
	zone := key.Hdr.Name
	parser := dns.NewZoneParser(strings.NewReader(text), zone, "")
	parser.SetDefaultTTL(KeyTTL)
	records := map[uint16][]dns.RR{}
	var signatures []*dns.RRSIG
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		h.Name = dns.CanonicalName(h.Name)
		s, isSignature := rr.(*dns.RRSIG)
		switch {
		case h.Name != zone:
			return nil, fmt.Errorf("has a record of %s, want those of %s", h.Name, zone)
		case isSignature:
			signatures = append(signatures, s)
		case slices.Contains(keyTypes, h.Rrtype):
			if !slices.ContainsFunc(records[h.Rrtype], func(other dns.RR) bool { return dns.IsDuplicate(rr, other) }) {
				records[h.Rrtype] = append(records[h.Rrtype], rr) // which each period in the file has
			}
		default:
			return nil, fmt.Errorf("want DNSKEY, CDS, CDNSKEY and RRSIG records, got %s", dns.Type(h.Rrtype))
		}
	}
	if err := parser.Err(); err != nil {
		return nil, err
	}
	for _, s := range signatures {
		if s.KeyTag != key.KeyTag() || s.Algorithm != key.Algorithm {
			return nil, fmt.Errorf("has a signature of the %s records by the key %d; want those by the key %d alone, as dnssec-signzone -x "+
				"makes them", dns.Type(s.TypeCovered), s.KeyTag, key.KeyTag())
		}
		set := records[s.TypeCovered]
		if len(set) == 0 || s.Verify(key, set) != nil {
			return nil, fmt.Errorf("the signature of the %s records from %s is not one of those in this file by the key %d; sign all that are "+
				"in it together", dns.Type(s.TypeCovered), time.Unix(int64(s.Inception), 0).UTC().Format(time.RFC3339), key.KeyTag())
		}
		for _, rr := range set {
			rr.Header().Ttl = s.OrigTtl
		}
		s.Hdr.Ttl = s.OrigTtl // RFC 4034 section 3
		sets = append(sets, signedSet{set, s})
	}
	if len(records[dns.TypeDNSKEY]) == 0 || len(sets) == 0 {
		return nil, errors.New("want DNSKEY records and their signatures")
	}
	return sets, nil
}

// same reports whether s and other are the same records.
func (s *signedSet) same(other *signedSet) bool {
	return len(s.records) == len(other.records) && !slices.ContainsFunc(s.records, func(rr dns.RR) bool {
		return !slices.ContainsFunc(other.records, func(other dns.RR) bool { return rr.String() == other.String() })
	})
}

// signedAt returns, by type, what was signed ahead for a time: the best where there is more than one, and the same
// records as the other keys have signed them.
func (k *Keys) signedAt(now time.Time) map[uint16][]*signedSet {
	found := map[uint16][]*signedSet{}
	for _, key := range k.sorted() {
		for rrtype, set := range key.signedAt(now) {
			found[rrtype] = append(found[rrtype], set)
		}
	}
	for rrtype, sets := range found {
		slices.SortStableFunc(sets, func(a, b *signedSet) int { return a.better(b, now) })
		found[rrtype] = slices.DeleteFunc(sets, func(s *signedSet) bool { return !s.same(sets[0]) })
	}
	return found
}

// signedAt returns, by type, what a key has signed ahead for a time: the best where there is more than one.
func (k *Key) signedAt(now time.Time) map[uint16]*signedSet {
	found := map[uint16]*signedSet{}
	for i := range k.signed {
		s := &k.signed[i]
		other := found[s.signature.TypeCovered]
		if !now.Before(s.from()) && now.Before(s.until()) && (other == nil || s.better(other, now) < 0) {
			found[s.signature.TypeCovered] = s
		}
	}
	return found
}

// offline returns the key whose private part is elsewhere, or nil.
func (k *Keys) offline() *Key {
	i := slices.IndexFunc(k.All, func(key *Key) bool { return len(key.signed) > 0 })
	if i < 0 {
		return nil
	}
	return k.All[i]
}

// useSigned has the sets of keys be those that were signed ahead, which the keys that are here sign, too. It returns an
// error if there are none at that time, or if a key that signs is not among them. One that retires may be left out, and
// one that is not published yet.
func (r *roles) useSigned(k *Keys, now time.Time) error {
	offline := k.offline()
	if offline == nil {
		return nil
	}
	r.signed = k.signedAt(now)
	if len(r.signed[dns.TypeDNSKEY]) == 0 {
		return fmt.Errorf("no file of the key %d has signed DNSKEY records for the present time; sign some where its private part is, put "+
			"the file beside the others and reload", offline.Tag)
	}
	if len(r.signZone) == 0 {
		return fmt.Errorf("the private part of the key %d is elsewhere; want one more key without the flag SEP (256)", offline.Tag)
	}
	r.signKeys = slices.DeleteFunc(r.signKeys, func(key *Key) bool { return key.Times.At(now) != Active && !r.signedAhead(key) })
	for _, key := range slices.Concat(r.signZone, r.signKeys) {
		if key.Times.published(now) && !r.signedAhead(key) {
			return fmt.Errorf("the signed DNSKEY records do not have the key %d, which signs", key.Tag)
		}
	}
	return nil
}

// HoldsUntil returns when the first of the zone's signatures expires that no other follows. Of periods for which sets
// were signed ahead, the next one follows, as long as the zone can be signed then, and no set is missing.
func (k *Keys) HoldsUntil(stats Stats, now time.Time) time.Time {
	if k.offline() == nil || stats.Expires.IsZero() || stats.Failure != "" {
		return stats.Expires
	}
	end := now
	for k.usableAt(end) && k.hasAhead(end, now) {
		var next time.Time
		for _, sets := range k.signedAt(end) {
			for _, set := range sets {
				next = first(next, set.until())
			}
		}
		end = next
	}
	return first(stats.Ours, end)
}

// usableAt reports whether the zone can be signed at a time, with all that the configuration asks for.
func (k *Keys) usableAt(now time.Time) bool { return k.checkAt(now, now) == nil }

// hasAhead reports whether the sets that were signed ahead for a time are there at a later one, too: CDS records that
// end ask the parent for nothing any more.
func (k *Keys) hasAhead(later, now time.Time) bool {
	then := k.signedAt(later)
	for rrtype := range k.signedAt(now) {
		if len(then[rrtype]) == 0 {
			return false
		}
	}
	return true
}

// NextPeriod returns the first time after now at which a period begins, is settled or ends, for which keys were signed
// ahead; zero if there is none.
func (k *Keys) NextPeriod(now time.Time) (next time.Time) {
	for _, key := range k.All {
		for i := range key.signed {
			for _, at := range [...]time.Time{key.signed[i].from(), key.signed[i].from().Add(backdating), key.signed[i].until()} {
				if at.After(now) {
					next = first(next, at)
				}
			}
		}
	}
	return next
}

// checkAhead returns an error if sets that were signed ahead leave out what the configuration asks for: only the key
// that is elsewhere can sign it.
func (r *roles) checkAhead(k *Keys) error {
	if r.signed == nil {
		return nil
	}
	for _, key := range k.All {
		if !key.ours() && !r.signedAhead(key) {
			return fmt.Errorf("the signed DNSKEY records do not have the key %d (dns.dnssec.other_keys); sign them with it where the "+
				"private part of the key %d is", key.Tag, k.offline().Tag)
		}
	}
	if !r.withdraw && !r.asksForSigners() {
		return fmt.Errorf("the signed CDS or CDNSKEY records name no key that has signed the DNSKEY records, and a parent that takes them would "+
			"break the zone; make others where the private part of the key %d is", k.offline().Tag)
	}
	if r.withdraw && !r.withdrawsAhead() {
		return fmt.Errorf(`want signed records "CDS 0 0 0 00" and "CDNSKEY 0 3 0 AA==" for dns.dnssec.withdraw; make them where the `+
			"private part of the key %d is", k.offline().Tag)
	}
	return nil
}

// signedAhead reports whether a key is among the DNSKEY records that were signed ahead.
func (r *roles) signedAhead(key *Key) bool {
	return isIn(r.signed[dns.TypeDNSKEY][0].records, key)
}

// asksForSigners reports whether CDS and CDNSKEY records that were signed ahead name a key that has signed the DNSKEY
// records (RFC 7344 section 4.1), or ask for no DS record, or are not there.
func (r *roles) asksForSigners() bool {
	names := func(rr dns.RR) bool {
		return slices.ContainsFunc(r.signed[dns.TypeDNSKEY][0].records, func(key dns.RR) bool {
			record, ok := key.(*dns.DNSKEY)
			if !ok || !r.hasSigned(record) {
				return false
			}
			switch rr := rr.(type) {
			case *dns.CDS:
				ds := record.ToDS(rr.DigestType)
				return ds != nil && dsData(ds) == dsData(&rr.DS)
			case *dns.CDNSKEY:
				return keyID(record) == keyID(&rr.DNSKEY)
			}
			return false
		})
	}
	for _, rrtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
		if sets := r.signed[rrtype]; len(sets) > 0 && !slices.ContainsFunc(sets[0].records, names) && !r.withdrawsAhead() {
			return false
		}
	}
	return true
}

// hasSigned reports whether a key has signed the DNSKEY records ahead, or is here and does.
func (r *roles) hasSigned(record *dns.DNSKEY) bool {
	return slices.ContainsFunc(r.signKeys, func(key *Key) bool { return key.id == keyID(record) }) ||
		slices.ContainsFunc(r.signed[dns.TypeDNSKEY], func(s *signedSet) bool {
			return s.signature.KeyTag == record.KeyTag() && s.signature.Algorithm == record.Algorithm
		})
}

// withdraws reports whether the parent is asked for no DS record: by the configuration, or by what was signed ahead.
func (k *Keys) withdraws(now time.Time) bool {
	return k.withdraw || (&roles{signed: k.signedAt(now)}).withdrawsAhead()
}

// withdrawsAhead reports whether the CDS and CDNSKEY records that were signed ahead ask for no DS record (RFC 8078).
func (r *roles) withdrawsAhead() bool {
	asks := func(rrtype uint16) bool {
		sets := r.signed[rrtype]
		if len(sets) == 0 || len(sets[0].records) != 1 {
			return false
		}
		switch rr := sets[0].records[0].(type) {
		case *dns.CDS:
			return rr.Algorithm == 0
		case *dns.CDNSKEY:
			return rr.Algorithm == 0
		}
		return false
	}
	return asks(dns.TypeCDS) && asks(dns.TypeCDNSKEY)
}
