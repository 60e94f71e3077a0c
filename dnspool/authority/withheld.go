package authority

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
)

// A withholding is what the last signed version has of mirrors that have been disabled, or taken off the list, since
// it was made. They get no client more, so that of that version only cards without them are dealt. Where none is
// left, the answer is SERVFAIL. What remains is signed set by set.
type withholding struct {
	addrs map[netip.Addr]bool
	cards [2][]uint32 // of that version's deck, by family: those that may be dealt
}

// withhold returns what z, a signed version, must not answer with any more, as the mirrors are now; nil if nothing.
func (z *zone) withhold(now *dnspool.Snapshot) *withholding {
	if z == nil || z.snapshot == nil { // there is no signed version
		return nil
	}
	enabled, allowed := map[string]bool{}, map[netip.Addr]bool{}
	for i := range now.Mirrors {
		if m := &now.Mirrors[i]; m.Enabled() {
			enabled[m.URLPrefix] = true
			for _, addr := range m.Addresses() {
				allowed[addr.Unmap()] = true
			}
		}
	}
	w := &withholding{addrs: map[netip.Addr]bool{}}
	for i := range z.snapshot.Mirrors {
		if m := &z.snapshot.Mirrors[i]; m.Enabled() && !enabled[m.URLPrefix] {
			for _, addr := range m.Addresses() {
				if !allowed[addr.Unmap()] { // or another mirror has it
					w.addrs[addr.Unmap()] = true
				}
			}
		}
	}
	if len(w.addrs) == 0 {
		return nil
	}
	for f := range w.cards {
		group := z.snapshot.DNS(dnspool.Family(f))
		for card := range uint32(group.Deck.Len()) {
			if !w.holdsAny(group, group.Deck.Card(card)) {
				w.cards[f] = append(w.cards[f], card)
			}
		}
	}
	return w
}

// holdsAny reports whether an address on a card is withheld.
func (w *withholding) holdsAny(group *dnspool.DNSGroup, card []int32) bool {
	return slices.ContainsFunc(card, func(c int32) bool { return w.addrs[group.Addresses[c].Unmap()] })
}

// leavesNone reports whether nothing can be given at source, a name of z, the signed version, for a query of a type.
func (w *withholding) leavesNone(z *zone, source string, qtype uint16) bool {
	switch {
	case w == nil:
		return false
	case qtype == dns.TypeANY: // any set may be the answer
		return z.pool[source] || w.hasAny(z.named[source])
	case !isAddress(qtype):
		return false
	case z.pool[source]:
		family := familyOf(qtype)
		return len(w.cards[family]) == 0 && z.snapshot.DNS(family).Deck.Len() > 0
	default:
		return w.hasAny(z.named[source])
	}
}

func (w *withholding) hasAny(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return w.addrs[addr.Unmap()] })
}

// card returns the next card of a family of z, the signed version, without what is withheld; nil if there is none.
func (w *withholding) card(z *zone, family dnspool.Family, place *dnspool.Place) []int32 {
	group := z.snapshot.DNS(family)
	if near, ok := z.nearCard(family, place); ok { // all sets that are smaller have signatures, too
		near = slices.DeleteFunc(slices.Clone(near), func(c int32) bool { return w.addrs[group.Addresses[c].Unmap()] })
		if len(near) > 0 {
			return near
		}
	}
	left := w.cards[family]
	if len(left) == 0 {
		return nil
	}
	return group.Deck.Card(left[z.next[family].Add(1)%uint32(len(left))])
}
