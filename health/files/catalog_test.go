package files

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestRelease follows a release: the traces come first, the files later, and each mirror is used from soon after it has
// them.
func TestRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin", OnDemand: true}, tree(), "a", "b", "web")
		defer w.stop()
		w.want("old.iso", "has has unknown")
		w.do(func() { w.origin["new/x.iso"] = 500 })
		if got := w.catalog.Find("new/x.iso", time.Now()).Status; got != Unpublished {
			t.Errorf("status %v before the origin is read", got)
		}
		w.observe(time.Unix(2, 0)) // the reference has changed
		after(minPause)
		w.want("new/x.iso", "lacks lacks unknown")
		w.do(func() { w.traces["a"] = time.Unix(2, 0); w.trees["a"]["new/x.iso"] = 100 }) // a part of it
		w.observe(time.Unix(2, 0))
		after(10 * time.Second)
		w.want("new/x.iso", "lacks lacks unknown")
		after(4 * time.Minute)
		w.do(func() { w.trees["a"]["new/x.iso"] = 500 })
		after(time.Minute)
		w.want("new/x.iso", "has lacks unknown")
		w.want("old.iso", "has has unknown")
		release := w.catalog.Overview().Release
		if f := release.Files; release.Count != 1 || len(f) != 1 || f[0].Mirrors != 1 || len(f[0].Missing) != 2 {
			t.Errorf("release %+v", release)
		}
		if what, since := w.catalog.Behind(prefixOf("b")); what != "lacks 1 of 1 files of the release, new/x.iso" || since.IsZero() {
			t.Errorf("b %s since %v", what, since)
		}
		if what, _ := w.catalog.Behind(prefixOf("a")); what != "" {
			t.Errorf("a %s", what)
		}
		lacks, count, err := w.catalog.Lacks(t.Context(), prefixOf("b"))
		if err != nil || count != 1 || len(lacks) != 1 || lacks[0] != (Lack{File{"new/x.iso", 500, 1000}, CopyLacking}) {
			t.Errorf("b lacks %v of %d, %v", lacks, count, err)
		}
		copies := w.catalog.Copies("new/x.iso")
		if a, b, web := copies[prefixOf("a")], copies[prefixOf("b")], copies[prefixOf("web")]; a.State != CopyHas ||
			b.State != CopyLacking ||
			web.State != CopyUnknown || time.Since(b.Since) > 5*time.Minute {
			t.Errorf("copies %v", copies)
		}
		if w.listings["a"] != 1 || w.listings["b"] != 1 {
			t.Errorf("the whole tree was listed %v, want once each: the new file is known by name", w.listings)
		}
	})
}

// TestBehind: files of the release are due once mirrors with half of the weight have them.
func TestBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a", "b", "c", "d")
		defer w.stop()
		w.do(func() { w.origin["x.iso"] = 5; w.origin["private"] = 6; w.trees["a"]["x.iso"] = 5 })
		after(10 * time.Minute)
		if what, _ := w.catalog.Behind(prefixOf("d")); what != "" {
			t.Errorf("one of four has it: d %s", what)
		}
		w.do(func() { w.trees["b"]["x.iso"] = 5 })
		after(10 * time.Minute)
		for name, want := range map[string]string{"a": "", "b": "", "c": "lacks 1 of 1 files of the release, x.iso"} {
			if what, _ := w.catalog.Behind(prefixOf(name)); what != want {
				t.Errorf("two of four have it: %s %q, want %q", name, what, want)
			}
		}
	})
}

