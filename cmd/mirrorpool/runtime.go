package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// With fewer threads than this the scheduler, not the kernel, decides who waits.
	minThreads = 4
	// gcPercent lets the heap grow to four times what is in use before it is collected, which is little in
	// megabytes for a pool of usual size.
	gcPercent = 300
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
