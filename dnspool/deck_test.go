package dnspool

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// count deals the deck once and returns how often each candidate led, and how often it was on a card.
func count(t *testing.T, d Deck, candidates int) (first, all []int) {
	t.Helper()
	first, all = make([]int, candidates), make([]int, candidates)
	for i := range d.Len() {
		card := d.Card(uint32(i))
		first[card[0]]++
		for _, c := range card {
			all[c]++
		}
		sorted := slices.Sorted(slices.Values(card))
		if len(slices.Compact(sorted)) != len(card) {
			t.Fatalf("card %d lists a candidate twice: %v", i, card)
		}
	}
	return first, all
}

// exact returns in what share of the answers each candidate should be, as the package's comment says, by
// another way than the deck's: it cuts off what exceeds 1 and spreads it until nothing does.
func exact(weights []float64, size int) []float64 {
	share := make([]float64, len(weights))
	fixed := make([]bool, len(weights))
	for {
		rest, places := 0.0, float64(min(size, len(weights)))
		for i, w := range weights {
			if fixed[i] {
				places--
			} else {
				rest += w
			}
		}
		again := false
		for i, w := range weights {
			if fixed[i] {
				share[i] = 1
				continue
			}
			share[i] = places * w / rest
			if share[i] >= 1-1e-12 {
				fixed[i], again = true, true
			}
		}
		if !again {
			return share
		}
	}
}

func TestDeckShares(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		weights []float64
		size    int
	}{
		"one mirror":               {[]float64{7}, 2},
		"two equal, one place":     {[]float64{1, 1}, 1},
		"two unequal, both listed": {[]float64{1, 3}, 2},
		"six, as in the benchmark": {[]float64{10, 20, 30, 10, 10, 20}, 2},
		"one over its cap":         {[]float64{80, 5, 5, 5, 5}, 2},
		"two over their cap":       {[]float64{500, 300, 1, 2, 3}, 3},
		"all listed":               {[]float64{5, 4, 3, 2, 1}, 5},
		"more places than mirrors": {[]float64{5, 4, 3}, 10},
		"the largest weight":       {[]float64{1, math.MaxInt32, math.MaxInt32}, 1},
		"tiny beside huge":         {[]float64{1, 1, 1, math.MaxInt32}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkShares(t, newDeck(test.weights, test.size, rand.New(rand.NewPCG(1, 2))), test.weights, test.size)
		})
	}
}

func TestDeckSharesOfRandomPools(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	pools := 500
	if testing.Short() {
		pools = 100
	}
	for range pools {
		weights := make([]float64, 1+r.IntN(60))
		for i := range weights {
			weights[i] = math.Ceil(math.Exp(r.Float64() * 21)) // from 1 to about 2^30
		}
		size := 1 + r.IntN(min(len(weights), 12))
		checkShares(t, newDeck(weights, size, r), weights, size)
	}
}

const rounding = 1e-6 // of the sums that exact makes in another order than the deck

func checkShares(t *testing.T, d Deck, weights []float64, size int) {
	t.Helper()
	first, all := count(t, d, len(weights))
	total := 0.0
	for _, w := range weights {
		total += w
	}
	cards := float64(d.Len())
	for i, share := range exact(weights, size) {
		if want := cards * share; math.Abs(float64(all[i])-want) > 1+rounding {
			t.Errorf("weights %v, %d places: candidate %d is on %d of %v cards, want %.2f", weights, size, i, all[i], cards, want)
		}
		if want := cards * weights[i] / total; math.Abs(float64(first[i])-want) > 1+rounding {
			t.Errorf("weights %v, %d places: candidate %d leads %d of %v cards, want %.2f", weights, size, i, first[i], cards, want)
		}
	}
}

func TestDeckWithoutCandidates(t *testing.T) {
	t.Parallel()
	if d := newDeck(nil, 2, rand.New(rand.NewPCG(1, 2))); d.Len() != 0 {
		t.Errorf("got %d cards, want none", d.Len())
	}
}

func TestDeckServes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		weights []float64
		size    int // that the deck was made for
		wanted  int
		want    bool
	}{
		"as it was made":                    {[]float64{1, 2, 3}, 2, 2, true},
		"more places than candidates":       {[]float64{1, 2, 3}, 5, 4, true},
		"fewer places are wanted":           {[]float64{1, 2, 3}, 2, 1, false},
		"more places are wanted":            {[]float64{1, 2, 3}, 2, 3, false},
		"the lightest has a card":           {[]float64{2000, 1, 2095}, 1, 1, true},
		"the lightest has less than a card": {[]float64{2000, 1, 2096}, 1, 1, false},
	}
	for name, test := range tests {
		d := newDeck(test.weights, test.size, rand.New(rand.NewPCG(1, 2)))
		if got := d.serves(test.weights, test.wanted); got != test.want {
			t.Errorf("%s: may serve on: %v, want %v", name, got, test.want)
		}
	}
}

func TestDeckIsBounded(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	for _, size := range []int{1, 2, 64, 1000, 10_000} {
		weights := make([]float64, 10_000)
		for i := range weights {
			weights[i] = float64(1 + r.IntN(100))
		}
		d := newDeck(weights, size, r)
		if d.Len() == 0 || d.Len() > maxCards || len(d.places) > maxPlaces {
			t.Errorf("%d places: got %d cards with %d places in all", size, d.Len(), len(d.places))
		}
		count(t, d, len(weights))
	}
}

