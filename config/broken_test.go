package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/broken/errors.golden and the tables of keys in README.md files")

// TestBroken holds one bad file per rule, and for each the exact words that its author reads.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.json")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d broken files, want at least 40; error: %v", len(files), err)
	}
	var got strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		warnings, err := parseNamed(filepath.Base(file), data)
		if ok := strings.HasSuffix(file, "-warnings.json"); ok != (err == nil) {
			t.Errorf("%s: error %v", file, err)
		}
		for _, w := range warnings {
			fmt.Fprintf(&got, "warning: %v\n", w)
		}
		for _, e := range Errors(err) {
			fmt.Fprintln(&got, e)
		}
		fmt.Fprintln(&got)
	}
	golden := "testdata/broken/errors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("other words than in %s, which -update rewrites (-want +got):\n%s", golden, diff)
	}
	if strings.Contains(got.String(), "hunter2") {
		t.Error("an error shows a secret")
	}
}

// parseNamed parses a file of the kind that its name begins with.
func parseNamed(name string, data []byte) ([]*Error, error) {
	if strings.HasPrefix(name, "pool-") {
		pool, warnings, err := ParsePool(name, data)
		if (pool == nil) != (err != nil) {
			return nil, fmt.Errorf("%s: pool %v with error %v", name, pool, err)
		}
		return warnings, err
	}
	server, warnings, err := ParseServer(name, data)
	if (server == nil) != (err != nil) {
		return nil, fmt.Errorf("%s: server %v with error %v", name, server, err)
	}
	return warnings, err
}
