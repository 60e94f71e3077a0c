package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/health/files/checksums"
)

// maxCorrupt is how many corrupt files a mirror may have before it serves nothing.
const maxCorrupt = 2

// A Finding is a corrupt copy of a file.
type Finding struct {
	Path      string    `json:"path"`
	Algorithm string    `json:"algorithm"`
	Found     string    `json:"found"` // the checksum of the copy
	Want      string    `json:"want"`
	Since     time.Time `json:"since"` // when it was found first
	Newest    bool      `json:"newest"`
	Offset    int64     `json:"offset"` // of the first byte that is known to be wrong, or of its piece
}

// String is the finding as the reason of a state.
func (f *Finding) String() string {
	return fmt.Sprintf("content: %s of %s is %s, want %s", f.Algorithm, f.Path, f.Found, f.Want)
}

// A MirrorReport is what is known of the copies of a mirror.
type MirrorReport struct {
	Verified  int        `json:"verified"` // files that were read in this round and are good
	Corrupt   []*Finding `json:"corrupt"`
	Condemned *Finding   `json:"condemned"` // why the mirror serves nothing, or null
	Speed     float64    `json:"bytes_per_second"`
	Slow      bool       `json:"slow"` // slower than files.min_rate
}

// Report returns what is known of the copies of each mirror, by url_prefix.
func (v *Verifier) Report() map[string]MirrorReport {
	return v.report(func(*MirrorReport) bool { return true })
}

// Troubled is Report of the mirrors that should serve nothing, or are slow.
func (v *Verifier) Troubled() map[string]MirrorReport {
	return v.report(func(r *MirrorReport) bool { return r.Condemned != nil || r.Slow })
}

func (v *Verifier) report(wanted func(*MirrorReport) bool) map[string]MirrorReport {
	v.mu.Lock()
	defer v.mu.Unlock()
	reports := map[string]MirrorReport{}
	ownLine := v.suspectsOwnLine()
	for prefix, m := range v.mirrors {
		r := MirrorReport{Condemned: m.condemned, Speed: m.speeds.median()}
		r.Slow = v.isSlow(r.Speed) && !ownLine
		if !wanted(&r) {
			continue
		}
		r.Verified, r.Corrupt = int(m.done.GetCardinality()), []*Finding{}
		for _, found := range m.corrupt {
			r.Corrupt = append(r.Corrupt, found)
		}
		slices.SortFunc(r.Corrupt, func(a, b *Finding) int { return cmp.Compare(a.Path, b.Path) })
		reports[prefix] = r
	}
	return reports
}

// isSlow reports whether a speed, in bytes a second, is less than a mirror has to have. While no file is read, none is:
// it would never be seen that the mirror has become faster. v.mu is held.
func (v *Verifier) isSlow(speed float64) bool {
	return speed > 0 && speed < float64(v.settings.MinRate) && v.settings.Rate > 0
}

// suspectsOwnLine reports whether half of the mirrors or more are slow: then this host's own line is. v.mu is held.
func (v *Verifier) suspectsOwnLine() bool {
	slow, known := 0, 0
	for _, m := range v.mirrors {
		speed := m.speeds.median()
		if speed > 0 {
			known++
		}
		if v.isSlow(speed) {
			slow++
		}
	}
	return 2*slow >= known
}

// Counts returns how many reads there were.
func (v *Verifier) Counts() Counts {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts
}

// Wanted returns how many files have a checksum, so that copies of them are read; 0 while none is.
func (v *Verifier) Wanted() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.settings.Rate == 0 {
		return 0
	}
	return len(v.numbers)
}

// Corrupt returns the paths of corrupt files, sorted, by the url_prefix of the mirror.
func (v *Verifier) Corrupt() map[string][]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	corrupt := map[string][]string{}
	for prefix, m := range v.mirrors {
		for _, found := range m.corrupt {
			corrupt[prefix] = append(corrupt[prefix], found.Path)
		}
		slices.Sort(corrupt[prefix])
	}
	return corrupt
}

