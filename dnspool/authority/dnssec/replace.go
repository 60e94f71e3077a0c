package dnssec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Keys that the configuration lists are replaced by its administrator, who may leave one out too early, or have another
// one sign at once. Validators take what is signed for good only with the DS and DNSKEY records in their caches.

// Follow returns k as what replaces other keys, which may be nil.
func (k *Keys) Follow(before *Keys, now time.Time) *Keys {
	if before == nil {
		return k
	}
	n := *k
	n.follow(before.signers(), now)
	return &n
}

func (k *Keys) follow(before signers, now time.Time) {
	k.before, k.since, k.sinceLater = before, map[string]time.Time{}, map[string]time.Time{}
	for _, key := range k.All {
		since, remembered := before.Since[key.id]
		if !before.did(key, now) { // its times were changed to be earlier, or it was to have left
			since, remembered = before.Past.Parent.NotBefore(now).UTC().Truncate(time.Second), true
		}
		switch {
		case !remembered && (len(before.Keys) == 0 || slices.Contains(before.Keys, key.id)):
			continue // since ever, as far as caches go
		case !remembered:
			since = before.Past.Parent.NotBefore(now).UTC().Truncate(time.Second)
		case since.After(now): // a host whose clock is behind has to start; once it is right, this counts again
			k.sinceLater[key.id] = since
			continue
		}
		k.since[key.id] = since
	}
}

// did reports whether a key that signs, or is published ahead, did so before by the times that it had then.
func (s *signers) did(key *Key, now time.Time) bool {
	switch {
	case !slices.Contains(s.Keys, key.id):
		return true
	case key.Times.signs(now):
		return s.signs(key.id, now)
	default:
		return s.published(key.id, now) || !key.Times.published(now)
	}
}

// Changes reports whether k differs from the keys that it replaces.
func (k *Keys) Changes() bool {
	s := k.signers()
	return len(k.before.Keys) > 0 && !s.sameKeys(&k.before)
}

// LeavesOut returns the tags of keys that signed the zone's keys before, and have left it now before their time.
func (k *Keys) LeavesOut(now time.Time) (tags []uint16) {
	if k.auto {
		return nil
	}
	for _, id := range signKeys(k.left(now)) {
		tags = append(tags, k.recordOf(id).KeyTag())
	}
	return tags
}

// CheckReplaced returns an error if validators would refuse the zone since keys have been replaced. seen is what the
// parent has, and held is for how long caches may have records of the zone.
func (k *Keys) CheckReplaced(seen *Seen, held time.Duration, now time.Time) error {
	// Keys of this program's own say when they may do what, unless listed ones have been left out as it took them over.
	missing := func(id string) bool {
		return !slices.ContainsFunc(k.All, func(key *Key) bool { return key.id == id })
	}
	if len(k.before.Keys) == 0 || k.auto && !slices.ContainsFunc(k.left(now), missing) {
		return nil
	}
	r, err := k.at(now)
	if err != nil {
		return err
	}
	return cmp.Or(k.checkAnchors(r, seen, now), k.checkPublished(r, now, now), k.checkPlan(now), k.checkNewAlgorithms(held, now),
		k.checkLeft(r, held, now), k.checkLeftAlgorithms(now))
}

// Confirmed returns k as if its keys had always been listed: they have been found to be too new, and are to sign
// nevertheless.
func (k *Keys) Confirmed() *Keys {
	n := *k
	n.since, n.sinceLater = nil, nil
	return &n
}

// CheckStart is CheckReplaced by what is remembered.
func (k *Keys) CheckStart(past *Past, now time.Time) error {
	err := k.CheckReplaced(&past.Parent, past.TTLs.Held(now), now)
	if err != nil && k.dir != "" {
		err = fmt.Errorf("%w; to have it so nevertheless, remove %s", err, SignersFile(k.dir))
	}
	return err
}

