package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const testInterval = 6 * time.Hour

// A world is an origin and mirrors, with their files by size. Its clock is that of the synctest bubble that it lives
// in.
type world struct {
	t       *testing.T
	catalog *Catalog
	stop    func()

	mu       sync.Mutex
	origin   map[string]int64 // nil: it cannot be read
	trees    map[string]map[string]int64
	traces   map[string]time.Time
	listings map[string]int // of whole trees
	visits   map[string]int // all listings
	heads    map[string]int // by URL
	down     map[string]bool
	hang     bool // HEAD gets no answer
	busy     bool // HEAD is answered by 429
	stale    map[string]bool
	readTime time.Duration // of the origin
	unread   string        // a path that the origin has, and that is not read
	reads    int           // of the origin
	names    []string
	logs     *observer.ObservedLogs
}

// newWorld returns a running world, in which the mirrors have the same files as the origin.
func newWorld(t *testing.T, settings Settings, origin map[string]int64, mirrors ...string) *world {
	w := &world{
		t: t, origin: origin, trees: map[string]map[string]int64{}, traces: map[string]time.Time{}, listings: map[string]int{},
		visits: map[string]int{}, heads: map[string]int{}, down: map[string]bool{}, names: mirrors,
	}
	for _, name := range mirrors {
		w.trees[name], w.traces[name] = maps.Clone(origin), time.Unix(1, 0)
	}
	if settings.Interval == 0 {
		settings.Interval = testInterval
	}
	var core zapcore.Core
	core, w.logs = observer.New(zap.InfoLevel)
	w.catalog = NewCatalog(Options{
		Settings: settings, ReadOrigin: w.readOrigin, AskOrigin: w.askOrigin, List: w.list, Head: w.head, Visit: w.visit,
		Log: zap.New(core), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.catalog.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	w.observe(time.Unix(1, 0))
	synctest.Wait()
	return w
}

// observe tells the catalog of the world as the checks see it.
func (w *world) observe(reference time.Time) {
	w.mu.Lock()
	var seen []Mirror
	for _, name := range w.names {
		m := Mirror{URLPrefix: prefixOf(name), Trace: w.traces[name], Enabled: true, Weight: 1, Serves: !w.stale[name]}
		if !strings.HasPrefix(name, "web") {
			m.RsyncURL, m.Rsync = "rsync://"+name+".example.org/pub/", netip.MustParseAddr("192.0.2.1")
		}
		seen = append(seen, m)
	}
	w.mu.Unlock()
	w.catalog.Observe(reference, seen)
}

func prefixOf(name string) string { return "https://" + name + ".example.org/" }

func nameOf(target string) string {
	_, rest, _ := strings.Cut(target, "://")
	name, _, _ := strings.Cut(rest, ".")
	return name
}

func (w *world) readOrigin(_ context.Context, _ string, c *Collector) error {
	w.mu.Lock()
	takes := w.readTime
	w.mu.Unlock()
	time.Sleep(takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if w.origin == nil {
		return errors.New("unreachable")
	}
	c.HasTimes = true
	for path, size := range w.origin {
		if err := c.Add(path, size, 1000); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) askOrigin(_ context.Context, _, path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heads["origin/"+path]++
	if _, ok := w.origin[path]; !ok && path != w.unread {
		return fs.ErrNotExist
	}
	return nil
}

func (w *world) visit(context.Context, string) (func(), bool) { return func() {}, true }

func (w *world) list(_ context.Context, m *Mirror, part *Part, each func(string, int64, uint32) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := nameOf(m.URLPrefix)
	w.visits[name]++
	if w.down[name] {
		return errors.New("max connections reached")
	}
	if part != nil {
		for path, size := range w.trees[name] {
			if !slices.Contains(part.Files, path) && !slices.Contains(part.Folders, path[:max(strings.LastIndexByte(path, '/'), 0)]) {
				continue
			}
			if err := each(path, size, 1000); err != nil {
				return err
			}
		}
		return nil
	}
	w.listings[name]++
	for path, size := range w.trees[name] {
		if err := each(path, size, 1000); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) head(ctx context.Context, u *url.URL, _ netip.Addr) (int64, error) {
	w.mu.Lock()
	w.heads[u.String()]++
	hang, busy := w.hang, w.busy
	size, ok := w.trees[nameOf(u.String())][strings.TrimPrefix(u.Path, "/")]
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	time.Sleep(10 * time.Millisecond)
	if busy {
		return 0, fmt.Errorf("429: %w", ErrBusy)
	}
	if !ok {
		return 0, fs.ErrNotExist
	}
	return size, nil
}

// do changes the world.
func (w *world) do(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// readsNow returns how often the origin was read.
func (w *world) readsNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

// carriers returns, for each mirror, "has", "lacks" or "unknown".
func (w *world) carriers(path string) string {
	k := w.catalog.Find(path, time.Now())
	var words []string
	for _, name := range w.names {
		number := w.catalog.Number(prefixOf(name))
		switch {
		case Contains(k.Has, number):
			words = append(words, "has")
		case Contains(k.Unknown, number):
			words = append(words, "unknown")
		default:
			words = append(words, "lacks")
		}
	}
	return strings.Join(words, " ")
}

// want fails the test unless the carriers of a path are as given.
func (w *world) want(path, want string) {
	w.t.Helper()
	if got := w.carriers(path); got != want {
		w.t.Errorf("%s after %v: %s, want %s", path, time.Since(worldBegan), got, want)
	}
}

// worldBegan is when each bubble begins (testing/synctest).
var worldBegan = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ask asks a mirror for a file, as for a client, and returns how long that took.
func (w *world) ask(path string, names ...string) time.Duration {
	var list []Candidate
	for _, name := range names {
		list = append(list, Candidate{w.catalog.Number(prefixOf(name)), prefixOf(name) + path, netip.MustParseAddr("192.0.2.1")})
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), AskTime)
	defer cancel()
	begin := time.Now()
	w.catalog.Ask(ctx, path, func() (next []Candidate) {
		next, list = list, nil
		return next
	})
	return time.Since(begin)
}

func tree() map[string]int64 {
	return map[string]int64{"old.iso": 100, "project/trace": 11, "stable/a.iso": 50}
}
