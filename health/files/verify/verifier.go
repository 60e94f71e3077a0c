package verify

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/health/files/checksums"
)

// ErrNoOrigin is why a part of a file cannot be had from the origin: there is none that can be read.
var ErrNoOrigin = errors.New("the origin cannot be read")

// Settings are what the operator says.
type Settings struct {
	// Rate is how many bytes of each mirror are read in a second; 0: none.
	Rate int64
	// MinRate is how many bytes a second a mirror has to send; 0: any.
	MinRate int64
}

// A Mirror is what the verifier has to know of a mirror of the pool.
type Mirror struct {
	URLPrefix string
	Number    int          // in the catalog of files
	Addresses []netip.Addr // at which clients reach it; none is read from while there is none
	Down      []netip.Addr // other addresses of it: what was found there counts
}

// A Copy is a mirror's file, or a part of it, as it arrives.
type Copy struct {
	Body        io.ReadCloser
	Size        int64  // bytes that are to come; -1 if the mirror does not say
	Whole       bool   // it is the whole file, whatever was asked for
	Certificate string // of the mirror, in PEM; empty over http
}

// Options are what a verifier works with.
type Options struct {
	Settings Settings
	// Files returns the files whose checksums are known, the newest first.
	Files func() []*checksums.File
	// IsNewest reports whether a file is of the newest release.
	IsNewest func(path string) bool
	// Has reports whether a mirror is known to have a file, or may have it.
	Has func(mirror int, path string) bool
	// Fetch begins to read the file at a path from a mirror: length bytes from an offset, or if length is 0, all.
	Fetch func(ctx context.Context, m *Mirror, addr netip.Addr, path string, offset, length int64) (*Copy, error)
	// Origin returns a part of a file of the origin, or ErrNoOrigin.
	Origin func(ctx context.Context, path string, offset, length int64) ([]byte, error)
	// OriginIsNear says that the origin's files can be read whole, without loading another host.
	OriginIsNear func() bool
	// Changed is called when a mirror serves other files than before, or none, because of what was found.
	Changed func()

	StateFile string        // where all that is known is saved; empty: nowhere
	Evidence  string        // a folder for what is kept of proofs; empty: none
	Delay     time.Duration // before the first read of a mirror: at random up to so long
	Random    *rand.Rand    // used by one goroutine at a time
	Log       *zap.Logger
	Now       func() time.Time
}

// A Verifier reads mirrors' copies of files, and knows which of them are corrupt.
type Verifier struct {
	Options
	wake    chan struct{} // holds one token while a read may be due
	saving  sync.Mutex    // held while the state is written; before mu
	failing failure.Last  // of that; saving guards it

	mu       sync.Mutex // guards all below
	settings Settings
	numbers  map[*checksums.File]uint32    // of the files that are verified
	byNumber []*checksums.File             // nil of those that are gone
	sums     []checksums.Sum               // by number: what the files should have
	free     []uint32                      // numbers of these
	listed   time.Time                     // when the files were last asked for
	mirrors  map[string]*mirror            // by url_prefix
	gone     map[string]*mirror            // that have left the pool with corrupt files: what was found counts if they return
	reads    int                           // under way
	reading  map[*checksums.File]bool      // files that a mirror is read for
	pieces   map[*checksums.File]pieces    // of copies that have matched the checksum
	kept     int                           // how many pieces these are
	wrong    map[*checksums.File]bool      // whose checksum is not that of the origin's file
	differs  map[*checksums.File]time.Time // since when it is known that the origin's file is another
	older    map[version]time.Time         // that files had of late: until when a mirror may have them
	lapsed   []lapsed                      // findings of files that are gone, the latest last
	counts   Counts
	saved    *savedState // not taken in yet: it needs the files
	news     bool        // Changed is to be called
	dirty    bool        // something has changed since it was saved
}

