package dnspool

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// An Input is what a snapshot is made of.
type Input struct {
	Pool   *config.Pool
	Health *health.Report
	// Overrides are those in force at Now.
	Overrides Overrides
	Policy    Policy
	Previous  *Snapshot // which this one replaces; nil for the first
	Now       time.Time
	Rand      *rand.Rand // shuffles the decks

	// Place finds the place of a mirror's address. It is nil without a geographical database.
	Place func(netip.Addr) Place

	// Number returns the number of a mirror, which is the same as long as the program runs. It is nil where
	// requests name no carriers.
	Number func(urlPrefix string) int

	// Last is the version of the zone before the start. The first snapshot has its serial if it has its content, and
	// else one that follows. What is not known is 0.
	Last ZoneVersion

	// Agree has the snapshot tell the same as those of other servers; nil: it stands for itself.
	Agree *Agreement

	// ZoneChanged says that DNS tells something new that is not in the snapshot, such as another TTL.
	ZoneChanged bool
}

// Build makes a snapshot. It is a pure function of its input.
func Build(in Input) *Snapshot {
	s := &Snapshot{Built: in.Now, Mirrors: make([]Mirror, len(in.Pool.Mirrors)), policy: in.Policy, Agreement: in.Agree}
	for i := range in.Pool.Mirrors {
		m := &in.Pool.Mirrors[i]
		s.Mirrors[i] = Mirror{Mirror: m, MirrorReport: in.Health.Mirrors[m.URLPrefix], id: mirrorID(m.URLPrefix)}
		if in.Number != nil {
			s.Mirrors[i].Number = in.Number(m.URLPrefix)
		}
		for role := range s.Mirrors[i].Overrides {
			s.Mirrors[i].Overrides[role] = in.Overrides.Of(m.URLPrefix, health.Role(role))
		}
		s.Mirrors[i].Place = placeOf(&s.Mirrors[i], in.Place)
		s.Mirrors[i].serveOnly, s.Mirrors[i].exclude = newPlaceSet(m.ServeOnly), newPlaceSet(m.Exclude)
	}
	entries := newEntries(s.Mirrors)
	room := make([]candidate, 0, len(s.Mirrors)) // for each group in turn: growing it would leave much to collect
	for _, family := range [...]Family{IPv4, IPv6} {
		s.dns[family] = buildDNS(s.Mirrors, room, family, in, s.drained(health.DNS, family, 0, &in))
		s.dns[family].addEntries(entries)
		for only := range s.http[family] {
			s.http[family][only] = buildWeb(entries, room, family, only, in, s.drained(health.HTTP, family, only, &in))
		}
	}
	if in.Agree != nil {
		s.Content = in.Agree.contentOf(s)
	}
	s.Serial = nextSerial(in, s)
	return s
}

// buildDNS makes the group for DNS answers. all has room for candidates. out reports whether a mirror is drained.
func buildDNS(mirrors []Mirror, all []candidate, family Family, in Input, out func(*Mirror) bool) DNSGroup {
	var lost []candidate
	for i := range mirrors {
		m := &mirrors[i]
		if !m.InDNSPool() || out(m) {
			continue
		}
		if c, ok := m.best(family, in.Health.Reference.Trace); ok {
			all = append(all, c)
		} else if m.lost(family) {
			lost = append(lost, c)
		}
	}
	tally := markEligible(all, lost, &in, in.Previous != nil && in.Previous.dns[family].Panic)
	eligible := slices.DeleteFunc(all, func(c candidate) bool { return !c.eligible })
	n := len(eligible)
	g := DNSGroup{
		Tally: tally, Settles: settles(eligible, family, in.Health.Policy),
		Addresses: make([]netip.Addr, 0, n), Weights: make([]float64, 0, n),
		at: make(map[*Mirror][]int32, n), derated: make(map[*Mirror][]float64, n),
	}
	at := make(map[netip.Addr]int, n)
	for _, c := range eligible {
		c.mirror.InDNS = true
		g.derated[c.mirror] = c.shares
		for k, addr := range c.addresses {
			i, known := at[addr] // two mirrors may share a host: each adds its weight
			if !known {
				i = len(g.Addresses)
				at[addr] = i
				g.Addresses, g.Weights = append(g.Addresses, addr), append(g.Weights, 0)
			}
			g.Weights[i] += c.weight * c.shares[k] / float64(len(c.addresses))
			g.at[c.mirror] = append(g.at[c.mirror], int32(i))
		}
	}
	g.Deck = g.deckAfter(in.Previous, family, in)
	return g
}

// deckAfter returns the deck for g, with as many cards as possible of the one before.
//
// Servers that agree make theirs anew: what is taken over depends on what each has seen before.
func (g *DNSGroup) deckAfter(p *Snapshot, family Family, in Input) Deck {
	var before *DNSGroup
	if p != nil {
		before = &p.dns[family]
	}
	if in.Agree != nil {
		return g.agreedDeck(before, in.Policy.MaxAnswers, in.Now)
	}
	if before == nil {
		return newDeck(g.Weights, in.Policy.MaxAnswers, in.Rand)
	}
	if before.sameCandidates(g) && before.Deck.serves(g.Weights, in.Policy.MaxAnswers) {
		return before.Deck // a new one takes most of the time
	}
	at := make(map[netip.Addr]int32, len(g.Addresses))
	for i, addr := range g.Addresses {
		at[addr] = int32(i)
	}
	now := make([]int32, len(before.Addresses))
	for i, addr := range before.Addresses {
		now[i] = -1
		if c, ok := at[addr]; ok {
			now[i] = c
		}
	}
	if deck, ok := before.Deck.renew(now, g.Weights, in.Policy.MaxAnswers, in.Rand); ok {
		return deck
	}
	return newDeck(g.Weights, in.Policy.MaxAnswers, in.Rand)
}

