package health

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/config/statefile"
)

const (
	// HistoryParts is how many parts the history of a mirror has, and HistoryPart how long each is: 24 hours in all.
	HistoryParts = 96
	HistoryPart  = 15 * time.Minute
)

// A Strip is the last 24 hours of a mirror in one role, the oldest part first: the worst state that was seen in each.
// Unknown means that nothing was seen, as while the server was off.
type Strip [HistoryParts]State

// A History remembers how the mirrors of the pool did in the last 24 hours. Its size is bounded by that of the pool. It
// is safe for concurrent use.
type History struct {
	mu      sync.Mutex
	mirrors map[string]*past
	saving  failure.Last // of SaveHistory
}

// StateTimes say how long a mirror was in each state, by State, in one role and the last 24 hours.
type StateTimes [4]time.Duration

// A past is the history of one mirror. Its arrays are by role, HTTP and DNS.
type past struct {
	last    int64 // number of the newest part, counted since 1970
	strips  [2]Strip
	seconds [2]stripSeconds
	noted   time.Time // of the latest report; zero if there was none since the start
	holds   time.Time // until when what it said is taken to hold, if no other one comes
	states  [2]State  // in that time
}

// stripSeconds say, by State, how many seconds of each part a mirror was in it; nil: none. Most mirrors are in one
// state all day, and a pool may have many mirrors.
type stripSeconds [4]*[HistoryParts]int16

const partSeconds = int64(HistoryPart / time.Second)

// NewHistory returns a history in which nothing has happened yet.
func NewHistory() *History { return &History{mirrors: map[string]*past{}} }

// partOf is the number of the part in which t is.
func partOf(t time.Time) int64 { return t.Unix() / partSeconds }

// Note adds what a report says. Mirrors that are not in it are forgotten.
func (h *History) Note(r *Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.mirrors, func(prefix string, _ *past) bool { _, ok := r.Mirrors[prefix]; return !ok })
	for prefix, m := range r.Mirrors {
		p := h.mirrors[prefix]
		if p == nil {
			p = &past{last: partOf(r.At)}
			h.mirrors[prefix] = p
		}
		p.advance(r.At)
		p.noted, p.holds = r.At, r.At.Add(max(2*r.Policy.Interval, HistoryPart))
		for _, role := range [...]Role{HTTP, DNS} {
			latest := &p.strips[role][HistoryParts-1]
			p.states[role] = m.summary(role)
			*latest = max(*latest, p.states[role]) // as the states are ordered, the worst
		}
	}
}

// Strips returns a mirror's history in the roles HTTP and DNS, as it is seen at a time.
func (h *History) Strips(prefix string, now time.Time) (strips [2]Strip) {
	h.mu.Lock()
	defer h.mu.Unlock()
	strips, _ = h.at(prefix, now)
	return strips
}

// Times returns how long a mirror was in each state in the roles HTTP and DNS, to the second, as it is seen at a time.
func (h *History) Times(prefix string, now time.Time) (times [2]StateTimes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, times = h.at(prefix, now)
	return times
}

// at returns a mirror's history as it is seen at a time. h.mu is held.
func (h *History) at(prefix string, now time.Time) (strips [2]Strip, times [2]StateTimes) {
	p := h.mirrors[prefix]
	if p == nil {
		return strips, times
	}
	seen := *p
	var copies [2][4][HistoryParts]int16 // of all states, so that nothing is allocated
	for role := range seen.seconds {
		for state, parts := range seen.seconds[role] {
			if parts != nil {
				copies[role][state] = *parts
			}
			seen.seconds[role][state] = &copies[role][state]
		}
	}
	seen.advance(now)
	for role := range times {
		for state, parts := range seen.seconds[role] {
			if parts == nil {
				continue
			}
			for _, n := range parts {
				times[role][state] += time.Duration(n) * time.Second
			}
		}
	}
	return seen.strips, times
}

// advance makes the part that contains now the newest one, and adds the time since the latest report to the states in
// that report. A clock that was set back changes nothing.
func (p *past) advance(now time.Time) {
	gone := max(partOf(now)-p.last, 0)
	p.last += gone
	for role := range p.strips {
		shift(p.strips[role][:], gone)
		p.seconds[role].shift(gone)
	}
	if p.noted.IsZero() {
		return
	}
	end := min(now.Unix(), p.holds.Unix())
	for from := max(p.noted.Unix(), end-HistoryParts*partSeconds); from < end; {
		until := min(end, (from/partSeconds+1)*partSeconds)
		if i := HistoryParts - 1 - (p.last - from/partSeconds); i >= 0 {
			for role, state := range p.states {
				p.strips[role][i] = max(p.strips[role][i], state)
				n := &p.seconds[role].of(state)[i]
				*n = min(*n+int16(until-from), int16(partSeconds)) // it is more where a clock was set back
			}
		}
		from = until
	}
}

// shift moves parts n places towards the older end.
func shift[T any](parts []T, n int64) {
	n = min(n, int64(len(parts)))
	copy(parts, parts[n:])
	clear(parts[int64(len(parts))-n:])
}

// of returns the seconds in a state, to write to.
func (s *stripSeconds) of(state State) *[HistoryParts]int16 {
	if s[state] == nil {
		s[state] = new([HistoryParts]int16)
	}
	return s[state]
}

