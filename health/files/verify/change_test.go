package verify

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWrongChecksum accuses no mirror where the published checksum is not that of the origin's file, nor where no copy
// has matched it. Once the origin has the right file again, they are verified by it.
func TestWrongChecksum(t *testing.T) {
	t.Parallel()
	for name, noPath := range map[string]bool{"a folder": false, "a list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, fiveFiles(1<<20), Options{}, "a", "b", "c")
				defer w.stop()
				w.do(func() {
					w.noPath = noPath
					w.origin["stable/0.img"] = randomText(99, 1<<20)
					for _, m := range w.mirrors {
						m.files["stable/0.img"] = bytes.Clone(w.origin["stable/0.img"])
					}
				})
				time.Sleep(3 * time.Hour)
				for prefix, r := range w.v.Report() {
					if len(r.Corrupt) > 0 || r.Verified != 4 {
						t.Errorf("%s: %+v", prefix, r)
					}
				}
				if w.logs.FilterMessageSnippet("checksum").Len() == 0 {
					t.Error("the wrong checksum is not logged")
				}
				w.do(func() { // as the checksum says: from a backup, with the time that it had
					w.origin = fiveFiles(1 << 20)
					w.mirrors["a"].files = fiveFiles(1 << 20)
				})
				time.Sleep(corruptTime + 2*retryTime)
				if r := w.v.Report(); r["a"].Verified != 5 || len(r["b"].Corrupt) != 1 || len(r["c"].Corrupt) != 1 {
					t.Errorf("after the origin's file was mended: %+v", r)
				}
			})
		})
	}
}

// TestChecksumChanges has the origin publish another checksum of a file that stays as it is: what was found by the one
// before does not count.
func TestChecksumChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(1<<20), Options{}, "a", "b")
		defer w.stop()
		right := w.origin["stable/0.img"]
		w.flip("b", "stable/0.img", 9)
		w.do(func() { w.origin["stable/0.img"] = randomText(99, 1<<20) }) // the list has its checksum, not that of the file
		w.publish()
		w.do(func() { w.origin["stable/0.img"] = right })
		time.Sleep(10 * time.Minute)
		if r := w.v.Report(); r["a"].Verified != 4 || len(r["b"].Corrupt) > 0 {
			t.Fatalf("with a wrong list: %+v", r)
		}
		w.publish()
		time.Sleep(10 * time.Minute)
		if diff := cmp.Diff([]string{"stable/0.img"}, w.corruptOf("b")); diff != "" || w.v.Report()["a"].Verified != 5 {
			t.Fatalf("with the right list: -want +got:\n%s", diff)
		}
		w.do(func() { w.origin["stable/0.img"] = bytes.Clone(w.mirrors["b"].files["stable/0.img"]) })
		w.publish()
		time.Sleep(10 * time.Minute)
		if len(w.corruptOf("b")) > 0 || w.v.Report()["b"].Verified != 5 || w.v.Report()["a"].Verified != 4 {
			t.Errorf("with a file like that of b: %+v", w.v.Report())
		}
	})
}

// TestNewerVersion has a file change that keeps its size, before the origin is listed again: a mirror that has the
// change already is not corrupt, nor is it for more than a day where the origin is another host.
func TestNewerVersion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ far, late bool }{
		"a folder": {false, true}, "another host": {true, false}, "another host, for days": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, fiveFiles(1000), Options{}, "soon", "whole", "later", "corrupt")
				defer w.stop()
				w.do(func() { w.far = test.far })
				time.Sleep(10 * time.Minute)
				next := randomText(77, 1000)
				w.do(func() {
					w.origin["stable/1.img"] = next
					w.mirrors["soon"].files["stable/1.img"] = bytes.Clone(next)
					w.mirrors["whole"].files["stable/1.img"] = bytes.Clone(next)
					w.mirrors["whole"].noParts = true
				})
				w.flip("corrupt", "stable/1.img", 3)
				w.readAllAgain()
				time.Sleep(olderTime - time.Hour)
				want := []string{"corrupt"}
				if test.late {
					time.Sleep(2 * time.Hour)
					if test.far {
						want = []string{"corrupt", "soon", "whole"}
					}
				}
				if got := slices.Sorted(maps.Keys(w.v.Corrupt())); !slices.Equal(got, want) {
					t.Errorf("%q have corrupt files, want %q", got, want)
				}
			})
		})
	}
}

