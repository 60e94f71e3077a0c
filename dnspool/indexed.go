package dnspool

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

const (
	// fewCarriers is up to how many carriers of a file are looked at one by one.
	fewCarriers = 64
	// mostNearest is up to how many mirrors are found by their distance.
	mostNearest = 64
	// slack is more than the rounding errors of distances, in km.
	slack = 0.01
	// margin is more than the rounding errors of sums and of draws, as a factor.
	margin = 1 + 1e-9
)

// chooseIndexed makes the choice that a look at each mirror of a group would, by its index. It reports whether it did:
// it leaves to that look what is rare, such as no mirror that may be picked.
func (c *Choice) chooseIndexed(policy *Policy, g *webGroup, r *Request) bool {
	c.reset()
	c.group = g
	a := newAdmission(g, r)
	switch {
	case r.Carriers != nil && countUpTo(r.Carriers, fewCarriers) < fewCarriers:
		c.admitCarriers(&a)
	case !policy.Geo || !r.Place.Known():
		return r.Verified == nil && c.race(&a, nil, 0, 1)
	default:
		from := newClient(&r.Place)
		enough := max(policy.wanted(), MaxRunnersUp+1)
		if !c.findNearest(&a, &from, enough) {
			return false
		}
		near, reach := policy.Near*c.far[0], c.far[enough-1]
		if r.Verified == nil && (reach <= near || c.inCountry(&a, &from, enough)) && c.race(&a, &from, near, policy.MaxShare) {
			return true
		}
		c.admitWithin(&a, &from, max(near, reach))
	}
	if len(c.scores) == 0 {
		return false
	}
	slices.SortFunc(c.scores, func(a, b score) int { return cmp.Compare(a.id, b.id) }) // as in the group
	c.divide(*policy, &r.Place)
	c.draw(r.Seed)
	c.prefer(r)
	c.pick()
	return true
}

// An admission says which members of a group may serve a request.
type admission struct {
	*webGroup
	*Request
	all     bool   // all may
	without uint64 // the id of the one that may not; 0: none
}

func newAdmission(g *webGroup, r *Request) admission {
	a := admission{webGroup: g, Request: r, all: r.Carriers == nil && r.Without == nil && !g.limited}
	if r.Without != nil {
		a.without = r.Without.id
	}
	return a
}

// admits reports whether a member may serve the request.
func (a *admission) admits(m *member) bool {
	return a.all || m.id != a.without && a.carriedBy(m.number) && (!m.limited || a.entries[m.entry].mirror.admits(&a.Place))
}

// countUpTo counts the bits that are set, or up to limit of them.
func countUpTo(words []uint64, limit int) (n int) {
	for _, word := range words {
		if n += bits.OnesCount64(word); n >= limit {
			return limit
		}
	}
	return n
}

// admitCarriers begins with those of the carriers that may serve the request.
func (c *Choice) admitCarriers(a *admission) {
	for i, word := range a.Carriers {
		for ; word != 0; word &= word - 1 {
			number := i*64 + bits.TrailingZeros64(word)
			if number >= len(a.index.numbered) || a.index.numbered[number] < 0 {
				continue
			}
			e := &a.entries[a.index.numbered[number]]
			if e.mirror != a.Without && (!a.limited || e.mirror.admits(&a.Place)) {
				c.scores = append(c.scores, score{entry: e})
			}
		}
	}
}

// findNearest finds how far the n nearest are that may serve the request. ok is false if there are fewer.
func (c *Choice) findNearest(a *admission, from *client, n int) (ok bool) {
	if n > mostNearest {
		return false
	}
	cells := a.index.cells
	first := c.bound(a.index, from)
	c.far = c.far[:0]
	c.measureCell(a, from, &cells[first], n)
	for i := range cells {
		if i != first && (len(c.far) < n || c.bounds[i] < c.far[n-1]) {
			c.measureCell(a, from, &cells[i], n)
		}
	}
	return len(c.far) == n
}

// bound finds how far the nearest mirror of each cell is at least, and returns the cell whose middle is nearest.
func (c *Choice) bound(x *index, from *client) (nearest int) {
	c.bounds = c.bounds[:0]
	least := math.Inf(1)
	for i := range x.cells {
		cell := &x.cells[i]
		distance, border := from.far(&cell.entry)
		c.bounds = append(c.bounds, baseFar+max(0, distance-cell.radius-slack)+border)
		if far := distance + border; far < least {
			nearest, least = i, far
		}
	}
	if from.ASN != 0 {
		for _, i := range x.networks[from.ASN] {
			c.bounds[i] -= from.border(&x.cells[i].entry) - borderSameNetwork
		}
	}
	return nearest
}

// measureCell puts those of a cell that may serve the request among the n nearest.
func (c *Choice) measureCell(a *admission, from *client, of *cell, n int) {
	for i := of.first; i < of.end; i++ {
		if m := &a.index.members[i]; a.admits(m) {
			c.far = keepLeast(c.far, n, from.measure(&a.index.entries[i]))
		}
	}
}

// inCountry reports whether at least n that may serve the request are in the client's country.
func (c *Choice) inCountry(a *admission, from *client, n int) bool {
	if from.Country == (Code{}) {
		return false
	}
	cells := a.index.countries[from.Country]
	for i := cells.first; i < cells.end && n > 0; i++ {
		of := &a.index.cells[i]
		for k := of.first; k < of.end && n > 0; k++ {
			if a.admits(&a.index.members[k]) {
				n--
			}
		}
	}
	return n == 0
}

// admitWithin begins with those that may serve the request and are in the client's country, or no farther than reach.
func (c *Choice) admitWithin(a *admission, from *client, reach float64) {
	for i := range a.index.cells {
		of := &a.index.cells[i]
		all := from.sameCountry(&of.entry)
		if !all && c.bounds[i] > reach {
			continue
		}
		for k := of.first; k < of.end; k++ {
			m := &a.index.members[k]
			if a.admits(m) && (all || from.measure(&a.index.entries[k]) <= reach) {
				c.scores = append(c.scores, score{entry: &a.entries[m.entry]})
			}
		}
	}
}
