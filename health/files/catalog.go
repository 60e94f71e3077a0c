package files

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"

	"mirrorpool/health/files/checksums"
)

// maxChanges is how many changes of the universe are kept, for listings that began before them.
const maxChanges = 16

// A Mirror is what the catalog has to know of a mirror of the pool.
type Mirror struct {
	URLPrefix string
	RsyncURL  string     // empty if it has no rsync daemon
	Rsync     netip.Addr // where the daemon was last reached; invalid if it is not known
	Trace     time.Time  // that it carries; zero if none is known
	Enabled   bool
	Serves    bool // clients may be sent to it
	Weight    uint32
}

// Settings are what the operator says.
type Settings struct {
	Origin    string        // a folder, an rsync URL or the URL of a list; empty: none
	Interval  time.Duration // between listings of whole trees
	Rewritten Patterns
	OnDemand  bool
	// Unmirrored are files that no mirror is asked for: what mirrors have of a release is counted without them.
	Unmirrored Patterns
}

// Options are what a catalog works with.
type Options struct {
	Settings Settings
	// ReadOrigin adds what the origin publishes. It returns ErrUnchanged if that is the same as the last time.
	ReadOrigin func(ctx context.Context, origin string, c *Collector) error
	// AskOrigin asks the origin for a path. The error is fs.ErrNotExist if it lacks it, ErrCannotAsk if it cannot be
	// asked.
	AskOrigin func(ctx context.Context, origin, path string) error
	// List lists the files of a mirror: a part of them, or if that is nil, all.
	List func(ctx context.Context, m *Mirror, part *Part, each func(path string, size int64, modified uint32) error) error
	// Head asks a mirror at an address for the size of a file; -1 if it has the file and does not say. The error is
	// fs.ErrNotExist if it lacks it, ErrRefused if clients do not get it there, and ErrBusy if it wants to be left
	// alone.
	Head func(ctx context.Context, u *url.URL, addr netip.Addr) (int64, error)
	// Sums knows the checksums of the origin's files. Nil: none is known.
	Sums *checksums.Store
	// Visit keeps the checks away from a mirror's host until end is called, or for as long as they can wait. ok is
	// false if the mirror is gone.
	Visit func(ctx context.Context, urlPrefix string) (end func(), ok bool)

	StateFile string // where all that is known is saved; empty: nowhere
	Log       *zap.Logger
	Now       func() time.Time
}

// A Part is a part of a tree: some files, and all that are directly in some folders. The top folder is "".
type Part struct{ Files, Folders []string }

// A Catalog knows which mirror carries which file.
type Catalog struct {
	Options
	table   atomic.Pointer[table]
	answers answers
	origins originAnswers
	demand  demand
	wake    chan struct{} // holds one token while something may be due
	asks    atomic.Bool   // mirrors may be asked: settings.OnDemand, while Run runs
	sampled atomic.Int64  // when a client's mirror was last asked for the file it was sent to: Unix seconds

	looking sync.Mutex
	looked  Carriers // room for MayHave; looking guards it

	base   context.Context // of questions to mirrors; ends with Run
	stop   context.CancelFunc
	asking sync.WaitGroup

	bigTree  int        // see need.big
	maxFiles int        // of all mirrors together
	joining  sync.Mutex // held while a listing is joined with those of others; taken before mu

	mu        sync.Mutex // guards all below
	running   bool       // Run is
	settings  Settings
	universe  *Universe
	origin    originState
	changes   []change // the latest ones
	release   Release
	newest    []File
	reference time.Time
	numbers   map[string]int       // of all mirrors that ever were in the pool, by url_prefix
	mirrors   []*mirror            // by number; nil of those that are gone
	dissents  map[uint64][]dissent // while the origin is not known: see dissent
	corrupt   map[uint64][]int     // see Withhold
	recount   bool                 // clients may be sent to other mirrors
	dirty     bool                 // something has changed since it was saved
	urgent    bool                 // likewise, which should be saved now
}