// TestListComesLate has a mirror have a file that has changed, where the origin's files cannot be read, before the list
// tells: it is not corrupt. One is that has wrong bytes for longer, also others each time.
func TestListComesLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(2<<20), Options{}, "soon", "later", "corrupt", "erratic")
		defer w.stop()
		w.do(func() { w.noPath = true })
		time.Sleep(10 * time.Minute)
		w.do(func() {
			w.mirrors["erratic"].faults = func(r *rand.Rand, text []byte) (io.Reader, int64, error) {
				sent := bytes.Clone(text)
				sent[0] ^= byte(1 + r.IntN(255))
				return bytes.NewReader(sent), int64(len(sent)), nil
			}
		})
		w.do(func() { w.mirrors["soon"].files["stable/1.img"] = randomText(77, 2<<20) })
		w.flip("corrupt", "stable/2.img", 3)
		w.readAllAgain()
		time.Sleep(retryTime / 2)
		if got := w.v.Corrupt(); len(got) > 0 {
			t.Errorf("after one read: %q", got)
		}
		w.do(func() { w.origin["stable/1.img"] = w.mirrors["soon"].files["stable/1.img"] })
		w.publish()
		time.Sleep(2 * retryTime)
		if got := slices.Sorted(maps.Keys(w.v.Corrupt())); !slices.Equal(got, []string{"corrupt", "erratic"}) {
			t.Errorf("%q have corrupt files", got)
		}
	})
}

// TestOlderVersion has files change that keep their size: mirrors that get the change later are not corrupt, and one
// that never gets it is.
func TestOlderVersion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ restart, restartLater bool }{
		"running": {}, "after a restart": {true, false}, "before a restart": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				state := filepath.Join(t.TempDir(), "verified")
				w := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "soon", "later", "never", "corrupt")
				time.Sleep(10 * time.Minute)
				before := w.mirrors
				w.v.SaveState()
				next := map[string][]byte{}
				for path := range w.origin {
					next[path] = randomText(uint64(len(path)), 1000)
				}
				if test.restartLater {
					w.do(func() { w.origin = next })
					w.publish()
					time.Sleep(minIdle)
					w.v.SaveState()
				}
				if test.restart || test.restartLater {
					w.stop()
					w = newWorld(t, next, Options{StateFile: state}, "soon", "later", "never", "corrupt")
				}
				defer w.stop()
				w.do(func() {
					w.origin = next
					for path := range next {
						w.newest[path] = true
					}
					for _, prefix := range []string{"later", "never"} {
						w.mirrors[prefix].files = before[prefix].files
					}
					for path, text := range next {
						w.mirrors["soon"].files[path] = bytes.Clone(text)
						w.mirrors["corrupt"].files[path] = randomText(88, 1000)
					}
				})
				w.publish()
				accused := func(want ...string) {
					t.Helper()
					if got := slices.Sorted(maps.Keys(w.v.Corrupt())); !slices.Equal(got, want) {
						t.Errorf("%q have corrupt files, want %q", got, want)
					}
				}
				time.Sleep(3 * time.Hour)
				accused("corrupt")
				w.do(func() { w.mirrors["later"].files = w.mirrors["soon"].files })
				time.Sleep(2 * retryTime)
				if r := w.v.Report()["later"]; r.Verified != 5 {
					t.Errorf("after it got the change: %+v", r)
				}
				time.Sleep(olderTime)
				accused("corrupt", "never")
			})
		})
	}
}