// Withheld returns the xxhashes of the paths of files that a mirror must not serve, by its url_prefix; also of mirrors
// that have left the pool.
func (v *Verifier) Withheld() map[string][]uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	withheld := map[string][]uint64{}
	for m := range v.all() {
		for _, found := range m.corrupt {
			withheld[m.URLPrefix] = append(withheld[m.URLPrefix], xxhash.Sum64String(found.Path))
		}
	}
	return withheld
}

// Verified returns which copies had the checksum when they were read last: the numbers of the mirrors as bits, by the
// xxhash of the path. It is nil while no files are read.
func (v *Verifier) Verified() map[uint64][]uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.settings.Rate == 0 || len(v.numbers) == 0 {
		return nil
	}
	words := 0
	for _, m := range v.mirrors {
		words = max(words, m.Number/64+1)
	}
	bits := make([]uint64, words*len(v.byNumber)) // of all files
	var some [1024]uint32
	for _, m := range v.mirrors {
		word, bit := m.Number/64, uint64(1)<<(m.Number%64)
		each := m.good.ManyIterator()
		for n := each.NextMany(some[:]); n > 0; n = each.NextMany(some[:]) {
			for _, number := range some[:n] {
				bits[int(number)*words+word] |= bit
			}
		}
	}
	verified := make(map[uint64][]uint64, len(v.numbers))
	for f, number := range v.numbers {
		verified[xxhash.Sum64String(f.Path)] = bits[int(number)*words:][:words:words]
	}
	return verified
}

// Pardon forgets what was found of a mirror. Its files are read again.
func (v *Verifier) Pardon(urlPrefix string) {
	v.mu.Lock()
	m := cmp.Or(v.mirrors[urlPrefix], v.gone[urlPrefix])
	v.lapsed = slices.DeleteFunc(v.lapsed, func(l lapsed) bool {
		v.dirty = v.dirty || l.URLPrefix == urlPrefix
		return l.URLPrefix == urlPrefix
	})
	if m == nil || !m.hasFindings() {
		v.mu.Unlock()
		v.SaveState()
		return
	}
	clear(m.corrupt)
	clear(m.later)
	clear(m.wrong)
	m.condemned, m.next, m.pardoned, v.dirty = nil, time.Time{}, v.Now(), true
	m.trustNone()
	v.hurry()
	v.mu.Unlock()
	v.Log.Info("a mirror with corrupt files was pardoned; its files are read again", zap.String("mirror", urlPrefix))
	v.Changed()
	v.SaveState()
}

// takeBroken takes in a read that proved nothing.
func (v *Verifier) takeBroken(m *mirror, f *checksums.File, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.Broken++
	if number, ok := v.numbers[f]; ok {
		wait := retryTime
		switch {
		case !errors.Is(err, fs.ErrNotExist):
		case v.IsNewest(f.Path):
			wait = newTime
		default:
			wait = lackTime
		}
		m.later[number] = v.Now().Add(wait)
	}
	v.Log.Debug("cannot verify a mirror's file", zap.String("mirror", m.URLPrefix), zap.String("path", f.Path), zap.Error(err))
}

// suspect takes in a copy with another checksum, while no copy is known that matches.
func (v *Verifier) suspect(m *mirror, f *checksums.File, r *reading) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.Broken++
	v.dirty = true
	m.speeds.add(r.speed)
	if number, ok := v.numberOf(f, r.want); ok {
		m.later[number] = v.Now().Add(retryTime)
		m.suspects.Add(number)
		m.distrust(number)
		m.places[number] = r.addr
		v.Log.Warn("a mirror's file does not have its checksum, and no copy that matches is known yet", zap.String("mirror", m.URLPrefix),
			zap.String("path", f.Path), zap.String("found", r.sum), zap.Stringer("want", r.want))
		v.readElsewhere(f, number)
	}
}

// readElsewhere has a file read again from a mirror whose copy was good: what is right does not outlive a restart. v.mu
// is held.
func (v *Verifier) readElsewhere(f *checksums.File, number uint32) {
	for _, other := range v.mirrors {
		if other.done.Contains(number) && !other.suspects.Contains(number) && other.urgent == nil && len(other.Addresses) > 0 {
			other.urgent, other.next = f, time.Time{}
			v.hurry()
			return
		}
	}
}

