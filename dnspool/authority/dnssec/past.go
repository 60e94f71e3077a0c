package dnssec

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Past is what caches may still have of a zone and its parent. It is remembered beside the keys, so that a restart
// shortens no wait for caches.
type Past struct {
	Parent Seen `json:"parent,omitzero"`
	TTLs   TTLs `json:"ttls,omitzero"`
}

// TTLs are the longest ones of the zone's records, now and before.
type TTLs struct {
	Longest time.Duration `json:"longest,omitzero"`
	Before  time.Duration `json:"before,omitzero"` // that caches may have records with
	Until   time.Time     `json:"until,omitzero"`  // for how long they may
}

// With returns t as the longest TTL in the zone becomes another one.
func (t TTLs) With(longest time.Duration, now time.Time) TTLs {
	if longest == t.Longest {
		return t
	}
	held := t.Held(now)
	until := latest(now.Add(held), t.Until) // the clock may be behind
	return TTLs{Longest: longest, Before: held, Until: until.UTC().Truncate(time.Second)}
}

// Held is the longest time for which caches may have records of the zone as they are now, or were before.
func (t TTLs) Held(now time.Time) time.Duration {
	return max(t.Longest, min(t.Until.Sub(now), t.Before)) // not longer if the clock was ahead
}

// A Seen is the parent's DS records as they were seen last, and for how long caches may have others.
type Seen struct {
	Longest time.Duration        `json:"longest,omitzero"` // TTL they were seen with; a resolver's cache gives what is left of it
	Since   map[string]time.Time `json:"since,omitempty"`  // when each of them was first seen
	Changed time.Time            `json:"changed,omitzero"` // when they were first seen as they are; zero: there never were any
	Latest  time.Time            `json:"latest,omitzero"`  // the latest time of a look; it is kept once an hour
}

// NotBefore is now, or the latest time of a look: a clock that is behind that shortens no wait.
func (s *Seen) NotBefore(now time.Time) time.Time { return latest(now, s.Latest) }

// CheckClock returns an error if the clock is behind what s remembers: either now, or it was ahead then.
func (s *Seen) CheckClock(now time.Time) error {
	if !now.Before(s.Latest) {
		return nil
	}
	return fmt.Errorf("the clock is before %s, when the parent was looked at last, and until then it is not known what caches have: set the "+
		"clock", s.Latest.UTC().Format(time.RFC3339))
}

// With returns s after a look at the parent. By a clock that is behind, no time goes back.
func (s *Seen) With(v *View) Seen {
	at := s.NotBefore(v.At).UTC().Truncate(time.Second)
	next := Seen{Longest: s.Longest, Since: map[string]time.Time{}, Changed: s.Changed, Latest: at}
	changed := false
	for _, ds := range v.DS {
		next.Longest = max(next.Longest, v.TTL)
		since, ok := s.Since[dsData(ds)]
		if !ok {
			since = at
		}
		changed = changed || !ok
		next.Since[dsData(ds)] = since
	}
	if changed || len(next.Since) != len(s.Since) {
		next.Changed = latest(at, s.Changed)
	}
	return next
}

// CachedUntil is until when caches may have other DS records than those that were seen last.
func (s *Seen) CachedUntil() time.Time { return s.Changed.Add(s.Longest) }

// dsData is the data of a DS record as text.
func dsData(ds *dns.DS) string {
	return fmt.Sprintf("%d %d %d %s", ds.KeyTag, ds.Algorithm, ds.DigestType, strings.ToUpper(ds.Digest))
}

// Recall returns what is remembered of a zone in a state folder.
func Recall(dir, zone string) (Past, error) {
	m, err := loadMemory(dir)
	if err != nil {
		return Past{}, fmt.Errorf("cannot tell what caches may have of %s: %w", zone, err)
	}
	return m.of(zone).Past, nil
}

// Keep remembers p of a zone whose keys are remembered.
func (p *Past) Keep(dir, zone string) error {
	m, err := loadMemory(dir)
	if err != nil {
		return fmt.Errorf("cannot remember what caches may have of %s: %w", zone, err)
	}
	s := m.of(zone)
	if len(s.Keys) == 0 || p.equal(&s.Past) {
		return nil
	}
	s.Past = *p
	next := m.with(s)
	change, err := next.stage(dir)
	if err == nil {
		err = change.Commit()
	}
	if err != nil {
		return fmt.Errorf("cannot remember what caches may have of %s: %w", zone, err)
	}
	return nil
}

// latestKept is how old the latest look that is kept may be. Waiting times have a margin that is longer.
const latestKept = time.Hour

func (p *Past) equal(other *Past) bool {
	a, b := &p.Parent, &other.Parent
	return a.Latest.Sub(b.Latest).Abs() < latestKept && a.Longest == b.Longest && a.Changed.Equal(b.Changed) && maps.EqualFunc(a.Since, b.Since, time.Time.Equal) &&
		p.TTLs.Longest == other.TTLs.Longest && p.TTLs.Before == other.TTLs.Before && p.TTLs.Until.Equal(other.TTLs.Until)
}
