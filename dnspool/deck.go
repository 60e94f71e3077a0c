package dnspool

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	maxCards  = 4096
	maxPlaces = 1 << 18 // of all cards together; with very many answers there are fewer cards
)

// A Deck is a pile of cards. Each lists different candidates, and is one answer. Dealt one after
// the other and over again, they give each candidate its share:
//
//   - of the first places: weight/total;
//   - of the places: min(1, places*weight/total) of the cards hold it, where what the 1 cuts off
//     goes to the others by weight.
//
// Over one pass of the deck these hold up to rounding to whole cards, with no luck involved. Random is only which
// candidates share a card, their order behind the first, and the order of the cards: so when a mirror fails, its load
// goes to all others and not to a partner. Whose share is less than one card may be on none; chance decides anew with
// each deck.
type Deck struct {
	places []int32 // of all cards, one card after the other
	size   int     // places on a card
}

// Len returns the number of cards: 0 if there are no candidates.
func (d *Deck) Len() int {
	if d.size == 0 {
		return 0
	}
	return len(d.places) / d.size
}

// Card returns the candidates on card i, modulo the number of cards, as indices. There must be a card.
func (d *Deck) Card(i uint32) []int32 {
	first := int(i%uint32(d.Len())) * d.size
	return d.places[first : first+d.size : first+d.size]
}

// serves reports whether d, which was made for these weights, may go on to serve: it has as many places as are wanted,
// and a candidate of each weight on a card. Where there are more candidates than places in all, or one weighs very
// little, some are on no card; so that each gets its turn, such a deck is not for long.
func (d *Deck) serves(weights []float64, size int) bool {
	if d.size != min(size, len(weights)) {
		return false
	}
	total, least := 0.0, math.Inf(1)
	for _, weight := range weights {
		total += weight
		least = min(least, weight)
	}
	return least*float64(len(d.places)) >= total
}

// newDeck returns a deck for candidates with the given weights, all above 0, with at most size places on
// a card.
func newDeck(weights []float64, size int, r *rand.Rand) Deck {
	return newDeckOf(maxCards, weights, size, r)
}

// newDeckOf is newDeck with at most so many cards.
func newDeckOf(cards int, weights []float64, size int, r *rand.Rand) Deck {
	size = min(size, len(weights))
	if size == 0 {
		return Deck{}
	}
	fixed, others := split(weights, size)
	d := Deck{size: size}
	cards = cardCount(cards, size)
	for range maxTries {
		r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		d.fill(cards, weights, fixed, others)
		if len(fixed) == 0 {
			d.leadEvenly()
			break
		}
		if d.leadByCredit(weights) {
			break
		}
	}
	d.mix(r)
	d.shuffle(r)
	return d
}

// mixSwaps is how many times as many swaps as there are places behind the first mix tries. Where no swap fails, one
// time makes all arrangements equally likely, as in a shuffle; those that fail are made up for by the next.
// maxLooks bounds the time where cards are large, and each candidate has many companions anyway.
const (
	mixSwaps = 3
	maxLooks = 1 << 21 // at places
)

// mix gives the candidates random companions: it swaps those behind the first of two cards, over and over, unless a
// card would list one twice. That changes neither how many cards a candidate is on nor how many it leads. (Swaps of
// this kind reach all tables with given sums of rows and columns, each as often as the others: Rao, Jana and
// Bandyopadhyay, "A Markov chain Monte Carlo method for generating random (0, 1)-matrices with given marginals",
// Sankhya A 58, 1996.)
func (d *Deck) mix(r *rand.Rand) {
	behind := d.size - 1
	n := d.Len() * behind // places behind the first
	looks := maxLooks
	for range mixSwaps {
		for i := n - 1; i > 0 && looks > 0; i-- {
			looks -= 2 * d.size
			j := r.IntN(i + 1)
			a, b := d.Card(uint32(i/behind)), d.Card(uint32(j/behind))
			x, y := &a[1+i%behind], &b[1+j%behind]
			if *x != *y && !slices.Contains(b, *x) && !slices.Contains(a, *y) {
				*x, *y = *y, *x
			}
		}
	}
}

// maxTries is how often another lay-out is tried where one gives a candidate more than a card too many, or too few,
// to lead. A second try is rare: the first one failed once in thousands of random pools.
const maxTries = 8

