package watch

import (
	"maps"
	"time"

	"mirrorpool/health"
)

// A Book holds what one watcher has said.
//
// Books that have merged the same views hold the same opinions and notes, in whatever order they came and how often.
// Which changes are held beyond a missed one rests on the order where there are more than maxBeyond.
type Book struct {
	complete uint64 // no part with a lower count is left
	count    uint64 // the highest seen
	begun    uint64 // when the watcher itself started, in nanoseconds
	suspects string
	zone     ZoneVersion
	mirrors  map[string]Opinions
	notes    map[Topic]Note
	leftOut  uint64 // the highest count of opinions that were left out, see Merge

	// What count and latest were when other mirrors came to be wanted, see isOld.
	countBefore, latestBefore uint64

	// Of the watcher's changes, what is held: a later one may come before an earlier one, or that be lost.
	latest uint64          // the number of the latest one, see View.Changes
	held   uint64          // all up to this one are held
	beyond map[uint64]bool // those above it that are
}

// maxBeyond is how many changes may be held beyond one that was missed. The next whole view makes up for more.
const maxBeyond = 64

// Merge takes in a view of the watcher, and reports whether any opinion has changed. wanted says which mirrors are of
// interest; others are left out.
func (b *Book) Merge(v *View, wanted func(urlPrefix string) bool) (changed bool) {
	if v.Count > b.count {
		changed = v.Suspects != b.suspects
		changed = changed || v.Zone != b.zone
		b.count, b.suspects, b.zone, b.latest = v.Count, v.Suspects, v.Zone, v.Changes
	} else if v.Count == b.count {
		b.latest = max(b.latest, v.Changes)
	}
	b.hold(v)
	changed = b.mergeNotes(v.Notes) || changed
	if v.Complete > b.complete {
		b.complete = v.Complete
		for prefix, m := range b.mirrors {
			if _, stays := v.Mirrors[prefix]; m.Count < b.complete && !stays {
				delete(b.mirrors, prefix)
				changed = true
			}
		}
	}
	for prefix, m := range v.Mirrors {
		if !wanted(prefix) {
			b.leftOut = max(b.leftOut, m.Count)
			continue
		}
		old, known := b.mirrors[prefix]
		if m.Count < b.complete || m.Count <= old.Count || !known && b.isOld(v) {
			continue
		}
		if b.mirrors == nil {
			b.mirrors = map[string]Opinions{}
		}
		changed = changed || !old.says(m.List, m.Release)
		b.mirrors[prefix] = m
	}
	return changed
}

// hold notes which changes a view holds.
func (b *Book) hold(v *View) {
	switch {
	case b.isOld(v):
	case v.Complete != 0:
		b.held = max(b.held, v.Changes)
	case v.tells() && v.Changes > b.held && len(b.beyond) < maxBeyond:
		if b.beyond == nil {
			b.beyond = map[uint64]bool{}
		}
		b.beyond[v.Changes] = true
	}
	for b.beyond[b.held+1] {
		b.held++
	}
	maps.DeleteFunc(b.beyond, func(n uint64, _ bool) bool { return n <= b.held })
	if len(b.beyond) == 0 {
		b.beyond = nil
	}
}

// isOld reports whether a view may be older than what was heard when other mirrors came to be wanted. What had been
// said of those was not kept, and so an opinion in it may have been replaced long ago.
func (b *Book) isOld(v *View) bool { return v.Count < b.countBefore && v.Changes < b.latestBefore }

// isBehind reports whether a view comes by way of a third watcher that has not heard all that is known of here. It may
// be of an earlier run, whose counts are higher than some of this one's: see surpass.
func (b *Book) isBehind(v *View) bool { return v.Age != 0 && v.Count < b.count && v.Changes < b.latest }

// current reports whether all that the watcher has told of is held.
func (b *Book) current() bool { return b.held >= b.latest }

// canStandIn reports whether the book holds all that the watcher says, so that others may get it from here. Without the
// opinions that were left out it would not tell them that something is missing.
func (b *Book) canStandIn() bool { return b.current() && (b.leftOut == 0 || b.leftOut < b.complete) }

