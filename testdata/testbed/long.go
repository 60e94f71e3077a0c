package testbed

import (
	"os"
	"testing"
)

// Long reports whether tests that can go on for long should.
func Long() bool { return os.Getenv("MIRRORPOOL_TEST_LONG") != "" }

// SkipLong skips a test that takes long with -short, and with the race detector: it is about memory or speed, or about
// the built program, which the race detector does not see.
func SkipLong(t *testing.T) {
	t.Helper()
	if testing.Short() || Race {
		t.Skip("a long test: it runs without -short and -race")
	}
}
