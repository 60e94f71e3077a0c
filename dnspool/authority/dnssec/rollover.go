package dnssec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A rollover replaces the one key of a zone (RFC 6781 section 4.1). All of its state is the times in the key files, so
// that it goes on after a restart, and on other servers with the same files.
//
// With the same algorithm, the new key is published ahead, when it signs nothing but the keys, and the parent is asked
// to have a DS record of both (double DS). Once that is seen, and no cache can have the set without it, the new key
// signs alone; the old one goes when no cache can have what it has signed. Each answer has one signature all the time.
//
// If the parent loses the new DS record again, the steps that it has led to and that have not been reached yet are
// taken back. The old key is never removed while the parent may have a DS record of that alone.
//
// Another algorithm has to sign all before it is published, and until the parent has no DS record of it any more
// (RFC 6781 section 4.1.4). Both keys sign, and the old one stays until the parent has let go of it.

// margin is added to each waiting time: for a zone that is made up to an hour late, for transfers and for clocks.
const margin = 2 * time.Hour

// A View is what the parent has, as a resolver sees it.
type View struct {
	DS  []*dns.DS
	TTL time.Duration // for which caches may have what was there before
	At  time.Time
	// CachedUntil is until when caches may have DS records that are not there any more; zero if there never were any.
	CachedUntil time.Time
	// Latest is the latest time of a look before. A look by a clock that is behind that changes nothing.
	Latest time.Time
}

// checkClock is the same of a Seen.
func (v *View) checkClock(now time.Time) error {
	if v == nil {
		return nil
	}
	return (&Seen{Latest: v.Latest}).CheckClock(now)
}

// rolling returns the keys of a rollover that is under way: the new one and the one that it replaces, or nil. Two keys
// that were listed before are none, as the new key of a rollover always has a time for CDS.
func (k *Keys) rolling(now time.Time) (next, old *Key) {
	var keys []*Key
	for _, key := range k.All {
		if key.SEP() && key.private != nil && key.Times.At(now) != Removed {
			keys = append(keys, key)
		}
	}
	if len(keys) != 2 || !k.auto {
		return nil, nil
	}
	slices.SortStableFunc(keys, oldestFirst)
	if keys[1].Times.SyncPublish.IsZero() {
		return nil, nil
	}
	return keys[1], keys[0]
}

// oldestFirst compares keys by when they were made: see createdAfter.
func oldestFirst(a, b *Key) int { return a.Times.Created.Compare(b.Times.Created) }

// createdAfter is the Created time of a key that is made now: after that of all others, even if the clock was ahead
// when they were made. Which of two keys is the new one depends on it.
func (k *Keys) createdAfter(now time.Time) time.Time {
	now = now.Truncate(time.Second) // as files have it
	for _, key := range k.All {
		if !now.After(key.Times.Created) {
			now = key.Times.Created.Add(time.Second)
		}
	}
	return now
}

// Roll returns k with a new key that is to replace the one there is. An empty algorithm is that of the old key. zoneTTL
// is the longest TTL with which caches may have records of the zone.
func (k *Keys) Roll(algorithm string, now time.Time, zoneTTL time.Duration) (*Keys, error) {
	if k.leader != "" {
		return nil, k.refuseToLead()
	}
	if !k.auto {
		return nil, errors.New(`the configuration names the key files: make new ones with dnssec-keygen, set their times with ` +
			`dnssec-settime, list them and reload`)
	}
	if next, old := k.rolling(now); next != nil && next.aborted() {
		return nil, fmt.Errorf("the rollover to the key %d was given up, and that is still there: %s", next.Tag, nextOfAborted(next, now, nil))
	} else if next != nil {
		return nil, fmt.Errorf("a rollover from the key %d to %d is under way", old.Tag, next.Tag)
	}
	roles, err := k.at(now)
	if err != nil {
		return nil, err
	}
	if ahead := slices.MaxFunc(k.All, oldestFirst); ahead.Times.Created.After(now.Add(margin)) {
		return nil, fmt.Errorf("the clock is before %s, when the key %d was made: set the clock, or if it was ahead then, correct Created in "+
			"the key's private file in %s", ahead.Times.Created.UTC().Format(time.RFC3339), ahead.Tag, k.folder())
	}
	if len(roles.signKeys) != 1 || !slices.Equal(roles.signKeys, roles.signZone) {
		return nil, fmt.Errorf("want one key that signs all, got %s; take the others out of use first, with dnssec-settime -I and -D in %s",
			k.describe(now), k.folder())
	}
	before := roles.signKeys[0].Record.Algorithm
	number := before
	if algorithm != "" {
		if number = algorithms[strings.ToUpper(algorithm)]; number == 0 {
			return nil, fmt.Errorf("want the algorithm ECDSAP256SHA256 or ED25519, got %q", algorithm)
		}
	}
	switch other := k.otherServersKey(before); {
	case k.withdraw:
		return nil, errors.New("dns.dnssec.withdraw asks the parent for no DS record, which a new key needs: take it out and reload first")
	case other != nil && number != before:
		return nil, fmt.Errorf("the key %d of another server (dns.dnssec.other_keys) has the algorithm of the key that is to go: all servers "+
			"have to change it together (RFC 8901 section 5)", other.Tag)
	}
	times := beginning(number == before, now, zoneTTL)
	times.Created = k.createdAfter(now)
	for {
		key, err := generate(k.Zone, number, times)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(k.All, func(other *Key) bool { return other.Tag == key.Tag }) {
			return k.with(key), nil
		}
	}
}

// otherServersKey returns a key of another server of an algorithm, or nil.
func (k *Keys) otherServersKey(algorithm uint8) *Key {
	for _, key := range k.All {
		if !key.ours() && key.Record.Algorithm == algorithm {
			return key
		}
	}
	return nil
}