// serves reports whether the list has m serve in a role.
func (m *Mirror) serves(role health.Role) bool {
	if role == health.DNS {
		return m.InDNSPool()
	}
	return m.Enabled()
}

// sameCandidates reports whether g and other list the same addresses with the same weights.
func (g *DNSGroup) sameCandidates(other *DNSGroup) bool {
	return slices.Equal(g.Addresses, other.Addresses) && slices.Equal(g.Weights, other.Weights)
}

// settles is how soon one of the eligible addresses may turn out to be unfit, or 0 if none is in doubt.
func settles(eligible []candidate, family Family, p health.Policy) (soonest time.Duration) {
	for _, c := range eligible {
		for i := range c.mirror.Endpoints {
			e := &c.mirror.Endpoints[i]
			if !counts(e, health.DNS, family) || !e.InDoubt() {
				continue
			}
			if s := e.DecidesIn(p); soonest == 0 || s < soonest {
				soonest = s
			}
		}
	}
	return soonest
}

// newEntries returns entries for the enabled mirrors, by their ids: the order must not depend on that of the file.
func newEntries(mirrors []Mirror) []entry {
	entries := make([]entry, 0, len(mirrors))
	for i := range mirrors {
		m := &mirrors[i]
		if !m.Enabled() {
			continue
		}
		entries = append(entries, entry{
			mirror: m, number: uint32(m.Number), id: m.id, weight: float64(m.Weight), derated: 1,
			at: m.Place.direction(), hasPosition: m.Place.HasPosition,
			country: m.Place.Country, continent: m.Place.Continent, asn: m.Place.ASN,
		})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	return entries
}

// buildWeb makes the group of all mirrors, or where only is 1, of those that speak https. candidates has room for them.
// out reports whether a mirror is drained.
func buildWeb(all []entry, candidates []candidate, family Family, only int, in Input, out func(*Mirror) bool) webGroup {
	var g webGroup
	var lost []candidate
	for i := range all {
		e := &all[i]
		if only == 1 && e.mirror.URL.Scheme != "https" || out(e.mirror) {
			continue
		}
		c, ok := e.mirror.worst(family, in.Health.Reference.Trace)
		if !ok {
			if e.mirror.lost(family) {
				lost = append(lost, c)
			}
			continue
		}
		candidates = append(candidates, c)
	}
	g.Tally = markEligible(candidates, lost, &in, in.Previous != nil && in.Previous.http[family][only].Panic)
	g.entries = make([]entry, len(candidates))
	for i, next := 0, 0; i < len(candidates); next++ {
		c, e := &candidates[i], &g.entries[i]
		if *e = all[next]; e.mirror != c.mirror {
			continue
		}
		i++
		e.rank, e.derated, e.eligible = c.rank, c.share, c.eligible
		e.weight *= e.derated
		e.mirror.InWeb = e.mirror.InWeb || e.eligible
		g.limited = g.limited || e.mirror.serveOnly != nil || e.mirror.exclude != nil
	}
	g.index = newIndex(g.entries)
	return g
}

// nextSerial is the serial of next, which in makes. It begins with the time, so that it grows across restarts too,
// and then counts changes of what DNS tells. Where the clock was set back, it goes on from the one before.
func nextSerial(in Input, next *Snapshot) uint32 {
	now, last := uint32(next.Built.Unix()), in.Last.Serial // as RFC 1982 has it: 2106 is not an end
	changed := next.Content == 0 || next.Content != in.Last.Content
	if in.Previous != nil {
		last = in.Previous.Serial
		changed = in.ZoneChanged || !sameRecords(in.Previous, next)
	}
	switch {
	case in.Agree != nil:
		return in.Agree.serial(next.Content, last, max(now, 1), changed, next.Built)
	case !changed:
		return last
	case !after(now, last):
		now = last + 1
	}
	return max(now, 1)
}

// sameRecords reports whether a and b hold the same DNS records.
func sameRecords(a, b *Snapshot) bool {
	for f := range a.dns {
		if !a.dns[f].sameCandidates(&b.dns[f]) || a.dns[f].Deck.size != b.dns[f].Deck.size {
			return false
		}
	}
	return slices.EqualFunc(a.named(), b.named(), func(x, y *Mirror) bool {
		return x.Name == y.Name && x.Enabled() == y.Enabled() && slices.Equal(x.Addresses(), y.Addresses())
	})
}

// named returns the mirrors with a name.
func (s *Snapshot) named() []*Mirror {
	var named []*Mirror
	for i := range s.Mirrors {
		if s.Mirrors[i].Name != "" {
			named = append(named, &s.Mirrors[i])
		}
	}
	return named
}