// TestReleaseDigest is the same for mirrors with the same files of the release, at servers that have numbered them in
// another order; and a mirror that lacks one, by what is known here, is listed again on the word of another server.
func TestReleaseDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a", "b", "c", "web")
		defer w.stop()
		digest := func(w *world, name string) uint64 { return w.catalog.ReleaseDigest(prefixOf(name)) }
		w.do(func() { w.origin["x.iso"], w.origin["y.iso"] = 5, 6 })
		w.do(func() {
			w.trees["a"]["x.iso"], w.trees["a"]["y.iso"], w.trees["b"]["x.iso"], w.trees["c"]["y.iso"] = 5, 6, 5, 6
		})
		after(testInterval)
		for _, pair := range [...]string{"ab", "ac", "bc"} {
			if one, two := digest(w, pair[:1]), digest(w, pair[1:]); one == two || one == 0 {
				t.Errorf("%s and %s have the digests %d and %d", pair[:1], pair[1:], one, two)
			}
		}
		if n := digest(w, "web") + digest(w, "none"); n != 0 {
			t.Errorf("the digest of a mirror that is not known is %d", n)
		}
		other := newWorld(t, Settings{Origin: "/origin"}, tree(), "a")
		defer other.stop()
		for i, path := range []string{"y.iso", "x.iso"} {
			other.do(func() { other.origin[path], other.trees["a"][path] = w.origin[path], w.origin[path] })
			other.observe(time.Unix(int64(2+i), 0))
			after(time.Minute)
		}
		other.do(func() { other.traces["a"] = time.Unix(3, 0) })
		after(testInterval)
		if got := digest(other, "a"); got != digest(w, "a") {
			t.Errorf("another server has the digest %d, want %d; it knows of the release %+v", got, digest(w, "a"), other.catalog.Overview().Release)
		}

		w.do(func() { w.trees["b"]["y.iso"] = 6 })
		visits := w.visits["a"]
		w.catalog.LookAt([]string{prefixOf("a"), prefixOf("b"), prefixOf("none")})
		after(minPause)
		if digest(w, "b") != digest(w, "a") || w.visits["a"] != visits {
			t.Errorf("digests %d and %d; a was listed %d times more", digest(w, "b"), digest(w, "a"), w.visits["a"]-visits)
		}
		visits = w.visits["c"]
		for range 720 { // an hour
			w.catalog.LookAt([]string{prefixOf("c")})
			after(minPause)
		}
		if n := w.visits["c"] - visits; n < 20 || n > 100 {
			t.Errorf("a mirror that lacks a file was listed %d times in an hour, want about 50", n)
		}
	})
}

// TestProblemsAreLogged wants a warning when the origin or a mirror cannot be read, and a notice when it can again.
func TestProblemsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a")
		defer w.stop()
		whole := w.origin
		w.do(func() { w.origin, w.down["a"] = nil, true })
		after(2 * testInterval)
		w.do(func() { w.origin, w.down["a"] = whole, false })
		after(2 * testInterval)
		for message, level := range map[string]zapcore.Level{
			"cannot read files.origin": zap.WarnLevel, "files.origin can be read again": zap.InfoLevel,
			"cannot list a mirror's files": zap.WarnLevel, "a mirror's files can be listed again": zap.InfoLevel,
		} {
			if found := w.logs.FilterMessage(message).All(); len(found) != 1 || found[0].Level != level {
				t.Errorf("%q: %v", message, found)
			}
		}
	})
}

// TestListingFails: the old row stays, with its age, and is worth nothing after three intervals.
func TestListingFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a", "b")
		defer w.stop()
		w.do(func() { w.down["a"] = true })
		after(2 * testInterval)
		w.want("old.iso", "has has")
		status := w.catalog.Overview().Mirrors[prefixOf("a")]
		if status.Problem != "max connections reached" || time.Since(status.Listed) != 2*testInterval {
			t.Errorf("%+v", status)
		}
		after(testInterval + time.Minute)
		w.observe(time.Unix(1, 0))
		w.want("old.iso", "unknown has")
		if w.visits["a"] > 30 {
			t.Errorf("%d visits of a mirror that fails", w.visits["a"])
		}
		w.do(func() { w.down["a"] = false })
		after(testInterval)
		w.want("old.iso", "has has")
	})
}