// A mirror is a mirror of the pool, and what is known of its files.
type mirror struct {
	Mirror
	number  int
	row     *Row
	plan    plan
	problem string    // why the latest listing failed, or ""
	busy    bool      // it is being listed
	looked  time.Time // when it was last listed on the word of another watcher
}

func newMirror(number int, seen Mirror) *mirror {
	return &mirror{Mirror: seen, number: number, plan: plan{spread: float64(mix(hashPath(seen.URLPrefix))>>11) / (1 << 53)}}
}

// NewCatalog returns a catalog that knows nothing yet.
func NewCatalog(o Options) *Catalog {
	c := &Catalog{
		Options: o, settings: o.Settings, universe: &Universe{}, wake: make(chan struct{}, 1), numbers: map[string]int{},
		maxFiles: MaxFiles, bigTree: bigTree,
	}
	c.base, c.stop = context.WithCancel(context.Background())
	c.publish()
	return c
}

// SetSettings puts other settings in force.
func (c *Catalog) SetSettings(s Settings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Origin != c.settings.Origin {
		c.origin = originState{}
		if c.Sums != nil {
			c.Sums.Forget()
		}
	}
	c.settings, c.origin.anew = s, true
	c.asks.Store(c.running && s.OnDemand)
	c.publish()
	c.hurry()
}

// Number returns the number of a mirror, by which [Carriers] know it. It is the same as long as the program runs.
func (c *Catalog) Number(urlPrefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number(urlPrefix)
}

func (c *Catalog) number(urlPrefix string) int {
	number, ok := c.numbers[urlPrefix]
	if !ok {
		number = len(c.numbers)
		c.numbers[urlPrefix] = number
		c.mirrors = append(c.mirrors, nil)
	}
	return number
}

// Observe takes in the mirrors of the pool, and the trace that they should carry.
func (c *Catalog) Observe(reference time.Time, mirrors []Mirror) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	present := make(map[int]bool, len(mirrors))
	changed := false
	for i := range mirrors {
		number := c.number(mirrors[i].URLPrefix)
		present[number] = true
		changed = c.observe(number, &mirrors[i], now) || changed
	}
	for number, m := range c.mirrors {
		if m != nil && !present[number] {
			c.mirrors[number], changed = nil, true
		}
	}
	if !reference.Equal(c.reference) {
		c.reference = reference
		c.origin.due, c.origin.trigger, c.origin.calm = now, now, 0
	}
	if changed || now.After(c.table.Load().expires) {
		c.publish()
	}
	c.hurry()
}

// observe takes in one mirror, and reports whether the table changes with it.
func (c *Catalog) observe(number int, seen *Mirror, now time.Time) (changed bool) {
	m := c.mirrors[number]
	switch {
	case m == nil:
		m = newMirror(number, *seen)
		m.plan.pull(now, true)
		c.mirrors[number], changed = m, true
	case m.RsyncURL != seen.RsyncURL:
		m.row, m.plan, changed = nil, plan{spread: m.plan.spread}, true
	case !seen.Trace.IsZero() && !m.Trace.IsZero() && !m.Trace.Equal(seen.Trace):
		m.plan.pull(now, c.lacksUnnamed(m))
		changed = true
	}
	if trace := m.Trace; seen.Trace.IsZero() {
		seen.Trace = trace
	}
	changed = changed || !m.Trace.Equal(seen.Trace)
	c.recount = c.recount || m.Serves != seen.Serves
	m.Mirror = *seen
	return changed
}

// lacksUnnamed reports whether a mirror may lack files whose names are not known.
func (c *Catalog) lacksUnnamed(m *mirror) bool {
	if !c.origin.known || m.row == nil {
		return true
	}
	return int(m.row.has.GetCardinality())+c.missing(m.row) < c.universe.Len()
}

// missing returns how many files of the release that are known by name the mirror of a row lacks, or may lack.
func (c *Catalog) missing(r *Row) int {
	if c.release.named == nil {
		return 0
	}
	return int(c.release.named.GetCardinality() - c.release.named.AndCardinality(r.has))
}

