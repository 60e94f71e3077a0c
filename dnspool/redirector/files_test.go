package redirector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health/files"
	"mirrorpool/health/files/checksums"
)

// A fileWorld is what an origin and mirrors have, behind a handler.
type fileWorld struct {
	handler *Handler
	catalog *files.Catalog
	current *dnspool.Current

	mu     sync.Mutex
	origin map[string]int64
	trees  map[string]map[string]int64 // by url_prefix
	texts  map[string]string           // of files at the origin, by path
	hidden string                      // a path that web servers have and rsync daemons do not list
	asked  map[string]int              // by url_prefix

	hangs   string        // the url_prefix of a mirror that does not answer
	refuses string        // the url_prefix of a mirror whose web server refuses all files
	latency time.Duration // of the others
}

const listedMirrors = 6

// worldMirror returns the url_prefix of a mirror: those from listedMirrors on have no rsync daemon.
func worldMirror(i int) string { return fmt.Sprintf("http://m%d.example.org/pub/", i) }

// newFileWorld returns a handler for so many mirrors, which carry what the origin has. Their rows are known.
func newFileWorld(tb testing.TB, c config.Files, mirrors int, origin map[string]int64) *fileWorld {
	return startFileWorld(tb, c, mirrors, origin, func(int, string) bool { return false })
}

// startFileWorld returns a handler for mirrors some of which lack files.
func startFileWorld(
	tb testing.TB, c config.Files, mirrors int, origin map[string]int64, lacks func(mirror int, path string) bool,
) *fileWorld {
	tb.Helper()
	return startFileWorldWith(tb, c, mirrors, origin, nil, lacks)
}

// startFileWorldWith is startFileWorld, and some files of the origin can be read.
func startFileWorldWith(
	tb testing.TB, c config.Files, mirrors int, origin map[string]int64, texts map[string]string,
	lacks func(mirror int, path string) bool,
) *fileWorld {
	tb.Helper()
	w := &fileWorld{texts: texts, hidden: "hidden.iso", origin: origin, trees: map[string]map[string]int64{}, asked: map[string]int{}}
	var prefixes []string
	var seen []files.Mirror
	for i := range mirrors {
		prefix := worldMirror(i)
		prefixes = append(prefixes, prefix)
		w.trees[prefix] = map[string]int64{}
		for path, size := range origin {
			if !lacks(i, path) {
				w.trees[prefix][path] = size
			}
		}
		m := files.Mirror{URLPrefix: prefix, Enabled: true, Weight: 1, Trace: time.Unix(1, 0)}
		if i < listedMirrors {
			m.RsyncURL, m.Rsync = "rsync://m.example.org/pub/", netip.MustParseAddr("192.0.2.1")
		}
		seen = append(seen, m)
	}
	c.OnDemand, c.Interval = true, time.Hour
	sums := checksums.NewStore(checksums.Options{
		Settings: checksums.Settings{ReadsLists: true, Wanted: func(path string, _ int64) bool { return strings.HasSuffix(path, ".img") }},
		Open:     w.open, Log: zap.NewNop(), Now: time.Now,
	})
	w.catalog = files.NewCatalog(files.Options{
		Sums:       sums,
		Settings:   files.Settings{Origin: c.Origin, Interval: c.Interval, OnDemand: c.OnDemand},
		ReadOrigin: w.readOrigin, AskOrigin: w.askOrigin, List: w.list, Head: w.head,
		Visit: func(context.Context, string) (func(), bool) { return func() {}, true },
		Log:   zap.NewNop(), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.catalog.Run(ctx) }()
	go func() { done <- sums.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				tb.Error(err)
			}
		}
	})
	w.catalog.Observe(time.Unix(1, 0), seen)
	w.current = testCurrentWith(tb, w.catalog.Number, prefixes...)
	w.handler = NewHandler(Options{
		Config:  config.HTTP{BasePath: "/", Sticky: time.Hour, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		Current: w.current, Catalog: w.catalog, Source: &lockedSource{src: rand.NewPCG(1, 2)}, Now: time.Now,
	})
	w.handler.SetFiles(c)
	w.await(tb, func(o files.Overview) bool {
		known := 0
		for _, m := range o.Mirrors {
			if m.Known {
				known++
			}
		}
		return known >= min(mirrors, listedMirrors)
	})
	return w
}

// await waits until the catalog is as wanted.
func (w *fileWorld) await(tb testing.TB, as func(files.Overview) bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !as(w.catalog.Overview()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("the catalog has come to %+v", w.catalog.Overview())
		}
	}
}

