package dnspool

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Where there are more sets of candidates than cards, two decks have few cards in common, even if all candidates but
// one are the same. So that a change of one mirror does not make all answers new, which signing them would pay for, the
// deck before is changed no more than the shares ask for: the candidates that have too many places leave some of them,
// drawn at random, to those that have too few.

// A renewal is a deck that is being changed.
type renewal struct {
	deck  Deck
	r     *rand.Rand
	on    [][]int32 // by candidate: the cards that it is on
	holes []int32   // places that are free
}

// renew returns a deck for candidates with the given weights that has nearly all cards of d. now is where the
// candidates of d are among them, -1 for those that are gone. It returns false where d does not lend itself to it:
// then a new deck is as good.
func (d *Deck) renew(now []int32, weights []float64, size int, r *rand.Rand) (Deck, bool) {
	if size < 2 || d.size != size || size >= len(weights) || d.Len() == 0 || !manySets(len(weights), size, d.Len()) {
		return Deck{}, false
	}
	n := &renewal{deck: Deck{places: make([]int32, len(d.places)), size: size}, r: r, on: make([][]int32, len(weights))}
	for place, c := range d.places {
		n.deck.places[place] = now[c]
		if now[c] < 0 {
			n.holes = append(n.holes, int32(place))
			continue
		}
		n.on[now[c]] = append(n.on[now[c]], int32(place/size))
	}
	var wanting []int32
	for c, want := range n.wanted(weights) {
		for len(n.on[c]) > want {
			n.leave(int32(c))
		}
		for range want - len(n.on[c]) {
			wanting = append(wanting, int32(c))
		}
	}
	if !n.fill(wanting) || !n.deck.leadFairly(weights) {
		return Deck{}, false
	}
	n.deck.shuffle(r)
	return n.deck, true
}

// manySets reports whether there are more sets of so many candidates than cards.
func manySets(candidates, size, cards int) bool {
	sets := 1.0
	for i := range size {
		sets *= float64(candidates-i) / float64(i+1)
	}
	return sets > float64(cards)
}

// wanted returns how many cards each candidate is to be on: its exact share, rounded up or down, as it is now where
// that is right. Those whose share is less than a card are drawn anew, so that each gets its turn.
func (n *renewal) wanted(weights []float64) []int {
	cards, size := n.deck.Len(), n.deck.size
	want := make([]int, len(weights))
	fixed, others := split(weights, size)
	for _, c := range fixed {
		want[c] = cards
	}
	places, total := cards*(size-len(fixed)), 0.0
	for _, c := range others {
		total += weights[c]
	}
	share := func(c int32) float64 { return float64(places) * weights[c] / total }
	n.r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	left, sum := places, n.r.Float64()
	for _, c := range others {
		exact := share(c)
		want[c] = min(max(len(n.on[c]), int(math.Floor(exact))), int(math.Ceil(exact)))
		if exact < 1 { // systematic sampling: with this probability
			want[c] = int(math.Floor(sum+exact)) - int(math.Floor(sum))
			sum += exact
		}
		left -= want[c]
	}
	for _, c := range others {
		switch exact := share(c); {
		case exact < 1:
		case left > 0 && float64(want[c]) < exact:
			want[c]++
			left--
		case left < 0 && float64(want[c]) > exact:
			want[c]--
			left++
		}
	}
	return want
}

// leave takes a candidate off one of its cards.
func (n *renewal) leave(c int32) {
	i := n.r.IntN(len(n.on[c]))
	card := n.on[c][i]
	n.on[c][i] = n.on[c][len(n.on[c])-1]
	n.on[c] = n.on[c][:len(n.on[c])-1]
	first := int(card) * n.deck.size
	for place := first; place < first+n.deck.size; place++ {
		if n.deck.places[place] == c {
			n.deck.places[place] = -1
			n.holes = append(n.holes, int32(place))
			return
		}
	}
}

// fill puts candidates into the free places, none twice on a card. It returns false if that does not succeed.
func (n *renewal) fill(wanting []int32) bool {
	if len(wanting) != len(n.holes) {
		return false
	}
	n.r.Shuffle(len(wanting), func(i, j int) { wanting[i], wanting[j] = wanting[j], wanting[i] })
	for i, hole := range n.holes {
		j := slices.IndexFunc(wanting[i:], func(c int32) bool { return !n.holds(hole, c) })
		if j < 0 {
			if !n.exchange(hole, wanting[i]) {
				return false
			}
			continue
		}
		wanting[i], wanting[i+j] = wanting[i+j], wanting[i]
		n.deck.places[hole] = wanting[i]
	}
	return true
}

// exchange puts a candidate that is on the card of a free place already into another place, and the candidate from
// there into the free one.
func (n *renewal) exchange(hole, c int32) bool {
	const tries = 1000 // nearly all places will do
	for range tries {
		place := int32(n.r.IntN(len(n.deck.places)))
		if other := n.deck.places[place]; other >= 0 && !n.holds(place, c) && !n.holds(hole, other) {
			n.deck.places[place], n.deck.places[hole] = c, other
			return true
		}
	}
	return false
}

// holds reports whether the card that a place is on lists a candidate.
func (n *renewal) holds(place, c int32) bool {
	return slices.Contains(n.deck.Card(uint32(int(place)/n.deck.size)), c)
}
