package dnspool

import (
	"math"
)

// MaxRunnersUp is how many mirrors a [Choice] has besides the one that is picked.
const MaxRunnersUp = 5

// An entry is a mirror in a webGroup, with what a choice asks of it at hand: in one cache line.
type entry struct {
	id                 uint64
	weight, derated    float64 // derated: by which the mirror's weight was multiplied to give weight
	at                 direction
	mirror             *Mirror
	asn                uint32
	number             uint32 // see Mirror.Number
	country, continent Code
	hasPosition        bool
	eligible           bool
	rank               rank
}

// admits reports whether the mirror is for clients at a place.
func (m *Mirror) admits(p *Place) bool {
	return (m.serveOnly == nil || p.in(m.serveOnly)) && (m.exclude == nil || !p.in(m.exclude))
}

// A Request is what counts of a request for a redirect.
type Request struct {
	Family   Family
	Secure   bool // asked for over https: only https mirrors will do
	Place    Place
	Seed     uint64 // of the draw: the same seed, the same choice
	LoadDraw uint64 // random for each request; compared with Tally.Load to decide whether it is refused (max_load)

	// Carriers are the mirrors that may be picked, in a bit for each by its number; nil: all.
	Carriers []uint64
	// Unknown are the mirrors that may carry the file, in bits as well. Only Explain looks at it.
	Unknown []uint64

	// Verified are the mirrors that get the other mirrors' clients, in bits as well, because their copy of the file is
	// verified; nil: none. Those that a person has forced up keep theirs.
	Verified []uint64

	// Corrupt are the mirrors whose copy of the file has wrong bytes. Only Explain looks at it.
	Corrupt []int
	// Without is a mirror that is not to be picked while there is another; nil: none.
	Without *Mirror
}

// only is which group of a family serves the request: 1 for https only.
func (r *Request) only() int {
	if r.Secure {
		return 1
	}
	return 0
}

// allows reports whether a mirror may be picked.
func (r *Request) allows(e *entry) bool { return e.mirror != r.Without && r.carriedBy(e.number) }

// carriedBy reports whether the mirror with a number is one of the carriers.
func (r *Request) carriedBy(number uint32) bool {
	return r.Carriers == nil || isSet(r.Carriers, number)
}

// isSet reports whether the bit of a mirror with a number is set.
func isSet(bits []uint64, number uint32) bool {
	word := int(number / 64)
	return word < len(bits) && bits[word]>>(number%64)&1 != 0
}

// A Choice is the mirror picked for a request, with the runners-up. It keeps its memory from one request to the next:
// use it again.
type Choice struct {
	Picked    *Mirror // nil if no mirror may serve the request, or all that may are Busy
	Busy      bool    // refused to protect the few mirrors that are up (max_load); another LoadDraw may be admitted
	RunnersUp []*Mirror

	group  *webGroup
	coarse bool // nearness is rounded to a power of two
	scores []score
	share  float64 // the most that one may take; 0 if there is no limit
	rest   float64 // what is left for those below the limit, as a share
	total  float64 // of their points
	scale  float64 // by which all shares are multiplied, where others' clients are added
	far    []float64
	bounds []float64 // for each cell of the group's index, how far its nearest mirror is at least
	best   []*score
}

// A score is how one mirror does in a choice.
type score struct {
	*entry
	far      float64 // km; 0 where places do not count
	nearness float64 // 0: it does not compete
	points   float64 // weight times nearness
	order    float64 // the least is first
	capped   bool    // its share is limited
}

// Orders of mirrors that are not drawn by their points.
const (
	first  = -1
	behind = 1e6 // more than any wait/points: that is at most 37.5 divided by 100/23200
)

// Choose picks a mirror for a request. See the package's comment for how.
func (s *Snapshot) Choose(c *Choice, r *Request) {
	if g := &s.http[r.Family][r.only()]; g.index != nil && c.chooseIndexed(&s.policy, g, r) {
		c.Busy = g.refuses(r)
	} else {
		s.chooseOfAll(c, r)
	}
	if c.Busy {
		c.Picked, c.RunnersUp = nil, c.RunnersUp[:0]
	}
}

// chooseOfAll makes the choice with a look at each mirror.
func (s *Snapshot) chooseOfAll(c *Choice, r *Request) {
	c.choose(s, r)
	if left := c.standing(); r.Without != nil && left != (standing{&s.http[r.Family][r.only()], rankEligible}) {
		again := *r
		again.Without = nil
		if c.choose(s, &again); c.standing() == left { // there is another that is as good
			c.choose(s, r)
		}
	}
	c.pick()
}

