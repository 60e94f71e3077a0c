package admin

import (
	"sync"

	"mirrorpool/dnspool"
)

// Shares compare each mirror's share of the redirects with its share by weight. Eligibility changes all the time, and
// each redirect counts with the weights at its time: call Note before another snapshot is put in force. The zero Shares
// are empty. They are safe for concurrent use.
type Shares struct {
	mu      sync.Mutex
	mirrors map[string]*redirectShare // by url_prefix; of those in the latest snapshot
	total   float64                   // redirects
}

type redirectShare struct {
	counted  uint64  // as of the latest Note
	observed float64 // redirects
	expected float64 // redirects, by weight
}

// Note adds the redirects since the last call; read returns the counters. snapshot was in force in that time.
func (s *Shares) Note(snapshot *dnspool.Snapshot, read func() map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := read() // not before: of two callers, the later one must not have the older counters
	kept := make(map[string]*redirectShare, len(snapshot.Mirrors))
	sum, weights := 0.0, 0.0
	for i := range snapshot.Mirrors {
		m := &snapshot.Mirrors[i]
		r := s.mirrors[m.URLPrefix]
		if r == nil {
			r = &redirectShare{}
		}
		kept[m.URLPrefix] = r
		now := counts[m.URLPrefix]
		if now < r.counted { // it had left the pool, and its counter began again
			r.counted = 0
		}
		sum += float64(now - r.counted)
		r.observed += float64(now - r.counted)
		r.counted = now
		if m.InWeb {
			weights += float64(m.Weight)
		}
	}
	for i := range snapshot.Mirrors {
		if m := &snapshot.Mirrors[i]; m.InWeb && weights > 0 {
			kept[m.URLPrefix].expected += sum * float64(m.Weight) / weights
		}
	}
	s.mirrors = kept
	s.total += sum
}

// Of returns the shares of a mirror, 0 to 1. ok is false before the first redirect.
func (s *Shares) Of(prefix string) (expected, observed float64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mirrors[prefix]
	if r == nil || s.total == 0 {
		return 0, 0, false
	}
	return r.expected / s.total, r.observed / s.total, true
}

func (s *Shares) redirects() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.total)
}
