package authority

import (
	"encoding/binary"
	"slices"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/dnssec"
)

// A signature covers a set of addresses, whatever their order. A deck has thousands of cards, and fewer sets.

// cardSets are the sets of addresses of a family that answers may hold.
type cardSets struct {
	sets  [][]int32      // each in the order of one of its cards
	index map[string]int // in sets, by appendCardKey
	dealt []int          // the set of each card of the deck
	key   []byte         // scratch space
}

// newCardSets returns the sets that a deck deals.
func newCardSets(group *dnspool.DNSGroup) *cardSets {
	s := &cardSets{index: map[string]int{}, dealt: make([]int, group.Deck.Len())}
	for i := range s.dealt {
		s.dealt[i] = s.add(group.Deck.Card(uint32(i)))
	}
	return s
}

// add adds the set of a card, unless it is there, and returns where.
func (s *cardSets) add(card []int32) int {
	s.key = appendCardKey(s.key[:0], card)
	i, known := s.index[string(s.key)]
	if !known {
		i = len(s.sets)
		s.sets = append(s.sets, card)
		s.index[string(s.key)] = i
	}
	return i
}

// appendCardKey appends what is the same for cards with the same addresses in any order.
func appendCardKey(dst []byte, card []int32) []byte {
	var few [8]int32
	sorted := append(few[:0], card...)
	slices.Sort(sorted)
	for _, c := range sorted {
		dst = binary.BigEndian.AppendUint32(dst, uint32(c))
	}
	return dst
}

// dealtSets are sets of addresses with their signatures, one by one.
type dealtSets struct {
	*cardSets
	signatures []*dnssec.Signatures
}

// of returns the signatures of the addresses of a card, or nil.
func (d *dealtSets) of(card []int32) *dnssec.Signatures {
	if i, known := d.index[string(appendCardKey(nil, card))]; known {
		return d.signatures[i]
	}
	return nil
}
