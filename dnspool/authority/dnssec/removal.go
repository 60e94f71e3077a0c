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
		if err := cmp.Or(k.checkSignedBy(key, held), k.checkTrusted(key, seen), k.checkLastOfAlgorithm(key)); err != nil {
			return err
		}
	}
	return nil
}

// checkSignedBy returns an error if caches may have records that only a key has signed which is removed by then.
func (k *Keys) checkSignedBy(key *Key, held time.Duration) error {
	gone, end := key.Times.Delete, key.Times.Inactive
	if end.IsZero() {
		end = gone
	}
	if !slices.Contains(k.zoneSigners(key.Record.Algorithm, first(end, gone).Add(-time.Second)), key) || !end.Add(held).After(gone) {
		return nil
	}
	for _, other := range k.All { // has signed all of them, too
		if other != key && slices.Contains(k.zoneSigners(other.Record.Algorithm, gone), other) &&
			!latest(k.since[other.id], other.Times.Activate).Add(held).After(gone) {
			return nil
		}
	}
	return fmt.Errorf("the key %d is to be removed at %s, and caches may have records of %s that it has signed until %s; have it be deleted "+
		"then (dnssec-settime -I and -D)", key.Tag, gone.UTC().Format(time.RFC3339), k.Zone, end.Add(held).UTC().Format(time.RFC3339))
}

// checkTrusted returns an error if the parent has a DS record of a key that is to be removed, and of no other one that
// stays.
func (k *Keys) checkTrusted(key *Key, seen *Seen) error {
	if _, named := seen.since(key.Record); !named || slices.ContainsFunc(k.All, func(other *Key) bool {
		_, used := seen.usedSince(other.Record)
		return used && other != key && other.ours() && other.Times.published(key.Times.Delete)
	}) {
		return nil
	}
	return fmt.Errorf("the key %d is to be removed at %s, and the parent of %s has a DS record of no other key that stays; have it not be "+
		"deleted (dnssec-settime -D none) until the parent has one", key.Tag, key.Times.Delete.UTC().Format(time.RFC3339), k.Zone)
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
