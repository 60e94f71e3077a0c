package stats

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPaths is how many paths a day has; the rest is counted together. maxFolders of them may be folders, which
	// stand for files that are not known: clients can make these up.
	maxPaths, maxFolders = 10_000, 1_000
	maxMirrors           = 20_000
	maxPathLength        = 1024 // bytes; longer ones are counted with the rest

	// Rest stands for all paths that are not counted by themselves.
	Rest = "(other files)"
)

// A Kind is what sort of request was redirected.
type Kind uint8

// The kinds.
const (
	Download    Kind = iota // a GET from the first byte on
	Resumed                 // a GET of all from a later byte on: a download that goes on, or is tried again
	Segment                 // a GET of a part that does not begin with the first byte
	Conditional             // a GET with If-None-Match or If-Modified-Since
	Head
	Kinds // how many there are
)

// String returns the kind in lower case.
func (k Kind) String() string {
	return [Kinds]string{"download", "resumed", "segment", "conditional", "head"}[k]
}

// A Country is a two-letter code of ISO 3166-1 in capitals; the zero Country is not known.
type Country [2]byte

const countries = 26*26 + 1

func (c Country) index() int {
	if c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
		return countries - 1
	}
	return int(c[0]-'A')*26 + int(c[1]-'A')
}

// today are the counts of the day that goes on.
type today struct {
	day       int // days since 1970, UTC
	kinds     [Kinds]atomic.Uint64
	countries [countries]atomic.Uint64
	rest      atomic.Uint64 // downloads of paths that are not counted by themselves
	few       atomic.Uint64 // downloads of countries that had few of them when the program ended

	mu      sync.RWMutex // guards the maps, not the counts in them
	paths   map[string]*atomic.Uint64
	folders int
	mirrors map[string]*atomic.Uint64
}

func newToday(day int) *today {
	return &today{day: day, paths: map[string]*atomic.Uint64{}, mirrors: map[string]*atomic.Uint64{}}
}

// count counts a redirect.
func (t *today) count(kind Kind, path string, known bool, mirror string, country Country) {
	t.kinds[kind].Add(1)
	if kind != Download {
		return
	}
	t.countries[country.index()].Add(1)
	if !known {
		path = folderOf(path)
	}
	t.mu.RLock()
	byPath, byMirror := t.paths[path], t.mirrors[mirror]
	t.mu.RUnlock()
	if byPath == nil || byMirror == nil {
		byPath, byMirror = t.add(path, !known, mirror)
	}
	byPath.Add(1)
	byMirror.Add(1)
}

// add returns the counts of a path and a mirror, which may be new.
func (t *today) add(path string, isFolder bool, mirror string) (byPath, byMirror *atomic.Uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	byPath = t.paths[path]
	if byPath == nil {
		byPath = &t.rest
		if len(path) <= maxPathLength && len(t.paths) < maxPaths && (!isFolder || t.folders < maxFolders) {
			byPath = new(atomic.Uint64)
			t.paths[strings.Clone(path)] = byPath
			if isFolder {
				t.folders++
			}
		}
	}
	byMirror = t.mirrors[mirror]
	if byMirror == nil {
		byMirror = new(atomic.Uint64)
		if len(t.mirrors) < maxMirrors {
			t.mirrors[strings.Clone(mirror)] = byMirror
		}
	}
	return byPath, byMirror
}

// folderOf is the first folder of a path, with its slash; "/" for a file at the top.
func folderOf(path string) string {
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i+1]
	}
	return "/"
}

// A Counter counts redirects. It is safe for concurrent use.
type Counter struct {
	now     func() time.Time
	current atomic.Pointer[today]
	enabled atomic.Bool
	totals  [Kinds]atomic.Uint64 // since the start

	history
}

// NewCounter returns a Counter. dir is where days are kept; "": nowhere. keep is for how long; 0: nothing is counted.
func NewCounter(dir string, keep time.Duration, now func() time.Time) *Counter {
	c := &Counter{now: now, history: history{dir: dir}}
	c.current.Store(newToday(dayOf(now())))
	c.SetKeep(keep)
	return c
}

// Count counts a redirect of a request for a file to a mirror. known says that the path is one of a file that the
// origin is known to publish; of others, the first folder is counted. It makes no garbage but for the first request of
// a day for a path.
func (c *Counter) Count(kind Kind, path string, known bool, mirror string, country Country) {
	if !c.enabled.Load() {
		return
	}
	c.totals[kind].Add(1)
	t := c.current.Load()
	if day := dayOf(c.now()); day != t.day {
		t = c.turn(day)
	}
	t.count(kind, path, known, mirror, country)
}

// Totals returns how many redirects of each kind were counted since the start.
func (c *Counter) Totals() (totals [Kinds]uint64) {
	for k := range totals {
		totals[k] = c.totals[k].Load()
	}
	return totals
}

// turn begins another day, unless it is that day already. Requests that began to be counted before midnight are counted
// until settle takes in the day that has ended.
func (c *Counter) turn(day int) *today {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.current.Load()
	if t.day == day {
		return t
	}
	c.settle(day) // without a folder to save to, this is where
	c.ending = append(c.ending, ended{t, c.now()})
	next := newToday(day)
	if i := slices.IndexFunc(c.ending, func(e ended) bool { return e.today.day == day }); i >= 0 { // the clock was set back
		next = c.ending[i].today
		c.ending = slices.Delete(c.ending, i, i+1)
	} else if i := c.find(day); i >= 0 {
		next.resume(&c.days[i])
		c.days = slices.Delete(c.days, i, i+1)
	}
	c.current.Store(next)
	return next
}

// dayOf is the number of t's day since 1970, UTC.
func dayOf(t time.Time) int { return int(t.Unix() / 86400) }