// A standing is what those have in common among which a choice is made: the family, and how far they can be trusted.
type standing struct {
	group *webGroup // nil: there are none
	rank
}

// rankEligible stands for all ranks that eligible mirrors have.
const rankEligible = rank(math.MaxUint8)

func (c *Choice) standing() standing {
	switch {
	case len(c.scores) == 0:
		return standing{}
	case c.scores[0].eligible:
		return standing{c.group, rankEligible}
	}
	return standing{c.group, c.scores[0].rank}
}

// choose gives each mirror that may serve the request its order.
func (c *Choice) choose(s *Snapshot, r *Request) {
	c.reset()
	only := r.only()
	for _, family := range [...]Family{r.Family, 1 - r.Family} {
		if c.admit(&s.http[family][only], r); len(c.scores) > 0 {
			c.group = &s.http[family][only]
			break
		}
	}
	if len(c.scores) == 0 {
		return
	}
	c.divide(s.policy, &r.Place)
	c.draw(r.Seed)
	c.prefer(r)
	c.Busy = c.group.refuses(r)
}

// refuses reports whether a request is refused to protect the few mirrors that are up.
func (g *webGroup) refuses(r *Request) bool { return g.Load > 0 && uniform(r.LoadDraw) >= g.Load }

func (c *Choice) reset() {
	c.scores, c.share, c.rest, c.total, c.scale = c.scores[:0], 0, 1, 0, 1
	c.group, c.coarse, c.Busy = nil, false, false
}

// divide gives each of those that may serve clients at a place its share of them.
func (c *Choice) divide(policy Policy, p *Place) {
	if policy.Geo && p.Known() {
		c.measure(p)
		c.compete(policy)
		c.limit(policy.MaxShare)
		return
	}
	for i := range c.scores {
		c.scores[i].nearness, c.scores[i].points = 1, c.scores[i].weight
	}
	c.limit(1)
}

// admit begins with those of a group that may serve a request: the eligible ones, or if all of these serve other places
// only or lack the file, the most trusted of the rest.
func (c *Choice) admit(g *webGroup, r *Request) {
	p := &r.Place
	for i := range g.entries {
		if e := &g.entries[i]; e.eligible && (!g.limited || e.mirror.admits(p)) && r.allows(e) {
			c.scores = append(c.scores, score{entry: e})
		}
	}
	if len(c.scores) > 0 {
		return
	}
	best := rankDown
	if !g.limited || r.Carriers != nil {
		best = rankUp // a mirror that only was left out for others may be the one that carries the file
	}
	for i := range g.entries {
		e := &g.entries[i]
		if e.rank > best || !e.mirror.admits(p) || !r.allows(e) {
			continue
		}
		if e.rank < best {
			best, c.scores = e.rank, c.scores[:0]
		}
		c.scores = append(c.scores, score{entry: e})
	}
}

// draw orders the mirrors by chance, in proportion to their shares.
func (c *Choice) draw(seed uint64) {
	left := 1.0 // of the clients, as a share
	var winner *score
	for i := range c.scores {
		s := &c.scores[i]
		if s.points == 0 {
			s.order = behind + s.far
			continue
		}
		w := wait(seed, s.id)
		s.order = w / s.points
		if s.capped && winner == nil {
			// The mirror wins this share of all draws, whichever others compete: they may change without moving
			// its clients.
			if w < -math.Log1p(-c.share/left) {
				winner = s
			}
			left -= c.share
		}
	}
	if winner == nil {
		for i := range c.scores {
			if s := &c.scores[i]; !s.capped && (winner == nil || s.order < winner.order) {
				winner = s
			}
		}
	}
	winner.order = first
}

// pick takes the first ones. Of several with the same order, the earlier entry is first.
func (c *Choice) pick() {
	c.Picked, c.RunnersUp, c.best = nil, c.RunnersUp[:0], c.best[:0]
	for i := range c.scores {
		s := &c.scores[i]
		switch {
		case len(c.best) <= MaxRunnersUp:
			c.best = append(c.best, s)
		case s.order < c.best[MaxRunnersUp].order:
			c.best[MaxRunnersUp] = s
		default:
			continue
		}
		for j := len(c.best) - 1; j > 0 && c.best[j].order < c.best[j-1].order; j-- {
			c.best[j], c.best[j-1] = c.best[j-1], c.best[j]
		}
	}
	for i, s := range c.best {
		if i == 0 {
			c.Picked = s.mirror
		} else {
			c.RunnersUp = append(c.RunnersUp, s.mirror)
		}
	}
}