// forget drops opinions of mirrors that are not wanted any more. Those of mirrors that are wanted now were not kept.
func (b *Book) forget(wanted func(urlPrefix string) bool) {
	maps.DeleteFunc(b.mirrors, func(prefix string, _ Opinions) bool { return !wanted(prefix) })
	b.held, b.beyond, b.leftOut = 0, nil, 0
	b.countBefore, b.latestBefore = b.count, b.latest
}

// view returns all that the book holds. It does not change with the book.
func (b *Book) view(watcher string) *View {
	return &View{
		Watcher: watcher, Count: b.count, Complete: b.complete, Changes: b.latest, Suspects: b.suspects, Zone: b.zone,
		Mirrors: maps.Clone(b.mirrors), Notes: maps.Clone(b.notes),
	}
}

// observe makes the book say what a report of the watcher itself says. It returns what is new, or nil; all of it, with
// whole true, if the mirrors are others.
func (b *Book) observe(r *health.Report, watcher string) (news *View, whole bool) {
	suspects := r.SuspectNames()
	whole = len(b.mirrors) != len(r.Mirrors) || b.complete == 0
	fresh := make(map[string]Opinions)
	for prefix := range r.Mirrors {
		m := r.Mirrors[prefix]
		list := opinionsOf(&m)
		old, known := b.mirrors[prefix]
		whole = whole || !known
		if !known || !old.says(list, m.Release) {
			fresh[prefix] = Opinions{b.count + 1, list, m.Release}
		}
	}
	if len(fresh) == 0 && suspects == b.suspects && !whole {
		return nil, false
	}
	b.count++
	b.suspects = suspects
	if !whole {
		maps.Copy(b.mirrors, fresh)
		return &View{Watcher: watcher, Count: b.count, Changes: b.latest, Suspects: suspects, Zone: b.zone, Mirrors: fresh}, false
	}
	b.number(1)
	b.complete = b.count
	mirrors := make(map[string]Opinions, len(r.Mirrors))
	for prefix := range r.Mirrors {
		m := b.mirrors[prefix]
		if said, ok := fresh[prefix]; ok {
			m = said
		}
		m.Count = b.count
		mirrors[prefix] = m
	}
	b.mirrors = mirrors
	return b.view(watcher), true
}

// header makes the book's count grow, and returns a view without opinions.
func (b *Book) header(watcher string) *View {
	b.count++
	return b.summary(watcher)
}

// summary is what the book holds but for opinions and notes.
func (b *Book) summary(watcher string) *View {
	return &View{Watcher: watcher, Count: b.count, Changes: b.latest, Suspects: b.suspects, Zone: b.zone}
}

// number returns the first of the numbers of n changes of the watcher itself.
func (b *Book) number(n int) uint64 {
	first := b.latest + 1
	b.latest += uint64(n)
	b.held = b.latest
	b.count += uint64(n) // so that the first number of a later run is higher than the last one of this
	return first
}

// begin makes the count one that no earlier run of the watcher has reached.
func (b *Book) begin(now time.Time) {
	b.begun = uint64(now.UnixNano())
	b.count = max(b.count+1, b.begun)
	b.latest, b.held = b.count, b.count
}

// surpass makes the book's count higher than one that others have of this watcher, from an earlier run under a clock
// that was ahead. It reports whether that was the case: then all is to be said anew by the next observe. Others refuse
// counts above limit. A member may have forged one just below it: then the step is so small that the limit, which moves
// with the time, passes it within a millisecond.
func (b *Book) surpass(count, limit uint64) bool {
	if count <= b.count {
		return false
	}
	b.count, b.complete = count+headroom, 0
	if more := b.begun % (1 << 40); b.count+more <= limit {
		b.count += more
	}
	b.latest, b.held = b.count, b.count
	b.restampNotes()
	return true
}

// headroom is by how much a watcher surpasses an earlier run at least. That may have said more than has come back, and
// another run may have surpassed the same count: what is said now must not have a count under which some have heard
// something else. So each run adds a part of the time of its start as well.
const headroom = 1 << 20
