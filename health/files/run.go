package files

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"
)

const (
	maxListings = 4                // under way at a time
	listTime    = 10 * time.Minute // for one
	originTime  = 10 * time.Minute // to read the origin
	originEvery = time.Minute      // between reads of it, unless each costs much
	originShare = 50               // of the time between reads, what a read may take
	maxIdle     = time.Minute      // until Run looks what is due, if nothing wakes it

	// Above this many files, filter rules cost the daemon more than a whole listing.
	maxNamed = 1000
)

// ErrUnchanged is that the origin publishes what it did before.
var ErrUnchanged = errors.New("the origin has not changed")

// An originState is what is known of reading the origin.
type originState struct {
	known   bool          // it was read once
	busy    bool          // it is being read
	anew    bool          // it is to be read although it may not have changed
	due     time.Time     // when to read it next
	trigger time.Time     // when the reference changed last
	calm    int           // reads since then that brought nothing new
	read    time.Time     // when it was last read without an error
	took    time.Duration // the latest read
	problem string        // why the latest read failed, or ""
}

// Run reads the origin and lists the mirrors until ctx ends, and returns nil when all that is under way has ended.
func (c *Catalog) Run(ctx context.Context) error {
	var running sync.WaitGroup
	c.setRunning(true)
	defer c.asking.Wait()
	defer running.Wait()
	defer c.stop()
	defer c.setRunning(false)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		}
		timer.Reset(c.start(ctx, &running))
		c.saveIfUrgent()
	}
}

func (c *Catalog) setRunning(running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = running
	c.asks.Store(running && c.settings.OnDemand)
}

// start starts what is due, and returns the time until it should be called again.
func (c *Catalog) start(ctx context.Context, running *sync.WaitGroup) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	next := now.Add(maxIdle)
	if c.settings.Origin != "" && !c.origin.busy {
		if !now.Before(c.origin.due) {
			c.origin.busy = true
			running.Go(func() { c.readOrigin(ctx) })
		} else if c.origin.due.Before(next) {
			next = c.origin.due
		}
	}
	if c.recount && !c.origin.known && len(c.dissents) > 0 {
		running.Go(c.reelect)
	}
	c.recount = false
	for _, job := range c.dueListings(now, &next) {
		job.mirror.busy = true
		running.Go(func() { c.list(ctx, job) })
	}
	return max(next.Sub(now), 0)
}

// A job is a listing to make.
type job struct {
	mirror   *mirror
	seen     Mirror // at the moment
	universe *Universe
	part     *Part           // nil: the whole tree
	covered  *roaring.Bitmap // the files of the part, as far as they are known by name
}

// dueListings returns the listings to start, those that have waited longest first, and brings next forward to when the
// first of the others is due.
func (c *Catalog) dueListings(now time.Time, next *time.Time) []job {
	if c.settings.Origin != "" && !c.origin.known && c.origin.problem == "" {
		return nil // until the origin was read, or cannot be
	}
	type due struct {
		at    time.Time
		whole bool
		m     *mirror
	}
	var waiting []due
	room := maxListings
	for _, m := range c.mirrors {
		switch {
		case m == nil, m.RsyncURL == "", !m.Rsync.IsValid(), !m.Enabled:
		case m.busy:
			room--
		default:
			at, whole := m.plan.next(c.need(m))
			waiting = append(waiting, due{at, whole, m})
		}
	}
	slices.SortFunc(waiting, func(a, b due) int { return a.at.Compare(b.at) })
	var jobs []job
	for _, w := range waiting {
		if w.at.After(now) {
			if w.at.Before(*next) {
				*next = w.at
			}
			break
		}
		if len(jobs) < room {
			jobs = append(jobs, c.newJob(w.m, w.whole))
		}
	}
	return jobs
}

