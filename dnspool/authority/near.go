package authority

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
)

// maxNearDecks bounds the decks that a zone keeps for single places. Where there are more, one is made for each query.
const maxNearDecks = 1024

// nearDecks are the decks of a zone for single places, made when they are first asked for. Clients of many places
// share one: there is one for each set of mirrors that compete, with their shares.
type nearDecks struct {
	mu    sync.RWMutex
	decks map[nearKey]*nearDeck
}

type nearKey struct {
	family dnspool.Family
	group  string
}

// A nearDeck is dealt like the deck of all, but only here.
type nearDeck struct {
	dnspool.Deck
	next atomic.Uint32
}

// at returns the place for which a query is answered: that of the client subnet in it (RFC 7871 section 7.2.1), or
// else that of the sender, a resolver that is usually near the client. It is nil where places do not count. subnet is
// the option that counted.
func (z *zone) at(opt *dns.OPT, from client) (place *dnspool.Place, subnet *dns.EDNS0_SUBNET) {
	if z.place == nil {
		return nil, nil
	}
	addr := from.addr
	if opt != nil {
		for _, option := range opt.Option {
			if o, ok := option.(*dns.EDNS0_SUBNET); ok && o.SourceNetmask > 0 {
				if client, ok := netip.AddrFromSlice(o.Address); ok {
					addr, subnet = client.Unmap(), o
				}
				break
			}
		}
	}
	p := z.place(addr)
	return &p, subnet
}

// scope is for which part of the address space an answer by place is right (RFC 7871 section 7.2.1), in bits: all of
// the database's network. It is not known of one that is in no database.
func scope(place *dnspool.Place, subnet *dns.EDNS0_SUBNET) uint8 {
	if bits := place.Network.Bits(); bits >= 0 && place.Network.Addr().Is4() == (subnet.Family == 1) {
		return uint8(bits)
	}
	return subnet.SourceNetmask
}

// setScope puts the scope into the response's subnet option.
func setScope(resp *dns.Msg, bits uint8) {
	for _, option := range resp.IsEdns0().Option {
		if o, ok := option.(*dns.EDNS0_SUBNET); ok {
			o.SourceScope = bits
		}
	}
}

// nearCard returns the next card for clients at a place. ok is false if these get what all get.
func (z *zone) nearCard(family dnspool.Family, place *dnspool.Place) (card []int32, ok bool) {
	if place == nil || z.answers[family] == 0 {
		return nil, false
	}
	var choice dnspool.Choice
	group, ok := z.snapshot.Near(&choice, family, place)
	if !ok {
		return nil, false
	}
	deck := z.near.find(nearKey{family, group.Key()}, func() *nearDeck {
		made := &nearDeck{Deck: z.snapshot.NearDeck(family, &group, z.answers[family])}
		made.next.Store(rand.Uint32()) // one that is not kept deals its first card alone
		return made
	})
	return deck.Card(deck.next.Add(1)), true
}

// find returns the deck with a key, which make makes unless there is one.
func (n *nearDecks) find(key nearKey, make func() *nearDeck) *nearDeck {
	n.mu.RLock()
	deck := n.decks[key]
	n.mu.RUnlock()
	if deck != nil {
		return deck
	}
	made := make()
	n.mu.Lock()
	defer n.mu.Unlock()
	if deck = n.decks[key]; deck != nil { // another goroutine was faster
		return deck
	}
	if len(n.decks) < maxNearDecks {
		n.decks[key] = made
	}
	return made
}
