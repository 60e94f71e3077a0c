package dnspool

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
)

// nearCards is how many cards a deck for a place has. There may be many such decks.
const nearCards = 1024

// addEntries takes in those of all entries whose mirrors are eligible, with their weights in DNS.
func (g *DNSGroup) addEntries(all []entry) {
	entries := make([]entry, 0, len(g.at))
	for _, e := range all {
		if g.at[e.mirror] == nil {
			continue
		}
		e.derated = sum(g.derated[e.mirror]) / float64(len(g.derated[e.mirror]))
		e.weight, e.eligible = float64(e.mirror.DNS.Weight)*e.derated, true
		entries = append(entries, e)
		g.limited = g.limited || e.mirror.serveOnly != nil || e.mirror.exclude != nil
	}
	g.entries = entries
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}

// A NearGroup holds the addresses that DNS answers give to clients at a place, and how often each.
type NearGroup struct {
	Addresses []int32   // in the group's Addresses
	Weights   []float64 // of these, one by one
}

// Near returns the addresses that DNS answers give to clients at a place, and how often each: the same selection as
// for redirects, of those that are eligible for DNS. Clients of many places share a group: where a mirror competes
// that is farther than the near ones, its nearness is rounded down to a power of two. ok is false if all have the same
// answers, because places do not count, or because no mirror may serve these.
func (s *Snapshot) Near(c *Choice, f Family, p *Place) (near NearGroup, ok bool) {
	g := &s.dns[f]
	if !s.policy.DNSGeo || !g.limited && !(s.policy.Geo && p.Known()) {
		return near, false
	}
	c.reset()
	c.coarse = true
	c.admit(&webGroup{entries: g.entries, limited: g.limited}, &Request{Place: *p})
	if len(c.scores) == 0 {
		return near, false
	}
	c.divide(s.policy, p)
	at := map[int32]int{}
	for i := range c.scores {
		score := &c.scores[i]
		if score.points == 0 {
			continue
		}
		derated := g.derated[score.mirror]
		all := sum(derated)
		for k, address := range g.at[score.mirror] {
			place, known := at[address] // two mirrors may share a host
			if !known {
				place = len(near.Addresses)
				at[address] = place
				near.Addresses, near.Weights = append(near.Addresses, address), append(near.Weights, 0)
			}
			near.Weights[place] += c.of(score) * derated[k] / all
		}
	}
	return near, true
}

// Key tells groups apart: those with the same key are the same.
func (n *NearGroup) Key() string {
	key := make([]byte, 0, 12*len(n.Addresses))
	for i, address := range n.Addresses {
		key = binary.BigEndian.AppendUint32(key, uint32(address))
		key = binary.BigEndian.AppendUint64(key, math.Float64bits(n.Weights[i]))
	}
	return string(key)
}

// NearDeck returns a deck for a group that Near has returned, with at most size addresses on a card: of indices in the
// family's addresses. Servers that agree make the same one of the same group.
func (s *Snapshot) NearDeck(f Family, n *NearGroup, size int) Deck {
	var d Deck
	if s.Agreement != nil {
		addrs := make([]netip.Addr, len(n.Addresses))
		for i, index := range n.Addresses {
			addrs[i] = s.dns[f].Addresses[index]
		}
		d = agreedDeckOf(nearCards, addrs, n.Weights, size, s.Built)
	} else {
		d = newDeckOf(nearCards, n.Weights, size, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	}
	for i, index := range d.places {
		d.places[i] = n.Addresses[index]
	}
	return d
}