// TestDeckGivesEachItsTurn has more candidates than cards: who is on none is another one in the next deck.
func TestDeckGivesEachItsTurn(t *testing.T) {
	t.Parallel()
	weights := slices.Repeat([]float64{1}, 2*maxCards)
	r := rand.New(rand.NewPCG(11, 12))
	a, b := newDeck(weights, 1, r), newDeck(weights, 1, r)
	_, inA := count(t, a, len(weights))
	both := 0
	for _, c := range b.places {
		both += inA[c]
	}
	if both < b.Len()*2/5 || both > b.Len()*3/5 {
		t.Errorf("%d of %d candidates are in the next deck again; half would be chance", both, b.Len())
	}
}

// TestDeckIsShuffled looks for what a deck in the order of its lay-out would have: the same leader on neighbouring
// cards almost always. TestEvenLead has the lead shared on cards where that is possible, where one gets just a card too
// few, and where one is on too few cards for its weight.
func TestEvenLead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		weights []float64
		places  []int32
		want    bool
	}{
		"possible":              {[]float64{3, 1}, []int32{0, 1, 0, 1, 0, 1, 0, 1}, true},
		"just a card too few":   {[]float64{4, 2, 2}, []int32{0, 1, 1, 2, 1, 2, 1, 2}, true},
		"more than one too few": {[]float64{6, 1, 1}, []int32{0, 1, 1, 2, 1, 2, 1, 2}, false},
	}
	for name, test := range tests {
		d := Deck{places: test.places, size: 2}
		if got := d.leadByCredit(test.weights); got != test.want {
			t.Errorf("%s: even is %v, with the cards %v", name, got, d.places)
		}
	}
}

// TestPlacesBehindTheFirst gives them to the others alike.
func TestPlacesBehindTheFirst(t *testing.T) {
	t.Parallel()
	d := newDeck([]float64{1, 1, 1}, 3, rand.New(rand.NewPCG(1, 2)))
	second := make([]float64, 3)
	for i := range d.Len() {
		second[d.Card(uint32(i))[1]]++
	}
	for c, got := range second {
		if want := float64(d.Len()) / 3; math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("candidate %d is in the second place of %v of %d cards, want about %.0f", c, got, d.Len(), want)
		}
	}
	same := 0
	for i := range d.Len() {
		if card := d.Card(uint32(i)); (card[0]+1)%3 == card[1] {
			same++
		}
	}
	if want := float64(d.Len()) / 2; math.Abs(float64(same)-want) > 5*math.Sqrt(want) {
		t.Errorf("the next one is in the second place of %d of %d cards, want about half", same, d.Len())
	}
}

func TestDeckIsShuffled(t *testing.T) {
	t.Parallel()
	d := newDeck([]float64{1, 1, 1, 1}, 1, rand.New(rand.NewPCG(7, 8)))
	same := 0
	for i := range uint32(d.Len()) {
		if d.Card(i)[0] == d.Card(i + 1)[0] {
			same++
		}
	}
	if same > d.Len()/3 {
		t.Errorf("%d of %d cards have the leader of the one before; a quarter would be chance", same, d.Len())
	}
}

// TestDeckCompanions: over some decks, a mirror that leads a card has each other mirror beside it about as often as
// that is behind the first at all: within a factor of 1.5.
func TestDeckCompanions(t *testing.T) {
	t.Parallel()
	skewed := func(n int) []float64 { // from 10 down to 2
		weights := make([]float64, n)
		for i := range weights {
			weights[i] = math.Round(10 - 8*float64(i)/float64(n-1))
		}
		return weights
	}
	equal := func(n int) []float64 { return slices.Repeat([]float64{10}, n) }
	for name, test := range map[string]struct {
		weights []float64
		size    int
	}{
		"6 equal": {equal(6), 2}, "6 skewed": {skewed(6), 2}, "6 equal, 3 places": {equal(6), 3}, "7 equal": {equal(7), 2},
		"30 equal": {equal(30), 2}, "30 skewed": {skewed(30), 2}, "30 skewed, 4 places": {skewed(30), 4},
		"100 equal": {equal(100), 2}, "100 skewed": {skewed(100), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := len(test.weights)
			decks := max(4, n*n/25)        // so that each pair is met often enough to tell
			beside := make([][]float64, n) // by the one that leads
			for i := range beside {
				beside[i] = make([]float64, n)
			}
			leads := make([]float64, n)
			r := rand.New(rand.NewPCG(5, 6))
			for range decks {
				d := newDeck(test.weights, test.size, r)
				for i := range d.Len() {
					card := d.Card(uint32(i))
					leads[card[0]]++
					for _, c := range card[1:] {
						beside[card[0]][c]++
					}
				}
			}
			included := exact(test.weights, test.size)
			for a := range n {
				for b := range n {
					if a == b {
						continue
					}
					want := included[b] * float64(test.size-1) / (float64(test.size) - included[a])
					most, least := 1.5*want*leads[a], want/1.5*leads[a]
					if got := beside[a][b]; got > most+4*math.Sqrt(most) || got < least-4*math.Sqrt(least) { // it is drawn by chance
						t.Errorf("beside %d, %d is on %.0f cards of %.0f, want %.0f to %.0f", a, b, got, leads[a], least, most)
					}
				}
			}
		})
	}
}

// TestDeckPairs: a deck of a few mirrors has all pairs, and is no partner's.
func TestDeckPairs(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{6: 15, 30: 435} {
		pairs := map[[2]int32]bool{}
		d := newDeck(slices.Repeat([]float64{1}, n), 2, rand.New(rand.NewPCG(7, 8)))
		for i := range d.Len() {
			card := slices.Clone(d.Card(uint32(i)))
			slices.Sort(card)
			pairs[[2]int32(card)] = true
		}
		if len(pairs) != want {
			t.Errorf("%d mirrors: %d pairs of %d", n, len(pairs), want)
		}
	}
}
