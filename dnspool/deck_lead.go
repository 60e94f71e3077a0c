package dnspool

import (
	"math"
	"slices"
)

// A leadership is who leads the cards of a deck, while that is being set right.
type leadership struct {
	deck      *Deck
	on        [][]int32 // by candidate: the cards that it is on
	leads     []int     // by candidate: how many it leads
	low, high []int     // its share of the leads, rounded down and up
}

// leadFairly changes the order on as few cards as it can, until each candidate leads its share of them, rounded up or
// down. It returns false if that cannot be.
//
// A candidate with too many leads hands one to a companion on a card, that one a lead of its own to another, and so on
// up to one that has too few: an augmenting path, as in any bipartite matching.
func (d *Deck) leadFairly(weights []float64) bool {
	l := &leadership{deck: d, on: make([][]int32, len(weights)), leads: make([]int, len(weights))}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	for _, w := range weights {
		exact := float64(d.Len()) * w / total
		l.low, l.high = append(l.low, int(math.Floor(exact))), append(l.high, int(math.Ceil(exact)))
	}
	for card := range int32(d.Len()) {
		for _, c := range d.Card(uint32(card)) {
			l.on[c] = append(l.on[c], card)
		}
		l.leads[d.Card(uint32(card))[0]]++
	}
	for c := range int32(len(weights)) {
		for l.leads[c] > l.high[c] {
			if !l.pass(c, l.heirs, func(to int32) bool { return l.leads[to] < l.high[to] }, -1) {
				return false
			}
		}
		for l.leads[c] < l.low[c] {
			if !l.pass(c, l.donors, func(from int32) bool { return l.leads[from] > l.low[from] }, 1) {
				return false
			}
		}
	}
	return true
}

// A handover is the lead of a card that one candidate could give to another.
type handover struct{ card, from, to int32 }

// heirs are the handovers by which a candidate could lose a lead.
func (l *leadership) heirs(c int32) (list []handover) {
	for _, card := range l.on[c] {
		places := l.deck.Card(uint32(card))
		if places[0] != c {
			continue
		}
		for _, to := range places[1:] {
			list = append(list, handover{card, c, to})
		}
	}
	return list
}

// donors are the handovers by which a candidate could get a lead.
func (l *leadership) donors(c int32) (list []handover) {
	for _, card := range l.on[c] {
		if from := l.deck.Card(uint32(card))[0]; from != c {
			list = append(list, handover{card, from, c})
		}
	}
	return list
}

// pass finds the shortest way, by handovers from one candidate to the next, from start to one at which it can end, and
// carries them out. It adds gain to the leads of start. It returns false if there is no way.
func (l *leadership) pass(start int32, next func(int32) []handover, ends func(int32) bool, gain int) bool {
	by := map[int32]handover{start: {}} // how each candidate was reached
	for queue := []int32{start}; len(queue) > 0; queue = queue[1:] {
		for _, h := range next(queue[0]) {
			reached := h.to
			if gain > 0 {
				reached = h.from
			}
			if _, known := by[reached]; known {
				continue
			}
			by[reached] = h
			if !ends(reached) {
				queue = append(queue, reached)
				continue
			}
			l.leads[start] += gain
			l.leads[reached] -= gain
			for at := reached; at != start; {
				h := by[at]
				places := l.deck.Card(uint32(h.card))
				l.deck.lead(int(h.card), slices.Index(places, h.to))
				if at = h.from; gain > 0 {
					at = h.to
				}
			}
			return true
		}
	}
	return false
}
