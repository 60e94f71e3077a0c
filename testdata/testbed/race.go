//go:build race

package testbed

// Race reports whether the race detector is on, which costs memory and time.
const Race = true
