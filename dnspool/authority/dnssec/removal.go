package dnssec

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// CheckRemovals returns an error if a listed key is to be removed, by its times, before caches can do without it. seen
// is what the parent has, and held is for how long caches may have records of the zone. What was in force before is
// not refused, nor what is signed where another key is.
func (k *Keys) CheckRemovals(seen *Seen, held time.Duration, now time.Time) error {
	if k.auto || k.offline() != nil || len(k.before.Keys) > 0 && !k.Changes() {
		return nil
	}
	for _, key := range k.All {
		if !key.Times.Delete.After(now) {
			continue
		}
		if err := cmp.Or(k.checkSignedBy(key, held, now), k.checkTrusted(key, seen), k.checkLastOfAlgorithm(key)); err != nil {
			return err
		}
	}
	for _, key := range k.All {
		if err := k.checkCeases(key, now); err != nil {
			return err
		}
	}
	return nil
}

// checkCeases returns an error if an algorithm ceases to sign, and with that leaves the DNSKEY records, while caches
// may have these with it.
func (k *Keys) checkCeases(key *Key, now time.Time) error {
	end := cmp.Or(key.Times.Inactive, key.Times.Delete)
	if !end.After(now) || !key.Times.signs(end.Add(-time.Second)) {
		return nil
	}
	published, others := false, false
	for _, other := range k.All {
		same := other.Record.Algorithm == key.Record.Algorithm
		if same && other.Times.signs(end) {
			return nil
		}
		published = published || same && other.Times.published(end.Add(-KeyTTL*time.Second))
		others = others || !same && other.Times.published(end)
	}
	if !published || !others { // then the zone cannot be signed: see End
		return nil
	}
	return fmt.Errorf("the key %d is the last one that signs with the algorithm %s, until %s, and caches may have the DNSKEY records with that; "+
		"have its keys be deleted an hour before (dnssec-settime -D)", key.Tag, dns.AlgorithmToString[key.Record.Algorithm],
		end.UTC().Format(time.RFC3339))
}

// checkSignedBy returns an error if caches may have records that only a key has signed which is removed by then.
func (k *Keys) checkSignedBy(key *Key, held time.Duration, now time.Time) error {
	gone, end := key.Times.Delete, key.Times.Inactive
	if end.IsZero() {
		end = gone
	}
	last := first(end, gone).Add(-time.Second) // that it signs
	if !slices.Contains(k.zoneSigners(key.Record.Algorithm, last), key) || !end.Add(held).After(gone) {
		return nil
	}
	for _, other := range k.All { // has signed all of them, too
		signs := func(at time.Time) bool { return slices.Contains(k.zoneSigners(other.Record.Algorithm, at), other) }
		began := !gone.Add(-held).Before(now) || len(k.before.Keys) == 0 || k.before.signsZone(other.id) // as listed before
		if other != key && began && signs(gone.Add(-held)) && signs(last) && signs(gone) && !k.since[other.id].Add(held).After(gone) {
			return nil
		}
	}
	return fmt.Errorf("the key %d is to be removed at %s, and caches may have records of %s that it has signed until %s; have it be deleted "+
		"then (dnssec-settime -I and -D)", key.Tag, gone.UTC().Format(time.RFC3339), k.Zone, end.Add(held).UTC().Format(time.RFC3339))
}

// checkTrusted returns an error if the parent has a DS record of a key that is to be removed, or caches may have one,
// and by then not all have one of another key that stays.
func (k *Keys) checkTrusted(key *Key, seen *Seen) error {
	gone := key.Times.Delete
	_, named := seen.since(key.Record)
	if !key.SEP() || !named && !gone.Before(seen.CachedUntil()) {
		return nil
	}
	var known time.Time // when all caches have the DS record of a key that stays
	for _, other := range k.All {
		if since, used := seen.usedSince(other.Record); used && other != key && other.ours() && other.Times.published(gone) {
			known = first(known, since.Add(seen.Longest))
		}
	}
	if known.IsZero() && !named && len(seen.Since) == 0 {
		known = seen.CachedUntil() // and no cache has a DS record
	}
	switch {
	case known.IsZero():
		return fmt.Errorf("the key %d is to be removed at %s, and the parent of %s has a DS record of no other key that stays; have it not be "+
			"deleted (dnssec-settime -D none) until the parent has one", key.Tag, gone.UTC().Format(time.RFC3339), k.Zone)
	case gone.Before(known):
		return fmt.Errorf("the key %d is to be removed at %s, and some caches may trust no other key of %s until %s; have it be deleted then "+
			"(dnssec-settime -D)", key.Tag, gone.UTC().Format(time.RFC3339), k.Zone, known.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkLastOfAlgorithm returns an error if an algorithm ceases to sign while caches may have DNSKEY records with it:
// some validators want its signatures (RFC 6781 section 4.1.4).
func (k *Keys) checkLastOfAlgorithm(key *Key) error {
	gone, until := key.Times.Delete, key.Times.Delete.Add(KeyTTL*time.Second)
	others := false
	for _, other := range k.All {
		same := other.Record.Algorithm == key.Record.Algorithm
		if same && (other.Times.published(gone) || other.Times.signs(until.Add(-time.Second))) {
			return nil
		}
		others = others || !same && other.Times.published(gone)
	}
	if !others { // then the zone cannot be signed: see End
		return nil
	}
	return fmt.Errorf("the key %d is the last one of the algorithm %s to be removed, at %s, and caches may have the DNSKEY records with it "+
		"until %s; have it sign until then (dnssec-settime -I)", key.Tag, dns.AlgorithmToString[key.Record.Algorithm],
		gone.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
}
