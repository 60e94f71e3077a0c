package files

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

const (
	hotFiles  = 1 << 12          // carriers that are kept at hand
	hotExpiry = 10 * time.Second // after which they are made anew
)

// A table is what the catalog knows at a moment. It is not changed once made, but for what is kept at hand.
type table struct {
	universe *Universe
	complete bool            // the universe is the origin's: a file that it lacks does not exist
	big      bool            // see need.big
	rows     []*Row          // by the mirror's number; nil where none is known, or it is too old
	traces   []int64         // by the mirror's number; answers from before another trace are of no use
	weights  []uint64        // by the mirror's number; 0 of disabled ones
	inPool   []uint64        // bits of the mirrors of the pool
	listed   []listedMirror  // those of the pool that have a row
	partial  []listedMirror  // those of them that lack files
	whole    []uint64        // bits of those that lack none
	unlisted []uint64        // bits of the mirrors of the pool without a row
	pending  []pendingMirror // those of the listed ones that may have files newer than the listing
	expires  time.Time       // when the first row becomes too old
	release  *roaring.Bitmap // files of the release; nil if there is none
	named    *roaring.Bitmap // those of them whose names are known

	corrupt map[uint64][]int // see Catalog.Withhold

	dueOnce sync.Once
	due     *roaring.Bitmap // see dueFiles

	hot   [hotFiles]atomic.Pointer[Carriers]
	asked [hotFiles]atomic.Uint64 // the hash of the path that was asked for last
}

// A listedMirror is what a row says, where it is at hand fast.
type listedMirror struct {
	has    []uint64 // bits by number of the file
	mirror int
}

// A pendingMirror is a mirror of which it is not known whether it has some files.
type pendingMirror struct {
	pending *roaring.Bitmap
	mirror  int
}

// addRow has a row count for a mirror.
func (t *table) addRow(mirror int, row *Row) {
	t.rows[mirror] = row
	t.listed = append(t.listed, listedMirror{row.bits, mirror})
	if int(row.has.GetCardinality()) == t.universe.Len() {
		t.whole[mirror/64] |= 1 << (mirror % 64)
	} else {
		t.partial = append(t.partial, listedMirror{row.bits, mirror})
	}
	if !row.pending.IsEmpty() {
		t.pending = append(t.pending, pendingMirror{row.pending, mirror})
	}
	t.unlisted[mirror/64] &^= 1 << (mirror % 64)
}

// listedCarriers makes k what the rows say.
func (t *table) listedCarriers(k *Carriers, hash uint64, now time.Time) {
	k.reset(hash, now.Add(hotExpiry), len(t.inPool))
	number, ok := t.universe.find(hash)
	switch {
	case ok && t.universe.files[number].kind == folder:
		k.Status = Folder
	case ok:
		k.Status, k.number = Published, number
		k.Recent = t.release != nil && t.release.Contains(number)
	case t.complete:
		k.Status = Unpublished
	}
	if k.Status != Published {
		copy(k.Unknown, t.inPool)
		return
	}
	copy(k.Unknown, t.unlisted)
	copy(k.Has, t.whole)
	t.look(k, int(number/64), number%64)
	for i := range t.pending {
		if l := &t.pending[i]; l.pending.Contains(number) {
			k.Unknown[l.mirror/64] |= 1 << (l.mirror % 64)
		}
	}
	for i, bits := range t.inPool {
		k.incomplete = k.incomplete || k.Has[i] != bits
	}
}

// look takes in which mirrors list a file. Each look waits for memory: without branches, the processor looks into many
// rows at a time.
func (t *table) look(k *Carriers, word int, shift uint32) {
	for i := range t.partial {
		l := &t.partial[i]
		if word < len(l.has) {
			k.Has[l.mirror/64] |= l.has[word] >> shift & 1 << (l.mirror % 64)
		}
	}
}

// atHand returns the carriers of a file that are kept at hand; or nil, and whether the file was the latest that was
// asked for of those with the same place, so that its carriers are worth keeping.
func (t *table) atHand(hash uint64, now time.Time) (known *Carriers, again bool) {
	slot := hash % hotFiles
	if known = t.hot[slot].Load(); known != nil && known.hash == hash && now.Before(known.until) {
		return known, false
	}
	if t.asked[slot].Load() == hash {
		return nil, true
	}
	t.asked[slot].Store(hash)
	return nil, false
}

// keep keeps what is known of a path at hand. The lock of the answers is held, so that what was forgotten meanwhile,
// because of an answer, does not come back.
func (t *table) keep(k *Carriers) { t.hot[k.hash%hotFiles].Store(k.clone()) }

// forget drops what is kept at hand of a path.
func (t *table) forget(hash uint64) { t.hot[hash%hotFiles].Store(nil) }

// dueFiles returns the files of the release that mirrors with at least half of the weight carry, of the enabled ones
// whose files are known. Before, no mirror is late; and what the origin has for itself alone, no mirror needs to have.
func (t *table) dueFiles() *roaring.Bitmap {
	t.dueOnce.Do(func() {
		t.due = roaring.New()
		if t.named == nil {
			return
		}
		numbers := t.named.ToArray()
		weights, whole := make([]uint64, len(numbers)), uint64(0)
		for i := range t.listed {
			l := &t.listed[i]
			weight := t.weights[l.mirror]
			whole += weight
			for at, number := range numbers {
				if word := int(number / 64); weight > 0 && word < len(l.has) && l.has[word]>>(number%64)&1 != 0 {
					weights[at] += weight
				}
			}
		}
		for at, weight := range weights {
			if weight > 0 && 2*weight >= whole {
				t.due.Add(numbers[at])
			}
		}
	})
	return t.due
}
