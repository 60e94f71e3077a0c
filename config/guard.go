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

	Lost    int     `json:"lost_mirrors"`    // enabled mirrors that are removed or disabled
	Enabled int     `json:"enabled_mirrors"` // before
	Share   float64 `json:"lost_share"`      // of the enabled weight, 0 to 1
	Limit   float64 `json:"limit"`           // the share that needs no confirmation; 0 if the guard is off
	InDNS   bool    `json:"in_dns"`          // these numbers are of the DNS answers only, of which more is lost
}

// Guard decides whether next may replace old. old is nil if no pool is in force. It is a pure function.
//
// What counts is the weight of mirrors that leave, from the pool as a whole or from its DNS answers, whichever is
// more: a mirror whose weight becomes less still serves. limit is mirrors_guard, the share of the enabled weight that
// may leave at once; 0 turns the guard off, but never the rule that a pool enables a mirror.
func Guard(old, next *Pool, limit float64) Decision {
	d := Decision{Limit: limit}
	if old != nil {
		d = leaving(old, next, func(m *Mirror) uint32 { return m.Weight })
		if inDNS := leaving(old, next, func(m *Mirror) uint32 { return m.DNS.Weight }); inDNS.Share > d.Share {
			d = inDNS
			d.InDNS = true
		}
		d.Limit = limit
	}
	switch {
	case next.EnabledMirrors() == 0:
		d.Ruling = GuardRefuse
	case limit > 0 && d.Share > limit:
		d.Ruling = GuardHold
	}
	return d
}

// leaving counts the mirrors that have weight in old and none in next.
func leaving(old, next *Pool, weight func(*Mirror) uint32) (d Decision) {
	stays := make(map[string]bool, len(next.Mirrors))
	for i := range next.Mirrors {
		stays[next.Mirrors[i].URLPrefix] = weight(&next.Mirrors[i]) > 0
	}
	var lost, total uint64
	for i := range old.Mirrors {
		m := &old.Mirrors[i]
		if weight(m) == 0 {
			continue
		}
		d.Enabled++
		total += uint64(weight(m))
		if !stays[m.URLPrefix] {
			d.Lost++
			lost += uint64(weight(m))
		}
	}
	if total > 0 {
		d.Share = float64(lost) / float64(total)
	}
	return d
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
		return fmt.Sprintf("it %s %d of %d enabled mirrors, %.0f %% of the weight, and mirrors_guard allows %.0f %%",
			what, d.Lost, d.Enabled, 100*d.Share, 100*d.Limit)
	default:
		return "it may be put in force"
	}
}
