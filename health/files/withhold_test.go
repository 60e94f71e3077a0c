package files

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestWithhold keeps a mirror from serving a file, whatever its listing and its web server say, and says why.
func TestWithhold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/o", OnDemand: true}, map[string]int64{"x": 10, "y": 20}, "a", "web")
		defer w.stop()
		a, web := w.catalog.Number(prefixOf("a")), w.catalog.Number(prefixOf("web"))
		w.catalog.Withhold(map[uint64][]int{hashPath("x"): {a, web}})
		w.catalog.AskEach(t.Context(), "x", []Candidate{
			{a, prefixOf("a") + "x", netip.MustParseAddr("192.0.2.1")}, {web, prefixOf("web") + "x", netip.MustParseAddr("192.0.2.1")},
		})
		for range 2 { // the second time, from what is at hand
			k := w.catalog.Find("x", time.Now())
			if k.Status != Published || Contains(k.Any, a) || Contains(k.Any, web) {
				t.Errorf("carriers of a withheld file: %+v", k)
			}
		}
		if !Contains(w.catalog.Find("y", time.Now()).Has, a) {
			t.Error("the mirror does not serve another file")
		}
		if got := w.catalog.Copies("x")[prefixOf("a")].State; got != CopyCorrupt {
			t.Errorf("its copy is %q", got)
		}
		if !w.catalog.MayHave(a, "x") || w.catalog.MayHave(a, "z") {
			t.Error("it is not read any more, or for what it lacks")
		}
		w.catalog.Withhold(nil)
		if k := w.catalog.Find("x", time.Now()); !Contains(k.Has, a) || !Contains(k.Has, web) {
			t.Errorf("once it may serve the file again: %+v", k)
		}
	})
}

// TestWithholdMute keeps a mirror from serving a file that gives no answer for now.
func TestWithholdMute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/o", OnDemand: true}, map[string]int64{"x": 10}, "web")
		defer w.stop()
		web := w.catalog.Number(prefixOf("web"))
		w.catalog.answers.leaveAlone(web, time.Now().Add(time.Minute))
		if k := w.catalog.Find("x", time.Now()); !Contains(k.Mute, web) {
			t.Fatalf("it is not mute: %+v", k)
		}
		w.catalog.Withhold(map[uint64][]int{hashPath("x"): {web}})
		if k := w.catalog.Find("x", time.Now()); Contains(k.Mute, web) {
			t.Errorf("carriers of a withheld file: %+v", k)
		}
	})
}

// TestMayHaveKeepsNothing has what clients ask for stay at hand, and their folders be the ones that are listed, while
// all files are looked at.
func TestMayHaveKeepsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/o", OnDemand: true}, map[string]int64{"a/x": 10, "b/y": 20}, "web")
		defer w.stop()
		w.catalog.mu.Lock()
		w.catalog.bigTree = 1
		w.catalog.publish()
		w.catalog.mu.Unlock()
		web := w.catalog.Number(prefixOf("web"))
		for range 3 {
			if !w.catalog.MayHave(web, "a/x") {
				t.Error("it may not have the file")
			}
		}
		table := w.catalog.table.Load()
		slot := hashPath("a/x") % hotFiles
		if table.hot[slot].Load() != nil || table.asked[slot].Load() != 0 {
			t.Error("the file is at hand")
		}
		if folders := w.catalog.demand.folders(time.Now()); len(folders) > 0 {
			t.Errorf("clients asked for %q", folders)
		}
	})
}

// TestSetVerified tells of the verified copies of mirrors that carry the file and may serve it.
func TestSetVerified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/o", OnDemand: true}, map[string]int64{"x": 10, "y": 20}, "a", "b", "lacks", "corrupt")
		defer w.stop()
		w.do(func() { delete(w.trees["lacks"], "x") })
		time.Sleep(2 * testInterval)
		all := []uint64{^uint64(0), ^uint64(0)} // more than there are mirrors
		w.catalog.Withhold(map[uint64][]int{hashPath("x"): {w.catalog.Number(prefixOf("corrupt"))}})
		w.catalog.SetVerified(map[uint64][]uint64{hashPath("x"): all, hashPath("y"): {}})
		time.Sleep(hotExpiry)
		for range 2 { // the second time, from what is at hand
			k := w.catalog.Find("x", time.Now())
			for name, want := range map[string]bool{"a": true, "b": true, "lacks": false, "corrupt": false} {
				if Contains(k.Verified, w.catalog.Number(prefixOf(name))) != want {
					t.Errorf("the copy of %s is verified: %v, want %v", name, !want, want)
				}
			}
			if !isEmpty(w.catalog.Find("y", time.Now()).Verified) {
				t.Error("copies of another file are verified")
			}
		}
		w.catalog.SetVerified(nil)
		time.Sleep(hotExpiry)
		if k := w.catalog.Find("x", time.Now()); !isEmpty(k.Verified) {
			t.Errorf("copies are verified still: %v", k.Verified)
		}
	})
}
