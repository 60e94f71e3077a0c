package verify

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/health/files/checksums"
)

// TestRestart keeps what was verified and what was found; not of files that have changed.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "verified")
		w := newWorld(t, fiveFiles(1<<20), Options{StateFile: state}, "a", "b")
		w.do(func() { w.newest["stable/0.img"] = true })
		w.flip("b", "stable/0.img", 3)
		w.flip("b", "stable/1.img", 3)
		time.Sleep(10 * time.Minute)
		w.stop()
		w.v.SaveState()

		origin := fiveFiles(1 << 20)
		origin["stable/1.img"] = randomText(100, 1<<20+1)
		again := newWorld(t, origin, Options{StateFile: state, Delay: time.Hour}, "a", "b")
		defer again.stop()
		if diff := cmp.Diff([]string{"stable/0.img"}, again.corruptOf("b")); diff != "" {
			t.Errorf("corrupt: -want +got:\n%s", diff)
		}
		if r := again.v.Report(); r["b"].Condemned == nil || r["a"].Verified != 4 {
			t.Errorf("%+v", r)
		}
		time.Sleep(2 * time.Hour)
		if n := again.mirrors["a"].reads["stable/2.img"]; n > 0 {
			t.Errorf("a file that was verified is read %d times", n)
		}
	})
}

// TestLeavesAndReturns keeps what was found of a mirror that leaves the pool and returns, over a restart too; not of a
// file that changes meanwhile, and not for longer than a round.
func TestLeavesAndReturns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		late    bool
		restart bool
		want    []string
	}{
		"soon":            {false, false, []string{"stable/0.img", "stable/2.img"}},
		"after a restart": {false, true, []string{"stable/0.img", "stable/2.img"}},
		"late":            {true, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				state := filepath.Join(t.TempDir(), "verified")
				w := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b")
				w.do(func() { w.newest["stable/0.img"] = true })
				for _, number := range []string{"0", "1", "2"} {
					w.flip("b", "stable/"+number+".img", 3)
				}
				time.Sleep(10 * time.Minute)
				b := w.mirrors["b"]
				w.do(func() { delete(w.mirrors, "b") })
				w.observe()
				w.do(func() { w.origin["stable/1.img"] = randomText(100, 1001) })
				w.publish()
				time.Sleep(time.Hour)
				if test.late {
					w.v.mu.Lock()
					w.v.gone["b"].left = time.Now().Add(-roundTime)
					w.v.mu.Unlock()
				}
				if len(w.v.Report()) != 1 {
					t.Errorf("a mirror that is gone is reported: %+v", w.v.Report())
				}
				w.observe()
				if test.restart {
					w.stop()
					w.v.SaveState()
					w = newWorld(t, w.origin, Options{StateFile: state, Delay: time.Hour}, "a")
				}
				defer w.stop()
				if n := len(w.v.Withheld()["b"]); n != len(test.want) {
					t.Errorf("%d files are withheld while it is gone, want %d", n, len(test.want))
				}
				w.do(func() { w.mirrors["b"] = b })
				w.observe()
				if diff := cmp.Diff(test.want, w.corruptOf("b")); diff != "" {
					t.Errorf("corrupt: -want +got:\n%s", diff)
				}
				if r := w.v.Report()["b"]; (r.Condemned != nil) != (test.want != nil) {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestLeavesDuringRead keeps what a read finds that ends after its mirror has left the pool, and nothing of one that
// finds nothing.
func TestLeavesDuringRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 9<<20)}, Options{}, "a", "b", "c")
		defer w.stop()
		w.flip("b", "x.img", 3)
		all := w.mirrors
		busy := func(prefix string) bool {
			w.v.mu.Lock()
			defer w.v.mu.Unlock()
			return w.v.mirrors[prefix].busy
		}
		for _, prefix := range []string{"b", "c"} {
			w.readAllAgain()
			w.v.hurry()
			for !busy(prefix) {
				time.Sleep(minIdle)
			}
			w.do(func() { w.mirrors = maps.Clone(all); delete(w.mirrors, prefix) })
			w.observe()
			w.do(func() { w.mirrors = all }) // it still answers
			time.Sleep(time.Minute)
			w.v.mu.Lock()
			if _, kept := w.v.gone[prefix]; kept != (prefix == "b") {
				t.Errorf("what was found of %s is kept: %t", prefix, kept)
			}
			w.v.mu.Unlock()
			w.observe()
		}
		if diff := cmp.Diff([]string{"x.img"}, w.corruptOf("b")); diff != "" {
			t.Errorf("corrupt: -want +got:\n%s", diff)
		}
	})
}

// TestLastCorruptFileIsGone has a mirror serve again that was down for a file which the origin has dropped.
func TestLastCorruptFileIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(1000), Options{}, "a", "b")
		defer w.stop()
		w.do(func() { w.newest["stable/0.img"] = true })
		w.flip("b", "stable/0.img", 3)
		time.Sleep(10 * time.Minute)
		if r := w.v.Report()["b"]; r.Condemned == nil || r.Verified != 4 {
			t.Fatalf("%+v", r)
		}
		changes := 0
		w.do(func() { delete(w.origin, "stable/0.img"); changes = w.changes })
		w.publish()
		time.Sleep(2 * idleTime)
		if r := w.v.Report()["b"]; r.Condemned != nil {
			t.Errorf("%+v", r)
		}
		w.do(func() {
			if w.changes == changes {
				t.Error("it was not told")
			}
		})
	})
}

