package dnspool

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// sets returns the sets of names on the cards of a deck, in order of their names, each with how often it is there.
func sets(d Deck, names []int) map[string]int {
	found := map[string]int{}
	for i := range d.Len() {
		var set []int
		for _, c := range d.Card(uint32(i)) {
			set = append(set, names[c])
		}
		slices.Sort(set)
		found[fmt.Sprint(set)]++
	}
	return found
}

// TestDeckRenew takes a candidate away and brings it back, and changes weights, over and over. Shares stay right, and
// few cards change.
func TestDeckRenew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		candidates, size int
		weight           func(i int) float64
	}{
		{1000, 2, func(int) float64 { return 10 }},
		{1000, 2, func(i int) float64 { return float64(1 + i%20) }},
		{200, 3, func(i int) float64 { return float64(5 + i%7) }},
		{60, 4, func(i int) float64 { return math.Exp(float64(i%10) / 3) }},
	} {
		r := rand.New(rand.NewPCG(uint64(test.candidates), 2))
		names := make([]int, test.candidates)
		weights := make([]float64, test.candidates)
		for i := range names {
			names[i], weights[i] = i, test.weight(i)
		}
		d := newDeck(weights, test.size, r)
		var gone int
		var goneWeight float64
		for step := range 40 {
			before, beforeNames := d, slices.Clone(names)
			places := 0.0
			if step%2 == 0 {
				i := r.IntN(len(names))
				gone, goneWeight = names[i], weights[i]
				names, weights = slices.Delete(names, i, i+1), slices.Delete(weights, i, i+1)
			} else {
				i := r.IntN(len(names) + 1)
				names, weights = slices.Insert(names, i, gone), slices.Insert(weights, i, goneWeight)
			}
			total := goneWeight
			for _, w := range weights {
				total += w
			}
			places = float64(before.Len()*test.size) * goneWeight / total
			now := make([]int32, len(beforeNames))
			for i, name := range beforeNames {
				now[i] = int32(slices.Index(names, name))
			}
			var ok bool
			if d, ok = before.renew(now, weights, test.size, r); !ok {
				t.Fatalf("%d candidates, step %d: not renewed", test.candidates, step)
			}
			checkShares(t, d, weights, test.size)
			old, fresh := sets(before, beforeNames), 0
			for set, n := range sets(d, names) {
				fresh += max(0, n-old[set])
			}
			if most := int(3*places) + len(names)/10 + 10; fresh > most {
				t.Errorf("%d candidates, step %d: %d new cards for one with %.0f places, want at most %d", test.candidates, step, fresh,
					places, most)
			}
		}
	}
}

// TestRenewedTurns renews a deck with more candidates than places, and wants each to get its share of turns.
func TestRenewedTurns(t *testing.T) {
	t.Parallel()
	const candidates, size, rounds = 9000, 2, 60
	r := rand.New(rand.NewPCG(7, 8))
	weights, now := slices.Repeat([]float64{1}, candidates), make([]int32, candidates)
	for i := range now {
		now[i] = int32(i)
		if i%3 == 0 {
			weights[i] = 3
		}
	}
	d, turns := newDeck(weights, size, r), make([]float64, candidates)
	for range rounds {
		var ok bool
		if d, ok = d.renew(now, weights, size, r); !ok {
			t.Fatal("not renewed")
		}
		for _, c := range d.places {
			turns[c]++
		}
	}
	sums := [2]float64{}
	for c, n := range turns {
		if n == 0 {
			t.Errorf("candidate %d was on no card", c)
		}
		if weights[c] == 3 {
			sums[1] += n
		} else {
			sums[0] += n
		}
	}
	if ratio := sums[1] / sums[0]; ratio < 1.45 || ratio > 1.55 { // a third of the candidates with three times the weight
		t.Errorf("the heavier have %.2f times the turns of the lighter, want 1.50", ratio)
	}
}

