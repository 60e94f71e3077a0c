//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
)

// A served is a server in this process, whose list of mirrors is a file.
type served struct {
	*server
	path string
}

// serveHere runs a server on a list until the test ends. Both faces are open once it returns.
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
	var inForce atomic.Pointer[config.Server]
	inForce.Store(c)
	list, err := newList(&inForce, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.server, err = newServer(context.Background(), nil, &inForce, "", list, zap.NewNop(), zap.NewAtomicLevel()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	<-s.opened
	return s
}

func (s *served) write(t testing.TB, text []byte) {
	t.Helper()
	if err := os.WriteFile(s.path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		t.Fatal(err)
	}
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
		time.Sleep(time.Millisecond)
	}
}

// manyMirrors is a list with all keys that are usual. Two editions differ in each tenth mirror.
func manyMirrors(mirrors, edition int, named bool) []byte {
	data := []byte(`{"version": 1, "mirrors": [`)
	for i := range mirrors {
		if i > 0 {
			data = append(data, ',')
		}
		host, weight := fmt.Sprintf("m%d", i), i%100+1
		if i%10 == 0 {
			host, weight = fmt.Sprintf("m%d-%d", i, edition), edition+1
		}
		data = fmt.Appendf(data, "\n"+`{"url_prefix": "https://%s.example.net/tails/", "rsync_url": "rsync://%s.example.net/tails/", "weight": %d,`+
			` "email": "ops@example.net", "notes": "some notes", "location": {"country": "DE"},`+
			` "dns": {"addresses": ["10.%d.%d.%d", "2001:db8::%x"]}`, host, host, weight, i>>16, i>>8&255, i&255, i+1)
		if named {
			data = fmt.Appendf(data, `, "name": %q`, host)
		}
		data = append(data, '}')
	}
	return append(data, "]}"...)
}

// TestReloadMemory reloads 1,000 times, and wants the memory back, and no goroutine and no file left open.
func TestReloadMemory(t *testing.T) {
	skipUnlessSystem(t)
	const mirrors, reloads = 100, 1000
	editions := [][]byte{manyMirrors(mirrors, 0, true), manyMirrors(mirrors, 1, true)}
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
		time.Sleep(100 * time.Millisecond)
		now := measure()
		before = usage{max(before.heap, now.heap), max(before.goroutines, now.goroutines), max(before.files, now.files)}
	}
	swap(reloads)
	var after usage
	fits := func() bool {
		after = measure()
		return after.heap <= before.heap*11/10 && after.goroutines <= before.goroutines && after.files <= before.files
	}
	// What is under way, a look of the watch perhaps, ends first.
	ok := fits()
	for limit := time.Now().Add(5 * time.Second); !ok && time.Now().Before(limit); ok = fits() {
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("before %+v, after %d reloads %+v", before, reloads, after)
	if !ok {
		t.Errorf("before %+v, after %d reloads %+v: want at most 10 %% more memory, and no more of the rest", before, reloads, after)
	}
}

// BenchmarkReload takes a list of mirrors from its file into answers: read, check, compare, keep, Build, swap.
// The target is 250 ms for 10,000 mirrors.
func BenchmarkReload(b *testing.B) {
	tuneRuntime() // as serve does
	for _, mirrors := range []int{100, 10_000} {
		for _, named := range []bool{false, true} {
			b.Run(fmt.Sprintf("mirrors=%d/named=%v", mirrors, named), func(b *testing.B) {
				editions := [][]byte{manyMirrors(mirrors, 0, named), manyMirrors(mirrors, 1, named)}
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
	editions := [][]byte{manyMirrors(10_000, 0, false), manyMirrors(10_000, 1, false)}
	s := serveHere(b, editions[0])
	report := s.checker.Report()
	for i := 0; b.Loop(); i++ {
		pool, _, err := config.ParsePool("mirrors.json", editions[i%2])
		if err != nil {
			b.Fatal(err)
		}
		snapshot := dnspool.Build(dnspool.Input{
			Pool: pool, Health: report, Previous: s.current.Load(), Now: time.Now(), Rand: newRand(),
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

// BenchmarkLatency is the time from a query to its answer, over UDP, of a server in a process of its own: while
// nothing else happens, and while it reloads 10,000 mirrors over and over.
func BenchmarkLatency(b *testing.B) {
	for _, reloading := range []bool{false, true} {
		b.Run(fmt.Sprintf("reloading=%v", reloading), func(b *testing.B) {
			c, where := newServerConfig(b)
			c.set("health", "enabled", false)
			c.json["mirrors_refresh"] = "1h"
			editions := []string{string(manyMirrors(10_000, 0, false)), string(manyMirrors(10_000, 1, false))}
			p := c.serve(b, where, editions[0])
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			if reloading {
				running.Go(func() {
					for i := 1; ctx.Err() == nil; i++ {
						c.write(b, "mirrors.json", editions[i%2])
						resp, err := http.Post("http://"+p.admin+"/api/v1/reload", "", nil)
						if err != nil {
							b.Error(err)
							return
						}
						resp.Body.Close()
					}
				})
			}
			latencies := measureLatency(b, p.dns)
			cancel()
			running.Wait()
			slices.Sort(latencies)
			b.ReportMetric(float64(latencies[len(latencies)*50/100].Microseconds()), "p50-µs")
			b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds()), "p99-µs")
			p.stop(b)
		})
	}
}

// measureLatency asks a server as often as the benchmark wants.
func measureLatency(b *testing.B, server string) (latencies []time.Duration) {
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	conn, err := dns.Dial("udp", server)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for b.Loop() {
		start := time.Now()
		if err := conn.WriteMsg(req); err != nil {
			b.Fatal(err)
		}
		if resp, err := conn.ReadMsg(); err != nil || len(resp.Answer) == 0 {
			b.Fatal(err, resp)
		}
		latencies = append(latencies, time.Since(start))
		time.Sleep(time.Millisecond) // as from many clients, and not one that waits
	}
	return latencies
}

// TestManyMirrors holds the text that the benchmarks use to what it is meant to be.
func TestManyMirrors(t *testing.T) {
	a, b := manyMirrors(100, 0, true), manyMirrors(100, 1, true)
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
