package dnspool

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// maxSerialAhead is how far the serial of another server may be ahead of this one's clock: serials begin with the time,
// and clocks are off. What is further ahead is not believed.
const maxSerialAhead = 24 * time.Hour

// A ZoneVersion is the version of the zone that a server serves.
type ZoneVersion struct {
	Serial  uint32
	Content uint64 // see Snapshot; 0: not known
}

// An Agreement is what makes a snapshot tell the same as those of other servers of the zone, under the same serial.
type Agreement struct {
	Name     string                 // of this server
	Versions map[string]ZoneVersion // that the others serve, by their names
	Zone     uint64                 // a hash of what the zone tells besides the pool
}

// contentOf is a hash of what DNS tells of a snapshot, and of what the zone holds besides.
func (a *Agreement) contentOf(s *Snapshot) uint64 {
	sum := fnv.New64a()
	writeNumber(sum, a.Zone)
	for f := range s.dns {
		g := &s.dns[f]
		writeCandidates(sum, g.Addresses, g.Weights, g.Deck.size)
	}
	for _, m := range s.named() {
		sum.Write([]byte(m.Name))
		if m.Enabled() {
			for _, addr := range m.Addresses() {
				text, _ := addr.MarshalBinary() // which never fails
				sum.Write(text)
			}
		}
		sum.Write([]byte{0})
	}
	return sum.Sum64()
}

// turnTime is how long a deck serves on which not all candidates have a place.
const turnTime = time.Hour

// agreedDeck returns the deck for g that each server makes of the same candidates.
func (g *DNSGroup) agreedDeck(before *DNSGroup, size int, now time.Time) Deck {
	if before != nil && before.sameCandidates(g) && before.Deck.serves(g.Weights, size) {
		return before.Deck
	}
	return agreedDeckOf(maxCards, g.Addresses, g.Weights, size, now)
}

// agreedDeckOf is newDeckOf, where the candidates seed the shuffle. Where not all of them have a place, the deck is
// another one every turnTime, so that each gets its turn.
func agreedDeckOf(cards int, addrs []netip.Addr, weights []float64, size int, now time.Time) Deck {
	sum := fnv.New64a()
	writeCandidates(sum, addrs, weights, size)
	deck := newDeckOf(cards, weights, size, rand.New(rand.NewPCG(sum.Sum64(), 0)))
	if deck.serves(weights, size) {
		return deck
	}
	turn := uint64(now.Unix() / int64(turnTime/time.Second))
	return newDeckOf(cards, weights, size, rand.New(rand.NewPCG(sum.Sum64(), turn)))
}

func writeCandidates(sum hash.Hash64, addrs []netip.Addr, weights []float64, size int) {
	writeNumber(sum, uint64(size))
	writeNumber(sum, uint64(len(addrs)))
	for i, addr := range addrs {
		text, _ := addr.MarshalBinary() // which never fails
		sum.Write(text)
		writeNumber(sum, math.Float64bits(weights[i]))
	}
}

func writeNumber(sum hash.Hash64, n uint64) {
	var text [8]byte
	binary.BigEndian.PutUint64(text[:], n)
	sum.Write(text[:])
}

// serial is the serial of a version of the zone with a content. last is that of the version before, which changed says
// to be another one; fresh is what the serial would be without other servers.
//
// The same content gets the highest serial under which another server has it. A change gets a serial that is higher
// than all that the others have. Where another server has the same serial for another content, as after changes at the
// same moment, the one whose name comes first moves on.
func (a *Agreement) serial(content uint64, last, fresh uint32, changed bool, now time.Time) uint32 {
	same, highest, clash := last, last, false
	limit := uint32(now.Add(maxSerialAhead).Unix())
	for name, v := range a.Versions {
		if after(v.Serial, limit) {
			continue
		}
		if after(v.Serial, highest) {
			highest = v.Serial
		}
		if v.Content == content && after(v.Serial, same) {
			same = v.Serial
		}
		clash = clash || v.Content != content && v.Serial == last && a.Name < name
	}
	switch {
	case same != last:
		return same
	case !changed && !clash:
		return last
	case after(fresh, highest):
		return fresh
	default:
		return max(highest+1, 1)
	}
}

// after reports whether one serial follows another (RFC 1982). All follow 0, which stands for none.
func after(a, b uint32) bool { return b == 0 || int32(a-b) > 0 }
