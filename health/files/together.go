package files

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// Where the origin is not known, the universe is what the mirrors list together. Of several editions of a file, one
// counts: see [edition.compare].

// maxDissents bounds the copies that are kept beside those that count.
const maxDissents = 200_000

// A dissent is a mirror's copy of a file, other than the edition that counts.
type dissent struct {
	mirror int
	file
}

// An edition is a file of one size, and where that counts, of one time.
type edition struct {
	file
	mirrors []int // that have it
	votes   int   // of these, how many clients may be sent to
	trace   int64 // the newest of these, in seconds since 1970
}

// compare orders editions: the one that counts comes last. Most mirrors have what the project publishes, once it has
// spread. The copy that a mirror is still making is like no other's, and shorter than a complete one.
func (e *edition) compare(other *edition) int {
	return cmp.Or(cmp.Compare(e.votes, other.votes), cmp.Compare(e.trace, other.trace), cmp.Compare(e.size, other.size))
}

// A pooled is what the mirrors list together, at a moment. It is not changed once made.
type pooled struct {
	universe *Universe
	dissents map[uint64][]dissent // by the hash of the path
	rows     []*Row               // by the mirror's number; nil where none is known, or it is too old
	votes    []bool               // whether clients may be sent to the mirror
	traces   []int64
}

// pooled returns what the mirrors list together now.
func (c *Catalog) pooled() *pooled {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &pooled{
		universe: c.universe, dissents: c.dissents, rows: make([]*Row, len(c.mirrors)), votes: make([]bool, len(c.mirrors)),
		traces: make([]int64, len(c.mirrors)),
	}
	now := c.Now()
	for number, m := range c.mirrors {
		if m != nil && m.row != nil && now.Before(c.ends(m.row)) {
			p.rows[number], p.votes[number] = m.row, m.Serves
		}
		if m != nil {
			p.traces[number] = m.Trace.Unix()
		}
	}
	return p
}

// noMirror is the number of a join that brings no listing.
const noMirror = -1

// A joined is the next universe of what the mirrors list together.
type joined struct {
	universe *Universe
	diff     change
	dissents map[uint64][]dissent
	swaps    []swap
	row      *Row // of the mirror that was listed
	newest   []File
}

// A swap is that another edition of a file counts.
type swap struct {
	hash       uint64
	gain, lose []int // mirrors that have it now, and that had the one before
}

// A join takes the listing of one mirror into what the mirrors list together.
type join struct {
	*pooled
	mirror  int
	noTimes bool            // the mirror keeps no times
	held    *roaring.Bitmap // files that the others have
	records []record
	kept    int // dissents
	result  joined
}

// with returns what the mirrors list together with what one has listed, sorted, instead of what it had before. limit is
// how many files there may be.
func (p *pooled) with(mirror int, listed []record, limit int) (*joined, error) {
	j := join{pooled: p, mirror: mirror, held: roaring.New(), result: joined{dissents: map[uint64][]dissent{}}}
	for number, row := range p.rows {
		if row != nil && number != mirror {
			j.held.Or(row.has)
		}
	}
	j.noTimes = p.universe.judge(listed).keepsNoTimes()
	i := 0
	for at, hash := range p.universe.hashes {
		for ; i < len(listed) && listed[i].hash < hash; i++ {
			j.records = append(j.records, listed[i])
		}
		var own *file
		if i < len(listed) && listed[i].hash == hash {
			own = &listed[i].file
			i++
		}
		j.decide(hash, p.universe.numbers[at], own)
	}
	if j.records = append(j.records, listed[i:]...); len(j.records) > limit {
		return nil, fmt.Errorf("%w: with it, the mirrors list more than %d files together", ErrListing, limit)
	}
	r := &j.result
	r.universe, r.diff = p.universe.update(j.records, true)
	for _, s := range r.swaps { // rows change with these as the mirrors' copies are known
		if number, ok := r.universe.find(s.hash); ok {
			r.diff.news.Remove(number)
		}
	}
	return r, nil
}

// judge compares a mirror's files with the universe.
func (u *Universe) judge(listed []record) *listing {
	l := newListing(u)
	for i := range listed {
		f := &listed[i]
		l.files++
		l.digest += mix(f.hash ^ mix(uint64(f.size)))
		if number, ok := u.find(f.hash); ok {
			l.judge(number, f.size, f.version)
		}
	}
	return l
}

// decide takes in a file of the universe. own is the copy of the mirror that was listed, or nil.
func (j *join) decide(hash uint64, number uint32, own *file) {
	known, others := j.universe.files[number], j.dissents[hash]
	agrees := own != nil && sameCopy(own, &known, j.noTimes)
	if len(others) == 0 && (own == nil || agrees) { // as of nearly all
		if agrees || j.held.Contains(number) {
			j.records = append(j.records, record{hash, known})
		}
		return
	}
	editions := j.editions(number, others)
	switch {
	case agrees:
		editions[0].mirrors = append(editions[0].mirrors, j.mirror)
	case own != nil:
		editions = vote(editions, dissent{j.mirror, *own})
	}
	elected := j.elect(editions)
	if elected < 0 {
		return // no mirror has the file any more
	}
	j.records = append(j.records, record{hash, editions[elected].file})
	if elected > 0 {
		j.result.swaps = append(j.result.swaps, j.swap(hash, &editions[elected], &editions[0]))
	}
	for i := range editions {
		for _, mirror := range editions[i].mirrors {
			if i != elected && j.kept < maxDissents {
				j.result.dissents[hash] = append(j.result.dissents[hash], dissent{mirror, editions[i].file})
				j.kept++
			}
		}
	}
}

