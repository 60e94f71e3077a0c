package dnspool

import "math"

// A race draws from many mirrors that compete by weight alone. It takes the logarithm of [wait] only of those that may
// be among the first: since -ln(u) >= 1-u, the others are out without.
type race struct {
	seed     uint64
	ahead    [MaxRunnersUp + 1]runner // so far, the first one first
	n        int                      // of ahead
	limit    float64                  // by weight, of (1-u)*2^uniformBits of those that may be ahead
	total    float64                  // weight of all that compete
	heaviest float64                  // weight of one
}

// A runner is a mirror in a race.
type runner struct {
	order float64 // see [score]
	entry int32
}

// race picks from those that may serve a request and are in the client's country, or near: from all where there is no
// client. It reports whether that is the whole choice. It is not where one of them might take more than a share.
func (c *Choice) race(a *admission, from *client, near, share float64) bool {
	r := race{seed: a.Seed, limit: math.Inf(1)}
	for i := range a.index.cells {
		of := &a.index.cells[i]
		switch {
		case from == nil || from.sameCountry(&of.entry):
			r.runAll(a, of)
		case c.bounds[i] > near:
		case from.measure(&of.entry)+of.radius+slack <= near:
			r.runAll(a, of)
		default:
			r.runNear(a, of, from, near)
		}
	}
	if r.n < len(r.ahead) || share*r.total <= margin*r.heaviest {
		return false
	}
	c.Picked, c.RunnersUp = a.entries[r.ahead[0].entry].mirror, c.RunnersUp[:0]
	for _, x := range r.ahead[1:] {
		c.RunnersUp = append(c.RunnersUp, a.entries[x.entry].mirror)
	}
	return true
}

func (r *race) runAll(a *admission, of *cell) {
	members := a.index.members[of.first:of.end]
	if !a.all {
		for i := range members {
			if m := &members[i]; a.admits(m) {
				r.run(m)
			}
		}
		return
	}
	r.weigh(of.weight, of.heaviest)
	least := r.least(of.heaviest)
	for i := range members {
		if m := &members[i]; mixTop(r.seed^m.id) >= least && r.mayPlace(m) {
			r.place(m)
			least = r.least(of.heaviest)
		}
	}
}

// least returns what mixTop is at least for one that may be ahead, if none weighs more than heaviest. It is there to
// tell at less cost than mayPlace.
func (r *race) least(heaviest float64) uint64 {
	limit := r.limit * heaviest
	if limit >= 1<<uniformBits-1 {
		return 0
	}
	return ^(uint64(limit+1)<<(64-uniformBits) | 1<<(64-mixTopBits) - 1)
}

func (r *race) runNear(a *admission, of *cell, from *client, near float64) {
	for i := of.first; i < of.end; i++ {
		if m := &a.index.members[i]; a.admits(m) && from.measure(&a.index.entries[i]) <= near {
			r.run(m)
		}
	}
}

// weigh counts the weight of some that compete, and that of the heaviest of them.
func (r *race) weigh(weight, heaviest float64) {
	r.total += weight
	if heaviest > r.heaviest {
		r.heaviest = heaviest
	}
}

// run takes in one that competes.
func (r *race) run(m *member) {
	r.weigh(m.weight, m.weight)
	if r.mayPlace(m) {
		r.place(m)
	}
}

// mayPlace reports whether one may be ahead.
func (r *race) mayPlace(m *member) bool {
	return float64(int64(^mix(r.seed^m.id)>>(64-uniformBits))) <= r.limit*m.weight // on the left, just less than 1-u
}

// place puts one among those ahead, if it is. Of two with the same order, the earlier entry is ahead.
func (r *race) place(m *member) {
	x := runner{wait(r.seed, m.id) / m.weight, m.entry}
	if r.n < len(r.ahead) {
		r.n++
	} else if !x.before(r.ahead[r.n-1]) {
		return
	}
	i := r.n - 1
	for ; i > 0 && x.before(r.ahead[i-1]); i-- {
		r.ahead[i] = r.ahead[i-1]
	}
	r.ahead[i] = x
	if r.n == len(r.ahead) {
		r.limit = r.ahead[r.n-1].order * margin * (1 << uniformBits)
	}
}

func (x runner) before(y runner) bool {
	return x.order < y.order || x.order == y.order && x.entry < y.entry
}