// TestRenewedCompanions wants the load of a mirror that leaves a renewed deck to go to many others.
func TestRenewedCompanions(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	const candidates, size = 200, 2
	weights := slices.Repeat([]float64{10}, candidates)
	d := newDeck(weights, size, r)
	for range 200 {
		i := int32(r.IntN(candidates))
		now := make([]int32, candidates)
		for c := range now {
			now[c] = int32(c)
			if int32(c) > i {
				now[c]--
			} else if int32(c) == i {
				now[c] = -1
			}
		}
		var ok bool
		if d, ok = d.renew(now, weights[1:], size, r); !ok {
			t.Fatal("not renewed")
		}
		now = now[:candidates-1]
		for c := range now {
			now[c] = int32(c)
		}
		if d, ok = d.renew(now, weights, size, r); !ok {
			t.Fatal("not renewed")
		}
	}
	for c := range int32(candidates) {
		companions := map[int32]int{}
		for i := range d.Len() {
			card := d.Card(uint32(i))
			if slices.Contains(card, c) {
				for _, other := range card {
					companions[other]++
				}
			}
		}
		delete(companions, c)
		most := 0
		for _, n := range companions {
			most = max(most, n)
		}
		if len(companions) < 24 || most > 7 { // of about 41 cards; at random, 37 companions, at most 2 or 3 times
			t.Errorf("candidate %d has %d companions, one of them %d times", c, len(companions), most)
		}
	}
}

// TestLeadFairly has leads handed on over several cards, and notices where that cannot be.
func TestLeadFairly(t *testing.T) {
	t.Parallel()
	equal := slices.Repeat([]float64{1}, 6)
	// A ring: each candidate shares two cards with each neighbour. 0 leads all of its cards, and 3 none.
	ring := []int32{0, 1, 0, 1, 1, 2, 1, 2, 2, 3, 2, 3, 4, 3, 4, 3, 5, 4, 5, 4, 0, 5, 0, 5}
	for name, test := range map[string]struct {
		places []int32
		want   bool
	}{
		"handed on":          {ring, true},
		"from the other end": {[]int32{1, 0, 1, 0, 2, 1, 2, 1, 3, 2, 3, 2, 3, 4, 3, 4, 4, 5, 4, 5, 5, 0, 5, 0}, true},
		"apart":              {[]int32{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 4, 5, 4, 5}, false},
	} {
		d := Deck{places: slices.Clone(test.places), size: 2}
		if got := d.leadFairly(equal); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
			continue
		}
		if first, _ := count(t, d, len(equal)); test.want && !slices.Equal(first, []int{2, 2, 2, 2, 2, 2}) {
			t.Errorf("%s: leads %v, want two each", name, first)
		}
	}
}

// TestDeckIsNotRenewed lists where a new deck is as good.
func TestDeckIsNotRenewed(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 10))
	many, few := slices.Repeat([]float64{1}, 200), slices.Repeat([]float64{1}, 20)
	same := func(n int) []int32 {
		now := make([]int32, n)
		for i := range now {
			now[i] = int32(i)
		}
		return now
	}
	heavy := slices.Clone(many)
	heavy[7] = 1000 // is on every card
	d := newDeck(many, 2, r)
	for name, test := range map[string]struct {
		before  Deck
		weights []float64
		size    int
		want    bool
	}{
		"as before":                {d, many, 2, true},
		"one is on every card":     {newDeck(heavy, 3, r), heavy, 3, true},
		"one place":                {newDeck(many, 1, r), many, 1, false},
		"another number of places": {d, many, 3, false},
		"all are on every card":    {newDeck(few[:2], 2, r), few[:2], 2, false},
		"no deck":                  {Deck{}, nil, 2, false},
		"few sets":                 {newDeck(few, 2, r), few, 2, false},
	} {
		if _, ok := test.before.renew(same(len(test.weights)), test.weights, test.size, r); ok != test.want {
			t.Errorf("%s: %v, want %v", name, ok, test.want)
		}
	}
}

func TestManySets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		candidates, size, cards int
		want                    bool
	}{{91, 2, 4094, true}, {91, 2, 4095, false}, {10, 3, 119, true}, {10, 3, 120, false}, {3, 3, 1, false}, {2, 3, 1, false}} {
		if got := manySets(test.candidates, test.size, test.cards); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
