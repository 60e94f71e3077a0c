package stats

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// A clock is set by a test.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// rows writes the rows of a report as "NAME N".
func rows(c *Counter, by By, since time.Time) string {
	var list []string
	for _, r := range c.Report(by, since).Rows {
		text := fmt.Sprint(r.Name, " ", r.Downloads)
		for _, n := range r.Apart {
			text += fmt.Sprint(" ", n.Name, " ", n.N)
		}
		list = append(list, text)
	}
	return strings.Join(list, "|")
}

func TestCount(t *testing.T) {
	t.Parallel()
	at := &clock{epoch}
	c := NewCounter("", 400*day, at.now)
	count := func(n int, kind Kind, path string, known bool, mirror, country string) {
		var code Country
		copy(code[:], country)
		for range n {
			c.Count(kind, path, known, mirror, code)
		}
	}
	count(12, Download, "stable/a.iso", true, "https://a/", "DE")
	count(9, Download, "stable/b.iso", true, "https://b/", "FR")
	count(3, Download, "made/up", false, "https://b/", "AD")
	count(1, Download, "top", false, "https://b/", "")
	count(5, Head, "stable/a.iso", true, "https://a/", "DE")
	count(4, Resumed, "stable/a.iso", true, "https://a/", "DE")
	count(3, Segment, "stable/a.iso", true, "https://a/", "DE")
	count(2, Conditional, "stable/a.iso", true, "https://a/", "DE")
	check := func(what string, want map[By]string, since time.Time) {
		t.Helper()
		for by, text := range want {
			if got := rows(c, by, since); got != text {
				t.Errorf("%s, by %s: %q, want %q", what, by, got, text)
			}
		}
	}
	check("the day that goes on", map[By]string{
		ByDay:     "2026-03-01 25 resumed 4 segment 3 conditional 2 head 5",
		ByPath:    "stable/a.iso 12|stable/b.iso 9|made/ 3|/ 1",
		ByMirror:  "https://b/ 13|https://a/ 12",
		ByCountry: "<10 12|DE 12|unknown 1",
	}, epoch)
	at.Time = epoch.Add(day)
	count(8, Download, "stable/a.iso", true, "https://a/", "DE")
	check("two days", map[By]string{
		ByDay:     "2026-03-01 25 resumed 4 segment 3 conditional 2 head 5|2026-03-02 8",
		ByPath:    "stable/a.iso 20|stable/b.iso 9|made/ 3|/ 1",
		ByCountry: "<10 20|DE 12|unknown 1",
	}, epoch)
	check("the second day", map[By]string{ByDay: "2026-03-02 8", ByPath: "stable/a.iso 8"}, epoch.Add(day))
	at.Time = epoch.Add(2 * time.Minute) // the clock is set back
	count(1, Download, "stable/a.iso", true, "https://a/", "DE")
	check("after the clock was set back", map[By]string{ByDay: "2026-03-01 26 resumed 4 segment 3 conditional 2 head 5"}, epoch)
	c.SetKeep(0)
	count(1, Download, "stable/a.iso", true, "https://a/", "DE")
	check("off", map[By]string{ByDay: "2026-03-01 26 resumed 4 segment 3 conditional 2 head 5"}, epoch)
}

// TestSave restarts at moments, with and without files.
func TestSave(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "stats")
	at := &clock{epoch}
	start := func() *Counter {
		c := NewCounter(dir, 3*day, at.now)
		c.Load(zap.NewNop())
		return c
	}
	c := start()
	for range 5 {
		for k := range 20 {
			c.Count(Kind(k%int(Kinds)), fmt.Sprintf("stable/%d.iso", k), true, "https://a/", Country{'D', 'E'})
		}
		before := c.Report(ByPath, epoch)
		c.Save(zap.NewNop())
		c = start()
		if diff := cmp.Diff(before, c.Report(ByPath, epoch)); diff != "" {
			t.Fatalf("a restart: -before +after:\n%s", diff)
		}
		at.Time = at.Add(day)
	}
	c.Save(zap.NewNop())
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 || names[0].Name() != "2026-03-04" { // of the 6th, nothing was counted
		t.Errorf("%v, %v, want the days that are kept", names, err)
	}
	if got := rows(start(), ByDay, epoch); got != "2026-03-04 4 resumed 4 segment 4 conditional 4 head 4|2026-03-05 4 resumed 4 segment 4 conditional 4 head 4" {
		t.Error(got)
	}
	if err := os.WriteFile(filepath.Join(dir, "2026-03-04"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := rows(start(), ByDay, epoch); got != "2026-03-05 4 resumed 4 segment 4 conditional 4 head 4" {
		t.Errorf("with a damaged file: %s", got)
	}
}

// TestFewCountriesInFiles: neither does a file say which countries have few downloads.
func TestFewCountriesInFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "stats")
	at := &clock{epoch}
	c := NewCounter(dir, 3*day, at.now)
	for k := range 19 {
		c.Count(Download, "a", true, "https://a/", [2]Country{{'D', 'E'}, {'A', 'D'}}[k%2])
	}
	c.Save(zap.NewNop())
	text, err := os.ReadFile(filepath.Join(dir, "2026-03-01"))
	if err != nil || strings.Contains(string(text), `"AD"`) || !strings.Contains(string(text), `{"name":"DE","n":10}`) {
		t.Errorf("%s, %v", text, err)
	}
	c = NewCounter(dir, 3*day, at.now)
	c.Load(zap.NewNop())
	c.Count(Download, "a", true, "https://a/", Country{'A', 'D'})
	if got := rows(c, ByCountry, epoch); got != "<10 10|DE 10" {
		t.Error(got)
	}
}