// open opens a file of the origin.
func (w *fileWorld) open(_ context.Context, path string) (io.ReadCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return io.NopCloser(strings.NewReader(w.texts[path])), nil
}

func (w *fileWorld) readOrigin(_ context.Context, _ string, c *files.Collector) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.HasTimes = true
	for path, size := range w.origin {
		if err := c.Add(path, size, 1000); err != nil {
			return err
		}
	}
	return c.AddFolder("folder")
}

func (w *fileWorld) askOrigin(_ context.Context, _, path string) error {
	switch {
	case strings.HasPrefix(path, "just-published"):
		return nil
	case path == "not-listed":
		return files.ErrCannotAsk
	case path == "silent":
		return errors.New("unreachable")
	}
	return fs.ErrNotExist
}

func (w *fileWorld) list(_ context.Context, m *files.Mirror, _ *files.Part, each func(string, int64, uint32) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, size := range w.trees[m.URLPrefix] {
		if path == w.hidden {
			continue
		}
		if err := each(path, size, 1000); err != nil {
			return err
		}
	}
	return nil
}

func (w *fileWorld) head(ctx context.Context, u *url.URL, _ netip.Addr) (int64, error) {
	prefix := u.Scheme + "://" + u.Host + "/pub/"
	w.mu.Lock()
	w.asked[prefix]++
	hangs, refuses, latency := w.hangs, w.refuses, w.latency
	w.mu.Unlock()
	if prefix == hangs {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	time.Sleep(latency)
	if prefix == refuses {
		return 0, files.ErrRefused
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(u.EscapedPath(), "%") {
		return 0, fs.ErrNotExist // as Apache says to %2F, whatever it has
	}
	size, ok := w.trees[prefix][strings.TrimPrefix(u.Path, "/pub/")]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return size, nil
}

// do changes the world.
func (w *fileWorld) do(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// askedOf returns how often a mirror was asked.
func (w *fileWorld) askedOf(mirror int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[worldMirror(mirror)]
}

// targets returns where so many clients of different networks are sent for a path, by url_prefix, and the other
// answers.
func (w *fileWorld) targets(path string, clients int) map[string]int {
	targets := map[string]int{}
	for i := range clients {
		resp := get(w.handler, "/"+path, fmt.Sprintf("198.51.%d.1", i%256))
		where := strings.TrimSuffix(resp.Header().Get("Location"), path)
		if where == "" {
			where = fmt.Sprint(resp.Code)
		}
		targets[where]++
	}
	return targets
}

// TestOnlyCarriersServe sends clients to mirrors that carry the file alone, whatever else is wrong.
func TestOnlyCarriersServe(t *testing.T) {
	t.Parallel()
	origin := map[string]int64{"old.iso": 100, "some.iso": 50, "one.iso": 10, "none.iso": 5, "hidden.iso": 7}
	for name, test := range map[string]struct {
		config  config.Files
		mirrors int
		path    string
		want    []string // all of them, and no other
	}{
		"all": {config.Files{Origin: "/o"}, 4, "old.iso",
			[]string{worldMirror(0), worldMirror(1), worldMirror(2), worldMirror(3)}},
		"some":         {config.Files{Origin: "/o"}, 4, "some.iso", []string{worldMirror(0), worldMirror(1)}},
		"one":          {config.Files{Origin: "/o"}, 4, "one.iso", []string{worldMirror(0)}},
		"one, escaped": {config.Files{Origin: "/o"}, 4, "%6fne.iso", []string{worldMirror(0)}},
		"none":         {config.Files{Origin: "/o"}, 4, "none.iso", []string{"503"}},
		"none, fallback": {config.Files{Origin: "/o", Fallback: "https://origin.example.org/pub/"}, 4, "none.iso",
			[]string{"https://origin.example.org/pub/"}},
		"without rsync": {config.Files{Origin: "/o"}, 8, "one.iso", []string{worldMirror(0), worldMirror(6)}},
		"unpublished":   {config.Files{Origin: "/o", Unpublished: "404"}, 4, "nothing.iso", []string{"404"}},
		"unpublished, redirect": {config.Files{Origin: "/o", Unpublished: "redirect"}, 2, "nothing.iso",
			[]string{worldMirror(0), worldMirror(1)}},
		"not listed": {config.Files{Origin: "/o"}, 2, "hidden.iso", []string{worldMirror(0), worldMirror(1)}},
		"folder": {config.Files{Origin: "/o", Unpublished: "404"}, 2, "folder",
			[]string{worldMirror(0), worldMirror(1)}},
		"folder with slash": {config.Files{Origin: "/o", Unpublished: "404"}, 2, "any/", []string{worldMirror(0), worldMirror(1)}},
		"just published": {config.Files{Origin: "/o", Fallback: "https://origin.example.org/pub/"}, 2, "just-published",
			[]string{"https://origin.example.org/pub/"}},
		"origin silent":   {config.Files{Origin: "/o", Unpublished: "404"}, 2, "silent", []string{"503"}},
		"cannot be asked": {config.Files{Origin: "/o"}, 2, "not-listed", []string{"404"}},
		"no origin":       {config.Files{}, 2, "unknown", []string{worldMirror(0), worldMirror(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newPartialWorld(t, test.config, test.mirrors, origin)
				got := w.targets(test.path, 20)
				synctest.Wait() // all mirrors that were asked have answered
				maps.Copy(got, w.targets(test.path, 200))
				for _, prefix := range test.want {
					if got[prefix] == 0 {
						t.Errorf("%s is not used", prefix)
					}
					delete(got, prefix)
				}
				if len(got) > 0 {
					t.Errorf("clients were sent to %v", got)
				}
			})
		})
	}
}

// TestSpellingHidesNoFile asks for a file in a spelling that web servers refuse: that says nothing of the file.
func TestSpellingHidesNoFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]config.Files{"listed": {Origin: "/o"}, "without an origin": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFileWorld(t, c, 8, map[string]int64{"hidden.iso": 100, "other.iso": 1})
			w.targets("%68idden.iso", 100)
			if got := w.targets("hidden.iso", 100); got["503"]+got["404"] > 0 {
				t.Errorf("after that, clients were answered %v", got)
			}
		})
	}
}

