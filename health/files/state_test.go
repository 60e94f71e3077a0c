package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestState: what was known before a restart is known after it, before anything is listed again.
func TestState(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "files")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a", "b")
		w.do(func() { w.origin["new.iso"] = 5; w.trees["a"]["new.iso"] = 5; delete(w.trees["b"], "old.iso") })
		after(testInterval)
		w.want("new.iso", "has lacks")
		w.catalog.StateFile = file
		w.catalog.SaveState()
		w.stop()

		again := NewCatalog(Options{StateFile: file, Settings: Settings{Origin: "/origin", Interval: testInterval},
			Log: zap.NewNop(), Now: time.Now})
		again.LoadState()
		w.catalog = again
		w.observe(time.Unix(1, 0))
		w.want("new.iso", "has lacks")
		w.want("old.iso", "has lacks")
		w.want("stable/a.iso", "has has")
		if o := again.Overview(); o.Files != 4 || o.Release.Count != 1 || o.Release.Complete != 1 ||
			o.Release.Files[0].Missing[0] != prefixOf("b") {
			t.Errorf("%+v", o)
		}
		if got := again.Find("nothing", time.Now()).Status; got != Unpublished {
			t.Errorf("status %v", got)
		}

		other := NewCatalog(Options{StateFile: file, Settings: Settings{Origin: "/another", Interval: testInterval},
			Log: zap.NewNop(), Now: time.Now})
		other.LoadState()
		if o := other.Overview(); o.Files != 0 {
			t.Errorf("%d files of another origin", o.Files)
		}
	})
}

// TestBrokenState: a file that was cut, or whose parts do not fit together, is set aside.
func TestBrokenState(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "files")
	for _, text := range []string{"garbage", "mirrorpool-files 1 sha256:0\n", strings.Repeat("x", 10000)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := NewCatalog(Options{StateFile: file, Log: zap.NewNop(), Now: time.Now})
		c.LoadState()
		if _, err := os.Stat(file + ".bad"); err != nil || c.Overview().Files != 0 {
			t.Errorf("%q: %v", text, err)
		}
	}
	c := NewCatalog(Options{Log: zap.NewNop(), Now: time.Now})
	for name, s := range map[string]savedState{
		"lengths": {Hashes: []uint64{1}},
		"numbers": {Hashes: []uint64{1}, Numbers: []uint32{7}, Sizes: []int64{1}, Versions: []uint32{1}, Kinds: []byte{1}},
		"twice": {Hashes: []uint64{1, 2}, Numbers: []uint32{0, 0}, Sizes: []int64{1, 1}, Versions: []uint32{1, 1},
			Kinds: []byte{1, 1}},
		"not sorted": {Hashes: []uint64{2, 1}, Numbers: []uint32{0, 1}, Sizes: []int64{1, 1}, Versions: []uint32{1, 1},
			Kinds: []byte{1, 1}},
		"bitmap": {Mirrors: []savedMirror{{URLPrefix: "x", Has: []byte("garbage")}}},
	} {
		if err := c.restore(&s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestUnmirrored: a release is complete on a mirror that has all of its files but those that no mirror is asked for.
func TestUnmirrored(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][2]int{"": {2, 0}, "*.sig": {1, 1}, "new.*": {0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Settings{Origin: "/origin", Unmirrored: Patterns{pattern}}, tree(), "a", "b")
			defer w.stop()
			w.do(func() { w.origin["new.iso"], w.origin["new.iso.sig"] = 5, 1; w.trees["a"]["new.iso"] = 5 })
			after(testInterval)
			r := w.catalog.Overview().Release
			if got := [2]int{r.Count, r.Complete}; got != want || len(r.Files) != r.Count {
				t.Errorf("%q: %d files, complete on %d mirrors; want %v: %+v", pattern, r.Count, r.Complete, want, r)
			}
		})
	}
}
