package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Need returns the path of a program that a test talks to. Without it the test is skipped, or fails where all peers
// have to be there.
func Need(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, ok := Find(program)
	if !ok {
		Lack(t, "%s is not installed: apt-get install %s", program, debianPackage)
	}
	return path
}

// Find returns the path of a program, for tests that can do without.
func Find(program string) (path string, ok bool) {
	path, err := exec.LookPath(program)
	if err != nil { // Debian keeps servers out of a user's PATH
		path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
	}
	return path, err == nil
}

// Lack skips a test for what this machine lacks, or fails it where all peers have to be there.
func Lack(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("MIRRORPOOL_TEST_PEERS") == "all" {
		t.Fatalf("MIRRORPOOL_TEST_PEERS=all, and "+format, args...)
	}
	t.Skipf(format, args...)
}
