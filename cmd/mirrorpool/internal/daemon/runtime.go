package daemon

import (
	"context"
	"io/fs"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// With fewer threads than this the scheduler, not the kernel, decides what waits.
	minThreads = 8
	// startGCPercent is that until the faces are open: what is read then is collected once, and returned.
	startGCPercent = 200
	// gcPercent is by how much the heap may grow before it is collected, in percent of what is in use: little, for to
	// answer by DNS or plain HTTP allocates nothing. A TLS handshake takes 40 kB. Under such a load it is busyGCPercent,
	// as far as maxGarbage permits: with few mirrors 2 MB are in use, and to collect so often took a tenth of the time.
	gcPercent     = 50
	busyGCPercent = 800
	busyRate      = 24 << 20 // bytes allocated in a second, as an average over some seconds
	// Where much is in use, as with thousands of mirrors or connections, the heap may grow by maxGarbage, or by a
	// fourth.
	maxGarbage   = 32 << 20
	minGCPercent = 25
	// With tens of mirrors a collection takes 2 ms, so it may come often: the heap grows by minGCPercent only.
	smallHeap  = 8 << 20
	gcInterval = 100 * time.Millisecond // between looks at what is in use
	// A long list takes much memory for a moment. With 10,000 mirrors in use it was collected eight times meanwhile, for
	// half of the time that a reload takes.
	listGCPercent = 200
	listTime      = 2 * time.Second
)

// tuneRuntime keeps memory small, and queries quick while a long list is reloaded, unless the environment says
// otherwise.
//
// Go's scheduler lets a goroutine that computes go on for 10 ms before another one gets its CPU. On a machine with
// two, a reload takes one and the garbage collector the other, and queries wait: 15 ms at the 99th percentile for
// 10,000 mirrors. With more threads than CPUs the kernel decides, which prefers the threads of readers (see
// LockReaderThread in dnspool/listen); with 8 of them one is left for a reader most of the time, with 4 it was not.
// BenchmarkLatency measures it, and so does testdata/bench growth. Where a container may use but a part of the CPUs,
// more threads would only use that up sooner.
func tuneRuntime() {
	threads := runtime.GOMAXPROCS(0) // as many as there are CPUs, or as the container may use
	if os.Getenv("GOMAXPROCS") == "" && threads < minThreads && threads == runtime.NumCPU() {
		runtime.GOMAXPROCS(minThreads)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startGCPercent)
	}
	if limit := memoryLimit(os.DirFS("/")); os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// memoryLimit returns how many bytes the process' control group, and those around it, let it have; 0: there is no
// limit. It is of version 2, as in cgroups(7).
func memoryLimit(root fs.FS) (limit int64) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	_, group, ok := strings.Cut("\n"+string(text), "\n0::/")
	if !ok {
		return 0
	}
	for group = strings.TrimSpace(group); ; group = path.Dir(group) {
		text, err := fs.ReadFile(root, path.Join("sys/fs/cgroup", group, "memory.max"))
		if n, parseErr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && parseErr == nil {
			if limit == 0 || n < limit {
				limit = n
			}
		}
		if group == "." || group == "" {
			return limit
		}
	}
}

// A collector sets how much the heap may grow before it is collected.
type collector struct {
	mu      sync.Mutex
	percent int       // in force; 0: it is left alone
	lenient time.Time // until then it is at least listGCPercent
	apply   func(percent int) int
}

// expectList is called when a new list of mirrors is about to be taken over.
func (c *collector) expectList() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lenient = time.Now().Add(listTime)
	c.set(max(c.percent, listGCPercent))
}

// adjust sets what garbagePercent returns, or more if a list is taken over.
func (c *collector) adjust(live uint64, rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	percent := garbagePercent(live, rate)
	if time.Now().Before(c.lenient) {
		percent = max(percent, listGCPercent)
	}
	c.set(percent)
}

// set changes the percentage, which stops the program for a moment. c.mu is held.
func (c *collector) set(percent int) {
	if c.percent != 0 && c.percent != percent {
		c.percent = percent
		c.apply(percent)
	}
}

// start begins with what tuneRuntime has set.
func (c *collector) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.percent = startGCPercent
}

// boundGarbage returns to the system what the start has left, and then lets the heap grow by less, the more of it is in
// use, until ctx ends. It leaves what the environment says.
func (d *Daemon) boundGarbage(ctx context.Context) error {
	select {
	case <-d.opened:
	case <-ctx.Done():
		return nil
	}
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.FreeOSMemory()
	d.collector.start()
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	allocated, rate := samples[1].Value.Uint64(), 0.0
	for {
		d.collector.adjust(samples[0].Value.Uint64(), rate)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		before := allocated
		metrics.Read(samples)
		allocated = samples[1].Value.Uint64()
		rate = smooth(rate, float64(allocated-before)/gcInterval.Seconds())
	}
}

// smooth returns the average of a rate over the latest 10 seconds, about: some scrapes in a row are no load.
func smooth(average, now float64) float64 { return average + (now-average)/100 }

// garbagePercent returns how much the heap may grow before it is collected, in steps: to change it stops the program
// for a moment. live is what is in use, in bytes, and rate what is allocated in a second.
func garbagePercent(live uint64, rate float64) int {
	const step = 25
	most := gcPercent
	switch {
	case rate > busyRate:
		most = busyGCPercent
	case live < smallHeap:
		most = minGCPercent
	}
	percent := int(maxGarbage*100/max(live, 1)) / step * step
	return min(most, max(minGCPercent, percent))
}