// TestBounds: a million paths that clients make up, known ones among them, cost less than 5 MiB.
func TestBounds(t *testing.T) {
	before := heap()
	at := &clock{epoch}
	c := NewCounter("", 400*day, at.now)
	for k := range 1_000_000 {
		c.Count(Download, fmt.Sprintf("f%d/%d", k, k), false, "https://a/", Country{})
	}
	c.Count(Download, "stable/a.iso", true, "https://a/", Country{})
	for k := range 20_000 {
		c.Count(Download, fmt.Sprintf("stable/%d.iso", k), true, "https://a/", Country{})
	}
	c.Count(Download, strings.Repeat("x", maxPathLength+1), true, "https://a/", Country{})
	if grown := heap() - before; grown > 5<<20 {
		t.Errorf("%d bytes more", grown)
	}
	r := c.Report(ByPath, epoch)
	sum, largest := uint64(0), r.Rows[0]
	for _, row := range r.Rows {
		sum += row.Downloads
	}
	if sum != 1_020_002 || len(r.Rows) != maxPaths+1 || largest.Name != Rest || largest.Downloads != 1_000_000-maxFolders+20_000+1-(maxPaths-maxFolders-1)+0 {
		t.Errorf("%d downloads in %d rows, of which %+v", sum, len(r.Rows), largest)
	}
	for range 30 {
		at.Time = at.Add(day)
		for k := range 20_000 {
			c.Count(Download, fmt.Sprintf("stable/%d.iso", k), true, "https://a/", Country{})
		}
	}
	paths := 0
	for _, d := range c.days {
		paths += len(d.Paths)
	}
	if paths > maxKept {
		t.Errorf("%d paths of days that have ended", paths)
	}
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMidnight counts in many goroutines over midnights: no download is lost.
func TestMidnight(t *testing.T) {
	t.Parallel()
	for range 20 {
		var days atomic.Int64
		c := NewCounter("", 400*day, func() time.Time { return epoch.Add(time.Duration(days.Load()) * day) })
		var all sync.WaitGroup
		const workers, each = 8, 2000
		for w := range workers {
			all.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(w)))
				for k := range each {
					if k == each/2 {
						days.Store(1)
					}
					c.Count(Download, fmt.Sprintf("stable/%d.iso", r.IntN(50)), true, fmt.Sprintf("https://%d/", r.IntN(5)), Country{'D', 'E'})
				}
			})
		}
		all.Wait()
		for _, by := range []By{ByPath, ByMirror, ByCountry, ByDay} {
			sum := uint64(0)
			for _, row := range c.Report(by, epoch).Rows {
				sum += row.Downloads
			}
			if sum != workers*each {
				t.Errorf("by %s: %d, want %d", by, sum, workers*each)
			}
		}
	}
}

// TestClockLeaps: a clock that is wrong for a moment removes no day.
func TestClockLeaps(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "stats")
	at := &clock{epoch}
	c := NewCounter(dir, 400*day, at.now)
	for range 5 {
		c.Count(Download, "a", true, "https://a/", Country{'D', 'E'})
		c.Save(zap.NewNop())
		at.Time = at.Add(day)
	}
	good := at.Time
	at.Time = at.AddDate(10, 0, 0)
	c.Save(zap.NewNop())
	at.Time = at.Add(2 * time.Minute)
	c.Count(Download, "a", true, "https://a/", Country{'D', 'E'})
	c.Save(zap.NewNop())
	at.Time = good
	c.Save(zap.NewNop())
	c = NewCounter(dir, 400*day, at.now)
	c.Load(zap.NewNop())
	if got := c.Report(ByPath, epoch).Rows; len(got) != 1 || got[0].Downloads != 5 {
		t.Errorf("%+v, want 5 downloads in 5 days", got)
	}
}

func TestNoGarbage(t *testing.T) {
	c := NewCounter("", 400*day, time.Now)
	c.Count(Download, "stable/a.iso", true, "https://a/", Country{'D', 'E'})
	if n := testing.AllocsPerRun(1000, func() { c.Count(Download, "stable/a.iso", true, "https://a/", Country{'D', 'E'}) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// FuzzDecode has files of any content.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"date": "2026-03-01", "kinds": [{"name": "download", "n": 3}], "paths": [{"name": "stable/", "n": 3}],
		"mirrors": [{"name": "https://a/", "n": 3}], "countries": [{"name": "DE", "n": 3}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decode(body, dayOf(epoch))
		if err != nil {
			return
		}
		at := &clock{epoch}
		c := NewCounter("", 400*day, at.now)
		c.current.Load().resume(d)
		c.Count(Download, "stable/a.iso", true, "https://a/", Country{'D', 'E'})
		at.Time = at.Add(day)
		c.Count(Download, "stable/a.iso", true, "https://a/", Country{'D', 'E'})
		for _, by := range []By{ByPath, ByMirror, ByCountry, ByDay} {
			c.Report(by, epoch)
		}
	})
}

func BenchmarkCount(b *testing.B) {
	c := NewCounter("", 400*day, time.Now)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			c.Count(Download, "stable/tails-amd64-6.0/tails-amd64-6.0.img", true, "https://a/", Country{'D', 'E'})
		}
	})
}
