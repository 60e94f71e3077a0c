package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// largeReport is of so many mirrors, with two addresses in two roles each.
func largeReport(mirrors int) *health.Report {
	r := &health.Report{At: time.Now(), Mirrors: make(map[string]health.MirrorReport, mirrors), Policy: health.Policy{Interval: time.Minute}}
	for i := range mirrors {
		var m health.MirrorReport
		for _, addr := range []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))} {
			for _, role := range []health.Role{health.HTTP, health.DNS} {
				e := health.Endpoint{Address: addr, Role: role, Verdict: health.Verdict{State: health.Up}}
				if i%10 == 0 {
					e.State, e.Reason = health.Down, "connect: timed out"
				}
				m.Endpoints = append(m.Endpoints, e)
			}
		}
		r.Mirrors[fmt.Sprintf("https://mirror%d.example.net/project/", i)] = m
	}
	return r
}

// largeGroup is a group in which so many others have said something of all mirrors.
func largeGroup(tb testing.TB, others, mirrors int) *Group {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "watch.key")
	if err := os.WriteFile(file, []byte(key("one")), 0o600); err != nil {
		tb.Fatal(err)
	}
	g, err := New(Options{Config: config.Watch{Name: "fra", KeyFile: file, Quorum: 0.5}, Log: zap.NewNop(), Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	g.Apply(largeReport(mirrors))
	for i := range others {
		name := fmt.Sprintf("watcher%d", i)
		var book Book
		book.begin(time.Now())
		book.observe(largeReport(mirrors), name)
		m := &member{alive: true, heard: time.Now(), whole: time.Now()}
		var view View // as it comes from another one
		if err := json.Unmarshal(book.view(name).text(), &view); err != nil {
			tb.Fatal(err)
		}
		m.book.Merge(&view, g.wants)
		g.members[name] = m
	}
	return g
}

// memory is how many bytes it takes to hold what 49 others say of 1,000 mirrors, and what that comes to.
func memory(tb testing.TB) (*Group, int64) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g := largeGroup(tb, 49, 1000)
	g.Apply(largeReport(1000))
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return g, int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestMemory holds what a large group takes below 32 MiB. It is alone: other tests would count.
func TestMemory(t *testing.T) {
	g, n := memory(t)
	t.Logf("%.1f MiB", float64(n)/(1<<20))
	if n > 32<<20 || n < 8<<20 {
		t.Errorf("50 watchers and 1,000 mirrors take %d bytes", n)
	}
	runtime.KeepAlive(g)
}

// BenchmarkApply is how long it takes to come to joint verdicts on 1,000 mirrors with 50 watchers, and how much memory
// what they say needs.
func BenchmarkApply(b *testing.B) {
	g, n := memory(b)
	for b.Loop() {
		b.StopTimer()
		r := largeReport(1000)
		b.StartTimer()
		g.Apply(r)
	}
	b.ReportMetric(float64(n)/(1<<20), "MiB")
}

// startMany starts so many watchers on loopback, which all know of the first, with a report of so many mirrors, and
// waits until they have found each other.
func startMany(b testing.TB, watchers, mirrors int) []*Group {
	b.Helper()
	port := testbed.FreePort(b, "127.0.25.1")
	groups := make([]*Group, watchers)
	for i := range groups {
		file := filepath.Join(b.TempDir(), "watch.key")
		if err := os.WriteFile(file, []byte(key("one")), 0o600); err != nil {
			b.Fatal(err)
		}
		var err error
		groups[i], err = New(Options{Config: config.Watch{Name: fmt.Sprint("w", i), Listen: fmt.Sprintf("127.0.25.%d:%s", i+1, port),
			Join: []string{"127.0.25.1:" + port}, KeyFile: file, Quorum: 0.5}, Log: zap.NewNop(), Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan struct{})
		go func() { defer close(done); groups[i].Run(ctx, func() bool { return true }) }()
		b.Cleanup(func() { cancel(); <-done })
		groups[i].Apply(largeReport(mirrors))
	}
	await(b, groups, func(g *Group) bool { return g.size() == watchers })
	return groups
}

// await waits until ok of all groups.
func await(b testing.TB, groups []*Group, ok func(g *Group) bool) {
	b.Helper()
	for _, g := range groups {
		for deadline := time.Now().Add(time.Minute); !ok(g); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("it does not come to pass; %d are there", g.size())
			}
		}
	}
}

// TestManyWatchers has a mirror fail for 20 of 50 watchers, which is not enough, and for ten more: soon it is down for
// all.
func TestManyWatchers(t *testing.T) {
	if testing.Short() {
		t.Skip("50 watchers take a while with the race detector")
	}
	const watchers, limit, aim = 50, 20 * time.Second, 2 * time.Second
	groups := startMany(t, watchers, 20)
	down := 0 // for so many of them it is
	joint := func(i int) health.State {
		r := largeReport(20)
		e := &r.Mirrors["https://mirror1.example.net/project/"].Endpoints[0]
		if i < down {
			e.State = health.Down
		}
		groups[i].Apply(r)
		return e.State
	}
	become := func(want health.State) {
		began := time.Now()
		for i := range down {
			joint(i)
		}
		for i := range groups {
			for joint(i) != want {
				if time.Since(began) > limit {
					t.Fatalf("not %v for watcher %d after %v", want, i, limit)
				}
				time.Sleep(time.Millisecond)
			}
		}
		t.Logf("%v for all after %v, aim %v", want, time.Since(began), aim)
	}
	await(t, groups, func(g *Group) bool { // what each says has to be heard by each, or fewer would be enough
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.counted(time.Now())) == watchers-1
	})
	become(health.Up)
	down = 20
	become(health.Up)
	down = 30
	become(health.Down)
}

// BenchmarkSpread is how long it takes until the last of 50 watchers has heard of a change.
func BenchmarkSpread(b *testing.B) {
	groups := startMany(b, 50, 20)
	serial := uint32(0)
	for b.Loop() {
		serial++
		groups[1].Announce(ZoneVersion{Serial: serial})
		await(b, groups, func(g *Group) bool { return g == groups[1] || g.ZoneVersions()["w1"].Serial == serial })
	}
}

// BenchmarkTraffic is how much five watchers of 100 mirrors send, each, while a mirror changes its state every second.
// It counts what goes over loopback, and is of use in a network namespace where nothing else does:
//
//	unshare -n sh -c 'ip link set lo up && go test ./health/watch -run xxx -bench Traffic -benchtime 60x'
func BenchmarkTraffic(b *testing.B) {
	const watchers = 5
	groups := startMany(b, watchers, 100)
	before, began, i := loopbackBytes(b), time.Now(), 0
	for b.Loop() {
		i++
		r := largeReport(100)
		m := r.Mirrors["https://mirror1.example.net/project/"]
		if i%2 == 0 {
			m.Endpoints[0].State, m.Endpoints[0].Reason = health.Down, "connect: timed out"
		}
		groups[i%watchers].Apply(r)
		time.Sleep(time.Second)
	}
	b.ReportMetric(float64(loopbackBytes(b)-before)/time.Since(began).Seconds()/watchers/1000, "kB/s")
}

// loopbackBytes is how much has been sent over loopback.
func loopbackBytes(b *testing.B) (n int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		b.Skip(err)
	}
	_, counts, _ := strings.Cut(string(text), "lo:")
	fmt.Sscan(counts, &n) // received bytes, which on loopback are those sent
	return n
}