// newPartialWorld is a world in which mirrors from 2 on lack some.iso, those other than 0 and 6 one.iso, and all
// none.iso.
func newPartialWorld(tb testing.TB, c config.Files, mirrors int, origin map[string]int64) *fileWorld {
	return startFileWorld(tb, c, mirrors, origin, func(i int, path string) bool {
		return path == "none.iso" || path == "some.iso" && i > 1 || path == "one.iso" && i%listedMirrors != 0
	})
}

// TestLinksNameCarriers holds Link headers, Metalinks and ?mirrorlist to mirrors that carry the file.
func TestLinksNameCarriers(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"old.iso": 100, "some.iso": 50, "one.iso": 10})
	for target, want := range map[string]int{"/some.iso": 2, "/old.iso": 4, "/some.iso.meta4": 2, "/old.iso.meta4": 4} {
		resp := get(w.handler, target, "")
		text := resp.Header().Get("Link") + resp.Body.String()
		if got := strings.Count(text, ".example.org/pub/"); got != want || strings.Contains(target, "some") &&
			strings.Contains(text, "m3.") {
			t.Errorf("%s names %d mirrors, want %d: %s", target, got, want, text)
		}
	}
	list := get(w.handler, "/some.iso?mirrorlist", "", "Accept: application/json").Body.String()
	if strings.Count(list, `"url": "http`) != 2 || strings.Count(list, "lacks the file") != 2 {
		t.Errorf("?mirrorlist is %s", list)
	}
	w.catalog.Withhold(map[uint64][]int{xxhash.Sum64String("old.iso"): {w.catalog.Number(worldMirror(0))}})
	list = get(w.handler, "/old.iso?mirrorlist", "", "Accept: application/json").Body.String()
	if strings.Count(list, "has a corrupt copy of the file") != 1 || strings.Contains(list, "lacks the file") {
		t.Errorf("with a corrupt copy, ?mirrorlist is %s", list)
	}
	list = get(w.handler, "/some.iso?mirrorlist", "", "Accept: application/json").Body.String()
	if strings.Contains(list, "corrupt") {
		t.Errorf("of another file, ?mirrorlist is %s", list)
	}
}

