package config

import "fmt"

// A Ruling of the guard says whether an update of the pool may be put in force.
type Ruling int

// The rulings, from good to bad.
const (
	GuardPass   Ruling = iota
	GuardHold          // it takes away so much that a person should confirm it
	GuardRefuse        // it enables no mirror, which is never meant
)

// A Decision is what the guard says of an update, with its numbers.
type Decision struct {
	Ruling Ruling `json:"-"`

	Lost    int     `json:"lost_mirrors"`    // working mirrors that are removed or disabled
	Enabled int     `json:"enabled_mirrors"` // working ones before
	Share   float64 `json:"lost_share"`      // of the working weight, 0 to 1
	Moved   float64 `json:"moved_share"`     // of the clients, who get another mirror than before by the weights, 0 to 1
	Gains   string  `json:"gains"`           // the mirror that gets most of these, and
	Gain    float64 `json:"gain"`            // its new share of all
	Limit   float64 `json:"limit"`           // the share that needs no confirmation; 0 if the guard is off
	InDNS   bool    `json:"in_dns"`          // these numbers are of the DNS answers only, of which more is lost or moved
}

// Guard decides whether next may replace old. old is nil if no pool is in force. It is a pure function.
//
// What counts is the weight of working mirrors that leave, from the pool as a whole or from its DNS answers, and the
// share of the clients who would get another mirror by the new weights: a typo in one weight moves as many as a
// removal. works reports whether a mirror of old, by its url_prefix, is fit to serve, or nil if nothing is known:
// weight that does not work is no loss, but counts where it grows. If none works, all count. limit is mirrors_guard,
// the share that may leave or move at once; 0 turns the guard off, but never the rule that a pool enables a mirror.
func Guard(old, next *Pool, limit float64, works func(urlPrefix string) bool) Decision {
	d := Decision{Limit: limit}
	if old != nil {
		d = compareWeights(old, next, func(m *Mirror) uint32 { return m.Weight }, works)
		inDNS := compareWeights(old, next, func(m *Mirror) uint32 { return m.DNS.Weight }, works)
		if max(inDNS.Share, inDNS.Moved) > max(d.Share, d.Moved) {
			d = inDNS
			d.InDNS = true
		}
		d.Limit = limit
	}
	switch {
	case next.EnabledMirrors() == 0:
		d.Ruling = GuardRefuse
	case limit > 0 && max(d.Share, d.Moved) > limit:
		d.Ruling = GuardHold
	}
	return d
}

// compareWeights counts the mirrors that have weight in old and none in next, and how the shares move.
func compareWeights(old, next *Pool, weight func(*Mirror) uint32, works func(string) bool) (d Decision) {
	idle := make(map[string]uint32) // weights of those that are enabled, and do not work
	before, total := weigh(old, weight, func(m *Mirror) bool {
		if works == nil || works(m.URLPrefix) {
			return true
		}
		idle[m.URLPrefix] = weight(m)
		return false
	})
	if total == 0 && works != nil {
		return compareWeights(old, next, weight, nil)
	}
	after, sum := weigh(next, weight, func(m *Mirror) bool {
		w, isIdle := idle[m.URLPrefix]
		return !isIdle || weight(m) > w // it will move clients once it works
	})
	d.Enabled = len(before)
	for i := range old.Mirrors {
		if prefix := old.Mirrors[i].URLPrefix; before[prefix] > 0 && after[prefix] == 0 {
			d.Lost++
			d.Share += before[prefix]
		}
	}
	if total == 0 {
		return d // there were no clients to move
	}
	d.Share /= total
	for i := range next.Mirrors {
		prefix := next.Mirrors[i].URLPrefix
		share := after[prefix] / sum // of none if there is no mirror left, which is no gain
		if gain := share - before[prefix]/total; gain > 0 {
			d.Moved += gain
			if share > d.Gain {
				d.Gains, d.Gain = prefix, share
			}
		}
	}
	return d
}

// weigh returns the weights above 0 of those mirrors of a pool that count, by url_prefix, and their sum.
func weigh(p *Pool, weight func(*Mirror) uint32, counts func(*Mirror) bool) (weights map[string]float64, sum float64) {
	weights = make(map[string]float64, len(p.Mirrors))
	for i := range p.Mirrors {
		if m := &p.Mirrors[i]; weight(m) > 0 && counts(m) {
			weights[m.URLPrefix] = float64(weight(m))
			sum += float64(weight(m))
		}
	}
	return weights, sum
}

// String tells the decision with its numbers.
func (d Decision) String() string {
	switch d.Ruling {
	case GuardRefuse:
		return "no mirror is enabled: give at least one a weight above 0"
	case GuardHold:
		what := "removes or disables"
		if d.InDNS {
			what = "takes out of DNS"
		}
		if d.Share <= d.Limit {
			where := "of the clients"
			if d.InDNS {
				where = "of the DNS answers"
			}
			return fmt.Sprintf("it moves %.0f %% %s to other mirrors (%s alone gets %.0f %%), and mirrors_guard allows %.0f %%",
				100*d.Moved, where, d.Gains, 100*d.Gain, 100*d.Limit)
		}
		return fmt.Sprintf("it %s %d of %d enabled mirrors, %.0f %% of the weight, and mirrors_guard allows %.0f %%",
			what, d.Lost, d.Enabled, 100*d.Share, 100*d.Limit)
	default:
		return "it may be put in force"
	}
}
