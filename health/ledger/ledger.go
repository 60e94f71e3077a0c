// Package ledger remembers for half a year what was wrong with each mirror: its incidents.
//
// An incident is a time in which a mirror was unfit in one way: down, stale, unsteady, with a certificate about to end,
// without files of the release, or drained by a person. It begins with the first sign and ends when there has been none
// for a while, so that a mirror that comes and goes has one incident and not hundreds. What a fault of this host may
// explain begins none.
//
// The package has no clock and opens no socket. ledger.go has the rules, problems.go reads a report of the checks,
// uptime.go adds up, and state.go is what outlives a restart.
package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mirrorpool/config/failure"
)

const (
	// Keep is how long a ledger goes back.
	Keep = 180 * 24 * time.Hour

	calm         = 15 * time.Minute // without a sign of it, after which an incident has ended
	maxIncidents = 200              // of one mirror; the oldest are forgotten
	maxTotal     = 100_000          // of all mirrors: where there are many, each has fewer, but minIncidents
	minIncidents = 5
	maxMirrors   = 20_000 // the ones seen last are kept
	maxWhere     = 8      // places of an incident that are named
	maxText      = 300    // bytes of a reason
	maxDoubts    = 64     // problems of one mirror
)

// A Kind is in which way a mirror is unfit.
type Kind string

// The kinds.
const (
	Down        Kind = "down"
	Stale       Kind = "stale"
	Unsteady    Kind = "unsteady" // it fails or hangs now and then, so that its weight counts for less
	Certificate Kind = "certificate"
	Lacks       Kind = "lacks"     // it lacks files of the release, though its trace may be new
	Drained     Kind = "drained"   // by a person
	ForcedUp    Kind = "forced up" // by a person, whatever the checks said
)

// unfit reports whether a mirror does not serve in full during an incident of the kind, by a fault of its own.
func (k Kind) unfit() bool { return k == Down || k == Stale }

// byPerson reports whether a person has begun the incident, who ends it as well.
func (k Kind) byPerson() bool { return k == Drained || k == ForcedUp }

// A Problem is a sign that a mirror is unfit now.
type Problem struct {
	Kind    Kind
	Where   string    // role and address, such as "http 192.0.2.1"; "" for the mirror as a whole
	Reason  string    // may come from the mirror
	Noticed string    // by what it was noticed: "check", "listing", or a person's name
	Since   time.Time // when it began; zero: now
	Until   time.Time // of a person's: when it is to end; zero: not known
	Doubted bool      // it may be a fault of this host: it prolongs an incident, and begins none
}

// An Incident is a time in which a mirror was unfit.
type Incident struct {
	Kind    Kind      `json:"kind"`
	Where   []string  `json:"where"`   // roles and addresses, a few of them
	Reason  string    `json:"reason"`  // the first
	Noticed string    `json:"noticed"` // by what first: "check", "listing", or a person's name
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"` // zero while it goes on
	Times   int       `json:"times"`          // how often it began; more than 1 if it came and went
	// Fit is since when there has been no sign of it, while it has not ended; zero if there is one.
	Fit time.Time `json:"fit,omitzero"`
	// Ends is when a person's is to end; zero if that is not known.
	Ends time.Time `json:"ends,omitzero"`
}

// Open reports whether the incident goes on.
func (i *Incident) Open() bool { return i.Until.IsZero() }

// Length is how long the incident has lasted at now.
func (i *Incident) Length(now time.Time) time.Duration {
	switch {
	case !i.Open():
		return i.Until.Sub(i.Since)
	case !i.Fit.IsZero():
		return i.Fit.Sub(i.Since)
	}
	return now.Sub(i.Since)
}

// A record is what is kept of one mirror.
type record struct {
	First     time.Time  `json:"first"`     // when it was seen first
	Last      time.Time  `json:"last"`      // and last
	Incidents []Incident `json:"incidents"` // in the order in which they began
	// Doubts are when each problem that goes on was last doubted, by kind and place.
	Doubts map[string]time.Time `json:"doubts,omitempty"`
}

// A Ledger holds the incidents of all mirrors. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	mirrors map[string]*record // by url_prefix
	noted   time.Time          // when Note was called last
	steady  time.Time          // since when the clock has not leapt
	saving  failure.Last       // of Save
}

// New returns an empty ledger.
func New() *Ledger { return &Ledger{mirrors: map[string]*record{}} }

// Note takes in the problems of each mirror that is enabled, by its url_prefix, as they are at now. The incidents of
// others end: they serve no clients. settle is how long it may take until what fails together is known to: an incident
// that is doubted within that time was none.
func (l *Ledger) Note(problems map[string][]Problem, now time.Time, settle time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchClock(now)
	for prefix, list := range problems {
		r := l.mirrors[prefix]
		if r == nil {
			r = &record{First: now}
			l.mirrors[prefix] = r
		}
		r.Last = now
		r.note(list, now, settle)
	}
	for prefix, r := range l.mirrors {
		if _, ok := problems[prefix]; !ok {
			r.endAll(now)
		}
		if l.isSteady(now) {
			r.forget(now)
		}
		r.bound(min(maxIncidents, max(minIncidents, maxTotal/len(l.mirrors))))
	}
	l.bound(now)
}

// A clock that leaps by more than leap may be wrong for a moment: what is old by it is forgotten only after steadyTime.
const (
	leap       = 48 * time.Hour
	steadyTime = 24 * time.Hour
)

func (l *Ledger) watchClock(now time.Time) {
	if l.noted.IsZero() || now.Before(l.noted) || now.Sub(l.noted) > leap {
		l.steady = now
	}
	l.noted = now
}

