package verify

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"
)

// speedy returns a verifier of mirrors that send at speeds, in bytes a second; 0: not known.
func speedy(least int64, speeds map[string]float64) *Verifier {
	v := New(Options{Settings: Settings{Rate: 1, MinRate: least}, Log: zap.NewNop(), Changed: func() {}})
	for prefix, speed := range speeds {
		m := &mirror{Mirror: Mirror{URLPrefix: prefix}, done: roaring.New(), corrupt: map[uint32]*Finding{}}
		for range enoughSpeeds {
			m.speeds.add(speed)
		}
		v.mirrors[prefix] = m
	}
	return v
}

// TestSlow has mirrors slower than they may be, and half of them so: then it is this host's line.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		least  int64
		speeds map[string]float64
		want   string
	}{
		"no least speed":      {0, map[string]float64{"a": 1, "b": 100, "c": 100}, ""},
		"one of three":        {10, map[string]float64{"a": 9, "b": 100, "c": 100}, "a"},
		"as fast as is asked": {10, map[string]float64{"a": 10, "b": 100, "c": 100}, ""},
		"half":                {10, map[string]float64{"a": 9, "b": 9, "c": 100, "d": 100}, ""},
		"just below half":     {10, map[string]float64{"a": 9, "b": 9, "c": 100, "d": 100, "e": 100}, "a b"},
		"of those known":      {10, map[string]float64{"a": 9, "b": 100, "c": 0, "d": 0}, ""},
		"not known":           {10, map[string]float64{"a": 0, "b": 100, "c": 100}, ""},
		"the only one":        {10, map[string]float64{"a": 9}, ""},
	} {
		v := speedy(test.least, test.speeds)
		if got := strings.Join(slices.Sorted(maps.Keys(v.Troubled())), " "); got != test.want {
			t.Errorf("%s: %q are slow, want %q", name, got, test.want)
		}
	}
}

// TestTroubled holds mirrors that serve nothing or are slow, and not those with but a corrupt file.
func TestTroubled(t *testing.T) {
	t.Parallel()
	v := speedy(10, map[string]float64{"slow": 9, "condemned": 100, "corrupt": 100, "good": 100, "better": 100})
	finding := &Finding{Path: "y"}
	v.mirrors["condemned"].condemned = finding
	v.mirrors["corrupt"].corrupt = map[uint32]*Finding{0: finding, 1: {Path: "x"}, 2: {Path: "z"}}
	if got := strings.Join(slices.Sorted(maps.Keys(v.Troubled())), " "); got != "condemned slow" {
		t.Errorf("troubled: %s", got)
	}
	if got := len(v.Report()); got != 5 {
		t.Errorf("%d mirrors are reported, want all 5", got)
	}
	if got := v.Corrupt(); len(got) != 1 || strings.Join(got["corrupt"], "") != "xyz" {
		t.Errorf("corrupt: %v", got)
	}
}

// TestPardonOfNothing has mirrors pardoned of which nothing was found, and one that is not in the list.
func TestPardonOfNothing(t *testing.T) {
	t.Parallel()
	v := speedy(0, map[string]float64{"condemned": 1, "good": 1})
	changes := 0
	v.Options.Changed = func() { changes++ }
	v.mirrors["good"].done.Add(1)
	v.Pardon("good")
	v.Pardon("gone")
	if changes != 0 || !v.mirrors["good"].done.Contains(1) {
		t.Errorf("%d changes, and the files read are %v", changes, v.mirrors["good"].done)
	}
	v.mirrors["condemned"].condemned = &Finding{Path: "x"}
	v.mirrors["condemned"].done.Add(1)
	if v.Pardon("condemned"); changes != 1 || v.mirrors["condemned"].condemned != nil || !v.mirrors["condemned"].done.IsEmpty() {
		t.Errorf("%d changes, and the mirror is %+v", changes, v.mirrors["condemned"])
	}
}

// TestSavesAgain saves what could not be saved the last time.
func TestSavesAgain(t *testing.T) {
	t.Parallel()
	v := speedy(0, map[string]float64{"a": 1})
	folder := filepath.Join(t.TempDir(), "state")
	v.StateFile, v.dirty = filepath.Join(folder, "verified"), true
	v.SaveState()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	v.SaveState()
	if _, err := os.Stat(v.StateFile); err != nil {
		t.Error(err)
	}
}
