package verify

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"mirrorpool/health/files/checksums"
)

// maxLapsed is how many findings are kept of files that are gone, the latest ones.
const maxLapsed = 10_000

// A lapsed finding is of a file that the origin has no more, or whose checksum is not known now. It counts again if the
// file comes back with the same checksum: a part of the origin that is away for a moment is no pardon.
type lapsed struct {
	Path      uint64 // its xxhash
	Sum       string // that it should have
	URLPrefix string
	Finding   Finding
	Place     netip.Addr // see mirror
	Since     time.Time
}

// lapse keeps a finding whose file is gone. v.mu is held.
func (v *Verifier) lapse(l *lapsed) {
	v.lapsed = append(v.lapsed, *l)
	v.lapsed = v.lapsed[max(0, len(v.lapsed)-maxLapsed):]
	v.dirty = true
}

// recall has the findings count whose files have come back, and forgets those that are older than a round. v.mu is
// held.
func (v *Verifier) recall() {
	if len(v.lapsed) == 0 {
		return
	}
	files := make(map[version]*checksums.File, len(v.numbers))
	for f, number := range v.numbers {
		files[version{xxhash.Sum64String(f.Path), v.sums[number].String()}] = f
	}
	now := v.Now()
	v.lapsed = slices.DeleteFunc(v.lapsed, func(l lapsed) bool {
		f := files[version{l.Path, l.Sum}]
		if f != nil {
			v.recallOne(&l, v.numbers[f], now)
		}
		return f != nil || now.Sub(l.Since) >= roundTime
	})
}

// recallOne is recall of one finding, of the file with a number.
func (v *Verifier) recallOne(l *lapsed, number uint32, now time.Time) {
	m := cmp.Or(v.mirrors[l.URLPrefix], v.gone[l.URLPrefix])
	if m == nil {
		m = v.newMirror(now)
		m.URLPrefix = l.URLPrefix
		m.corrupt[number] = &l.Finding
		v.keepGone(m, now)
	}
	m.corrupt[number], m.places[number] = &l.Finding, l.Place
	m.distrust(number)
	v.condemn(m, &l.Finding)
	v.news, v.dirty = true, true
}