// takeGood takes in a copy that matches its checksum. It does not clear one that is corrupt at another address, which
// may be down.
func (v *Verifier) takeGood(m *mirror, f *checksums.File, r *reading) {
	v.mu.Lock()
	number, ok := v.numberOf(f, r.want)
	if !ok {
		v.mu.Unlock()
		return
	}
	v.counts.Good++
	v.dirty = true
	m.speeds.add(r.speed)
	v.keepPieces(f, r.pieces)
	if place := m.places[number]; m.corrupt[number] != nil && r.addr != place && m.has(place) {
		m.later[number] = v.Now().Add(retryTime)
		v.mu.Unlock()
		return
	}
	m.done.Add(number)
	m.good.Add(number)
	m.suspects.Remove(number)
	delete(m.later, number)
	delete(m.wrong, number)
	delete(m.places, number)
	cleared := m.corrupt[number] != nil
	delete(m.corrupt, number)
	if cleared {
		v.Log.Info("a mirror's corrupt file is good again", zap.String("mirror", m.URLPrefix), zap.String("path", f.Path))
	}
	acquitted := v.acquit(m)
	v.mu.Unlock()
	if cleared || acquitted {
		v.Changed()
	}
}

// acquit has a mirror serve again once all its files were read again without a fault. v.mu is held.
func (v *Verifier) acquit(m *mirror) bool {
	if m.condemned == nil || len(m.corrupt) > 0 || !v.isComplete(m) {
		return false
	}
	m.condemned, v.dirty = nil, true
	v.Log.Info("all files of a mirror with corrupt files were read again without a fault", zap.String("mirror", m.URLPrefix))
	return true
}

// confirmSuspects has the copies read again that did not match the checksum of a file before one was known to.
func (v *Verifier) confirmSuspects(f *checksums.File) {
	v.mu.Lock()
	defer v.mu.Unlock()
	number, ok := v.numbers[f]
	for _, m := range v.mirrors {
		if ok && m.suspects.Contains(number) {
			m.suspects.Remove(number)
			delete(m.later, number)
			m.urgent, m.next = f, time.Time{}
			v.hurry()
		}
	}
}

// accuse takes in a proof that a copy is corrupt. found is the piece at an offset as it was read the second time.
func (v *Verifier) accuse(
	ctx context.Context, m *mirror, f *checksums.File, r *reading, offset int64, found []byte,
) {
	e := evidence{
		Mirror: m.URLPrefix, Address: r.addr, Certificate: r.certificate, At: v.Now(),
		Finding: Finding{
			Path: f.Path, Algorithm: r.want.Algorithm(), Found: r.sum, Want: r.want.String(), Since: v.Now(), Newest: v.IsNewest(f.Path),
			Offset: offset,
		},
	}
	if want, err := v.originPart(ctx, f, offset, int64(len(found))); err == nil && len(found) > 0 {
		e.showDifference(want, found)
	}
	v.mu.Lock()
	number, ok := v.numberOf(f, r.want)
	if !ok || r.at.Before(m.pardoned) { // the file has changed meanwhile, or the mirror's operator may have mended it
		v.mu.Unlock()
		return
	}
	v.counts.Corrupt++
	v.dirty = true
	m.speeds.add(r.speed)
	m.distrust(number)
	m.later[number], m.places[number] = v.Now().Add(corruptTime), r.addr
	if known := m.corrupt[number]; known != nil {
		e.Since = known.Since
	}
	finding := e.Finding
	m.corrupt[number] = &finding
	v.condemn(m, &finding)
	v.mu.Unlock()
	v.Log.Error("a mirror's file is corrupt", zap.String("mirror", e.Mirror), zap.Stringer("address", r.addr),
		zap.String("path", f.Path), zap.String("found", r.sum), zap.Stringer("want", r.want), zap.Int64("offset", e.Offset))
	v.Changed()
	v.saveEvidence(&e)
	v.SaveState()
}

// condemn has a mirror serve nothing, if it has too many corrupt files, or one of the newest release. v.mu is held.
func (v *Verifier) condemn(m *mirror, latest *Finding) {
	if m.condemned == nil && (latest.Newest || len(m.corrupt) > maxCorrupt) {
		m.condemned = latest
		m.trustNone()
	}
}