func (l *Ledger) isSteady(now time.Time) bool { return now.Sub(l.steady) >= steadyTime }

// note takes in all problems of a mirror.
func (r *record) note(problems []Problem, now time.Time, settle time.Duration) {
	problems = r.doubt(problems, now, settle)
	r.Incidents = slices.DeleteFunc(r.Incidents, func(i Incident) bool {
		return i.Open() && now.Sub(i.Since) < settle && isDoubted(problems, i.Kind)
	})
	for i := range r.Incidents {
		in := &r.Incidents[i]
		in.endIfCalm(now)
		if in.Open() && !slices.ContainsFunc(problems, func(p Problem) bool { return in.isOf(&p) }) {
			in.pass(now)
		}
	}
	for _, p := range problems {
		r.add(&p, now)
	}
}

// doubt returns the problems with those doubted, too, that were so until a moment ago: when an outage of this host
// ends, it takes a while until all mirrors are seen to pass. What goes on after that began when the doubt ended.
func (r *record) doubt(problems []Problem, now time.Time, settle time.Duration) []Problem {
	problems = slices.Clone(problems)
	doubts := make(map[string]time.Time)
	for i := range problems {
		p := &problems[i]
		key := string(p.Kind) + " " + p.Where
		last, known := r.Doubts[key]
		switch {
		case p.Kind.byPerson():
			continue
		case p.Doubted:
			last, known = now, true
		case known && now.Sub(last) < 2*settle:
			p.Doubted = true
		case known && p.Since.Before(last):
			p.Since = last
		}
		if known && len(doubts) < maxDoubts {
			doubts[key] = last
		}
	}
	r.Doubts = doubts
	return problems
}

// isDoubted reports whether there are problems of a kind, and all are doubted.
func isDoubted(problems []Problem, k Kind) bool {
	any := false
	for _, p := range problems {
		if p.Kind == k && !p.Doubted {
			return false
		}
		any = any || p.Kind == k
	}
	return any
}

// pass takes in that there is no sign of an incident.
func (i *Incident) pass(now time.Time) {
	if i.Fit.IsZero() {
		i.Fit = now
	}
	i.endIfCalm(now)
}

// endIfCalm ends an incident of which there has been no sign for long enough.
func (i *Incident) endIfCalm(now time.Time) {
	if i.Fit.IsZero() || !i.Kind.byPerson() && now.Sub(i.Fit) < calm {
		return
	}
	i.Until, i.Fit = i.Fit, time.Time{}
	if !i.Ends.IsZero() && i.Ends.Before(i.Until) && !i.Ends.Before(i.Since) {
		i.Until = i.Ends // it ended while the program did not run
	}
}

// isOf reports whether a problem is a sign of the incident. Those of persons are told apart by their beginning, too.
func (i *Incident) isOf(p *Problem) bool {
	if i.Kind != p.Kind || !p.Kind.byPerson() {
		return i.Kind == p.Kind
	}
	return slices.Contains(i.Where, p.Where) && (p.Since.IsZero() || p.Since.Equal(i.Since))
}

// add takes in a sign: of the incident of its kind that goes on, or of a new one.
func (r *record) add(p *Problem, now time.Time) {
	k := slices.IndexFunc(r.Incidents, func(i Incident) bool { return i.Open() && i.isOf(p) })
	if k < 0 {
		if p.Doubted {
			return
		}
		since := p.Since
		if since.IsZero() || since.After(now) {
			since = now
		}
		r.Incidents = append(r.Incidents, Incident{Kind: p.Kind, Where: []string{}, Reason: cut(p.Reason), Noticed: cut(p.Noticed),
			Since: since, Times: 1, Ends: p.Until})
		k = len(r.Incidents) - 1
	}
	i := &r.Incidents[k]
	if !i.Fit.IsZero() {
		i.Fit = time.Time{}
		i.Times++
	}
	if p.Where != "" && len(i.Where) < maxWhere && !slices.Contains(i.Where, p.Where) {
		i.Where = append(i.Where, p.Where)
	}
}

// endAll ends the incidents of a mirror that is gone, or disabled.
func (r *record) endAll(now time.Time) {
	for k := range r.Incidents {
		if i := &r.Incidents[k]; i.Open() {
			i.Until = now
			if !i.Fit.IsZero() {
				i.Until, i.Fit = i.Fit, time.Time{}
			}
		}
	}
}

// forget drops what is too old.
func (r *record) forget(now time.Time) {
	r.Incidents = slices.DeleteFunc(r.Incidents, func(i Incident) bool { return !i.Open() && now.Sub(i.Until) > Keep })
}

// bound drops all but so many of the latest incidents.
func (r *record) bound(most int) {
	if more := len(r.Incidents) - most; more > 0 {
		r.Incidents = slices.Delete(r.Incidents, 0, more)
	}
}

// bound drops mirrors that have long been gone, and where there are too many, those that have been gone longest.
func (l *Ledger) bound(now time.Time) {
	if l.isSteady(now) {
		maps.DeleteFunc(l.mirrors, func(_ string, r *record) bool { return now.Sub(r.Last) > Keep })
	}
	if len(l.mirrors) <= maxMirrors {
		return
	}
	oldest := slices.SortedFunc(maps.Keys(l.mirrors), func(a, b string) int {
		return cmp.Or(l.mirrors[a].Last.Compare(l.mirrors[b].Last), cmp.Compare(a, b))
	})
	for _, prefix := range oldest[:len(l.mirrors)-maxMirrors] {
		delete(l.mirrors, prefix)
	}
}

// cut shortens a text that may come from elsewhere, and be no UTF-8.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
