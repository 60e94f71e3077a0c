//go:build linux

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// A served is a daemon in this process, whose list of mirrors is a file.
type served struct {
	*Daemon
	path string
}

// serveHere runs a daemon on a list until the test ends. Both faces are open once it returns.
func serveHere(t testing.TB, text []byte) *served {
	t.Helper()
	dir := t.TempDir()
	c, _, err := config.ParseServer(filepath.Join(dir, "mirrorpool.json"), []byte(`{
 "mirrors_refresh": "1h", "mirrors_guard": 0, "state_dir": "state",
 "dns": {"listen": ["127.0.0.1:0"], "zone": "dl.example.org", "nameservers": ["ns1.example.org"]},
 "http": {"listen": ["127.0.0.1:0"]}, "admin": {"listen": "-"}, "health": {"enabled": false}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := &served{path: c.Mirrors}
	s.write(t, text)
	if s.Daemon, err = New(t.Context(), Options{Config: c, Log: zap.NewNop(), Level: zap.NewAtomicLevel()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	<-s.opened
	return s
}

func (s *served) write(t testing.TB, text []byte) {
	t.Helper()
	testbed.Put(t, s.path, text)
}

// swap reads the list again, and waits until a snapshot of it is in force. Editions of a list differ in the
// first mirror.
func (s *served) swap(t testing.TB) {
	t.Helper()
	if answer := s.reload(context.Background(), admin.ReloadOptions{}); !answer.OK {
		t.Fatalf("%+v", answer)
	}
	first := s.list.Pool().Mirrors[0].URLPrefix
	for s.current.Load().Mirrors[0].URLPrefix != first {
		time.Sleep(time.Millisecond) // between two looks
	}
}

// TestReloadMemory reloads 1,000 times, and wants the memory back, and no goroutine and no file left open.
func TestReloadMemory(t *testing.T) {
	testbed.SkipLong(t)
	const mirrors, reloads = 100, 1000
	editions := [][]byte{testbed.ManyMirrors(mirrors, 0, true), testbed.ManyMirrors(mirrors, 1, true)}
	s := serveHere(t, editions[0])
	swap := func(n int) {
		for i := range n {
			s.write(t, editions[(i+1)%2])
			if answer := s.reload(t.Context(), admin.ReloadOptions{}); !answer.OK {
				t.Fatalf("%+v", answer)
			}
			s.rebuild() // as follow does, in a moment
		}
	}
	type usage struct{ heap, goroutines, files int }
	measure := func() usage {
		runtime.GC()
		runtime.GC() // finalizers of the first run free what the second one finds
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			files = nil // not on this system
		}
		return usage{int(m.HeapAlloc), runtime.NumGoroutine(), len(files)}
	}
	swap(50)
	// What comes and goes by itself, pools of the standard library among it, counts as there before.
	var before usage
	for range 5 {
		time.Sleep(100 * time.Millisecond) // a sample, and not a wait for something
		now := measure()
		before = usage{max(before.heap, now.heap), max(before.goroutines, now.goroutines), max(before.files, now.files)}
	}
	swap(reloads)
	testbed.EventuallyNil(t, func() error { // what is under way, a look of the watch perhaps, ends first
		after := measure()
		if after.heap <= before.heap*11/10 && after.goroutines <= before.goroutines && after.files <= before.files {
			t.Logf("before %+v, after %d reloads %+v", before, reloads, after)
			return nil
		}
		return fmt.Errorf("before %+v, after %d reloads %+v: want at most 10 %% more memory, and no more of the rest", before,
			reloads, after)
	})
}

// BenchmarkReload takes a list of mirrors from its file into answers: read, check, compare, keep, Build, swap.
// The target is 250 ms for 10,000 mirrors.
func BenchmarkReload(b *testing.B) {
	tuneRuntime() // as serve does
	for _, mirrors := range []int{100, 10_000} {
		for _, named := range []bool{false, true} {
			b.Run(fmt.Sprintf("mirrors=%d/named=%v", mirrors, named), func(b *testing.B) {
				editions := [][]byte{testbed.ManyMirrors(mirrors, 0, named), testbed.ManyMirrors(mirrors, 1, named)}
				s := serveHere(b, editions[0])
				i, start := 0, cpuTime()
				for b.Loop() {
					i++
					s.write(b, editions[i%2])
					s.swap(b)
				}
				// What other programs do on the machine does not count here.
				b.ReportMetric(float64((cpuTime()-start).Milliseconds())/float64(i), "cpu-ms/op")
			})
		}
	}
}

// BenchmarkLoadBuildSwap is the part of a reload that comes before the new answers, without what the checks and
// the state on disk have to do with it: load, validate, Build, and the swap in both faces.
func BenchmarkLoadBuildSwap(b *testing.B) {
	tuneRuntime()
	editions := [][]byte{testbed.ManyMirrors(10_000, 0, false), testbed.ManyMirrors(10_000, 1, false)}
	s := serveHere(b, editions[0])
	report := s.checker.Report()
	for i := 0; b.Loop(); i++ {
		pool, _, err := config.ParsePool("mirrors.json", editions[i%2])
		if err != nil {
			b.Fatal(err)
		}
		snapshot := dnspool.Build(dnspool.Input{
			Pool: pool, Health: report, Previous: s.current.Load(), Now: time.Now(), Rand: rand.New(globalSource{}),
			Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2},
		})
		s.mu.Lock()
		s.current.Publish(snapshot)
		s.dns.Publish(s.config.Load().DNS, nil, snapshot)
		s.mu.Unlock()
	}
}

// cpuTime is what this process has used, on all CPUs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestManyMirrors holds the text that the benchmarks use to what it is meant to be.
func TestManyMirrors(t *testing.T) {
	a, b := testbed.ManyMirrors(100, 0, true), testbed.ManyMirrors(100, 1, true)
	old, _, err := config.ParsePool("a", a)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := config.ParsePool("b", b)
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Compare(old, next); len(c.Added) != 10 || len(c.Removed) != 10 || bytes.Equal(a, b) {
		t.Errorf("%+v", c)
	}
}
