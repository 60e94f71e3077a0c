package files

import (
	"sync"
	"time"
)

const (
	maxAnswered = 20_000  // paths of which answers are kept
	maxAnswers  = 200_000 // answers that are kept, of all paths and mirrors
	maxQuestion = 5       // for one mirror in a second

	// For so long the first answer that a mirror lacks a file is kept, and how long it is kept doubles each time; less
	// if the file is new, so that mirrors are about to get it.
	lacksFor, maxLacksFor, maxNewLacksFor = 30 * time.Second, 5 * time.Minute, time.Minute
	// That it has the file is kept until its trace changes, and no longer than this.
	carriesFor = 6 * time.Hour
	// Likewise if it gives no answer: it may be back as soon as the checks notice.
	muteFor, maxMuteFor = 5 * time.Second, 20 * time.Second
)

// A lackTimes says for how long it is kept that a mirror lacks a file, the first time and at most.
type lackTimes struct{ first, most time.Duration }

// lackTimes returns for how long it is kept that a mirror lacks a file.
func (c *Catalog) lackTimes(number uint32, published bool) lackTimes {
	first := min(lacksFor, c.settings.Interval/10)
	isNew := published && c.release.numbers != nil && c.release.numbers.Contains(number)
	if isNew || !c.origin.known { // without an origin, nothing says which files are new
		return lackTimes{first, min(maxNewLacksFor, 2*first)}
	}
	return lackTimes{first, maxLacksFor}
}

// A result is what a mirror says of a file.
type result uint8

const (
	carries result = iota
	lacks          // or has it with another size, or refuses it
	mute           // gives no answer that says either
)

// An answer is what one mirror said of one file.
type answer struct {
	mirror int
	result result
	trace  int64 // of the mirror, when it was asked
	until  time.Time
	kept   time.Duration // how long the answer was to be kept; doubles when it is the same
}

// holds reports whether an answer counts while the mirror has a trace: with another one, it may have lost the file, or
// got it.
func (a *answer) holds(trace int64, now time.Time) bool {
	return now.Before(a.until) && (a.result == mute || a.trace == trace)
}

// trace returns the trace of a mirror, in seconds since 1970.
func (t *table) trace(mirror int) int64 {
	if mirror >= len(t.traces) {
		return 0
	}
	return t.traces[mirror]
}

// answers keep what mirrors have said of files.
type answers struct {
	mu       sync.Mutex
	byPath   map[uint64][]answer
	kept     int // answers in byPath
	asking   map[question]*openQuestion
	verified map[uint64][]uint64 // see Catalog.SetVerified
	budgets  map[int]budget      // of questions, by mirror
	busy     map[int]time.Time   // by mirror: until when it is left alone
}

// A question is one file at one mirror.
type question struct {
	path   uint64
	mirror int
}

// An openQuestion is one that is not answered yet.
type openQuestion struct {
	since  time.Time    // when it was asked
	notify []chan<- int // to which the mirror's number is sent with the answer
}

// A progress is how far a question has come.
type progress uint8

const (
	settled progress = iota // it was answered, or will not be asked
	spent                   // the mirror has been asked enough for now
	asked                   // and not answered yet
	slow                    // likewise, for longer than the better mirror is waited for
	begun                   // likewise, and the caller is to ask it, and then to call end and finish
)

