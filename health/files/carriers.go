package files

import (
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// A Status says what is known of a path.
type Status uint8

// The statuses.
const (
	Unlisted    Status = iota // nothing tells whether there is such a file
	Published                 // the origin, or a mirror's listing, has it
	Folder                    // it is a folder
	Unpublished               // the origin lacks it, as far as is known
)

// Carriers say which mirrors carry the file at a path, in a bit for each by its number. They are not changed once made.
type Carriers struct {
	Status  Status
	Has     []uint64 // carry it
	Unknown []uint64 // may carry it
	Any     []uint64 // either, but mirrors that give no answer only where there is no other
	Mute    []uint64 // those of Unknown that give no answer

	Recent bool // it is of the release: mirrors may not have it yet

	// Sure are those to name to clients beside the one that is picked: Has of a file that is published, or Any if that is
	// empty, or nothing tells whether there is such a file.
	Sure []uint64

	incomplete bool // a listing does not say that all mirrors have it

	hash   uint64
	number uint32    // of the file, if it is published
	until  time.Time // for how long this holds
}

// Contains reports whether the bit of a mirror is set.
func Contains(bits []uint64, number int) bool {
	return number/64 < len(bits) && bits[number/64]>>(number%64)&1 != 0
}

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
	inPool   []uint64        // bits of the mirrors of the pool
	expires  time.Time       // when the first row becomes too old
	release  *roaring.Bitmap // files of the release; nil if there is none

	due *roaring.Bitmap // see [Catalog.due]; nil until it is asked for

	hot [hotFiles]atomic.Pointer[Carriers]
}

// Find returns the carriers of the file at a path. The path is relative to the mirrors' url_prefix, without escapes.
func (c *Catalog) Find(path string, now time.Time) *Carriers {
	t := c.table.Load()
	hash := hashPath(path)
	slot := &t.hot[hash%hotFiles]
	if known := slot.Load(); known != nil && known.hash == hash && now.Before(known.until) {
		return known
	}
	known := t.carriers(hash, now)
	if t.big && known.incomplete {
		c.demand.note(path, now)
	}
	c.answers.overlay(known, t, now)
	return known
}

// settle makes Any and Sure.
func (k *Carriers) settle() {
	for i := range k.Any {
		k.Any[i] = k.Has[i] | k.Unknown[i]&^k.Mute[i]
	}
	if isEmpty(k.Any) {
		copy(k.Any, k.Unknown)
	}
	if k.Sure = k.Has; k.Status != Published || isEmpty(k.Has) {
		k.Sure = k.Any
	}
}

// isEmpty reports whether no bit is set.
func isEmpty(bits []uint64) bool {
	for _, word := range bits {
		if word != 0 {
			return false
		}
	}
	return true
}

// carriers returns what the rows say.
func (t *table) carriers(hash uint64, now time.Time) *Carriers {
	words := len(t.inPool)
	bits := make([]uint64, 4*words)
	k := &Carriers{Has: bits[:words], Unknown: bits[words : 2*words], Any: bits[2*words : 3*words], Mute: bits[3*words:]}
	k.hash, k.until = hash, now.Add(hotExpiry)
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
		return k
	}
	for mirror, row := range t.rows {
		switch bit := uint64(1) << (mirror % 64); {
		case !Contains(t.inPool, mirror):
			continue
		case row == nil, row.pending.Contains(number):
			k.Unknown[mirror/64] |= bit
		case row.has.Contains(number):
			k.Has[mirror/64] |= bit
			continue
		}
		k.incomplete = true
	}
	return k
}

// keep keeps what is known of a path at hand. The lock of the answers is held, so that what was forgotten meanwhile, because of
// an answer, does not come back.
func (t *table) keep(k *Carriers) { t.hot[k.hash%hotFiles].Store(k) }

// forget drops what is kept at hand of a path.
func (t *table) forget(hash uint64) { t.hot[hash%hotFiles].Store(nil) }