// editions returns which other mirrors have which edition of a file. The first is the one that counts now.
func (j *join) editions(number uint32, others []dissent) []edition {
	editions := []edition{{file: j.universe.files[number]}}
	for mirror, row := range j.rows {
		if row != nil && mirror != j.mirror && row.has.Contains(number) {
			editions[0].mirrors = append(editions[0].mirrors, mirror)
		}
	}
	for _, d := range others {
		if d.mirror != j.mirror && j.rows[d.mirror] != nil {
			editions = vote(editions, d)
		}
	}
	return editions
}

// vote adds a mirror's copy to the editions.
func vote(editions []edition, d dissent) []edition {
	for i := range editions {
		if sameCopy(&editions[i].file, &d.file, false) {
			editions[i].mirrors = append(editions[i].mirrors, d.mirror)
			return editions
		}
	}
	return append(editions, edition{file: d.file, mirrors: []int{d.mirror}})
}

// sameCopy reports whether two copies are of one edition.
func sameCopy(a, b *file, noTimes bool) bool {
	return a.size == b.size && (noTimes || a.kind != rewritten || sameTime(a.version, b.version))
}

// elect returns the index of the edition that counts, or -1 if no mirror has any.
func (j *join) elect(editions []edition) int {
	elected := -1
	for i := range editions {
		e := &editions[i]
		for _, mirror := range e.mirrors {
			if j.votes[mirror] {
				e.votes++
			}
			e.trace = max(e.trace, j.traces[mirror])
		}
		if len(e.mirrors) > 0 && (elected < 0 || e.compare(&editions[elected]) > 0) {
			elected = i
		}
	}
	return elected
}

// swap is that one edition counts, and another no longer.
func (j *join) swap(hash uint64, next, before *edition) swap {
	lose := slices.DeleteFunc(slices.Clone(before.mirrors), func(mirror int) bool {
		return mirror == j.mirror || j.rows[mirror].NoTimes && next.size == before.size
	})
	return swap{hash, next.mirrors, lose}
}

// join takes a mirror's listing into what the mirrors list together. What takes long, where files are many, is done
// before the lock is taken; c.joining is held.
func (c *Catalog) join(number int, entries *Collector, now time.Time) (*joined, error) {
	records := sortRecords(entries.records)
	next, err := c.pooled().with(number, records, c.maxFiles)
	if err != nil {
		return nil, err
	}
	next.row, next.newest = next.universe.judge(records).row(now), entries.newest
	return next, nil
}

// takeJoined puts in force what the mirrors list together.
func (c *Catalog) takeJoined(next *joined) {
	c.setUniverse(next.universe, &next.diff)
	c.dissents = next.dissents
	gain, lose := map[int]*roaring.Bitmap{}, map[int]*roaring.Bitmap{}
	for _, s := range next.swaps {
		if number, ok := next.universe.find(s.hash); ok {
			note(gain, s.gain, number)
			note(lose, s.lose, number)
		}
	}
	for number, m := range c.mirrors {
		if m != nil {
			m.row = m.row.exchange(gain[number], lose[number])
		}
	}
}

// note adds a file to those of some mirrors.
func note(files map[int]*roaring.Bitmap, mirrors []int, number uint32) {
	for _, mirror := range mirrors {
		if files[mirror] == nil {
			files[mirror] = roaring.New()
		}
		files[mirror].Add(number)
	}
}

// exchange returns r with some files that the mirror has now, and some of which it has another edition. Either may be
// nil.
func (r *Row) exchange(gain, lose *roaring.Bitmap) *Row {
	if r == nil || gain == nil && lose == nil {
		return r
	}
	next := *r
	next.bits, next.has, next.other = nil, r.has.Clone(), r.other.Clone()
	if lose != nil {
		next.has.AndNot(lose)
		next.other.Or(lose)
	}
	if gain != nil {
		next.has.Or(gain)
		next.other.AndNot(gain)
	}
	return &next
}

// reelect looks anew which editions count, after clients may be sent to other mirrors.
func (c *Catalog) reelect() {
	c.joining.Lock()
	defer c.joining.Unlock()
	p := c.pooled()
	if p.isSettled() {
		return
	}
	next, err := p.with(noMirror, nil, c.maxFiles)
	if err != nil {
		return // there cannot be more files than before
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.origin.known {
		c.takeJoined(next)
		c.publish()
	}
}

// isSettled reports whether the editions count that would be elected now.
func (p *pooled) isSettled() bool {
	j := join{pooled: p, mirror: noMirror}
	for hash, others := range p.dissents {
		if number, ok := p.universe.find(hash); ok && j.elect(j.editions(number, others)) != 0 {
			return false
		}
	}
	return true
}
