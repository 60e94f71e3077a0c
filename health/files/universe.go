package files

import (
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// A Universe is the files of the origin, each under a number that it keeps as long as it is there. It is not changed
// once made.
type Universe struct {
	// HasTimes says that versions are modification times, in seconds since 1970. Otherwise they are parts of digests.
	HasTimes bool

	generation uint64
	hashes     []uint64 // of all paths, sorted
	starts     []uint32 // where in hashes those begin that share their first bits
	shift      int      // by which these bits are got
	numbers    []uint32 // of hashes, one by one
	files      []file   // by number
	free       []uint32 // numbers of no file
	count      int      // files, without folders
}

// A file is what the universe knows of a path.
type file struct {
	size    int64 // bytes; unknownSize
	version uint32
	kind    kind
}

// unknownSize is the size of a file in a source without sizes.
const unknownSize = -1

// A kind is what a number stands for.
type kind uint8

const (
	unused kind = iota
	regular
	rewritten // a file that is rewritten in place, so that its version counts
	folder
)

// A record is an entry of a list of files.
type record struct {
	hash uint64
	file
}

// sortRecords sorts records by hash, and keeps one of those with the same.
func sortRecords(records []record) []record {
	slices.SortFunc(records, func(a, b record) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	return slices.CompactFunc(records, func(a, b record) bool { return a.hash == b.hash })
}

// Len returns the number of files.
func (u *Universe) Len() int { return u.count }

// bucketSize is how many hashes share the beginning by which they are found: those in a cache line or two.
const bucketSize = 8

// index makes hashes be found fast: with few looks into memory that is not at hand.
func (u *Universe) index() {
	width := bits.Len(uint(len(u.hashes) / bucketSize)) // bits of a hash that say where it is
	u.shift = 64 - width
	u.starts = make([]uint32, 1<<width+1)
	bucket := 0
	for at, hash := range u.hashes {
		for ; bucket <= int(hash>>u.shift); bucket++ {
			u.starts[bucket] = uint32(at)
		}
	}
	for ; bucket < len(u.starts); bucket++ {
		u.starts[bucket] = uint32(len(u.hashes))
	}
}

// find returns the number of the path with a hash.
func (u *Universe) find(hash uint64) (number uint32, ok bool) {
	if len(u.hashes) == 0 {
		return 0, false
	}
	bucket := hash >> u.shift
	low := u.starts[bucket]
	at, ok := slices.BinarySearch(u.hashes[low:u.starts[bucket+1]], hash)
	if !ok {
		return 0, false
	}
	return u.numbers[int(low)+at], true
}

// A change is how a universe differs from the one before.
type change struct {
	generation uint64          // of the universe that it led to
	news       *roaring.Bitmap // files that are new or were changed
	gone       *roaring.Bitmap // numbers of files that are gone; may have become those of new ones
}

// isEmpty reports whether nothing has changed.
func (c *change) isEmpty() bool { return c.news.IsEmpty() && c.gone.IsEmpty() }

// differs reports whether a copy of old is of no use to clients who want next.
func differs(old, next *file) bool {
	return old.kind == folder != (next.kind == folder) || next.kind != folder && old.size != next.size ||
		next.kind == rewritten && old.version != next.version
}

// update returns the universe of the given records, which are sorted and have one hash each.
func (u *Universe) update(records []record, hasTimes bool) (*Universe, change) {
	next := &Universe{
		HasTimes: hasTimes, generation: u.generation + 1,
		hashes: make([]uint64, len(records)), numbers: make([]uint32, len(records)),
		files: slices.Clone(u.files),
	}
	diff := change{next.generation, roaring.New(), roaring.New()}
	var fresh []int // indices of records without a number
	old := 0
	for i := range records {
		r := &records[i]
		for ; old < len(u.hashes) && u.hashes[old] < r.hash; old++ {
			next.remove(u.numbers[old], &diff)
		}
		next.hashes[i] = r.hash
		if r.kind != folder {
			next.count++
		}
		if old == len(u.hashes) || u.hashes[old] != r.hash {
			fresh = append(fresh, i)
			continue
		}
		number := u.numbers[old]
		old++
		if next.numbers[i] = number; differs(&next.files[number], &r.file) {
			diff.news.Add(number)
		}
		next.files[number] = r.file
	}
	for ; old < len(u.hashes); old++ {
		next.remove(u.numbers[old], &diff)
	}
	next.index()
	next.free = append(next.free, u.free...)
	for _, i := range fresh {
		next.numbers[i] = next.newNumber(records[i].file)
		if records[i].kind != folder {
			diff.news.Add(next.numbers[i])
		}
	}
	return next, diff
}

// remove frees a number.
func (u *Universe) remove(number uint32, diff *change) {
	u.files[number] = file{}
	u.free = append(u.free, number)
	diff.gone.Add(number)
}

// newNumber returns a number for a file: one that is free, if there is one.
func (u *Universe) newNumber(f file) uint32 {
	if last := len(u.free) - 1; last >= 0 {
		number := u.free[last]
		u.free, u.files[number] = u.free[:last], f
		return number
	}
	u.files = append(u.files, f)
	return uint32(len(u.files) - 1)
}
