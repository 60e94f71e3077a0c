package ledger

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A Summary is what the ledger says of one mirror.
type Summary struct {
	URLPrefix string    `json:"url_prefix"`
	First     time.Time `json:"first_seen"`
	Last      time.Time `json:"last_seen"`
	// Uptime30 and Uptime180 are the shares of the latest 30 and 180 days, as far as the mirror was known, in which it
	// was neither down nor stale at any address. They lie between 0 and 1.
	Uptime30  float64 `json:"uptime_30d"`
	Uptime180 float64 `json:"uptime_180d"`
	// Failures is how many times the mirror was down or stale in 180 days, and Longest how long at most.
	Failures  int        `json:"failures_180d"`
	Longest   float64    `json:"longest_seconds"`
	Latest    time.Time  `json:"latest_failure,omitzero"` // when the latest one began
	Incidents []Incident `json:"incidents"`               // the oldest first
}

// Summary returns what there is to say of a mirror at now, with the incidents that have not ended before since. ok is
// false if nothing is known of it.
func (l *Ledger) Summary(prefix string, since, now time.Time) (s Summary, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.mirrors[prefix]
	if r == nil {
		return s, false
	}
	return r.summary(prefix, since, now), true
}

// Summaries returns what there is to say of all mirrors, those that are gone included, by url_prefix.
func (l *Ledger) Summaries(since, now time.Time) []Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []Summary{}
	for _, prefix := range slices.SortedFunc(maps.Keys(l.mirrors), strings.Compare) {
		list = append(list, l.mirrors[prefix].summary(prefix, since, now))
	}
	return list
}

func (r *record) summary(prefix string, since, now time.Time) Summary {
	s := Summary{
		URLPrefix: prefix, First: r.First, Last: r.Last, Incidents: []Incident{},
		Uptime30: r.uptime(now.Add(-30*24*time.Hour), now), Uptime180: r.uptime(now.Add(-Keep), now),
	}
	for _, i := range r.Incidents {
		if i.Kind.unfit() && (i.Open() || i.Until.After(now.Add(-Keep))) {
			s.Failures++
			s.Latest = i.Since // they are in the order in which they began
			s.Longest = max(s.Longest, i.Length(now).Seconds())
		}
		if i.Open() || i.Until.After(since) {
			i.Where = slices.Clone(i.Where)
			s.Incidents = append(s.Incidents, i)
		}
	}
	return s
}

// uptime is the share of the time from one moment to another, as far as the mirror was known, without a failure.
// Failures of two kinds may overlap.
func (r *record) uptime(from, to time.Time) float64 {
	if r.First.After(from) {
		from = r.First
	}
	if r.Last.Before(to) {
		to = r.Last
	}
	whole := to.Sub(from)
	if whole <= 0 {
		return 1
	}
	failures := slices.SortedFunc(slices.Values(r.Incidents), func(a, b Incident) int { return a.Since.Compare(b.Since) })
	var lost time.Duration
	counted := from // all before it is counted
	for _, i := range failures {
		end := i.Since.Add(i.Length(to))
		if !i.Kind.unfit() || !end.After(counted) {
			continue
		}
		begin := i.Since
		if begin.Before(counted) {
			begin = counted
		}
		if end.After(to) {
			end = to
		}
		if end.After(begin) {
			lost += end.Sub(begin)
			counted = end
		}
	}
	return 1 - float64(lost)/float64(whole)
}
