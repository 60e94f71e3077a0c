package dnssec

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// KeyTTL is the TTL of the DNSKEY, CDS and CDNSKEY sets, in seconds.
const KeyTTL = 3600

// A Key is one of a zone's keys.
type Key struct {
	Record *dns.DNSKEY
	Tag    uint16
	Times  Times

	private crypto.Signer // nil of another server's key, or where it is elsewhere
	signed  []signedSet   // by a key whose private part is elsewhere
	secret  string        // what its private file has, of a key that this program has made; without times
	id      string        // in which no other key is the same
}

// newOtherKey returns a key of another server that signs the zone. The parent is to have its DS record, too, if it is
// one that signs keys: CDS records ask for all or none.
func newOtherKey(record *dns.DNSKEY) *Key {
	always := time.Unix(0, 0).UTC()
	record.Hdr.Ttl = KeyTTL
	k := &Key{Record: record, Tag: record.KeyTag(), Times: Times{Publish: always}, id: keyID(record)}
	if k.SEP() {
		k.Times.SyncPublish = always
	}
	return k
}

func keyID(record *dns.DNSKEY) string {
	return fmt.Sprintf("%d %d %s", record.Flags, record.Algorithm, record.PublicKey)
}

// newKey joins both parts of a key. It returns an error if they are not of the same key.
func newKey(record *dns.DNSKEY, private crypto.Signer, times Times) (*Key, error) {
	record.Hdr.Ttl = KeyTTL
	k := &Key{Record: record, Tag: record.KeyTag(), Times: times, private: private,
		id: keyID(record)}
	probe := []dns.RR{record}
	signature := k.signature(time.Unix(0, 0), time.Unix(1, 0))
	if err := signature.Sign(private, probe); err != nil {
		return nil, err
	}
	if signature.Verify(record, probe) != nil {
		return nil, errors.New("the private key does not belong to the public one")
	}
	return k, nil
}

// signature returns an RRSIG record without what it covers.
func (k *Key) signature(from, to time.Time) *dns.RRSIG {
	return &dns.RRSIG{Algorithm: k.Record.Algorithm, KeyTag: k.Tag, SignerName: k.Record.Hdr.Name,
		Inception: uint32(from.Unix()), Expiration: uint32(to.Unix())}
}

// SEP reports whether a key signs the keys, so that the parent's DS record may name it.
func (k *Key) SEP() bool { return k.Record.Flags&dns.SEP != 0 }

// ours reports whether a key signs here, and not on another server alone.
func (k *Key) ours() bool { return k.private != nil || len(k.signed) > 0 }

// String names a key as its file is named: algorithm and tag.
func (k *Key) String() string {
	return fmt.Sprintf("%s %d", dns.AlgorithmToString[k.Record.Algorithm], k.Tag)
}

// Times are when a key enters and leaves a state. A zero time never comes.
type Times struct {
	Created, Publish, Activate, Inactive, Delete, SyncPublish, SyncDelete time.Time
}

// A State is what a key does for the zone.
type State string

// The states of a key, in the order of a rollover.
const (
	Waiting   State = "waiting"   // neither published yet nor signs
	Signing   State = "signing"   // signs, and is not published yet, or not any more: for another algorithm
	Published State = "published" // in the DNSKEY set, so that it is known when it signs
	Active    State = "active"    // published, and signs
	Retired   State = "retired"   // published for signatures of it that may be cached
	Removed   State = "removed"
)

// At returns the state at a time.
func (t Times) At(now time.Time) State {
	signs, published := t.signs(now), t.published(now)
	switch {
	case signs && published:
		return Active
	case signs:
		return Signing
	case published && passed(t.Inactive, now):
		return Retired
	case published:
		return Published
	case passed(t.Delete, now):
		return Removed
	default:
		return Waiting
	}
}

// published reports whether a key is in the DNSKEY set.
func (t Times) published(now time.Time) bool { return passed(t.Publish, now) && !passed(t.Delete, now) }

// signs reports whether a key signs. One that is deleted without having been inactive does not.
func (t Times) signs(now time.Time) bool {
	end := t.Inactive
	if end.IsZero() {
		end = t.Delete
	}
	return passed(t.Activate, now) && !passed(end, now)
}

// synced reports whether the parent is asked to have a DS record of the key (RFC 7344).
func (t Times) synced(now time.Time) bool {
	return passed(t.SyncPublish, now) && !passed(t.SyncDelete, now)
}