// hurry has Run look what is due.
func (c *Catalog) hurry() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// publish makes the table that Find works with.
func (c *Catalog) publish() {
	now := c.Now()
	t := &table{
		universe: c.universe, complete: c.settings.Origin != "" && c.origin.known, rows: make([]*Row, len(c.mirrors)),
		traces: make([]int64, len(c.mirrors)), weights: make([]uint64, len(c.mirrors)),
		inPool: make([]uint64, (len(c.mirrors)+63)/64), expires: now.Add(c.settings.Interval),
		release: c.release.numbers, named: c.release.named, big: c.isBig(), corrupt: c.corrupt,
	}
	for number, m := range c.mirrors {
		if m == nil {
			continue
		}
		t.inPool[number/64] |= 1 << (number % 64)
		t.traces[number] = m.Trace.Unix()
		if m.Enabled {
			t.weights[number] = uint64(m.Weight)
		}
	}
	t.unlisted, t.whole = slices.Clone(t.inPool), make([]uint64, len(t.inPool))
	for number, m := range c.mirrors {
		if m == nil || m.row == nil {
			continue
		}
		if ends := c.ends(m.row); now.Before(ends) {
			m.row = m.row.withBits()
			t.addRow(number, m.row)
			t.expires = earlier(t.expires, ends)
		}
	}
	c.table.Store(t)
	c.dirty = true
}

// ends returns when a row becomes too old.
func (c *Catalog) ends(r *Row) time.Time { return r.Listed.Add(validFor * c.settings.Interval) }

// setUniverse puts another universe in force.
func (c *Catalog) setUniverse(next *Universe, diff *change) {
	c.universe = next
	c.changes = append(c.changes, *diff)
	c.changes = c.changes[max(0, len(c.changes)-maxChanges):]
	for _, m := range c.mirrors {
		if m != nil {
			m.row = m.row.follow(diff)
		}
	}
	c.publish()
}

// catchUp returns a row for the universe in force, from one for the universe of an earlier generation. It returns nil
// if too much has changed since.
func (c *Catalog) catchUp(r *Row, generation uint64) *Row {
	if c.universe.generation-generation > uint64(len(c.changes)) {
		return nil
	}
	for i := range c.changes {
		if c.changes[i].generation > generation {
			r = r.follow(&c.changes[i])
		}
	}
	return r
}

// A Release is the files that the origin has published of late.
type Release struct {
	Since   time.Time // when the first of them was seen
	Latest  time.Time // when the last of them was seen
	Files   []NumberedFile
	numbers *roaring.Bitmap // of all, also of those whose names are not in Files
	named   *roaring.Bitmap // of Files
}

// A NumberedFile is a file of the universe in force.
type NumberedFile struct {
	File
	number uint32
}

// The next new file begins another release if nothing new has come for releaseGap, or if the release has gone on for
// releaseSpan: where something new comes all the time, no mirror must be behind by all of that time.
const releaseGap, releaseSpan = time.Hour, 2 * time.Hour

// learn takes in what is new, by name as far as that is known.
func (r *Release) learn(diff *change, u *Universe, news []File, now time.Time) {
	another := now.Sub(r.Latest) > releaseGap || now.Sub(r.Since) > releaseSpan
	if r.numbers == nil || !diff.news.IsEmpty() && another {
		*r = Release{Since: now, numbers: roaring.New()}
	}
	next := Release{Since: r.Since, Latest: r.Latest, numbers: roaring.AndNot(r.numbers, diff.gone)}
	next.numbers.AndNot(diff.news)
	for _, f := range r.Files {
		if next.numbers.Contains(f.number) {
			next.Files = append(next.Files, f)
		}
	}
	if !diff.news.IsEmpty() {
		next.Latest = now
		next.numbers.Or(diff.news)
	}
	for _, f := range news {
		if number, ok := u.find(hashPath(f.Path)); ok && diff.news.Contains(number) && len(next.Files) < maxNews {
			next.Files = append(next.Files, NumberedFile{f, number})
		}
	}
	next.nameAll()
	*r = next
}

// nameAll makes named.
func (r *Release) nameAll() {
	r.named = roaring.New()
	for _, f := range r.Files {
		r.named.Add(f.number)
	}
}
