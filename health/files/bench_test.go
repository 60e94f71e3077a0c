package files

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"
)

// imagePath is a path such as distributions have.
func imagePath(i int) string {
	return fmt.Sprintf("pool/main/%c/package-%d/package-%d_1.%d-1_amd64.deb", 'a'+i%26, i%20_000, i%20_000, i)
}

// filled returns a catalog of files on mirrors, which carry the given share of them, scattered.
func filled(tb testing.TB, files, mirrors int, share float64) *Catalog {
	tb.Helper()
	c := NewCatalog(Options{Settings: Settings{Origin: "/o", Interval: time.Hour}, Log: zap.NewNop(), Now: time.Now})
	into := &Collector{before: c.universe, HasTimes: true}
	for i := range files {
		if err := into.Add(imagePath(i), int64(i), uint32(i)); err != nil {
			tb.Fatal(err)
		}
	}
	next, diff := c.universe.update(sortRecords(into.records), true)
	c.takeOrigin(into, next, &diff, time.Now())
	random := rand.New(rand.NewPCG(1, 2))
	var seen []Mirror
	for i := range mirrors {
		seen = append(seen, Mirror{URLPrefix: fmt.Sprintf("https://m%d.example.org/", i), RsyncURL: "rsync://m/m/", Enabled: true, Weight: 1})
	}
	c.Observe(time.Time{}, seen)
	for _, m := range c.mirrors {
		l := newListing(c.universe)
		for i := range c.universe.files {
			if random.Float64() < share {
				l.judge(uint32(i), c.universe.files[i].size, c.universe.files[i].version)
			}
		}
		m.row = l.row(time.Now())
	}
	c.publish()
	return c
}

// heap returns how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory holds what a catalog takes: 12 MiB for 100,000 files on 100 mirrors. BenchmarkMemory measures more.
func TestMemory(t *testing.T) {
	before := heap()
	c := filled(t, 100_000, 100, 0.9)
	if used := heap() - before; used > 12<<20 {
		t.Errorf("%d KiB in use, want 12 MiB at most", used>>10)
	} else {
		t.Logf("%d KiB", used>>10)
	}
	runtime.KeepAlive(c)
}

// BenchmarkMemory reports what a catalog of 2,000,000 files on 400 mirrors takes, which carry 90 % of them, scattered.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		c := filled(b, 2_000_000, 400, 0.9)
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
		runtime.KeepAlive(c)
	}
}

// BenchmarkListing takes in a listing of 200,000 files.
func BenchmarkListing(b *testing.B) {
	const files = 200_000
	c := filled(b, files, 0, 0)
	paths := make([]string, files)
	for i := range paths {
		paths[i] = imagePath(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		l := newListing(c.universe)
		for i, path := range paths {
			if err := l.add(path, int64(i), uint32(i)); err != nil {
				b.Fatal(err)
			}
		}
		l.row(time.Now())
	}
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// TestFindAllocs: to find the carriers of files that clients ask for in no order takes no memory.
func TestFindAllocs(t *testing.T) {
	c := filled(t, 20_000, 100, 0.9)
	memory, now, i := new(Carriers), time.Now(), 0
	paths := make([]string, 1000)
	for i := range paths {
		paths[i] = imagePath(i * 19)
	}
	c.FindIn(memory, paths[0], now)
	if allocs := testing.AllocsPerRun(len(paths)-2, func() {
		i++
		if k := c.FindIn(memory, paths[i], now); k.Status != Published {
			t.Errorf("%s: %+v", paths[i], k)
		}
	}); allocs > 0 {
		t.Errorf("%v allocations for a file", allocs)
	}
}

// BenchmarkFind finds the carriers of a file among 2,000,000 that clients ask for, and of files in no order, which all
// mirrors have or each mirror lacks others of.
func BenchmarkFind(b *testing.B) {
	for _, bench := range []struct {
		mirrors int
		share   float64
	}{{100, 0.9}, {400, 0.9}, {400, 1}} {
		c := filled(b, 2_000_000, bench.mirrors, bench.share)
		now := time.Now()
		paths := make([]string, 1<<17)
		for i := range paths {
			paths[i] = imagePath(i * 7919 % 2_000_000)
		}
		memory := new(Carriers)
		for name, asked := range map[string][]string{"hot": paths[:1], "cold": paths} {
			b.Run(fmt.Sprintf("mirrors=%d/have=%v/%s", bench.mirrors, bench.share, name), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					c.FindIn(memory, asked[i%len(asked)], now)
				}
			})
		}
	}
}

// BenchmarkBehind says of one mirror of 400 what it lacks of a release of 10,000 files, anew after each change.
func BenchmarkBehind(b *testing.B) {
	c := filled(b, 2_000_000, 400, 0.9)
	var named []File
	diff := change{news: roaring.New(), gone: roaring.New()}
	for i := range maxNews {
		path := imagePath(i * 199)
		number, _ := c.universe.find(hashPath(path))
		diff.news.Add(number)
		named = append(named, File{Path: path})
	}
	c.release.learn(&diff, c.universe, named, time.Now())
	for b.Loop() {
		c.publish()
		c.Behind("https://m7.example.org/")
	}
}