// A mirror is a mirror of the pool, and what is known of its copies.
type mirror struct {
	Mirror
	began     time.Time       // the round of reads that is under way
	done      *roaring.Bitmap // files that have been read in it and are good
	good      *roaring.Bitmap // files that were good when they were read last: also before this round
	later     map[uint32]time.Time
	urgent    *checksums.File       // to be read next: a part of it differs from the origin's, or another watcher says so
	looked    map[uint32]time.Time  // when a file was last read on the word of another watcher
	wrong     map[uint32]string     // checksums of copies that were wrong as a whole, and right in part
	places    map[uint32]netip.Addr // where copies differed that are to be read again
	hurried   bool                  // the latest read was an urgent one
	next      time.Time             // when to look for a file to read
	measured  time.Time             // when a file was last read for its speed alone
	sampled   time.Time             // when to compare a range next
	idle      bool                  // it had no file to read
	busy      bool                  // it is being read
	sampling  bool
	bucket    bucket
	speeds    speeds
	suspects  *roaring.Bitmap // files with another checksum, which nothing proves yet
	corrupt   map[uint32]*Finding
	condemned *Finding  // why it serves nothing; nil if it may
	pardoned  time.Time // by a person: reads that began before prove nothing
	left      time.Time // the pool, if it is gone
}

// Counts are how many reads there were since the start, and of how many bytes.
type Counts struct {
	Good, Corrupt, Broken, Samples uint64
	Bytes                          uint64
}

// New returns a verifier that knows nothing yet.
func New(o Options) *Verifier {
	return &Verifier{
		Options: o, settings: o.Settings, wake: make(chan struct{}, 1), numbers: map[*checksums.File]uint32{},
		mirrors: map[string]*mirror{}, gone: map[string]*mirror{}, reading: map[*checksums.File]bool{}, pieces: map[*checksums.File]pieces{},
		wrong: map[*checksums.File]bool{}, older: map[version]time.Time{}, differs: map[*checksums.File]time.Time{},
	}
}

// SetSettings puts other settings in force.
func (v *Verifier) SetSettings(s Settings) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settings = s
	for _, m := range v.mirrors {
		m.next, m.sampled = time.Time{}, time.Time{}
	}
	v.hurry()
}

// hurry has Run look what is due.
func (v *Verifier) hurry() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Observe takes in the mirrors of the pool.
func (v *Verifier) Observe(mirrors []Mirror) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.Now()
	present := make(map[string]bool, len(mirrors))
	for i := range mirrors {
		seen := &mirrors[i]
		present[seen.URLPrefix] = true
		m := cmp.Or(v.mirrors[seen.URLPrefix], v.gone[seen.URLPrefix])
		if m == nil {
			m = v.newMirror(now)
		}
		v.mirrors[seen.URLPrefix], m.Mirror, m.left = m, *seen, time.Time{}
		delete(v.gone, seen.URLPrefix)
	}
	for prefix, m := range v.mirrors {
		if !present[prefix] {
			delete(v.mirrors, prefix)
			v.keepGone(m, now)
		}
	}
	for prefix, m := range v.gone {
		if now.Sub(m.left) >= roundTime {
			delete(v.gone, prefix)
		}
	}
	v.hurry()
}

// maxGone is of how many mirrors that have left the pool it is kept what was found.
const maxGone = 1000

// hasFindings reports whether a corrupt file of a mirror is known, or was.
func (m *mirror) hasFindings() bool { return m.condemned != nil || len(m.corrupt) > 0 }

// keepGone keeps what was found of a mirror that has left the pool, or may be in a moment: an editor's mistake is no
// pardon.
func (v *Verifier) keepGone(m *mirror, now time.Time) {
	if (m.busy || m.hasFindings()) && len(v.gone) < maxGone {
		m.left = now
		v.gone[m.URLPrefix], v.dirty = m, true
	}
}

