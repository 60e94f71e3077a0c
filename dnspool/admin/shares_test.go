package admin

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

// poolOf returns a snapshot of mirrors with weights.
func poolOf(weights map[string]uint32) *dnspool.Snapshot {
	s := &dnspool.Snapshot{}
	for prefix, weight := range weights {
		s.Mirrors = append(s.Mirrors, dnspool.Mirror{Mirror: &config.Mirror{URLPrefix: prefix, Weight: weight}, InWeb: weight > 0})
	}
	return s
}

func TestShares(t *testing.T) {
	t.Parallel()
	var s Shares
	if _, _, ok := s.Of("a"); ok {
		t.Error("there are shares of nothing")
	}
	// a and b share the first 100 redirects as 3 to 1, and only b serves the other 100.
	s.Note(poolOf(map[string]uint32{"a": 30, "b": 10}), counts(map[string]uint64{"a": 60, "b": 40}))
	s.Note(poolOf(map[string]uint32{"a": 0, "b": 10}), counts(map[string]uint64{"a": 60, "b": 140}))
	for prefix, want := range map[string][2]float64{"a": {75. / 200, 60. / 200}, "b": {125. / 200, 140. / 200}} {
		if expected, observed, ok := s.Of(prefix); !ok || math.Abs(expected-want[0]) > 1e-9 || math.Abs(observed-want[1]) > 1e-9 {
			t.Errorf("%s: %v expected and %v observed, want %v", prefix, expected, observed, want)
		}
	}
	if s.redirects() != 200 {
		t.Errorf("%d redirects", s.redirects())
	}
	s.Note(poolOf(map[string]uint32{"b": 10}), counts(map[string]uint64{"b": 140}))
	s.Note(poolOf(map[string]uint32{"a": 10, "b": 10}), counts(map[string]uint64{"a": 2, "b": 140}))
	if _, observed, _ := s.Of("a"); math.Abs(observed-2./202) > 1e-9 {
		t.Errorf("a mirror that came back has %v of the redirects", observed)
	}
}

// counts returns a function that reads counters.
func counts(n map[string]uint64) func() map[string]uint64 {
	return func() map[string]uint64 { return n }
}

// TestSharesOfTwoCallers: however calls overlap, each redirect is noted once.
func TestSharesOfTwoCallers(t *testing.T) {
	t.Parallel()
	var s Shares
	var n atomic.Uint64
	pool := poolOf(map[string]uint32{"a": 10})
	read := func() map[string]uint64 { return map[string]uint64{"a": n.Load()} }
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 20_000 {
				n.Add(1)
				s.Note(pool, read)
			}
		})
	}
	callers.Wait()
	if got := s.redirects(); got != n.Load() {
		t.Errorf("%d redirects, want %d", got, n.Load())
	}
}
