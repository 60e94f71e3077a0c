package testbed

import (
	"os"
	"path/filepath"
	"testing"
)

// Root returns a path in the repository.
func Root(t testing.TB, path ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir}, path...)...)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the tests do not run in the repository")
		}
		dir = filepath.Dir(dir)
	}
}