// need is what a mirror's plan depends on.
func (c *Catalog) need(m *mirror) need {
	n := need{interval: c.settings.Interval, big: c.isBig(), together: !c.origin.known}
	if m.row != nil {
		n.listed, n.some = m.row.Listed, c.missing(m.row) > 0
		n.folders = c.isBig() && c.demand.isLaterThan(m.plan.tried)
	}
	return n
}

func (c *Catalog) newJob(m *mirror, whole bool) job {
	j := job{mirror: m, seen: m.Mirror, universe: c.universe}
	if whole {
		return j
	}
	j.part, j.covered = &Part{}, roaring.New()
	for _, f := range c.release.Files {
		if !m.row.has.Contains(f.number) && len(j.part.Files) < maxNamed {
			j.part.Files = append(j.part.Files, f.Path)
			j.covered.Add(f.number)
		}
	}
	if c.isBig() && m.plan.whole {
		j.part.Folders = c.demand.folders(c.Now())
	}
	return j
}

// isBig reports whether trees are so large that they are listed as a whole at the interval only.
func (c *Catalog) isBig() bool { return c.universe.Len() > c.bigTree }

// list makes a listing, and takes it in.
func (c *Catalog) list(ctx context.Context, j job) {
	listed, err := c.visit(ctx, &j)
	var together *joined
	if err == nil && listed.entries != nil {
		c.joining.Lock()
		defer c.joining.Unlock()
		together, err = c.join(j.mirror.number, listed.entries, c.Now())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.hurry()
	m, now := j.mirror, c.Now()
	m.busy = false
	if ctx.Err() != nil || c.mirrors[m.number] != m || m.RsyncURL != j.seen.RsyncURL {
		return
	}
	before := m.row
	if err == nil {
		err = c.take(m, &j, listed, together, now)
	}
	changed := m.row != nil && (before == nil || before.digest != m.row.digest)
	complete := c.origin.known && m.row != nil && int(m.row.has.GetCardinality()) == c.universe.Len()
	m.plan.note(now, err, j.part == nil, changed, complete)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != m.problem {
		log := c.Log.With(zap.String("mirror", m.URLPrefix))
		if problem != "" {
			log.Warn("cannot list a mirror's files", zap.String("problem", problem))
		} else {
			log.Info("a mirror's files can be listed again")
		}
	}
	m.problem = problem
}

// visit lists a mirror's files.
func (c *Catalog) visit(ctx context.Context, j *job) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	end, ok := c.Visit(ctx, j.seen.URLPrefix)
	if !ok {
		return nil, errors.New("the mirror's host cannot be visited now")
	}
	defer end()
	f := c.newFound(j)
	return f, c.List(ctx, &j.seen, j.part, f.add)
}

// A found is what a listing has brought: compared with the origin's files at once, or gathered while these are not
// known.
type found struct {
	listing *listing
	entries *Collector // nil if the origin's files are known
}

func (c *Catalog) newFound(j *job) *found {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &found{listing: newListing(j.universe)}
	if !c.origin.known {
		f.entries = &Collector{HasTimes: true, before: j.universe, rewritten: c.settings.Rewritten}
	}
	return f
}

func (f *found) add(path string, size int64, modified uint32) error {
	if f.entries != nil {
		return f.entries.Add(path, size, modified)
	}
	return f.listing.add(path, size, modified)
}

// take takes in a listing. together is nil unless it began while the origin was not known.
func (c *Catalog) take(m *mirror, j *job, f *found, together *joined, now time.Time) error {
	if together != nil {
		if c.origin.known {
			return nil
		}
		c.takeJoined(together)
		c.newest, m.row = together.newest, together.row
		c.publish()
		return nil
	}
	if j.part == nil {
		next := c.catchUp(f.listing.row(now), j.universe.generation)
		if next == nil {
			return errors.New("the origin has changed too often during the listing")
		}
		m.row = next
	} else if m.row != nil && j.universe.generation == c.universe.generation { // else the next listing comes soon
		m.row = f.listing.amend(m.row, j.covered, now)
	}
	c.publish()
	return nil
}

