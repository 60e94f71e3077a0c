package files

import (
	"math/bits"
	"slices"
	"time"

	"mirrorpool/health/files/checksums"
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

	// Sum is the checksum of the file; nil if it is not known.
	Sum *checksums.File

	// Verified are those of Has whose copy has been read lately, and has the checksum.
	Verified []uint64

	// Sure are those to name to clients beside the one that is picked: Has of a file that is published, or Any if that
	// is empty, or nothing tells whether there is such a file.
	Sure []uint64

	bits       []uint64 // of all of these
	incomplete bool     // a listing does not say that all mirrors have it

	hash   uint64
	number uint32    // of the file, if it is published
	until  time.Time // for how long this holds
}

// Contains reports whether the bit of a mirror is set.
func Contains(bits []uint64, number int) bool {
	return number/64 < len(bits) && bits[number/64]>>(number%64)&1 != 0
}

// Find returns the carriers of the file at a path. The path is relative to the mirrors' url_prefix, without escapes.
func (c *Catalog) Find(path string, now time.Time) *Carriers {
	return c.FindIn(new(Carriers), path, now)
}

// FindIn is Find, and uses memory of the caller's for what it returns, unless clients ask for the file often.
func (c *Catalog) FindIn(memory *Carriers, path string, now time.Time) *Carriers {
	t := c.table.Load()
	hash := hashPath(path)
	known, again := t.atHand(hash, now)
	if known != nil {
		return known
	}
	t.listedCarriers(memory, hash, now)
	if c.Sums != nil && memory.Status == Published {
		memory.Sum = c.Sums.Find(hash)
	}
	if t.big && memory.incomplete {
		c.demand.note(path, now)
	}
	c.answers.overlay(memory, t, now, again)
	return memory
}

// Withhold has mirrors not serve files whose copies are corrupt: their numbers, by the xxhash of the path. The map must
// not be changed any more.
func (c *Catalog) Withhold(corrupt map[uint64][]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corrupt = corrupt
	c.publish()
}

// SetVerified takes in which copies have been read lately, and have the checksum: a bit for each mirror by its number,
// by the xxhash of the path. The map must not be changed any more. It counts within seconds.
func (c *Catalog) SetVerified(copies map[uint64][]uint64) {
	c.answers.mu.Lock()
	defer c.answers.mu.Unlock()
	c.answers.verified = copies
}

// Corrupt returns the mirrors that must not serve the file at a path: see Withhold. The list must not be changed.
func (c *Catalog) Corrupt(path string) []int { return c.table.Load().corrupt[hashPath(path)] }

// MayHave reports whether a mirror is known to have a file, corrupt or not, or may have it. It is asked of all files
// again and again, and so keeps none of them at hand: that room is for what clients ask for.
func (c *Catalog) MayHave(mirror int, path string) bool {
	t, hash, now := c.table.Load(), hashPath(path), c.Now()
	if slices.Contains(t.corrupt[hash], mirror) {
		return true
	}
	c.looking.Lock()
	defer c.looking.Unlock()
	k := &c.looked
	t.listedCarriers(k, hash, now)
	c.answers.overlay(k, t, now, false)
	return k.Status == Published && (Contains(k.Has, mirror) || Contains(k.Unknown, mirror))
}

// withhold takes mirrors out that must not serve the file.
func (t *table) withhold(k *Carriers) {
	for _, mirror := range t.corrupt[k.hash] {
		if word := mirror / 64; word < len(k.Has) {
			k.Has[word] &^= 1 << (mirror % 64)
			k.Unknown[word] &^= 1 << (mirror % 64)
			k.Mute[word] &^= 1 << (mirror % 64)
			k.incomplete = true
		}
	}
}

// Carrying returns how many mirrors carry the file.
func (k *Carriers) Carrying() (count int) {
	for _, word := range k.Has {
		count += bits.OnesCount64(word)
	}
	return count
}

// reset makes k the carriers of a file of which nothing is known, with room for mirrors.
func (k *Carriers) reset(hash uint64, until time.Time, words int) {
	k.set(slices.Grow(k.bits[:0], bitSets*words)[:bitSets*words])
	clear(k.bits)
	k.Status, k.Recent, k.Sum, k.incomplete, k.hash, k.number, k.until = Unlisted, false, nil, false, hash, 0, until
}

// bitSets is how many sets of mirrors Carriers have memory for.
const bitSets = 5

// set has k use bits.
func (k *Carriers) set(all []uint64) {
	words := len(all) / bitSets
	k.bits = all
	k.Has, k.Unknown, k.Any = all[:words], all[words:2*words], all[2*words:3*words]
	k.Mute, k.Verified = all[3*words:4*words], all[4*words:]
}

// clone returns a copy with memory of its own.
func (k *Carriers) clone() *Carriers {
	next := *k
	next.set(slices.Clone(k.bits))
	next.settle()
	return &next
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
