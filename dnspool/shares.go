package dnspool

import "mirrorpool/health"

// A FirstShare is a mirror's share of the first places of DNS answers of one family.
type FirstShare struct {
	Family   Family
	Expected float64 // by the weights of those that are eligible
	Dealt    float64 // on the cards of the deck, which are dealt one after the other
}

// FirstShares returns the shares of the mirrors, in the order of the file; of each, those of the families in which it
// is eligible. An address of several mirrors counts for each by its weight.
func (s *Snapshot) FirstShares() [][]FirstShare {
	shares := make([][]FirstShare, len(s.Mirrors))
	for f := range s.dns {
		g := &s.dns[f]
		total, dealt := 0.0, g.leads()
		for _, weight := range g.Weights {
			total += weight
		}
		for i := range s.Mirrors {
			m := &s.Mirrors[i]
			mine := g.at[m]
			if len(mine) == 0 {
				continue
			}
			share := FirstShare{Family: Family(f)}
			for k, a := range mine {
				weight := float64(m.DNS.Weight) * g.derated[m][k] / float64(len(mine))
				share.Expected += weight / total
				share.Dealt += dealt[a] * weight / g.Weights[a]
			}
			shares[i] = append(shares[i], share)
		}
	}
	return shares
}

// leads returns which share of the cards each address leads.
func (g *DNSGroup) leads() []float64 {
	shares := make([]float64, len(g.Addresses))
	cards := g.Deck.Len()
	for card := range cards {
		shares[g.Deck.Card(uint32(card))[0]] += 1 / float64(cards)
	}
	return shares
}

// eligibleWeight is the weight of those in a group that may be picked.
func (s *Snapshot) eligibleWeight(role health.Role, f Family, only int) (sum float64) {
	if role == health.DNS {
		for _, weight := range s.dns[f].Weights {
			sum += weight
		}
		return sum
	}
	for i := range s.http[f][only].entries {
		if e := &s.http[f][only].entries[i]; e.eligible {
			sum += e.weight
		}
	}
	return sum
}
