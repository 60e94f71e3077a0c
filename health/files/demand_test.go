package files

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestFoldersOfBigTrees: of a tree too big to be listed as a whole for each release, the folders are listed that
// clients ask for.
func TestFoldersOfBigTrees(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := tree()
		origin["asked/x.deb"], origin["asked/below/z.deb"], origin["other/y.deb"] = 7, 8, 9
		w := newWorld(t, Settings{Origin: "/origin"}, origin, "a", "b")
		defer w.stop()
		w.catalog.mu.Lock()
		w.catalog.bigTree = 2
		w.catalog.mu.Unlock()
		w.do(func() { w.trees["a"] = tree() })
		after(testInterval)
		w.want("asked/x.deb", "lacks has") // which a client asks for, too
		w.do(func() { w.trees["a"] = maps.Clone(origin); w.traces["a"] = time.Unix(2, 0) })
		w.observe(time.Unix(1, 0))
		after(time.Minute)
		w.want("asked/x.deb", "has has")
		w.want("other/y.deb", "lacks has")
		w.want("asked/below/z.deb", "lacks has")
		after(2 * time.Minute)
		w.want("other/y.deb", "has has")
		if whole, all := w.listings["a"], w.visits["a"]; whole != 2 || all > 6 {
			t.Errorf("%d listings, %d of them of the whole tree, want two of that", all, whole)
		}
		before := w.visits["a"]
		after(3 * time.Hour)
		if again := w.visits["a"] - before; again > 40 {
			t.Errorf("%d listings although clients ask for nothing", again)
		}
	})
}

// TestDemandIsBounded: folders that clients go on asking for are kept, and make room for others when that ends.
func TestDemandIsBounded(t *testing.T) {
	t.Parallel()
	var d demand
	for i := range 3 * maxDemand {
		d.note(fmt.Sprintf("folder%d/file", i), testTime.Add(time.Duration(i)*time.Second))
		d.note("top", testTime.Add(time.Duration(i)*time.Second))
	}
	folders := d.folders(testTime)
	if len(folders) > maxDemand || len(folders) < int(demandForMany/time.Second) || !slices.Contains(folders, "") {
		t.Errorf("%d folders: %v", len(folders), folders)
	}
	for _, folder := range folders {
		var n int
		if _, err := fmt.Sscanf(folder, "folder%d", &n); folder != "" && (err != nil || n < maxDemand) {
			t.Errorf("%q is kept", folder)
		}
	}
	if left := d.folders(testTime.Add(24 * time.Hour)); len(left) > 0 {
		t.Errorf("%d folders a day later", len(left))
	}
}