// shift moves parts n places towards the older end, and forgets states of which nothing is left.
func (s *stripSeconds) shift(n int64) {
	if n == 0 {
		return
	}
	for state, parts := range s {
		if parts == nil {
			continue
		}
		shift(parts[:], n)
		if *parts == [HistoryParts]int16{} {
			s[state] = nil
		}
	}
}

// summary is the state of a mirror in a role, as the pool sees it: in role DNS that of its best address, because the
// others are left out of the answers; in role HTTP that of its worst.
func (r *MirrorReport) summary(role Role) State {
	state, any := Unknown, false
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		switch {
		case e.Role != role || e.State == Unknown || e.ExcludedBecause != "":
		case !any:
			state, any = e.State, true
		case role == HTTP:
			state = max(state, e.State)
		default:
			state = min(state, e.State)
		}
	}
	if role == HTTP && any && r.RsyncDown() {
		return Down
	}
	return state
}

// savedPast is a past in the file: a letter for each part, and how long the states lasted. Earlier versions
// wrote the letters alone, and read no more than those.
type savedPast struct {
	Last        int64        `json:"last"`
	HTTP        string       `json:"http"`
	DNS         string       `json:"dns"`
	HTTPSeconds savedSeconds `json:"http_seconds"`
	DNSSeconds  savedSeconds `json:"dns_seconds"`
}

// savedSeconds are the seconds of each part by the letter of a state, without states that never were.
type savedSeconds map[string][]int16

const stateLetters = "-usd" // by State

// Save writes the history to w.
func (h *History) Save(w io.Writer) error {
	h.mu.Lock()
	saved := make(map[string]savedPast, len(h.mirrors))
	for prefix, p := range h.mirrors {
		saved[prefix] = savedPast{
			p.last, p.strips[HTTP].String(), p.strips[DNS].String(), p.seconds[HTTP].save(), p.seconds[DNS].save(),
		}
	}
	h.mu.Unlock()
	return writeSealed(w, historyFormat, saved)
}

// Restore reads what Save has written. If the error is not nil, nothing has changed. What is from the future, because a
// clock was wrong, is left out.
func (h *History) Restore(r io.Reader, now time.Time) error {
	var saved map[string]savedPast
	if err := readSealed(r, historyFormat, &saved); err != nil {
		return err
	}
	mirrors := make(map[string]*past, len(saved))
	for prefix, s := range saved {
		p := &past{last: s.Last}
		err := errors.Join(
			p.strips[HTTP].read(s.HTTP), p.strips[DNS].read(s.DNS),
			p.seconds[HTTP].read(s.HTTPSeconds, &p.strips[HTTP]), p.seconds[DNS].read(s.DNSSeconds, &p.strips[DNS]),
		)
		if err != nil {
			return fmt.Errorf("%s: %w", prefix, err)
		}
		if p.last <= partOf(now) {
			mirrors[prefix] = p
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mirrors = mirrors
	return nil
}

// String returns a letter for each part: u for up, s for stale, d for down, - for unknown.
func (s *Strip) String() string {
	var text [HistoryParts]byte
	for i, state := range s {
		text[i] = stateLetters[state]
	}
	return string(text[:])
}

func (s *Strip) read(text string) error {
	if len(text) != HistoryParts {
		return fmt.Errorf("%d states instead of %d", len(text), HistoryParts)
	}
	for i := range text {
		state := strings.IndexByte(stateLetters, text[i])
		if state < 0 {
			return fmt.Errorf("unknown state %q", text[i])
		}
		s[i] = State(state)
	}
	return nil
}

func (s *stripSeconds) save() savedSeconds {
	saved := savedSeconds{}
	for state, parts := range s {
		if parts != nil {
			saved[stateLetters[state:state+1]] = slices.Clone(parts[:])
		}
	}
	return saved
}

// read takes in what save returned. If saved is nil, an earlier version wrote the file: then each part counts as its
// worst state throughout.
func (s *stripSeconds) read(saved savedSeconds, strip *Strip) error {
	if saved == nil {
		for i, state := range strip {
			s.of(state)[i] = int16(partSeconds)
		}
		return nil
	}
	for letter, parts := range saved {
		state := strings.Index(stateLetters, letter)
		if len(letter) != 1 || state < 0 || len(parts) != HistoryParts {
			return fmt.Errorf("%d times of the state %q", len(parts), letter)
		}
		for i, n := range parts {
			if n < 0 || int64(n) > partSeconds {
				return fmt.Errorf("%d seconds in a part of %d", n, partSeconds)
			}
			s.of(State(state))[i] = n
		}
	}
	return nil
}

// LoadHistory restores what SaveHistory wrote to path, as LoadState does with verdicts.
func (h *History) LoadHistory(path string, now time.Time, log *zap.Logger) {
	if err := statefile.Load(path, func(r io.Reader) error { return h.Restore(r, now) }); err != nil {
		log.Warn("cannot restore the saved history", zap.Error(err))
	}
}

// SaveHistory writes the history to a file at path, atomically. It logs a failure, once until the error changes.
func (h *History) SaveHistory(path string, log *zap.Logger) {
	err := statefile.Replace(path, h.Save)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.saving.IsNew(err) {
		log.Warn("cannot save the history", zap.String("file", path), zap.Error(err))
	}
}
