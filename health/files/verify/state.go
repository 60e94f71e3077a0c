package verify

import (
	"bytes"
	"encoding/gob"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/config/statefile"
	"mirrorpool/health/files/checksums"
)

// stateFormat is that of a file in state_dir.
var stateFormat = statefile.Format{Kind: "mirrorpool-verified", Version: 1, Limit: 64 << 20}

// maxSavedCorrupt is how many corrupt files of a mirror are saved: with all of many mirrors, the file would become too
// large to be read. A mirror with so many serves nothing before the others have been read again, too.
const maxSavedCorrupt = 100

// A savedState is what a verifier knows, as it is saved.
type savedState struct {
	Files   []savedFile
	Mirrors []savedMirror
	Older   []savedVersion
	Lapsed  []lapsed
}

// A savedVersion is what a file was before it changed, and until when mirrors may have it.
type savedVersion struct {
	Path  uint64 // its xxhash
	Sum   string
	Until time.Time
}

// A savedFile is a file as it was when copies of it were read.
type savedFile struct {
	Path uint64 // its xxhash
	Sum  string
	Size int64
	Time uint32
}

// A savedMirror is what is known of a mirror's copies.
type savedMirror struct {
	URLPrefix string
	Began     time.Time
	Done      []byte // a bitmap of indices of files
	Good      []byte // likewise
	Corrupt   map[uint32]Finding
	Condemned *Finding
	Speeds    []float64
	Places    map[uint32]netip.Addr // see mirror
	Left      time.Time             // see mirror
}

// SaveState saves what is known, unless nothing has changed since that was done.
func (v *Verifier) SaveState() {
	v.saving.Lock()
	defer v.saving.Unlock()
	v.mu.Lock()
	if v.StateFile == "" || !v.dirty || v.saved != nil {
		v.mu.Unlock()
		return
	}
	v.dirty = false
	saved := v.state()
	v.mu.Unlock()
	var body bytes.Buffer
	err := gob.NewEncoder(&body).Encode(saved)
	if err == nil {
		err = stateFormat.Replace(v.StateFile, body.Bytes())
	}
	if v.failing.IsNew(err) {
		v.Log.Error("cannot save which mirrors' files were verified", zap.Error(err))
	}
	if err != nil {
		v.mu.Lock()
		v.dirty = true
		v.mu.Unlock()
	}
}

// state returns what is known. v.mu is held.
func (v *Verifier) state() *savedState {
	s := &savedState{Files: make([]savedFile, len(v.byNumber)), Lapsed: slices.Clone(v.lapsed)}
	for number, f := range v.byNumber {
		if f != nil {
			s.Files[number] = savedFile{xxhash.Sum64String(f.Path), v.sums[number].String(), f.Size, f.Time}
		}
	}
	for known, until := range v.older {
		s.Older = append(s.Older, savedVersion{known.path, known.sum, until})
	}
	for m := range v.all() {
		saved := savedMirror{
			URLPrefix: m.URLPrefix, Began: m.began, Condemned: m.condemned, Speeds: m.speeds, Corrupt: map[uint32]Finding{}, Left: m.left,
			Places: maps.Clone(m.places),
		}
		for number, found := range m.corrupt {
			if len(saved.Corrupt) < maxSavedCorrupt {
				saved.Corrupt[number] = *found
			}
		}
		saved.Done, _ = m.done.ToBytes() // a bytes.Buffer takes all
		saved.Good, _ = m.good.ToBytes()
		s.Mirrors = append(s.Mirrors, saved)
	}
	return s
}

// LoadState takes in what an earlier run has saved. What is wrong with it is logged. It must be called before Run and
// Observe.
func (v *Verifier) LoadState() {
	if v.StateFile == "" {
		return
	}
	err := stateFormat.Load(v.StateFile, func(body []byte) error {
		var s savedState
		if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&s); err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.saved = &s
		return nil
	})
	if err != nil {
		v.Log.Warn("ignoring what is saved of verified files", zap.Error(err))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.list()
}

// takeSaved takes in what was saved of the mirrors, once there are files. v.mu is held.
func (v *Verifier) takeSaved() {
	s := v.saved
	if s == nil || len(v.numbers) == 0 {
		return
	}
	v.saved, v.news = nil, true
	latest := v.Now().Add(olderTime)
	for i := range s.Older {
		if saved := &s.Older[i]; len(v.older) < maxOlder {
			v.older[version{saved.Path, saved.Sum}] = earlier(saved.Until, latest)
		}
	}
	byHash := make(map[uint64]*checksums.File, len(v.numbers))
	for f := range v.numbers {
		byHash[xxhash.Sum64String(f.Path)] = f
	}
	numbers := make(map[uint32]uint32, len(s.Files)) // by index in what was saved
	for i := range s.Files {
		saved := &s.Files[i]
		if f := byHash[saved.Path]; f != nil && saved.Size == f.Size && saved.Time == f.Time && saved.Sum == v.sums[v.numbers[f]].String() {
			numbers[uint32(i)] = v.numbers[f]
		} else {
			v.noteOlder(saved.Path, saved.Sum)
		}
	}
	for i := range s.Lapsed {
		saved := &s.Lapsed[i]
		saved.Since = earlier(saved.Since, v.Now())
		v.lapse(saved)
	}
	for i := range s.Mirrors {
		v.takeSavedMirror(&s.Mirrors[i], s.Files, numbers)
	}
}

// takeSavedMirror takes in what was saved of a mirror. numbers are those of the files as they are now, by index in what
// was saved.
func (v *Verifier) takeSavedMirror(saved *savedMirror, files []savedFile, numbers map[uint32]uint32) {
	now := v.Now()
	m := v.mirrors[saved.URLPrefix]
	if m == nil {
		m = v.newMirror(now)
		m.URLPrefix, m.left = saved.URLPrefix, earlier(saved.Left, now)
		if m.left.IsZero() {
			v.mirrors[m.URLPrefix] = m
		} else {
			v.gone[m.URLPrefix] = m
		}
	}
	m.began, m.condemned, m.speeds = earlier(saved.Began, now), saved.Condemned, saved.Speeds
	addSaved(m.done, saved.Done, numbers)
	addSaved(m.good, saved.Good, numbers)
	m.good.Or(m.done) // earlier versions saved those alone
	for index, found := range saved.Corrupt {
		if number, ok := numbers[index]; ok {
			m.corrupt[number] = &found
			m.places[number] = saved.Places[index]
			m.later[number] = earlier(found.Since, now).Add(corruptTime)
		} else if int(index) < len(files) {
			f := &files[index]
			v.lapse(&lapsed{f.Path, f.Sum, saved.URLPrefix, found, saved.Places[index], now})
		}
	}
}

// addSaved adds to a bitmap what was saved of it, but for files that are gone. numbers are those of the others, by
// index in what was saved.
func addSaved(to *roaring.Bitmap, saved []byte, numbers map[uint32]uint32) {
	from := roaring.New()
	if _, err := from.FromUnsafeBytes(saved); err != nil || from.Validate() != nil {
		return
	}
	for _, index := range from.ToArray() {
		if number, ok := numbers[index]; ok {
			to.Add(number)
		}
	}
}

// earlier returns the earlier of two times: what was saved while the clock was wrong must not hold for years.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
