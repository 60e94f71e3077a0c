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

	private crypto.Signer
	id      string // in which no other key is the same
}

// newKey joins both parts of a key. It returns an error if they are not of the same key.
func newKey(record *dns.DNSKEY, private crypto.Signer, times Times) (*Key, error) {
	record.Hdr.Ttl = KeyTTL
	k := &Key{Record: record, Tag: record.KeyTag(), Times: times, private: private,
		id: fmt.Sprintf("%d %d %s", record.Flags, record.Algorithm, record.PublicKey)}
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

// The states of a key, in order.
const (
	Waiting   State = "waiting"   // not published yet
	Published State = "published" // in the DNSKEY set, so that it is known when it signs
	Active    State = "active"    // signs
	Retired   State = "retired"   // no longer signs, but what it has signed may be cached
	Removed   State = "removed"
)

// At returns the state at a time.
func (t Times) At(now time.Time) State {
	switch {
	case passed(t.Delete, now):
		return Removed
	case !passed(t.Publish, now):
		return Waiting
	case passed(t.Inactive, now):
		return Retired
	case passed(t.Activate, now):
		return Active
	default:
		return Published
	}
}

// synced reports whether the parent is asked to have a DS record of the key (RFC 7344).
func (t Times) synced(now time.Time) bool {
	return passed(t.SyncPublish, now) && !passed(t.SyncDelete, now)
}

func passed(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// Keys are those of one zone.
type Keys struct {
	Zone string
	All  []*Key

	dir  string     // for state; "" for none
	made *newlyMade // nil once it is kept
}

// A role is what the keys do at a time.
type roles struct {
	published []*Key
	signKeys  []*Key // the DNSKEY, CDS and CDNSKEY sets
	signZone  []*Key // all other sets
	synced    []*Key
}

// at returns what each key does at a time. It returns an error if the zone cannot be signed then.
func (k *Keys) at(now time.Time) (*roles, error) {
	r := &roles{}
	signing := map[uint8]bool{}
	for _, key := range k.All {
		if key.Times.At(now) == Active && key.SEP() {
			r.signKeys = append(r.signKeys, key)
			signing[key.Record.Algorithm] = true
		}
	}
	if len(r.signKeys) == 0 {
		return nil, fmt.Errorf("want an active key with the flag SEP (257) for %s, got %s", k.Zone, k.describe(now))
	}
	for algorithm := range signing {
		r.signZone = append(r.signZone, k.zoneSigners(algorithm, now)...)
	}
	slices.SortFunc(r.signZone, byTag)
	slices.SortFunc(r.signKeys, byTag)
	for _, key := range k.All {
		// A validator expects signatures by each algorithm that is published (RFC 6840 section 5.11).
		if state := key.Times.At(now); state == Waiting || state == Removed || !signing[key.Record.Algorithm] {
			continue
		}
		r.published = append(r.published, key)
		if key.SEP() && key.Times.synced(now) {
			r.synced = append(r.synced, key)
		}
	}
	return r, nil
}

// zoneSigners returns the active keys of an algorithm that sign what is no key: those without the flag SEP, if there
// are any.
func (k *Keys) zoneSigners(algorithm uint8, now time.Time) []*Key {
	var with, without []*Key
	for _, key := range k.All {
		switch {
		case key.Record.Algorithm != algorithm || key.Times.At(now) != Active:
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
	}
	return strings.Join(parts, ", ")
}

func byTag(a, b *Key) int { return int(a.Tag) - int(b.Tag) }

// records returns the DNSKEY, CDS and CDNSKEY sets.
func (r *roles) records() map[uint16][]dns.RR {
	sets := map[uint16][]dns.RR{}
	for _, key := range r.published {
		sets[dns.TypeDNSKEY] = append(sets[dns.TypeDNSKEY], dns.Copy(key.Record))
	}
	for _, key := range r.synced {
		sets[dns.TypeCDS] = append(sets[dns.TypeCDS], key.DS().ToCDS())
		sets[dns.TypeCDNSKEY] = append(sets[dns.TypeCDNSKEY], key.Record.ToCDNSKEY())
	}
	return sets
}

// DS returns the record that the parent has of a key, with SHA-256 (RFC 8624 section 3.3).
func (k *Key) DS() *dns.DS { return k.Record.ToDS(dns.SHA256) }

// Same reports whether k and other are the same keys with the same times. Either may be nil.
func (k *Keys) Same(other *Keys) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.Zone == other.Zone && slices.EqualFunc(k.All, other.All, func(a, b *Key) bool {
		return a.id == b.id && a.Times == b.Times
	})
}
