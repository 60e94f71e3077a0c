package dnspool

import "mirrorpool/health"

// ShareOf returns the share of the clients at the request's place that some mirrors get together, those whose bits are
// set by [Mirror.Number]: from 0 to 1. It is 0 where the choice did not look at each mirror that may be picked, as it
// does of fewer than 48, or of fewer than 64 carriers.
func (c *Choice) ShareOf(mirrors []uint64) (share float64) {
	for i := range c.scores {
		if s := &c.scores[i]; s.points > 0 && isSet(mirrors, s.number) {
			share += c.of(s)
		}
	}
	return share
}

// prefers reports whether a mirror keeps its clients, and may get those of others.
func (r *Request) prefers(m *Mirror) bool {
	return r.Verified == nil || isSet(r.Verified, uint32(m.Number)) || m.ForcedUp(health.HTTP) != nil
}

// otherDraw changes a seed for the draw among the mirrors that are preferred, which must not depend on the first one.
const otherDraw = 0x6a09e667f3bcc908

// prefer gives the clients of mirrors that are not preferred to those that are, in proportion to their shares, if any
// of these competes. Distances and the limit do not count anew: a small mirror, or one far away, would get many times
// as many clients as before. A client that was drawn for one of the preferred stays there.
func (c *Choice) prefer(r *Request) {
	if r.Verified == nil {
		return
	}
	whole := 0.0
	for i := range c.scores {
		if s := &c.scores[i]; s.points > 0 && r.prefers(s.mirror) {
			whole += c.of(s)
		}
	}
	if whole == 0 {
		return
	}
	c.scale /= whole
	kept, drawn := c.scores[:0], false
	for i := range c.scores {
		if s := &c.scores[i]; r.prefers(s.mirror) {
			drawn = drawn || s.order == first
			kept = append(kept, *s)
		}
	}
	if c.scores = kept; !drawn {
		c.drawAgain(r.Seed ^ otherDraw)
	}
}

// drawAgain orders the mirrors by chance, in proportion to their shares, as they are. Those that do not compete stay
// behind.
func (c *Choice) drawAgain(seed uint64) {
	for i := range c.scores {
		if s := &c.scores[i]; s.points > 0 {
			s.order = wait(seed, s.id) / (c.of(s) * c.total)
		}
	}
}