// TestUnaskedMirrors: of a mirror that was never asked for a file, it is not said that it lacks the file.
func TestUnaskedMirrors(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t, config.Files{Origin: "/o"}, listedMirrors+2, map[string]int64{"old.iso": 50})
	const unasked = "may have the file, but has not said so"
	list := get(w.handler, "/old.iso?mirrorlist", "", "Accept: application/json").Body.String()
	if strings.Count(list, unasked) != 2 || strings.Contains(list, "lacks the file") {
		t.Errorf("?mirrorlist is %s", list)
	}
	for _, path := range []string{"/old.iso?mirrorlist", "/old.iso.meta4"} {
		_, e, err := w.handler.Explain(netip.MustParseAddr("198.51.100.1"), false, path)
		var why []string
		for i := range e.Mirrors {
			why = append(why, e.Mirrors[i].Why)
		}
		if text := strings.Join(why, "; "); err != nil || strings.Count(text, unasked) != 2 {
			t.Errorf("%s: %s, %v", path, text, err)
		}
	}
}

// TestOpenRangesAreDrawnAnew: a client that resumes gets another mirror than the one before, and each as often.
func TestOpenRangesAreDrawnAnew(t *testing.T) {
	t.Parallel()
	w := newFileWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"old.iso": 100})
	const client = "198.51.100.1"
	sticky := get(w.handler, "/old.iso", client).Header().Get("Location")
	others := map[string]int{}
	for range 300 {
		others[get(w.handler, "/old.iso", client, "Range: bytes=7-").Header().Get("Location")]++
	}
	if len(others) != 3 || others[sticky] > 0 || slices.Min(slices.Collect(mapValues(others))) < 60 {
		t.Errorf("beside %s: %v", sticky, others)
	}
	for _, header := range []string{"bytes=0-99", "bytes=-5", "bytes=0-1,3-", "", "lines=7-", "bytes=-"} {
		if got := get(w.handler, "/old.iso", client, "Range: "+header).Header().Get("Location"); got != sticky {
			t.Errorf("range %q leads to %s, want %s", header, got, sticky)
		}
	}
	one := newFileWorld(t, config.Files{Origin: "/o"}, 1, map[string]int64{"old.iso": 100})
	if got := get(one.handler, "/old.iso", client, "Range: bytes=7-").Header().Get("Location"); got != worldMirror(0)+"old.iso" {
		t.Errorf("the only mirror is not used: %q", got)
	}
}

func mapValues(m map[string]int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestStickyAmongCarriers: a mirror that gains a file moves only the clients that it serves from then on.
func TestStickyAmongCarriers(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t, config.Files{Origin: "/o"}, 6, map[string]int64{"old.iso": 100, "some.iso": 50})
	for i := range 200 {
		client := fmt.Sprintf("198.51.%d.1", i)
		all := get(w.handler, "/old.iso", client).Header().Get("Location")
		some := get(w.handler, "/some.iso", client).Header().Get("Location")
		for _, prefix := range []string{worldMirror(0), worldMirror(1)} {
			if all == prefix+"old.iso" && some != prefix+"some.iso" {
				t.Errorf("%s: %s for a file that all carry, %s for one that two do", client, all, some)
			}
		}
	}
}

// TestUpgraderRetries replays Tails Upgrader: six tries within 31 s, of which one mirror of six answers 404 in a way
// that no check sees. At most one of 5,000 clients may fail.
func TestUpgraderRetries(t *testing.T) {
	t.Parallel()
	w := newFileWorld(t, config.Files{Origin: "/o"}, 6, map[string]int64{"old.iso": 100})
	failed := 0
	for i := range 5000 {
		client := fmt.Sprintf("10.%d.%d.1", i/250, i%250)
		ok := false
		for try := 0; try < 6 && !ok; try++ {
			var headers []string
			if try > 0 {
				headers = append(headers, "Range: bytes=0-")
			}
			ok = get(w.handler, "/old.iso", client, headers...).Header().Get("Location") != worldMirror(3)+"old.iso"
		}
		if !ok {
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 5000 clients failed", failed)
	}
}

// TestPlainCarriers: what is answered without net/http leads to carriers too, and what has to be asked is left to
// net/http.
func TestPlainCarriers(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"old.iso": 100, "some.iso": 50, "none.iso": 1})
	for path, want := range map[string]bool{"/some.iso": true, "/none.iso": false, "/nothing.iso": false, "/folder": true} {
		for i := range 50 {
			var out strings.Builder
			answered, err := w.handler.answerPlain(&out, &plainRequest{path: []byte(path)},
				client{addr: netip.AddrFrom4([4]byte{10, 0, byte(i), 1})})
			if err != nil || answered != want || strings.Contains(out.String(), "m3.") && path == "/some.iso" {
				t.Errorf("%s: answered %v, %v: %s", path, answered, err, out.String())
			}
		}
	}
}
