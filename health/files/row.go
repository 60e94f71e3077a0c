package files

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// A Row says which files of a universe one mirror carries. It is not changed once made.
type Row struct {
	Listed  time.Time // when the whole tree was listed
	Files   int       // then listed, those that the universe lacks included
	NoTimes bool      // the mirror does not keep the times of files

	seen    time.Time       // when the tree or a part of it was listed last
	has     *roaring.Bitmap // files that it carries, by their numbers
	bits    []uint64        // likewise, in a bit for each; nil until withBits
	other   *roaring.Bitmap // that it has with another size or an older time
	pending *roaring.Bitmap // of which it is not known whether it has them: they are newer than the listing
	digest  uint64          // of the listing; another one if anything has changed
}

// A listing turns what a mirror lists into a row.
type listing struct {
	universe   *Universe
	has, other []uint64 // bits, by number
	outdated   []uint64 // rewritten files of the right size and another time
	digest     uint64
	files      int
	sameTime   int // files of the right size, by whether their time is the origin's
	otherTime  int
}

func newListing(u *Universe) *listing {
	words := (len(u.files) + 63) / 64
	return &listing{universe: u, has: make([]uint64, words), other: make([]uint64, words), outdated: make([]uint64, words)}
}

// add takes in one file.
func (l *listing) add(path string, size int64, modified uint32) error {
	usable, err := checkPath(path)
	if err != nil || !usable {
		return err
	}
	hash := hashPath(path)
	l.files++
	l.digest += mix(hash ^ mix(uint64(size)+uint64(modified)<<32))
	if number, ok := l.universe.find(hash); ok {
		l.judge(number, size, modified)
	}
	return nil
}

// judge compares a file with the origin's.
func (l *listing) judge(number uint32, size int64, modified uint32) {
	f := &l.universe.files[number]
	bits := l.has
	switch {
	case f.kind == folder:
		return
	case f.size != unknownSize && f.size != size:
		bits = l.other
	case !l.universe.HasTimes:
	case sameTime(f.version, modified):
		l.sameTime++
	default:
		l.otherTime++
		if f.kind == rewritten {
			bits = l.outdated
		}
	}
	bits[number/64] |= 1 << (number % 64)
}

// sameTime reports whether two times are the same for file systems that store even seconds only.
func sameTime(a, b uint32) bool { return a-b <= 1 || b-a <= 1 }

// mix scrambles the bits of x: it is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// keepsNoTimes reports whether most files have times of their own: then they say nothing of what is in them.
func (l *listing) keepsNoTimes() bool { return l.otherTime > l.sameTime }

// row returns the row of a mirror whose whole tree was listed.
func (l *listing) row(now time.Time) *Row {
	r := &Row{Listed: now, seen: now, Files: l.files, NoTimes: l.keepsNoTimes(), pending: roaring.New(), digest: l.digest}
	r.has, r.other = l.bitmaps(r.NoTimes)
	return r
}

// bitmaps returns the files that the mirror carries, and those that it has in another form.
func (l *listing) bitmaps(noTimes bool) (has, other *roaring.Bitmap) {
	has, other = roaring.FromDense(l.has, true), roaring.FromDense(l.other, true)
	outdated := roaring.FromDense(l.outdated, true)
	if noTimes {
		has.Or(outdated)
	} else {
		other.Or(outdated)
	}
	has.RunOptimize()
	other.RunOptimize()
	return has, other
}

// withBits returns r with its bits. The bitmap shares their memory.
func (r *Row) withBits() *Row {
	if r.bits != nil {
		return r
	}
	next := *r
	next.bits = r.has.ToDense()
	next.has = roaring.FromDense(next.bits, false)
	next.has.RunOptimize()
	return &next
}

// amend returns r with what a listing of a part of the files has shown: of some that are known by name whether the
// mirror has them, and besides that it has what it lists.
func (l *listing) amend(r *Row, some *roaring.Bitmap, now time.Time) *Row {
	next := *r
	next.bits, next.seen = nil, now
	has, other := l.bitmaps(r.NoTimes)
	shown := roaring.Or(some, has)
	shown.Or(other)
	next.has, next.other = replace(r.has, shown, has), replace(r.other, shown, other)
	next.pending = roaring.AndNot(r.pending, shown)
	return &next
}

// replace returns old with what is in some taken from next.
func replace(old, some, next *roaring.Bitmap) *roaring.Bitmap {
	b := roaring.AndNot(old, some)
	b.Or(roaring.And(next, some))
	b.RunOptimize()
	return b
}

// follow returns r for the next universe.
func (r *Row) follow(c *change) *Row {
	if r == nil || c.isEmpty() {
		return r
	}
	next := *r
	next.bits = nil
	stale := roaring.Or(c.news, c.gone)
	next.has, next.other = roaring.AndNot(r.has, stale), roaring.AndNot(r.other, stale)
	next.pending = roaring.AndNot(r.pending, c.gone)
	next.pending.Or(c.news)
	return &next
}

// without returns r with one file less: the mirror was asked for it, and has it not.
func (r *Row) without(number uint32) *Row {
	next := *r
	next.bits, next.has = nil, r.has.Clone()
	next.has.Remove(number)
	return &next
}