func (v *Verifier) newMirror(now time.Time) *mirror {
	var delay time.Duration
	if v.Delay > 0 {
		delay = time.Duration(v.Random.Int64N(int64(v.Delay)))
	}
	return &mirror{
		began: now, done: roaring.New(), good: roaring.New(), later: map[uint32]time.Time{}, wrong: map[uint32]string{}, places: map[uint32]netip.Addr{},
		next: now.Add(delay), sampled: now.Add(delay),
		suspects: roaring.New(), corrupt: map[uint32]*Finding{}, looked: map[uint32]time.Time{},
	}
}

// distrust has a file be read again that was good. v.mu is held.
func (m *mirror) distrust(number uint32) {
	m.done.Remove(number)
	m.good.Remove(number)
}

// trustNone is distrust of all files. v.mu is held.
func (m *mirror) trustNone() {
	m.done.Clear()
	m.good.Clear()
}

// list takes in which files there are now. Those that have changed or are gone are forgotten.
func (v *Verifier) list() {
	files := v.Files()
	present := make(map[*checksums.File]bool, len(files))
	fresh := false
	for _, f := range files {
		present[f] = true
		number, ok := v.numbers[f]
		if ok && v.sums[number] != *f.Sum() {
			v.noteOlder(xxhash.Sum64String(f.Path), v.sums[number].String())
			v.forget(f, number)
			ok = false
		}
		if !ok {
			v.number(f)
			fresh = true
		}
	}
	for _, m := range v.mirrors {
		if fresh && m.idle {
			m.next, m.idle = time.Time{}, false
		}
	}
	for f, number := range v.numbers {
		if !present[f] {
			v.noteOlder(xxhash.Sum64String(f.Path), v.sums[number].String())
			v.forget(f, number)
		}
	}
	for f := range v.wrong { // the origin's file may have been mended, or was read wrong
		if v.Now().Sub(v.differs[f]) >= corruptTime {
			delete(v.wrong, f)
			delete(v.differs, f)
		}
	}
	for known, until := range v.older {
		if !v.Now().Before(until) {
			delete(v.older, known)
		}
	}
	v.takeSaved()
	if fresh {
		v.recall()
	}
}

// number gives a file a number that no other one has.
func (v *Verifier) number(f *checksums.File) {
	if last := len(v.free) - 1; last >= 0 {
		number := v.free[last]
		v.numbers[f], v.byNumber[number], v.sums[number] = number, f, *f.Sum()
		v.free = v.free[:last]
		return
	}
	v.numbers[f] = uint32(len(v.byNumber))
	v.byNumber, v.sums = append(v.byNumber, f), append(v.sums, *f.Sum())
}

// numberOf returns the number of a file. ok is false if it is gone, or should have another checksum than one meanwhile.
func (v *Verifier) numberOf(f *checksums.File, want *checksums.Sum) (number uint32, ok bool) {
	number, ok = v.numbers[f]
	return number, ok && v.sums[number] == *want
}

// forget drops what is known of a file, but for corrupt copies: see lapsed.
func (v *Verifier) forget(f *checksums.File, number uint32) {
	delete(v.numbers, f)
	v.dropPieces(f)
	delete(v.wrong, f)
	delete(v.differs, f)
	v.byNumber[number] = nil
	v.free = append(v.free, number)
	for m := range v.all() {
		if found := m.corrupt[number]; found != nil {
			v.lapse(&lapsed{xxhash.Sum64String(f.Path), v.sums[number].String(), m.URLPrefix, *found, m.places[number], v.Now()})
		}
		m.distrust(number)
		delete(m.later, number)
		delete(m.looked, number)
		delete(m.wrong, number)
		delete(m.places, number)
		m.suspects.Remove(number)
		v.news = v.news || m.corrupt[number] != nil
		delete(m.corrupt, number)
		if m.urgent == f {
			m.urgent = nil
		}
	}
}

// all are the mirrors of the pool, and those that have left it. v.mu is held.
func (v *Verifier) all() iter.Seq[*mirror] {
	return func(yield func(*mirror) bool) {
		for _, some := range [...]map[string]*mirror{v.mirrors, v.gone} {
			for _, m := range some {
				if !yield(m) {
					return
				}
			}
		}
	}
}
