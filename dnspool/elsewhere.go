package dnspool

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

const (
	maxDrainTime = 90 * 24 * time.Hour
	maxText      = 200 // bytes of a reason, or of a person's name
)

// WithDrainsOf returns the overrides, and with them the drains that a person has set at another server of the group. An
// override of this server's own counts before one of another server.
//
// One server alone must not empty the answers: its drains take away at most limit of the weight that is enabled in a
// role, a share; 0 is no limit. The drains beyond are left out, the latest first, and left is how many these are.
// Likewise no drain of another server keeps a mirror out where nothing else is left: see [Override.Anyway].
func (list Overrides) WithDrainsOf(watcher string, theirs []Override, pool *config.Pool, limit float64, now time.Time) (joined Overrides, left int) {
	theirs = slices.Clone(theirs)
	slices.SortFunc(theirs, func(a, b Override) int { return cmp.Or(a.Since.Compare(b.Since), compareOverrides(a, b)) })
	total := map[health.Role]float64{}
	weights := map[string]*config.Mirror{}
	for i := range pool.Mirrors {
		m := &pool.Mirrors[i]
		weights[m.URLPrefix] = m
		for _, role := range [...]health.Role{health.HTTP, health.DNS} {
			total[role] += weightIn(m, role)
		}
	}
	taken := map[health.Role]float64{}
	seen := Overrides{}
	for _, o := range theirs {
		m := weights[o.Mirror]
		if m == nil || o.Kind != Drain || o.Role != health.HTTP && o.Role != health.DNS || !now.Before(o.Until) || seen.Of(o.Mirror, o.Role) != nil {
			continue
		}
		weight := weightIn(m, o.Role)
		if limit > 0 && weight > 0 && taken[o.Role]+weight > limit*total[o.Role] {
			left++
			continue
		}
		taken[o.Role] += weight
		o.Watcher, o.Anyway = watcher, false
		o.Reason, o.By = shown(o.Reason), shown(o.By)
		if end := now.Add(maxDrainTime); o.Until.After(end) {
			o.Until = end
		}
		seen = seen.With(o)
	}
	for _, o := range seen {
		if list.Of(o.Mirror, o.Role) == nil {
			list = list.With(o)
		}
	}
	return list, left
}

// weightIn is the weight of a mirror in a role.
func weightIn(m *config.Mirror, role health.Role) float64 {
	if role == health.DNS {
		return float64(m.DNS.Weight)
	}
	return float64(m.Weight)
}

// shown is a text that another server has sent as it may be shown.
func shown(text string) string {
	return config.Printable(strings.ToValidUTF8(text[:min(len(text), maxText)], ""))
}

// Drains returns the drains among the overrides.
func (list Overrides) Drains() Overrides {
	drains := Overrides{}
	for _, o := range list {
		if o.Kind == Drain {
			drains = append(drains, o)
		}
	}
	return drains
}