// TestReread: an origin over rsync is read when the reference changes, until nothing new comes; every interval; and on
// request.
func TestReread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "rsync://origin/pub/"}, tree(), "a")
		defer w.stop()
		after(time.Hour)
		reads := w.readsNow()
		published := func(path string) bool {
			w.do(func() { w.origin[path] = 5 })
			return w.catalog.Find(path, time.Now()).Status == Published
		}
		published("late")
		after(time.Hour)
		if w.readsNow() != reads {
			t.Errorf("read %d times without a reason", w.readsNow()-reads)
		}
		w.catalog.Reread()
		synctest.Wait()
		if !published("late") {
			t.Error("not read on request")
		}
		after(time.Minute)
		reads = w.readsNow()
		w.observe(time.Unix(2, 0))
		after(12 * time.Second) // the trace came first
		if published("slow"); w.readsNow()-reads < 2 {
			t.Errorf("read %d times after the reference has changed", w.readsNow()-reads)
		}
		after(testInterval)
		if !published("slow") {
			t.Error("not read in an interval")
		}
	})
}

// TestOriginFails: what was published stays known, and where nothing is known, the mirrors' listings tell.
func TestOriginFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a")
		defer w.stop()
		w.do(func() { w.origin = nil })
		after(time.Hour)
		w.want("old.iso", "has")
		if o := w.catalog.Overview(); o.OriginProblem != "unreachable" || o.Files != 3 {
			t.Errorf("%+v", o)
		}
		w.do(func() { w.origin = map[string]int64{} })
		after(time.Hour)
		w.want("old.iso", "has") // an origin without files is a mistake
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, nil, "a", "b")
		defer w.stop()
		w.do(func() { w.trees["a"] = tree(); w.trees["b"] = map[string]int64{"old.iso": 100} })
		after(testInterval)
		w.want("stable/a.iso", "has lacks")
		if got := w.catalog.Find("none", time.Now()).Status; got != Unlisted {
			t.Errorf("status %v of what no mirror lists, want that nothing is known", got)
		}
		w.do(func() { w.origin = tree() })
		after(10 * time.Minute)
		w.want("stable/a.iso", "has lacks")
		if got := w.catalog.Find("none", time.Now()).Status; got != Unpublished {
			t.Errorf("status %v of what the origin lacks", got)
		}
	})
}

// TestTraffic computes what a day with four releases costs 100 mirrors with 100,000 files: below 2 GB, at 24 bytes for
// each entry of a listing, and 1 KiB for each conversation.
func TestTraffic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		names := make([]string, 20)
		for i := range names {
			names[i] = fmt.Sprint("m", i)
		}
		w := newWorld(t, Settings{Origin: "/origin", OnDemand: true}, tree(), names...)
		defer w.stop()
		for release := range 4 {
			trace := time.Unix(int64(release+2), 0)
			w.do(func() {
				for i := range 10 {
					w.origin[fmt.Sprintf("release-%d/%d.iso", release, i)] = 1000
				}
			})
			w.observe(trace)
			for i, name := range names {
				after(time.Minute) // one after the other begins to copy
				w.do(func() { w.traces[name] = trace })
				w.observe(trace)
				if i > 0 {
					w.do(func() { w.trees[names[i-1]] = maps.Clone(w.origin) })
				}
			}
			w.do(func() { w.trees[names[len(names)-1]] = maps.Clone(w.origin) })
			after(6*time.Hour - time.Duration(len(names))*time.Minute)
		}
		const mirrors, files = 100, 100_000
		whole, visits := 0, 0
		for _, name := range names {
			whole += w.listings[name]
			visits += w.visits[name]
		}
		bytes := (whole*files*24 + visits<<10) * mirrors / len(names)
		t.Logf("%d listings of whole trees and %d of parts of %d mirrors: %d MB for %d mirrors of %d files",
			whole, visits-whole, len(names), bytes/1_000_000, mirrors, files)
		if bytes >= 2_000_000_000 {
			t.Errorf("%d bytes, want below 2 GB", bytes)
		}
		w.want("release-3/0.iso", strings.TrimSpace(strings.Repeat("has ", len(names))))
	})
}