func passed(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// Keys are those of one zone. They are not changed once made.
type Keys struct {
	Zone string
	All  []*Key

	dir      string // for state; "" for none
	auto     bool   // they are in dir, and a rollover may change them
	withdraw bool   // the parent is to have no DS record
	leader   string // the server that leads rollovers; "" for this one

	before signers              // what k replaces
	since  map[string]time.Time // when keys were listed that were not always
	// sinceLater is the same of those that were listed later than now, by a clock that is behind or was ahead.
	sinceLater map[string]time.Time
}

// A role is what the keys do at a time.
type roles struct {
	published []*Key
	signKeys  []*Key // the DNSKEY, CDS and CDNSKEY sets
	signZone  []*Key // all other sets
	synced    []*Key
	withdraw  bool
	signed    map[uint16][]*signedSet // of keys, if a key that signs them is elsewhere
}

// at returns what each key does at a time. It returns an error if the zone cannot be signed then.
func (k *Keys) at(now time.Time) (*roles, error) {
	r := &roles{withdraw: k.withdraw}
	signing := map[uint8]bool{}
	for _, key := range k.All {
		if key.Times.signs(now) {
			signing[key.Record.Algorithm] = true
		}
	}
	active := false
	for _, key := range k.All {
		// A validator expects signatures by each algorithm that is published (RFC 6840 section 5.11).
		if !key.Times.published(now) || !signing[key.Record.Algorithm] {
			continue
		}
		r.published = append(r.published, key)
		if !key.SEP() {
			continue
		}
		state := key.Times.At(now)
		active = active || state == Active
		// One that retires goes on to sign the keys, for validators that have an old DS record in a cache; and one that is
		// published ahead begins to before all else (RFC 6781 section 4.1.2), for a parent that puts its DS record in place
		// of the old one.
		if key.private != nil {
			r.signKeys = append(r.signKeys, key)
		}
		if key.Times.synced(now) {
			r.synced = append(r.synced, key)
		}
	}
	if !active {
		return nil, fmt.Errorf("want an active key with the flag SEP (257) for %s, got %s; list one, or set its times with dnssec-settime, "+
			"and reload", k.Zone, k.describe(now))
	}
	for algorithm := range signing {
		r.signZone = append(r.signZone, k.zoneSigners(algorithm, now)...)
	}
	// CDS records must not ask for DS records of other keys alone (RFC 7344 section 4.1), such as another server's.
	if !slices.ContainsFunc(r.synced, func(key *Key) bool { return slices.Contains(r.signKeys, key) }) {
		r.synced = nil
	}
	slices.SortFunc(r.signZone, byTag)
	slices.SortFunc(r.signKeys, byTag)
	if err := r.useSigned(k, now); err != nil {
		return nil, err
	}
	return r, r.checkAlgorithms(k, now)
}

// checkAlgorithms returns an error if an algorithm in the DNSKEY set does not sign the whole zone, DNSKEY set included
// (RFC 4035 section 2.2): some validators insist on it.
func (r *roles) checkAlgorithms(k *Keys, now time.Time) error {
	set := r.records()[dns.TypeDNSKEY]
	for _, rr := range set {
		record, ok := rr.(*dns.DNSKEY)
		if !ok {
			continue
		}
		name := dns.AlgorithmToString[record.Algorithm]
		same := func(key *Key) bool { return key.Record.Algorithm == record.Algorithm && isIn(set, key) }
		switch {
		case !slices.ContainsFunc(r.signZone, same):
			return fmt.Errorf("the key %d would be published, and no published key of its algorithm %s signs the records of %s; make the keys that sign "+
				"the DNSKEY set and those that sign the rest of one algorithm, or list one of %[2]s without the flag SEP (256), too",
				record.KeyTag(), name, k.Zone)
		case !slices.ContainsFunc(k.All, func(key *Key) bool { return same(key) && r.signsKeys(key, now) }):
			return fmt.Errorf("the key %d would be published, and no published key of its algorithm %s signs the DNSKEY set of %s; make the keys that sign "+
				"the DNSKEY set and those that sign the rest of one algorithm, or list one of %[2]s with the flag SEP (257), too",
				record.KeyTag(), name, k.Zone)
		}
	}
	return nil
}

// isIn reports whether a key is in a DNSKEY set.
func isIn(set []dns.RR, key *Key) bool {
	return slices.ContainsFunc(set, func(rr dns.RR) bool {
		record, ok := rr.(*dns.DNSKEY)
		return ok && keyID(record) == key.id
	})
}

// zoneSigners returns the keys of an algorithm that sign what is no key: those without the flag SEP, if any sign.
func (k *Keys) zoneSigners(algorithm uint8, now time.Time) []*Key {
	var with, without []*Key
	for _, key := range k.All {
		switch {
		case key.Record.Algorithm != algorithm || !key.Times.signs(now) || key.private == nil:
		case key.SEP():
			with = append(with, key)
		default:
			without = append(without, key)
		}
	}
	if len(without) > 0 {
		return without
	}
	return with
}

func (k *Keys) describe(now time.Time) string {
	if len(k.All) == 0 {
		return "no key"
	}
	parts := make([]string, len(k.All))
	for i, key := range k.All {
		parts[i] = fmt.Sprintf("%s (flags %d, %s)", key, key.Record.Flags, key.Times.At(now))
		if at := key.Times.Activate; at.After(now) {
			parts[i] = fmt.Sprintf("%s (flags %d, %s, active from %s)", key, key.Record.Flags, key.Times.At(now), at.UTC().Format(time.RFC3339))
		}
	}
	return strings.Join(parts, ", ")
}

func byTag(a, b *Key) int { return int(a.Tag) - int(b.Tag) }

// sorted returns the keys by their tags, since a new one has another place in k than in the folder of keys.
func (k *Keys) sorted() []*Key { return slices.SortedStableFunc(slices.Values(k.All), byTag) }

// records returns the DNSKEY, CDS and CDNSKEY sets.
func (r *roles) records() map[uint16][]dns.RR {
	sets := map[uint16][]dns.RR{}
	if r.signed != nil {
		for rrtype, ahead := range r.signed {
			sets[rrtype] = ahead[0].records
		}
		return sets
	}
	for _, key := range r.published {
		sets[dns.TypeDNSKEY] = append(sets[dns.TypeDNSKEY], dns.Copy(key.Record))
	}
	if r.withdraw { // RFC 8078 section 4
		cds, cdnskey := &dns.CDS{}, &dns.CDNSKEY{}
		cds.Digest, cdnskey.Protocol, cdnskey.PublicKey = "00", 3, "AA=="
		zone := r.published[0].Record.Hdr.Name
		cds.Hdr = dns.RR_Header{Name: zone, Rrtype: dns.TypeCDS, Class: dns.ClassINET, Ttl: KeyTTL}
		cdnskey.Hdr = dns.RR_Header{Name: zone, Rrtype: dns.TypeCDNSKEY, Class: dns.ClassINET, Ttl: KeyTTL}
		sets[dns.TypeCDS], sets[dns.TypeCDNSKEY] = []dns.RR{cds}, []dns.RR{cdnskey}
		return sets
	}
	for _, key := range r.synced {
		sets[dns.TypeCDS] = append(sets[dns.TypeCDS], key.DS().ToCDS())
		sets[dns.TypeCDNSKEY] = append(sets[dns.TypeCDNSKEY], key.Record.ToCDNSKEY())
	}
	return sets
}

// DS returns the record that the parent has of a key, with SHA-256 (RFC 8624 section 3.3).
func (k *Key) DS() *dns.DS { return k.Record.ToDS(dns.SHA256) }

// Includes reports whether all of other are in k, but for those that have been removed from the zone.
func (k *Keys) Includes(other *Keys, now time.Time) bool {
	return !slices.ContainsFunc(other.All, func(key *Key) bool {
		return key.Times.At(now) != Removed && !slices.ContainsFunc(k.All, func(ours *Key) bool { return ours.id == key.id })
	})
}

// UsesAlgorithm reports whether a key of an algorithm, named as in the configuration, is in use or is going to be.
func (k *Keys) UsesAlgorithm(name string, now time.Time) bool {
	return slices.ContainsFunc(k.All, func(key *Key) bool {
		return key.Record.Algorithm == algorithms[name] && key.Times.At(now) != Removed
	})
}

// Same reports whether k and other are the same keys with the same times, sets signed ahead, and leader. Either may be
// nil.
func (k *Keys) Same(other *Keys) bool {
	if k == nil || other == nil {
		return k == other
	}
	if k.Zone != other.Zone || k.withdraw != other.withdraw || k.leader != other.leader {
		return false
	}
	return slices.EqualFunc(k.sorted(), other.sorted(), func(a, b *Key) bool {
		return a.id == b.id && a.Times == b.Times && slices.EqualFunc(a.signed, b.signed, func(a, b signedSet) bool {
			return a.signature.String() == b.signature.String()
		})
	})
}
