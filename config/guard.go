package config

import "fmt"

// A Ruling of the guard says whether an update of the pool may be put in force.
type Ruling int

// The rulings, from good to bad.
const (
	GuardPass   Ruling = iota
	GuardHold          // it takes away so much that somebody should confirm it
	GuardRefuse        // it enables no mirror, which nobody means
)

// A Decision is what the guard says of an update, with its numbers.
type Decision struct {
	Ruling Ruling `json:"-"`

	Lost    int     `json:"lost_mirrors"`    // enabled mirrors that are removed or disabled
	Enabled int     `json:"enabled_mirrors"` // before
	Share   float64 `json:"lost_share"`      // of the enabled weight, 0 to 1
	Limit   float64 `json:"limit"`           // the share that needs no confirmation; 0 if the guard is off
}

// Guard decides whether next may replace old. old is nil if no pool is in force. It is a pure function.
//
// What counts is the weight of mirrors that leave: a mirror whose weight becomes less still serves. limit is
// mirrors_guard, the share of the enabled weight that may leave at once; 0 turns the guard off, but never the
// rule that a pool enables a mirror.
func Guard(old, next *Pool, limit float64) Decision {
	d := Decision{Limit: limit}
	if next.EnabledMirrors() == 0 {
		d.Ruling = GuardRefuse
	}
	if old == nil {
		return d
	}
	stays := make(map[string]bool, len(next.Mirrors))
	for i := range next.Mirrors {
		stays[next.Mirrors[i].URLPrefix] = next.Mirrors[i].Enabled()
	}
	var lost, total uint64
	for i := range old.Mirrors {
		m := &old.Mirrors[i]
		if !m.Enabled() {
			continue
		}
		d.Enabled++
		total += uint64(m.Weight)
		if !stays[m.URLPrefix] {
			d.Lost++
			lost += uint64(m.Weight)
		}
	}
	if total > 0 {
		d.Share = float64(lost) / float64(total)
	}
	if d.Ruling == GuardPass && limit > 0 && d.Share > limit {
		d.Ruling = GuardHold
	}
	return d
}

// String tells the decision with its numbers.
func (d Decision) String() string {
	switch d.Ruling {
	case GuardRefuse:
		return "no mirror is enabled: give at least one a weight above 0"
	case GuardHold:
		return fmt.Sprintf("it removes or disables %d of %d enabled mirrors, %.0f %% of the weight, and mirrors_guard allows %.0f %%",
			d.Lost, d.Enabled, 100*d.Share, 100*d.Limit)
	default:
		return "it may be put in force"
	}
}