// checkAnchors returns an error if a key has left that signed keys, and in some cache the DS records may name no other
// key that does.
func (k *Keys) checkAnchors(r *roles, seen *Seen, now time.Time) error {
	for _, id := range signKeys(k.left(now)) {
		gone := k.recordOf(id)
		_, named := seen.since(gone)
		if !named && !now.Before(seen.CachedUntil()) {
			continue
		}
		var known time.Time // when all caches have the DS record of a key that stays
		for _, key := range k.All {
			if since, ok := seen.usedSince(key.Record); ok && key.Record.Algorithm == gone.Algorithm && r.signsKeys(key, now) {
				known = first(known, since.Add(seen.Longest))
			}
		}
		if known.IsZero() && !named && len(seen.Since) == 0 {
			known = seen.CachedUntil() // and no cache has a DS record
		}
		switch {
		case known.IsZero():
			return fmt.Errorf("the key %d of %s is not published any more, and the parent has a DS record of no other key of its algorithm that "+
				"is; list it again until the parent has one, and for the TTL of that", gone.KeyTag(), k.Zone)
		case now.Before(known):
			return fmt.Errorf("the key %d of %s is not published any more, and some caches may trust no other key until %s; "+
				"list it again until then", gone.KeyTag(), k.Zone, known.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// checkPlan is checkPublished for all that the times of keys have ahead, until the zone cannot be signed any more.
func (k *Keys) checkPlan(now time.Time) error {
	for at := k.nextChange(now); !at.IsZero(); at = k.nextChange(at) {
		r, err := k.at(at)
		if err != nil {
			return nil // see End
		}
		if err := k.checkPublished(r, at, now); err != nil {
			return err
		}
	}
	return nil
}

// checkPublished returns an error if some cache may have the DNSKEY records without any key that signs the zone at a
// time. Before that, keys may be planned to be among records that were signed ahead; what these were until now, only
// the time says since which a key is listed.
func (k *Keys) checkPublished(r *roles, at, now time.Time) error {
	ttl := KeyTTL * time.Second
	if r.signed != nil {
		ttl = time.Duration(r.signed[dns.TypeDNSKEY][0].records[0].Header().Ttl) * time.Second
	}
	if slices.ContainsFunc(r.signZone, func(key *Key) bool {
		since, added := k.since[key.id]
		return (!added || !at.Before(latest(since, key.Times.Publish).Add(ttl))) && (!at.After(now) || k.isAhead(key, at.Add(-ttl)))
	}) {
		return nil
	}
	when := "at once"
	if at.After(now) {
		when = "from " + at.UTC().Format(time.RFC3339) + " on"
	}
	return fmt.Errorf("the key %d would sign %s %s, and caches may have the DNSKEY records without it for %s; list it beside those "+
		"that signed before, and have it sign later than that (dnssec-settime -A)", r.signZone[0].Tag, k.Zone, when, ttl)
}

// isAhead reports whether a key is among the DNSKEY records at a time, if these are signed ahead.
func (k *Keys) isAhead(key *Key, at time.Time) bool {
	sets := k.signedAt(at)[dns.TypeDNSKEY]
	return len(sets) == 0 || isIn(sets[0].records, key)
}

// checkNewAlgorithms returns an error if an algorithm that was not used before is in the DNSKEY records before all
// caches have records that it has signed (RFC 6781 section 4.1.4): some validators want a signature by each of them.
func (k *Keys) checkNewAlgorithms(held time.Duration, now time.Time) error {
	for _, key := range k.All {
		if !key.ours() || k.hadAlgorithm(key.Record.Algorithm, now) {
			continue
		}
		var signs time.Time
		published, ok := k.publishedFrom(key)
		for _, other := range k.All {
			if other.Record.Algorithm == key.Record.Algorithm && other.private != nil && !other.Times.Activate.IsZero() &&
				!passed(other.Times.Inactive, now) {
				signs = first(signs, latest(k.since[other.id], other.Times.Activate))
			}
		}
		if known := signs.Add(held); ok && now.Before(known) && published.Before(known) {
			return fmt.Errorf("the key %d would be published, and caches may have records of %s that its algorithm %s has not signed; have its "+
				"keys sign first and publish them from %s on (dnssec-settime -A and -P), then reload", key.Tag, k.Zone,
				dns.AlgorithmToString[key.Record.Algorithm], known.Add(margin).UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// hadAlgorithm reports whether a key of an algorithm has always been listed, or was before, and has not ceased to sign.
func (k *Keys) hadAlgorithm(algorithm uint8, now time.Time) bool {
	return slices.ContainsFunc(k.before.Keys, func(id string) bool {
		_, added := k.since[id]
		return !added && k.recordOf(id).Algorithm == algorithm && k.before.signs(id, now)
	})
}

// publishedFrom returns from when on a key is published; ok is false if that is not planned.
func (k *Keys) publishedFrom(key *Key) (from time.Time, ok bool) {
	if k.offline() == nil {
		return key.Times.Publish, !key.Times.Publish.IsZero()
	}
	for _, other := range k.All {
		for i := range other.signed {
			if isIn(other.signed[i].records, key) {
				from, ok = first(from, other.signed[i].from()), true
			}
		}
	}
	return from, ok
}

// checkLeft returns an error if a key has left that signed the zone, and caches may have records that no other one has
// signed.
func (k *Keys) checkLeft(r *roles, held time.Duration, now time.Time) error {
	signedToo := slices.ContainsFunc(r.signZone, func(key *Key) bool {
		return slices.Contains(k.before.Keys, key.id) && k.before.signsZone(key.id) && k.before.signs(key.id, now) &&
			!now.Before(latest(k.since[key.id], key.Times.Activate).Add(held))
	})
	for _, id := range k.left(now) {
		inactive := k.before.Inactive[id]
		switch {
		case !k.before.signsZone(id) || signedToo || !inactive.IsZero() && !now.Before(inactive.Add(held)):
		case inactive.IsZero():
			return fmt.Errorf("the key %d is not published any more, and caches may have records of %s that it has signed for %s; list it "+
				"again, have it sign no more (dnssec-settime -I), reload, and leave it out after that time", k.recordOf(id).KeyTag(), k.Zone, held)
		default:
			return fmt.Errorf("the key %d is not published any more, and caches may have records of %s that it has signed until %s; list it "+
				"again until then", k.recordOf(id).KeyTag(), k.Zone, inactive.Add(held).UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// checkLeftAlgorithms returns an error if the last key of an algorithm has left, and caches may have DNSKEY records
// with it: see checkLastOfAlgorithm.
func (k *Keys) checkLeftAlgorithms(now time.Time) error {
	for _, id := range k.before.Keys {
		gone, end := k.recordOf(id), k.before.Ends[id]
		stays := slices.ContainsFunc(k.All, func(key *Key) bool {
			return key.id == id || key.Record.Algorithm == gone.Algorithm && key.Times.signs(now)
		})
		switch {
		case stays || k.offline() != nil || k.before.Publishes[id].After(now) || passed(end, now):
		case end.IsZero():
			return fmt.Errorf("the key %d is not listed any more, and caches may have the DNSKEY records with its algorithm %s, which no other "+
				"key has; list it again, have it be deleted and sign for an hour after that (dnssec-settime -D and -I), and leave it out then",
				gone.KeyTag(), dns.AlgorithmToString[gone.Algorithm])
		default:
			return fmt.Errorf("the key %d is not listed any more, and caches may have the DNSKEY records with its algorithm %s, which no other "+
				"key has, until %s; list it again until then", gone.KeyTag(), dns.AlgorithmToString[gone.Algorithm],
				end.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// left returns the keys that have left the zone before their time.
func (k *Keys) left(now time.Time) []string {
	return slices.DeleteFunc(slices.Clone(k.before.Keys), func(id string) bool {
		return passed(k.before.Ends[id], now) || passed(k.before.Deletes[id], now) || slices.ContainsFunc(k.All, func(key *Key) bool {
			return key.id == id && (k.publishes(key, now) || key.Times.At(now) != Removed && !k.before.published(id, now))
		})
	})
}

// publishes reports whether a key is in the DNSKEY records by its times, and those of the keys that sign.
func (k *Keys) publishes(key *Key, now time.Time) bool {
	return key.Times.published(now) && slices.ContainsFunc(k.All, func(other *Key) bool {
		return other.Record.Algorithm == key.Record.Algorithm && other.Times.signs(now)
	})
}

// signsKeys reports whether the DNSKEY records have a signature of a key, wherever that is.
func (r *roles) signsKeys(key *Key, now time.Time) bool {
	return slices.Contains(r.signKeys, key) || key.signedAt(now)[dns.TypeDNSKEY] != nil
}

// recordOf returns the key with an id.
func (k *Keys) recordOf(id string) *dns.DNSKEY {
	record := &dns.DNSKEY{Hdr: dns.RR_Header{Name: k.Zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: KeyTTL}, Protocol: 3}
	_, _ = fmt.Sscan(id, &record.Flags, &record.Algorithm, &record.PublicKey) // keyID made it
	return record
}

// signsZone reports whether a key signed what is no key: one without the flag SEP, or if there is none.
func (s *signers) signsZone(id string) bool {
	parts := strings.Fields(id)
	return parts[0] == "256" || !slices.ContainsFunc(s.Keys, func(other string) bool { return strings.HasPrefix(other, "256 "+parts[1]+" ") })
}

// since returns since when the parent has a DS record of a key.
func (s *Seen) since(key *dns.DNSKEY) (since time.Time, ok bool) {
	for _, ds := range s.records() {
		if isOf(ds, key) {
			since, ok = first(since, s.Since[dsData(ds)]), true
		}
	}
	return since, ok
}

// usedSince is since for those DS records that are of use to validators, beside the others.
func (s *Seen) usedSince(key *dns.DNSKEY) (since time.Time, ok bool) {
	all := s.records()
	for _, ds := range all {
		if isOf(ds, key) && isUsed(ds, all) {
			since, ok = first(since, s.Since[dsData(ds)]), true
		}
	}
	return since, ok
}

// records are the parent's DS records.
func (s *Seen) records() (all []*dns.DS) {
	for data := range s.Since {
		ds := &dns.DS{}
		if _, err := fmt.Sscan(data, &ds.KeyTag, &ds.Algorithm, &ds.DigestType, &ds.Digest); err == nil {
			all = append(all, ds)
		}
	}
	return all
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