// fill gives each candidate its places on so many cards. Those in fixed are on every card.
func (d *Deck) fill(cards int, weights []float64, fixed, others []int32) {
	slots := layOut(weights, others, cards*(d.size-len(fixed)))
	places := make([]int32, 0, cards*d.size)
	for card := range cards {
		places = append(places, fixed...)
		for slot := card; slot < len(slots); slot += cards {
			places = append(places, slots[slot])
		}
	}
	d.places = places
}

// split separates the candidates that are on every card from the others. It fixes the heaviest as long as
// it would take more than one place on each card.
func split(weights []float64, size int) (fixed, others []int32) {
	others = make([]int32, len(weights))
	total := 0.0
	for i, weight := range weights {
		others[i] = int32(i)
		total += weight
	}
	slices.SortFunc(others, func(a, b int32) int { return cmp.Compare(weights[b], weights[a]) })
	n := 0
	for n < size && weights[others[n]]*float64(size-n) >= total {
		total -= weights[others[n]]
		n++
	}
	return others[:n:n], others[n:]
}

// cardCount is the number of cards with size places each, at most so many. It has no divisor in common with size, for
// leadEvenly's sake.
func cardCount(most, size int) int {
	cards := max(1, min(most, maxPlaces/size))
	for gcd(cards, size) != 1 {
		cards--
	}
	return cards
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// layOut gives each candidate as many consecutive slots as its weight asks for, in all n (systematic
// sampling). No candidate gets more slots than there are cards, so that slots which are a whole number of
// decks apart, and make up one card, hold different candidates.
func layOut(weights []float64, candidates []int32, n int) []int32 {
	total := 0.0
	for _, c := range candidates {
		total += weights[c]
	}
	slots := make([]int32, 0, n)
	sum := 0.0
	for _, c := range candidates { // as for total, so that in the end sum is the same
		sum += weights[c]
		end := int(math.Round(float64(n) * sum / total))
		for len(slots) < end {
			slots = append(slots, c)
		}
	}
	return slots
}

// leadEvenly makes every size-th slot of the lay-out lead its card: a candidate with n slots leads n/size
// cards, rounded up or down.
//
// Slot s of the lay-out is place s/cards of card s%cards. As cards and size have no common divisor, the
// slots 0, size, 2*size, ... meet each card exactly once.
func (d *Deck) leadEvenly() {
	cards := d.Len()
	for slot := 0; slot < len(d.places); slot += d.size {
		d.lead(slot%cards, slot/cards)
	}
}

// leadByCredit shares the lead where some candidates are on every card. With each card that holds it a
// candidate earns an equal part of the cards that it has to lead in all, and the one that leads pays 1. The lead goes
// to the credit that would reach 1 soonest, so that no candidate falls behind by a whole card (after Tijdeman's
// "The chairman assignment problem", 1980). As the candidates on a card change, that may go wrong in the end: it
// reports whether every lead is right up to one card.
func (d *Deck) leadByCredit(weights []float64) (even bool) {
	total := 0.0
	for _, weight := range weights {
		total += weight
	}
	held := make([]int, len(weights)) // by how many cards
	for _, c := range d.places {
		held[c]++
	}
	credit := make([]float64, len(weights))
	for card := range d.Len() {
		places := d.Card(uint32(card))
		best, soonest := 0, math.Inf(1)
		for place, c := range places {
			share := weights[c] / total * float64(d.Len()) / float64(held[c])
			credit[c] += share
			if due := (1 - credit[c]) / share; credit[c] > 0 && due < soonest {
				best, soonest = place, due
			}
		}
		credit[places[best]]--
		d.lead(card, best)
	}
	return !slices.ContainsFunc(credit, func(left float64) bool { return math.Abs(left) > 1 })
}

// lead moves the candidate at the given place of a card to its first place.
func (d *Deck) lead(card, place int) {
	places := d.Card(uint32(card))
	places[0], places[place] = places[place], places[0]
}

// shuffle puts the cards into a random order, and on each the candidates behind the first.
func (d *Deck) shuffle(r *rand.Rand) {
	r.Shuffle(d.Len(), func(i, j int) {
		a, b := d.Card(uint32(i)), d.Card(uint32(j))
		for k := range a {
			a[k], b[k] = b[k], a[k]
		}
	})
	for card := range d.Len() {
		rest := d.Card(uint32(card))[1:]
		r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
}
