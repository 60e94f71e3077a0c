package dnspool

import (
	"cmp"
	"math"
	"slices"
)

const (
	// indexSize is from how many mirrors on a group has an index. Looking at each of fewer is as fast.
	indexSize = 48
	// cellSize is how many mirrors a cell has at most.
	cellSize = 40
)

// An index has the eligible mirrors of a large group by place, so that a choice has to look at few of them.
type index struct {
	members   []member           // cell after cell
	entries   []entry            // of the members: copies, for those of a cell to be near each other in memory too
	cells     []cell             // country after country
	countries map[Code]span      // which cells are in a country
	networks  map[uint32][]int32 // by autonomous system: the cells with a mirror in it
	numbered  []int32            // entries by the numbers of their mirrors; -1: none
}

// A member is what a draw asks of an entry.
type member struct {
	id      uint64
	weight  float64
	number  uint32
	entry   int32 // in the group's entries
	limited bool  // it serves only some clients
}

// A span is a range of indices: from first to before end.
type span struct{ first, end int32 }

// A cell holds mirrors that are near each other, and in the same country.
type cell struct {
	entry            // of its middle: a mirror there would be as far as the cell; weight is that of all members
	span             // of members
	radius   float64 // km, within which all of its mirrors are
	heaviest float64 // weight of one
}

// newIndex returns the index of a group, or nil if it is small.
func newIndex(entries []entry) *index {
	eligible, numbers := 0, 0
	for i := range entries {
		if e := &entries[i]; e.eligible {
			eligible++
			numbers = max(numbers, int(e.number)+1)
		}
	}
	if eligible < indexSize {
		return nil
	}
	x := &index{
		members: make([]member, 0, eligible), entries: make([]entry, 0, eligible),
		countries: map[Code]span{}, networks: map[uint32][]int32{},
	}
	for i := range entries {
		if e := &entries[i]; e.eligible {
			x.members = append(x.members, member{e.id, e.weight, e.number, int32(i), e.mirror.serveOnly != nil || e.mirror.exclude != nil})
		}
	}
	x.sort(entries)
	for _, m := range x.members {
		x.entries = append(x.entries, entries[m.entry])
	}
	x.divide()
	x.numbered = slices.Repeat([]int32{-1}, numbers)
	for _, m := range x.members {
		x.numbered[m.number] = m.entry
	}
	return x
}

// sort puts those of a country together, and within it those that are near each other.
func (x *index) sort(entries []entry) {
	type keyed struct {
		key    uint64
		member member
	}
	all := make([]keyed, len(x.members))
	for i, m := range x.members {
		e := &entries[m.entry]
		all[i] = keyed{placeKey(e)<<31 | uint64(e.at.curve()>>1), m}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Compare(a.member.entry, b.member.entry)
	})
	for i := range all {
		x.members[i] = all[i].member
	}
}

// placeKey is the same for entries that may be in one cell. It has 33 bits.
func placeKey(e *entry) uint64 {
	key := uint64(e.country.order())<<17 | uint64(e.continent.order())<<1
	if e.hasPosition {
		key |= 1
	}
	return key
}

// divide divides the members, which are sorted, into cells.
func (x *index) divide() {
	for first := 0; first < len(x.entries); {
		end := first + 1
		key := placeKey(&x.entries[first])
		for end < len(x.entries) && end-first < cellSize && placeKey(&x.entries[end]) == key {
			end++
		}
		x.addCell(span{int32(first), int32(end)})
		first = end
	}
}

func (x *index) addCell(s span) {
	number := int32(len(x.cells))
	entries := x.entries[s.first:s.end]
	c := cell{span: s, entry: entries[0]}
	c.asn, c.at, c.weight = 0, direction{}, 0
	for i := range entries {
		e := &entries[i]
		c.at = c.at.plus(e.at)
		c.weight += e.weight
		c.heaviest = max(c.heaviest, e.weight)
		if cells := x.networks[e.asn]; e.asn != 0 && (len(cells) == 0 || cells[len(cells)-1] != number) {
			x.networks[e.asn] = append(cells, number)
		}
	}
	c.at = c.at.unit()
	for i := range entries {
		c.radius = max(c.radius, c.at.distance(entries[i].at))
	}
	x.cells = append(x.cells, c)
	country := x.countries[c.country]
	if country.end == 0 {
		country.first = number
	}
	country.end = number + 1
	x.countries[c.country] = country
}

// curve is the position's place on a Hilbert curve that fills the map of the Earth: what is near on the curve is near
// on the map.
func (d direction) curve() (place uint32) {
	const side = 1 << 16
	x := uint32((math.Atan2(d.y, d.x)/math.Pi + 1) / 2 * (side - 1))
	y := uint32((math.Asin(max(-1, min(1, d.z)))/math.Pi + 0.5) * (side - 1))
	for s := uint32(side / 2); s > 0; s /= 2 {
		right, upper := x&s/s, y&s/s
		place += s * s * (3*right ^ upper)
		if upper == 0 {
			if right == 1 {
				x, y = ^x, ^y
			}
			x, y = y, x
		}
	}
	return place
}

func (d direction) plus(e direction) direction { return direction{d.x + e.x, d.y + e.y, d.z + e.z} }

// unit returns d with the length 1, or what is opposite of all where d has none.
func (d direction) unit() direction {
	length := math.Sqrt(d.x*d.x + d.y*d.y + d.z*d.z)
	if length < 1e-9 {
		return direction{0, 0, 1}
	}
	return direction{d.x / length, d.y / length, d.z / length}
}
