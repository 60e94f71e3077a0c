package health

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

const (
	// HistoryParts is how many parts the history of a mirror has, and HistoryPart how long each is: 24 hours in all.
	HistoryParts = 96
	HistoryPart  = 15 * time.Minute
)

// A Strip is the last 24 hours of a mirror in one role, the oldest part first: the worst state that was seen in each.
// Unknown stands for nothing seen, as while the server was off.
type Strip [HistoryParts]State

// A History remembers how the mirrors of the pool did in the last 24 hours. Its size is bounded by that of the pool. It
// is safe for concurrent use.
type History struct {
	mu      sync.Mutex
	mirrors map[string]*past
	problem string // why it was not saved the last time
}

// A past is the history of one mirror.
type past struct {
	last   int64    // number of the newest part, counted since 1970
	strips [2]Strip // by role, HTTP and DNS
}

// NewHistory returns a history in which nothing has happened yet.
func NewHistory() *History { return &History{mirrors: map[string]*past{}} }

// partOf is the number of the part in which t is.
func partOf(t time.Time) int64 { return t.Unix() / int64(HistoryPart/time.Second) }

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
		p.advance(partOf(r.At))
		for _, role := range [...]Role{HTTP, DNS} {
			latest := &p.strips[role][HistoryParts-1]
			*latest = max(*latest, m.stands(role)) // as the states are ordered, the worst
		}
	}
}

// Strips returns a mirror's history in the roles HTTP and DNS, as it is seen at a time.
func (h *History) Strips(prefix string, now time.Time) (strips [2]Strip) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.mirrors[prefix]
	if p == nil {
		return strips
	}
	seen := *p
	seen.advance(partOf(now))
	return seen.strips
}

// advance makes a part the newest one. A clock that was set back changes nothing.
func (p *past) advance(part int64) {
	gone := max(part-p.last, 0)
	p.last += gone
	for role := range p.strips {
		var next Strip
		copy(next[:], p.strips[role][min(gone, HistoryParts):])
		p.strips[role] = next
	}
}

// stands is how a mirror stands in a role, as the pool sees it: in role DNS as its best address does, because the others
// are left out of the answers; in role HTTP as its worst one.
func (r *MirrorReport) stands(role Role) State {
	stands, any := Unknown, false
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		switch {
		case e.Role != role || e.State == Unknown:
		case !any:
			stands, any = e.State, true
		case role == HTTP:
			stands = max(stands, e.State)
		default:
			stands = min(stands, e.State)
		}
	}
	if role == HTTP && any && r.RsyncDown() {
		return Down
	}
	return stands
}

// savedPast is a past in the file: a letter for each part.
type savedPast struct {
	Last int64  `json:"last"`
	HTTP string `json:"http"`
	DNS  string `json:"dns"`
}

const stateLetters = "-usd" // by State

// Save writes the history to w.
func (h *History) Save(w io.Writer) error {
	h.mu.Lock()
	saved := make(map[string]savedPast, len(h.mirrors))
	for prefix, p := range h.mirrors {
		saved[prefix] = savedPast{p.last, p.strips[HTTP].String(), p.strips[DNS].String()}
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
		if err := errors.Join(p.strips[HTTP].read(s.HTTP), p.strips[DNS].read(s.DNS)); err != nil {
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
			return fmt.Errorf("no state is called %q", text[i])
		}
		s[i] = State(state)
	}
	return nil
}

// LoadHistory restores what SaveHistory wrote to path, as LoadState does with verdicts.
func (h *History) LoadHistory(path string, now time.Time, log *zap.Logger) {
	if err := statefile.Load(path, func(r io.Reader) error { return h.Restore(r, now) }); err != nil {
		log.Warn("the saved history cannot be used", zap.Error(err))
	}
}

// SaveHistory writes the history to a file at path, which is there completely or as it was before. That it cannot is
// logged, once until it changes.
func (h *History) SaveHistory(path string, log *zap.Logger) {
	problem := ""
	err := statefile.Replace(path, h.Save)
	if err != nil {
		problem = err.Error()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil && problem != h.problem {
		log.Warn("the history cannot be saved", zap.String("file", path), zap.Error(err))
	}
	h.problem = problem
}