// beginning is when a new key does what without the parent: it is published, and the parent asked for its DS record.
func beginning(sameAlgorithm bool, now time.Time, zoneTTL time.Duration) Times {
	if sameAlgorithm {
		return Times{Publish: now, SyncPublish: now.Add(KeyTTL*time.Second + margin)}
	}
	published := now.Add(zoneTTL + margin)
	return Times{Activate: now, Publish: published, SyncPublish: published.Add(KeyTTL*time.Second + margin)}
}

// with returns k with other keys in place of what they were before, or added. Another server's may have the same tag.
func (k *Keys) with(changed ...*Key) *Keys {
	n := *k
	n.All = slices.Clone(k.All)
	for _, key := range changed {
		i := slices.IndexFunc(n.All, func(other *Key) bool { return other.id == key.id })
		if i < 0 {
			n.All = append(n.All, key)
			continue
		}
		n.All[i] = key
	}
	return &n
}

// Advance returns k as a rollover goes on now that the parent has what v says; k itself if nothing changes, or if
// another server leads.
func (k *Keys) Advance(v *View, zoneTTL time.Duration) *Keys {
	next, old := k.rolling(v.At)
	switch {
	case k.leader != "" || next == nil || v.At.Before(v.Latest) || v.At.Before(next.Times.Created.Add(-margin)):
		return k
	case next.aborted():
		return k.advanceAborted(v, next)
	case !next.Times.synced(v.At):
		return k
	case !v.anchors(next):
		return k.takeBack(v.At, next, old)
	}
	a, b := *next, *old
	known := v.At.Add(v.TTL + margin) // then all caches have what v says
	// What is planned stays, even if it is far ahead: the clock may be behind now, and the step be reached already.
	switch {
	case a.Record.Algorithm == b.Record.Algorithm:
		// One of both is missing where a crash came between the files.
		if !a.Times.Activate.IsZero() && !b.Times.Delete.IsZero() {
			return k
		}
		if a.Times.Activate.IsZero() {
			a.Times.Activate = known
		}
		// The old key has retired already where the parent had lost the new DS record meanwhile.
		if !passed(a.Times.Activate, v.At) || !passed(b.Times.Inactive, v.At) {
			b.Times.Inactive, b.Times.SyncDelete = known, known
		}
		b.Times.Delete = known.Add(cachedFor(zoneTTL))
	case b.Times.SyncDelete.IsZero():
		b.Times.SyncDelete = known
	case !b.Times.Delete.IsZero() && !passed(b.Times.Delete, v.At) && v.has(old):
		// One of the parent's servers was ahead of the others, or the registrar has undone the change.
		b.Times.Delete, b.Times.Inactive = time.Time{}, time.Time{}
	case b.Times.Delete.IsZero() && passed(b.Times.SyncDelete, v.At) && !v.has(old):
		b.Times.Delete = known
		b.Times.Inactive = known.Add(KeyTTL*time.Second + margin)
	default:
		return k
	}
	a.Times, b.Times = a.Times.whole(), b.Times.whole()
	return k.with(&a, &b)
}

// Outlive returns k with the old key of a rollover staying for longer where it still signs, and records get a longer
// TTL. k may be nil.
func (k *Keys) Outlive(zoneTTL time.Duration, now time.Time) *Keys {
	if k == nil || k.leader != "" {
		return k
	}
	next, old := k.rolling(now)
	if next == nil || next.Record.Algorithm != old.Record.Algorithm || old.Times.Delete.IsZero() || passed(old.Times.Inactive, now) {
		return k
	}
	b := *old
	if b.Times.Delete = b.Times.Inactive.Add(cachedFor(zoneTTL)); !b.Times.Delete.After(old.Times.Delete) {
		return k
	}
	return k.with(&b)
}

// cachedFor is for how long a key stays after it has signed for the last time.
func cachedFor(zoneTTL time.Duration) time.Duration { return max(zoneTTL, KeyTTL*time.Second) + margin }

// takeBack returns k with the steps taken back that have not been reached yet and need the new key's DS record at the
// parent, which does not have it: the registrar has undone the change, or one of the parent's servers was ahead of the
// others. A key that signs already goes on, but the old one stays, since validators may trust that alone.
func (k *Keys) takeBack(now time.Time, next, old *Key) *Keys {
	a, b := *next, *old
	sameAlgorithm := a.Record.Algorithm == b.Record.Algorithm
	b.Times.Delete = time.Time{}
	if !sameAlgorithm || !passed(a.Times.Activate, now) {
		b.Times.Inactive = time.Time{}
	}
	if sameAlgorithm && !passed(a.Times.Activate, now) {
		a.Times.Activate, b.Times.SyncDelete = time.Time{}, time.Time{}
	}
	if !passed(b.Times.SyncDelete, now) {
		b.Times.SyncDelete = time.Time{}
	}
	if a.Times == next.Times && b.Times == old.Times {
		return k
	}
	return k.with(&a, &b)
}

// Phase is the same at two times if all keys do the same, with the same sets that were signed ahead.
func (k *Keys) Phase(now time.Time) string {
	text := ""
	for _, key := range k.sorted() {
		text += fmt.Sprintf("%d %s %v ", key.Tag, key.Times.At(now), key.Times.synced(now))
	}
	ahead := k.signedAt(now)
	for _, rrtype := range keyTypes {
		for _, set := range ahead[rrtype] {
			text += fmt.Sprintf("%d from %d to %d ", rrtype, set.signature.Inception, set.signature.Expiration)
		}
	}
	return text
}
