package files

import "time"

const (
	minPause  = 5 * time.Second // between listings of a mirror while it copies a release
	maxPause  = 5 * time.Minute
	pauseOf   = 10          // the share of the time since the trace changed that a pause takes
	bigTree   = 200_000     // files; of larger trees, folders are listed between files.interval
	validFor  = 3           // intervals, after which a row is worth nothing
	calmAfter = 2           // listings without a difference, after which a mirror has ended its copy
	jitter    = 1.0 / 10    // by which share of an interval listings come early, to spread them
	minRetry  = time.Minute // after a listing that failed

	// Without an origin, a mirror is listed once more this long after its trace has changed.
	togetherPause = 10 * time.Minute
)

// A plan says when a mirror is listed next. It has no clock.
type plan struct {
	trigger  time.Time // when the mirror's trace or the origin changed last
	tried    time.Time // when the latest listing ended
	failures int       // since one succeeded
	calm     int       // listings of the whole tree since the trigger that showed no difference
	whole    bool      // the whole tree may have changed since the trigger, not only files known by name
	spread   float64   // from 0 to 1, by the mirror
}

// A need is what a plan depends on besides.
type need struct {
	interval time.Duration
	listed   time.Time // when the whole tree was listed; zero if never
	big      bool      // the tree is listed as a whole at the interval only
	some     bool      // files that are known by name are missing
	folders  bool      // clients have asked for files of some folders since the latest listing
	together bool      // the universe is what the mirrors list together
}

// pauses returns the least time between listings of a mirror while it copies a release, and after one that failed. They
// are shorter where the operator wants listings often.
func (n *need) pauses() (least, retry time.Duration) {
	return min(minPause, n.interval/10), min(minRetry, n.interval/2)
}

// next returns when a listing is due, and whether it is one of the whole tree.
func (p *plan) next(n need) (at time.Time, whole bool) {
	at, whole = n.listed, true
	if !n.listed.IsZero() {
		at = n.listed.Add(time.Duration(float64(n.interval) * (1 - jitter*p.spread)))
	}
	if soon, all, ok := p.soon(n); ok && soon.Before(at) {
		at, whole = soon, all
	}
	if p.failures > 0 {
		at = later(at, p.tried.Add(p.retryPause(&n)))
	}
	return at, whole
}

// soon returns when to list for the sake of the trigger. ok is false if the mirror has all that is wanted, or nothing
// has come for long.
func (p *plan) soon(n need) (at time.Time, whole, ok bool) {
	if n.together { // nothing says when the mirror has all, and it is asked on demand meanwhile
		at = p.trigger.Add(min(togetherPause, n.interval/10))
		return at, true, !n.big && p.tried.Before(at) && !p.trigger.IsZero()
	}
	whole = p.whole && !n.big
	least, _ := n.pauses()
	if p.trigger.IsZero() || !whole && !n.some && !(p.whole && n.folders) {
		return at, false, false
	}
	at = later(p.trigger, p.tried.Add(min(max(p.tried.Sub(p.trigger)/pauseOf, least), maxPause)))
	return at, whole, at.Sub(p.trigger) < n.interval
}

// retryPause is how long after a listing that failed the next one is due.
func (p *plan) retryPause(n *need) time.Duration {
	_, pause := n.pauses()
	for i := 1; i < p.failures && pause < n.interval; i++ {
		pause *= 2
	}
	return min(pause, n.interval)
}

// note takes in a listing. changed says whether a listing of the whole tree differs from the one before, complete that
// nothing is missing.
func (p *plan) note(now time.Time, err error, whole, changed, complete bool) {
	p.tried = now
	switch {
	case err != nil:
		p.failures++
		return
	case whole && changed:
		p.calm = 0
	case whole:
		p.calm++
	}
	p.whole = p.whole && p.calm < calmAfter && !complete
	p.failures = 0
}

// pull has the mirror listed from now on, until it has what it lacks. whole says that files may be missing whose names
// are not known.
func (p *plan) pull(now time.Time, whole bool) {
	p.whole = p.whole || whole
	p.trigger, p.calm = now, 0
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
