package admin

import (
	"sync"

	"mirrorpool/dnspool"
)

// Shares compare where redirects went with where the weights would have sent them. Who is eligible changes all the time,
// so that each redirect counts with the weights of its own time: call Note before another snapshot is in force. The zero
// Shares are empty. They are safe for concurrent use.
type Shares struct {
	mu      sync.Mutex
	mirrors map[string]*redirectShare // by url_prefix; of those in the latest snapshot
	total   float64                   // redirects
}

type redirectShare struct {
	counted  uint64  // what the counter said the last time
	observed float64 // redirects
	expected float64 // redirects, by weight
}

// Note takes in what the counters of the mirrors in s, which has been in force since the last call, say now.
func (s *Shares) Note(snapshot *dnspool.Snapshot, counts map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
		if now < r.counted { // it was out of the pool meanwhile, and begins anew
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

// sharesOf returns the shares sharesOf a mirror. ok is false while there is nothing to compare.
func (s *Shares) sharesOf(prefix string) (expected, observed float64, ok bool) {
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
