package daemon

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// With fewer threads than this the scheduler, not the kernel, decides who waits.
	minThreads = 4
	// gcPercent lets the heap grow to four times what is in use before it is collected, which is little in
	// megabytes for a pool of usual size.
	gcPercent = 300
	// Where it is much, as with thousands of connections, the heap may grow by maxGarbage, or by half.
	maxGarbage   = 32 << 20
	minGCPercent = 50
	gcInterval   = 100 * time.Millisecond // between looks at what is in use
)

// tuneRuntime keeps queries quick while a long list is reloaded, unless the environment says otherwise.
//
// Go's scheduler lets a goroutine that computes go on for 10 ms before another one gets its CPU. On a machine with
// two, a reload takes one and the garbage collector the other, and queries wait: 15 ms at the 99th percentile for
// 10,000 mirrors. With more threads than CPUs the kernel decides, which prefers who has waited; with less to
// collect there is less to wait for. BenchmarkLatency measures it.
func tuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < minThreads {
		runtime.GOMAXPROCS(minThreads)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// boundGarbage lets the heap grow by less, the more of it is in use, until ctx ends. It leaves what the environment
// says.
func boundGarbage(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for percent := gcPercent; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		metrics.Read(live)
		if next := garbagePercent(live[0].Value.Uint64()); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
	}
}

// garbagePercent returns how much the heap may grow before it is collected, in steps: to change it stops the program
// for a moment.
func garbagePercent(live uint64) int {
	const step = 25
	percent := int(maxGarbage*100/max(live, 1)) / step * step
	return min(gcPercent, max(minGCPercent, percent))
}
