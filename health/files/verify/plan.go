package verify

import (
	"slices"
	"time"

	"mirrorpool/health/files/checksums"
)

const (
	roundTime   = 30 * 24 * time.Hour // after which good copies are read again
	corruptTime = 24 * time.Hour      // likewise of corrupt ones
	retryTime   = time.Hour           // after a read that proved nothing
	lackTime    = 6 * time.Hour       // after the mirror said that it lacks the file
	olderTime   = 24 * time.Hour      // within which mirrors get a file that has changed
	newTime     = 15 * time.Minute    // likewise of the newest release, which mirrors get at any time
	speedTime   = 10 * time.Minute    // between two reads of a slow mirror whose files are read
	idleTime    = time.Minute         // until a mirror without a file to read is looked at again
	shortPause  = 5 * time.Second     // between two reads of one mirror
)

// LookAt has files of mirrors, by url_prefix, read soon, because another watcher has found them corrupt. It does
// nothing where a file is known to be corrupt, was read on such word of late, or has no checksum that is known.
func (v *Verifier) LookAt(paths map[string][]string) {
	if len(paths) == 0 {
		return
	}
	mirrors := map[string][]string{}
	for prefix, list := range paths {
		for _, path := range list {
			mirrors[path] = append(mirrors[path], prefix)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for f, number := range v.numbers {
		for _, prefix := range mirrors[f.Path] {
			v.lookAt(v.mirrors[prefix], f, number)
		}
	}
}

// lookAt is LookAt of one file of a mirror, which may be nil. v.mu is held.
func (v *Verifier) lookAt(m *mirror, f *checksums.File, number uint32) {
	now := v.Now()
	if m == nil || m.urgent != nil || m.corrupt[number] != nil || now.Sub(m.looked[number]) < retryTime || !v.Has(m.Number, f.Path) {
		return
	}
	m.looked[number] = now
	m.urgent, m.next = f, time.Time{}
	v.hurry()
}

// choose returns the file of a mirror to read next, or nil: one that is in question, then of the newest release, then
// any. waits says that files are due which another mirror is read for. v.mu is held.
func (v *Verifier) choose(m *mirror, now time.Time) (next *checksums.File, waits bool) {
	if now.Sub(m.began) >= roundTime {
		m.began = now
		m.done.Clear()
		v.dirty = true
	}
	urgent := m.urgent != nil && !v.reading[m.urgent]
	if urgent && !m.hurried {
		return m.takeUrgent(), false
	}
	m.hurried = false
	next, waits = v.chooseDue(m, now)
	switch {
	case next != nil || waits && !urgent:
		return next, waits
	case urgent:
		return m.takeUrgent(), false
	}
	return v.chooseForSpeed(m, now), false
}

// chooseForSpeed returns a file of a mirror that was too slow, from time to time, to see whether it still is: or else,
// with all its files read, it would be held slow for a month. v.mu is held.
func (v *Verifier) chooseForSpeed(m *mirror, now time.Time) *checksums.File {
	if !v.isSlow(m.speeds.median()) || now.Sub(m.measured) < speedTime {
		return nil
	}
	m.measured = now
	start := v.Random.IntN(len(v.byNumber) + 1)
	for i := range v.byNumber {
		number := (start + i) % len(v.byNumber)
		f := v.byNumber[number]
		if f != nil && f.Size >= slowStart+minMeasured && m.done.Contains(uint32(number)) && !v.reading[f] && v.Has(m.Number, f.Path) {
			return f
		}
	}
	return nil
}

// takeUrgent returns the file that is in question. One of another kind comes next: or else a mirror could have one file
// be read all the time by sending wrong parts of it.
func (m *mirror) takeUrgent() (f *checksums.File) {
	f, m.urgent, m.hurried = m.urgent, nil, true
	return f
}

// chooseDue is choose among the files that are due.
func (v *Verifier) chooseDue(m *mirror, now time.Time) (next *checksums.File, waits bool) {
	count := len(v.byNumber)
	if count == 0 {
		return nil, false
	}
	start := v.Random.IntN(count)
	for i := range count {
		number := uint32((start + i) % count)
		f := v.byNumber[number]
		switch {
		case f == nil || !v.isDue(m, number, f, now):
		case v.reading[f], f == m.urgent:
			waits = true
		case v.IsNewest(f.Path):
			return f, waits
		case next == nil:
			next = f
		}
	}
	return next, waits
}

// isDue reports whether a file of a mirror is to be read.
func (v *Verifier) isDue(m *mirror, number uint32, f *checksums.File, now time.Time) bool {
	if m.corrupt[number] != nil && slices.Contains(m.Down, m.places[number]) {
		return false // until the host with the corrupt copy can be read
	}
	return !m.done.Contains(number) && !v.wrong[f] && !now.Before(m.later[number]) && v.Has(m.Number, f.Path)
}

// isComplete reports whether all files of a mirror have been read in the round, and are good. With no file that it has
// it is not: which files it has may not be known yet. v.mu is held.
func (v *Verifier) isComplete(m *mirror) bool {
	some := false
	for number, f := range v.byNumber {
		if f == nil || v.wrong[f] || !v.Has(m.Number, f.Path) {
			continue
		}
		if !m.done.Contains(uint32(number)) {
			return false
		}
		some = true
	}
	return some
}

// chooseRange returns a file that a mirror has, more likely the larger it is, and an offset in it. v.mu is held.
func (v *Verifier) chooseRange(m *mirror) (f *checksums.File, offset int64) {
	var whole int64
	for _, known := range v.byNumber {
		if known != nil && known.Size > 0 {
			whole += known.Size
		}
	}
	if whole == 0 {
		return nil, 0
	}
	at := v.Random.Int64N(whole)
	for number, known := range v.byNumber {
		switch {
		case known == nil || known.Size <= 0:
		case at >= known.Size:
			at -= known.Size
		case v.wrong[known] || m.corrupt[uint32(number)] != nil || !v.Has(m.Number, known.Path):
			return nil, 0 // the next time, another one
		default:
			return known, at / rangeSize * rangeSize
		}
	}
	return nil, 0
}
