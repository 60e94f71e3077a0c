package testbed

import (
	"bytes"
	"testing"

	"mirrorpool/config"
)

// TestManyMirrors holds the text that the benchmarks use to what it is meant to be.
func TestManyMirrors(t *testing.T) {
	a, b := ManyMirrors(100, 0, true), ManyMirrors(100, 1, true)
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