// readOrigin reads the origin, and takes it in.
func (c *Catalog) readOrigin(ctx context.Context) {
	c.mu.Lock()
	origin := c.settings.Origin
	into := &Collector{Anew: c.origin.anew, before: c.universe, rewritten: c.settings.Rewritten}
	c.origin.anew = false
	c.mu.Unlock()
	if c.Sums != nil {
		into.sums = c.Sums.NewListing()
	}
	began := c.Now()
	readCtx, cancel := context.WithTimeout(ctx, originTime)
	defer cancel()
	err := c.ReadOrigin(readCtx, origin, into)
	if err == nil && into.Len() == 0 {
		err = errors.New("it lists no files")
	}
	records := sortRecords(into.records)
	var next *Universe
	var diff change
	if err == nil {
		next, diff = into.before.update(records, into.HasTimes) // which takes long, where files are many
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.hurry()
	now := c.Now()
	c.origin.busy = false
	if ctx.Err() != nil || c.settings.Origin != origin {
		return
	}
	c.noteOrigin(now, err)
	if err == nil {
		if c.universe != into.before {
			next, diff = c.universe.update(records, into.HasTimes)
		}
		if c.Sums != nil { // before the table, or what is at hand could keep the checksum of a file that has changed
			c.Sums.Take(into.sums)
		}
		c.takeOrigin(into, next, &diff, now)
	}
	c.origin.took = now.Sub(began)
	c.origin.due = now.Add(max(c.originPause(now), originShare*c.origin.took))
}

// originPause is how long after the latest read the origin is read again. A listing over rsync costs the origin much:
// it is read when the reference has changed, until nothing new comes.
func (c *Catalog) originPause(now time.Time) time.Duration {
	usual := min(originEvery, c.settings.Interval)
	switch {
	case c.origin.problem != "", !strings.HasPrefix(c.settings.Origin, "rsync:"):
		return usual
	case c.origin.calm < calmAfter && !c.origin.trigger.IsZero():
		return min(max(now.Sub(c.origin.trigger)/pauseOf, min(minPause, c.settings.Interval/10)), maxPause)
	}
	return c.settings.Interval
}

// Reread has the origin read now.
func (c *Catalog) Reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	c.origin.due, c.origin.trigger, c.origin.calm, c.origin.anew = now, now, 0, true
	c.hurry()
}

// noteOrigin takes in whether the origin could be read.
func (c *Catalog) noteOrigin(now time.Time, err error) {
	problem := ""
	if err != nil && !errors.Is(err, ErrUnchanged) {
		problem = err.Error()
	} else {
		c.origin.read = now
	}
	switch {
	case problem == c.origin.problem:
	case problem == "":
		c.Log.Info("files.origin can be read again")
	default:
		c.Log.Warn("cannot read files.origin", zap.String("problem", problem))
	}
	c.origin.problem = problem
}

// takeOrigin takes in what the origin publishes. Mirrors are listed for what is new.
func (c *Catalog) takeOrigin(into *Collector, next *Universe, diff *change, now time.Time) {
	first := !c.origin.known
	c.origin.known, c.dissents = true, nil
	c.newest = into.newest
	if diff.isEmpty() && !first {
		c.origin.calm++
		return
	}
	c.origin.calm = 0
	if !first {
		c.release.learn(diff, next, into.news, now)
	}
	c.setUniverse(next, diff)
	c.urgent = true
	if first {
		c.Log.Info("files.origin was read", zap.Int("files", next.Len()))
		for _, m := range c.mirrors {
			if m != nil && m.row != nil {
				m.plan.pull(now, true)
			}
		}
		return
	}
	c.Log.Info("the origin's files have changed", zap.Uint64("new", diff.news.GetCardinality()),
		zap.Uint64("gone", diff.gone.GetCardinality()))
	unnamed := diff.news.GetCardinality() > uint64(len(into.news))
	for _, m := range c.mirrors {
		if m != nil && !diff.news.IsEmpty() {
			m.plan.pull(now, unnamed)
		}
	}
}
