package ledger

import (
	"maps"
	"slices"
	"strings"
	"time"

	"mirrorpool/health"
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
	// Failures is how many times the mirror was down or stale in 180 days though it was not drained, and Longest how
	// long at most, in seconds. An outage after which the content is old is one.
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
	whole, counted := r.failures(now)
	s := Summary{
		URLPrefix: prefix, First: r.First, Last: r.Last, Incidents: []Incident{},
		Uptime30: r.uptime(counted, now.Add(-30*24*time.Hour), now), Uptime180: r.uptime(counted, now.Add(-Keep), now),
	}
	for _, failure := range whole {
		if length := measure(counted, failure); length > 0 && failure.to.After(now.Add(-Keep)) {
			s.Failures++
			s.Latest = failure.from
			s.Longest = max(s.Longest, length.Seconds())
		}
	}
	for _, i := range r.Incidents {
		if i.Open() || i.Until.After(since) {
			i.Where = slices.Clone(i.Where)
			s.Incidents = append(s.Incidents, i)
		}
	}
	return s
}

// A span is a time from one moment to another.
type span struct{ from, to time.Time }

// failures returns the times in which the mirror was down or stale: as wholes, where what is calm apart or less is one;
// and cut down to what counts, because it was not drained in the role. Both are in order, and do not overlap.
func (r *record) failures(now time.Time) (whole, counted []span) {
	drains := map[string][]span{}
	for i := range r.Incidents {
		if in := &r.Incidents[i]; in.Kind == Drained {
			for _, role := range in.roles() {
				drains[role] = append(drains[role], in.span(now))
			}
		}
	}
	for i := range r.Incidents {
		in := &r.Incidents[i]
		if !in.Kind.unfit() {
			continue
		}
		whole = append(whole, in.span(now))
		for _, role := range in.roles() {
			counted = append(counted, without(in.span(now), merge(drains[role], 0))...)
		}
	}
	return merge(whole, calm), merge(counted, 0)
}

func (i *Incident) span(now time.Time) span { return span{i.Since, i.Since.Add(max(i.Length(now), 0))} }

// roles are the roles that an incident is about: http, which needs rsync, and dns.
func (i *Incident) roles() (roles []string) {
	for _, where := range i.Where {
		role, _, _ := strings.Cut(where, " ")
		if role == health.Rsync.String() {
			role = health.HTTP.String()
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	if len(roles) == 0 {
		return []string{health.HTTP.String(), health.DNS.String()}
	}
	return roles
}

// merge joins spans that overlap, or are no more than a gap apart.
func merge(spans []span, gap time.Duration) (merged []span) {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	for _, s := range spans {
		last := len(merged) - 1
		if last < 0 || s.from.Sub(merged[last].to) > gap {
			merged = append(merged, s)
		} else if s.to.After(merged[last].to) {
			merged[last].to = s.to
		}
	}
	return merged
}

// without returns what is left of a span without others, which are in order and do not overlap.
func without(s span, others []span) (left []span) {
	for _, other := range others {
		if !other.to.After(s.from) || !other.from.Before(s.to) {
			continue
		}
		if other.from.After(s.from) {
			left = append(left, span{s.from, other.from})
		}
		s.from = other.to
	}
	if s.from.Before(s.to) {
		left = append(left, s)
	}
	return left
}

// measure is how much of a span others cover, which do not overlap.
func measure(others []span, s span) (sum time.Duration) {
	for _, other := range others {
		from, to := other.from, other.to
		if from.Before(s.from) {
			from = s.from
		}
		if to.After(s.to) {
			to = s.to
		}
		sum += max(to.Sub(from), 0)
	}
	return sum
}

// uptime is the share of the time from one moment to another, as far as the mirror was known, without a failure that
// counts.
func (r *record) uptime(counted []span, from, to time.Time) float64 {
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
	return 1 - float64(measure(counted, span{from, to}))/float64(whole)
}