// TestWrongClock takes in what was saved while the clock was ahead: files are read again in time.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "verified")
		ahead := func() time.Time { return time.Now().AddDate(10, 0, 0) }
		w := newWorld(t, fiveFiles(1000), Options{StateFile: state, Now: ahead}, "a", "b")
		w.flip("b", "stable/0.img", 3)
		time.Sleep(10 * time.Minute)
		w.stop()
		w.v.SaveState()
		again := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b")
		defer again.stop()
		if len(again.corruptOf("b")) != 1 {
			t.Fatalf("%+v", again.v.Report())
		}
		time.Sleep(corruptTime + 10*time.Minute)
		if r := again.v.Report()["b"]; len(r.Corrupt) > 0 {
			t.Errorf("a day after its file was mended: %+v", r)
		}
		again.v.mu.Lock()
		defer again.v.mu.Unlock()
		if began := again.v.mirrors["a"].began; time.Since(began) < corruptTime {
			t.Errorf("the round of reads began at %v", began)
		}
	})
}

// TestOff ends what was found of a file that has changed, also while no file is read.
func TestOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(1000), Options{}, "a", "b")
		defer w.stop()
		w.flip("b", "stable/0.img", 3)
		time.Sleep(10 * time.Minute)
		w.v.SetSettings(Settings{})
		w.do(func() { w.origin["stable/0.img"] = randomText(100, 1001) })
		w.publish()
		time.Sleep(2 * idleTime)
		if len(w.v.Withheld()) > 0 {
			t.Errorf("%v is withheld", w.v.Withheld())
		}
	})
}

// TestManyCorruptFiles has what was found of 1000 mirrors whose files are all corrupt outlive a restart: each of them
// is down.
func TestManyCorruptFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.StateFile, b.v.dirty = filepath.Join(t.TempDir(), "verified"), true
	found := &Finding{Path: strings.Repeat("x", 200), Found: strings.Repeat("0", 64), Want: strings.Repeat("1", 64)}
	for i := range 1000 {
		m := b.v.newMirror(b.now)
		m.URLPrefix, m.condemned = fmt.Sprint("https://", i, ".example.net/"), found
		for number := range uint32(500) {
			m.corrupt[number] = found
		}
		b.v.mirrors[m.URLPrefix] = m
	}
	b.v.SaveState()
	again := newBench(t)
	again.v.StateFile, again.v.Files = b.v.StateFile, func() []*checksums.File { return b.files }
	again.v.LoadState()
	down := 0
	for _, m := range again.v.mirrors {
		if m.condemned != nil {
			down++
		}
	}
	if down != 1000 {
		t.Errorf("%d mirrors are down after a restart", down)
	}
}

// TestOffDuringRead has a read end when files.verify_rate becomes 0, which would go on without a bound.
func TestOffDuringRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 20<<20)}, Options{}, "a")
		defer w.stop()
		time.Sleep(10 * time.Second)
		before := w.v.Counts()
		w.v.SetSettings(Settings{})
		time.Sleep(time.Minute)
		after := w.v.Counts()
		if before.Bytes == 0 || after.Bytes-before.Bytes > readSize || after.Broken != 1 {
			t.Errorf("%+v, and after it was switched off %+v", before, after)
		}
	})
}

// TestSavedAtOnce has what was found outlive a crash, and a pardon too.
func TestSavedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "verified")
		w := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b")
		defer w.stop()
		saved := func() int {
			again := newWorld(t, fiveFiles(1000), Options{StateFile: state, Delay: time.Hour}, "a", "b")
			defer again.stop()
			return len(again.corruptOf("b"))
		}
		w.flip("b", "stable/0.img", 3)
		time.Sleep(10 * time.Minute)
		if n := saved(); n != 1 {
			t.Errorf("%d corrupt files are saved, want 1", n)
		}
		w.v.Pardon("b")
		if n := saved(); n != 0 {
			t.Errorf("%d corrupt files are saved after a pardon", n)
		}
	})
}

// TestWhatIsRightIsForgotten has a copy be found corrupt after a restart, where the origin cannot be read: what is
// right is read from another mirror, although its copy is known to be good.
func TestWhatIsRightIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "verified")
		w := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b", "c")
		time.Sleep(10 * time.Minute)
		w.stop()
		w.v.SaveState()
		w = newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b", "c")
		defer w.stop()
		w.do(func() { w.noPath = true })
		w.flip("b", "stable/1.img", 3)
		w.v.LookAt(map[string][]string{"b": {"stable/1.img"}})
		time.Sleep(retryTime + 10*time.Minute)
		if diff := cmp.Diff([]string{"stable/1.img"}, w.corruptOf("b")); diff != "" {
			t.Errorf("corrupt: -want +got:\n%s", diff)
		}
		if n := w.mirrors["a"].reads["stable/1.img"] + w.mirrors["c"].reads["stable/1.img"]; n != 1 || len(w.v.Corrupt()) != 1 {
			t.Errorf("good copies were read %d times; corrupt: %v", n, w.v.Corrupt())
		}
	})
}
