package dnspool

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestPreferVerified gives the clients of the others to mirrors with a verified copy, in proportion to their shares:
// neither a small one nor one far away gets many times as many as before.
func TestPreferVerified(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		atlas
		verified string // the mirrors' names
		want     map[string]float64
	}{
		"a small one beside one that is limited": {"a 2000 berlin\nb 20 berlin\nc 980 berlin", "ab",
			map[string]float64{"a": 0.5 / 0.51, "b": 0.01 / 0.51}},
		"others are far away": {"a 90 berlin\nb 10 berlin\nc 10 munich\nx 10 sydney\ny 10 sydney", "axy",
			map[string]float64{"a": 1}},
		"one that is limited, and others": {"a 90 berlin\nb 10 berlin\nc 10 munich", "ab", map[string]float64{"a": 2 / 3.0, "b": 1 / 3.0}},
		"none competes": {"a 20 berlin\nb 10 berlin\nc 10 munich\nx 10 sydney", "x",
			map[string]float64{"a": 0.5, "b": 0.25, "c": 0.25}},
		"all are": {"a 20 berlin\nb 10 berlin\nc 10 munich", "abc", map[string]float64{"a": 0.5, "b": 0.25, "c": 0.25}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t, testSelection)
			scatter(&in, rand.New(rand.NewPCG(1, 2))) // for the numbers
			s := Build(in)
			r := Request{Place: testPlaces["berlin"], Verified: []uint64{0}}
			for i := range s.Mirrors {
				if strings.Contains(test.verified, s.Mirrors[i].Name) {
					r.Verified[0] |= 1 << s.Mirrors[i].Number
				}
			}
			e := s.Explain(&r)
			got := map[string]float64{}
			for _, m := range e.Mirrors {
				if m.Capped && m.Share > testSelection.MaxShare {
					t.Errorf("%s has a share of %v, limited to %v", m.Mirror.Name, m.Share, testSelection.MaxShare)
				}
				if m.Share > 0 {
					got[m.Mirror.Name] = m.Share
				}
			}
			if !maps.EqualFunc(got, test.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
				t.Errorf("shares of %v, want %v", got, test.want)
			}
			checkDrawn(t, s, r, &e)
		})
	}
}

// TestPreferAgrees compares choices with what is explained, in pools with an index and without. A client whose mirror
// has a verified copy stays there, and no mirror gets more of the others than in proportion to its share.
func TestPreferAgrees(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(25, 26))
	stayed, moved := 0, 0
	for range 200 {
		s := anyPool(t, r)
		var c Choice
		for range 20 {
			q := randomRequest(r, s)
			q.Without = nil
			before := s.Explain(&q)
			s.Choose(&c, &q)
			all := c.Picked
			q.Verified = []uint64{r.Uint64(), r.Uint64(), 0, r.Uint64()}
			e := s.Explain(&q)
			whole := 0.0
			for _, m := range before.Mirrors {
				if m.Share > 0 && q.prefers(m.Mirror) {
					whole += m.Share
				}
			}
			s.Choose(&c, &q)
			switch {
			case (c.Picked == nil) != (all == nil) || all != nil && c.Picked != e.Mirrors[0].Mirror:
				t.Fatalf("picked %v, explained %+v, before %v, for %+v", c.Picked, e.Mirrors[0], all, q)
			case all == nil || whole == 0:
				continue
			case !q.prefers(c.Picked):
				t.Fatalf("%s is picked, which is not preferred", c.Picked.Name)
			case q.prefers(all) && c.Picked != all:
				t.Fatalf("a client is moved from %s to %s", all.Name, c.Picked.Name)
			case c.Picked == all:
				stayed++
			default:
				moved++
			}
			for _, m := range e.Mirrors {
				i := slices.IndexFunc(before.Mirrors, func(b Explained) bool { return b.Mirror == m.Mirror })
				want := 0.0
				if q.prefers(m.Mirror) {
					want = before.Mirrors[i].Share / whole
				}
				if math.Abs(m.Share-want) > 1e-9 {
					t.Fatalf("%s has a share of %v, want %v", m.Mirror.Name, m.Share, want)
				}
			}
		}
	}
	if stayed < 100 || moved < 100 {
		t.Errorf("%d clients stayed, %d were moved", stayed, moved)
	}
}

// TestWhyNotPreferred tells why mirrors do not serve a request while others' copies are verified: of one that is down,
// that it is.
func TestWhyNotPreferred(t *testing.T) {
	t.Parallel()
	in := atlas("a 1 berlin\nb 1 berlin\nc 1 berlin\nd 1 berlin down").input(t, testSelection)
	scatter(&in, rand.New(rand.NewPCG(1, 2))) // for the numbers
	s := Build(in)
	e := s.Explain(&Request{Place: testPlaces["berlin"], Verified: []uint64{0b0001}, Unknown: []uint64{0b0100}})
	for i, want := range []string{"picked", "its copy of the file is not verified yet", "may have the file", "down"} {
		if m := &e.Mirrors[i]; m.Name != "abcd"[i:i+1] || !strings.HasPrefix(m.Why, want) {
			t.Errorf("%s: %s, want %s", m.Name, m.Why, want)
		}
	}
}

// TestPreferLeavesFarOnesBehind has mirrors that do not compete come last, the nearest first, whichever is drawn, also
// where a small one is drawn anew.
func TestPreferLeavesFarOnesBehind(t *testing.T) {
	t.Parallel()
	in := atlas("a 10000 berlin\nb 1 berlin\nc 5000 munich\ny 10 auckland\nx 10 sydney").input(t, testSelection)
	scatter(&in, rand.New(rand.NewPCG(1, 2)))
	s := Build(in)
	r := Request{Place: testPlaces["berlin"], Verified: []uint64{0}}
	for i := range s.Mirrors {
		if s.Mirrors[i].Name != "c" {
			r.Verified[0] |= 1 << s.Mirrors[i].Number
		}
	}
	var c Choice
	firsts := map[string]int{}
	for seed := range uint64(500) {
		r.Seed = seed
		s.Choose(&c, &r)
		firsts[c.Picked.Name]++
		if n := len(c.RunnersUp); n != 3 || c.RunnersUp[n-2].Name != "x" || c.RunnersUp[n-1].Name != "y" {
			t.Fatalf("with the seed %d, %s is picked, and then come %v", seed, c.Picked.Name, c.RunnersUp)
		}
	}
	if firsts["a"] < 490 {
		t.Errorf("picked: %v", firsts)
	}
}