// overlay adds what mirrors have said to what their rows say, and keeps that at hand if asked to. It outweighs them:
// clients ask the web server, too. A mirror that has once said no is asked again before clients are sent there,
// whatever it lists.
func (a *answers) overlay(k *Carriers, t *table, now time.Time, keep bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, said := range a.byPath[k.hash] {
		word, bit := said.mirror/64, uint64(1)<<(said.mirror%64)
		listed, inPool := Contains(k.Has, said.mirror), Contains(t.inPool, said.mirror)
		if !inPool {
			continue
		}
		if !said.holds(t.trace(said.mirror), now) {
			if said.result == lacks && listed {
				k.Has[word] &^= bit
				k.Unknown[word] |= bit
			}
			continue
		}
		switch said.result {
		case lacks:
			k.Has[word] &^= bit
			k.Unknown[word] &^= bit
		case mute:
			k.Mute[word] |= k.Unknown[word] & bit
		case carries:
			k.Unknown[word] &^= bit
			k.Has[word] |= bit
		}
		k.until = earlier(k.until, said.until)
	}
	for mirror, until := range a.busy {
		switch {
		case !now.Before(until):
			delete(a.busy, mirror)
		case Contains(k.Unknown, mirror):
			k.Mute[mirror/64] |= 1 << (mirror % 64)
			k.until = earlier(k.until, until)
		}
	}
	t.withhold(k)
	for i, word := range a.verified[k.hash][:min(len(k.Has), len(a.verified[k.hash]))] {
		k.Verified[i] = word & k.Has[i]
	}
	if k.settle(); keep {
		t.keep(k)
	}
}

// begin returns how far the question for a file at a mirror has come. If it is under way, the mirror's number will be
// sent to notify, unless that is nil.
func (a *answers) begin(q question, trace int64, now time.Time, again bool, notify chan<- int) progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	under := a.asking[q]
	state := asked
	switch {
	case under == nil:
		if said := a.find(q); said != nil && !again && said.holds(trace, now) || now.Before(a.busy[q.mirror]) {
			return settled
		}
		if !a.spend(q.mirror, now) {
			return spent
		}
		if a.asking == nil {
			a.asking = map[question]*openQuestion{}
		}
		under = &openQuestion{since: now}
		a.asking[q] = under
		state = begun
	case now.Sub(under.since) >= askGrace:
		state = slow
	}
	if notify != nil {
		under.notify = append(under.notify, notify)
	}
	return state
}

// spend takes one of the questions that a mirror may be asked, and reports whether there was one left.
func (a *answers) spend(mirror int, now time.Time) bool {
	if a.budgets == nil {
		a.budgets = map[int]budget{}
	}
	b := a.budgets[mirror]
	ok := b.spend(now, maxQuestion)
	a.budgets[mirror] = b
	return ok
}

// find returns the answer to a question, or nil.
func (a *answers) find(q question) *answer {
	list := a.byPath[q.path]
	for i := range list {
		if list[i].mirror == q.mirror {
			return &list[i]
		}
	}
	return nil
}

// end keeps the answer to a question.
func (a *answers) end(q question, r result, trace int64, now time.Time, lack lackTimes) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := answer{mirror: q.mirror, result: r, trace: trace}
	first, most := lack.first, lack.most
	switch r {
	case carries:
		first, most = carriesFor, carriesFor
	case mute:
		first, most = muteFor, maxMuteFor
	}
	before := a.find(q)
	if next.kept = first; before != nil && before.result == r {
		next.kept = min(2*before.kept, most)
	}
	next.until = now.Add(next.kept)
	if before != nil {
		*before = next
	} else {
		a.makeRoom()
		a.byPath[q.path] = append(a.byPath[q.path], next)
		a.kept++
	}
}

// leaveAlone has a mirror not be asked until a time.
func (a *answers) leaveAlone(mirror int, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy == nil {
		a.busy = map[int]time.Time{}
	}
	a.busy[mirror] = later(a.busy[mirror], until)
}

// finish notifies all that wait for the answer to a question.
func (a *answers) finish(q question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, notify := range a.asking[q].notify {
		select {
		case notify <- q.mirror:
		default: // it has room for the answers of all mirrors
		}
	}
	delete(a.asking, q)
}

// makeRoom forgets paths, whichever come first, while there are as many of them, or of answers, as may be.
func (a *answers) makeRoom() {
	if a.byPath == nil {
		a.byPath = map[uint64][]answer{}
	}
	for path, said := range a.byPath {
		if len(a.byPath) < maxAnswered && a.kept < maxAnswers {
			return
		}
		a.kept -= len(said)
		delete(a.byPath, path)
	}
}
