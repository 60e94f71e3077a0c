package verify

import (
	"maps"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFileReturns keeps what was found of a file that is gone from the origin for a moment, over restarts before and
// after, and if its mirror was away too; not if the file comes back with other bytes, nor after a pardon or a round.
func TestFileReturns(t *testing.T) {
	t.Parallel()
	const path = "stable/0.img"
	for name, test := range map[string]struct {
		restart, nothing, leaves, changes, pardon, late bool // nothing: no other file is left
		want                                            []string
	}{
		"running":           {want: []string{path}},
		"without any file":  {nothing: true, want: []string{path}},
		"after a restart":   {restart: true, want: []string{path}},
		"with its mirror":   {leaves: true, want: []string{path}},
		"with other bytes":  {changes: true},
		"after a pardon":    {pardon: true},
		"pardon, restarted": {pardon: true, restart: true},
		"after a round":     {late: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				state := filepath.Join(t.TempDir(), "verified")
				w := newWorld(t, fiveFiles(1000), Options{StateFile: state}, "a", "b")
				w.do(func() { w.newest[path] = !test.leaves }) // else it is kept because it is down
				w.flip("b", path, 3)
				time.Sleep(10 * time.Minute)
				all, some, mirrors := w.origin, maps.Clone(w.origin), w.mirrors
				if delete(some, path); test.nothing {
					some = map[string][]byte{}
				}
				w.do(func() { w.origin = some })
				w.publish()
				time.Sleep(2 * idleTime)
				if r := w.v.Report()["b"]; len(r.Corrupt) > 0 || (r.Condemned == nil) == test.nothing {
					t.Errorf("without the file: %+v", r)
				}
				if test.leaves {
					w.do(func() { w.mirrors = nil })
					w.observe()
					time.Sleep(minIdle)
				}
				if test.pardon {
					w.v.Pardon("b")
				}
				if test.restart {
					w.stop()
					w.v.SaveState()
					w = newWorld(t, some, Options{StateFile: state}, "a", "b")
				}
				defer w.stop()
				w.v.SetSettings(Settings{}) // nothing is read any more
				w.v.mu.Lock()
				for i := range w.v.lapsed {
					if test.late {
						w.v.lapsed[i].Since = time.Now().Add(-roundTime)
						w.v.number(w.sums.Files()[0])
						w.v.recall()
					}
				}
				w.v.mu.Unlock()
				if test.changes {
					all[path] = randomText(99, 1000)
				}
				w.do(func() { w.origin = all })
				w.publish()
				time.Sleep(idleTime + minIdle)
				w.do(func() { w.mirrors = mirrors })
				w.observe()
				if diff := cmp.Diff(test.want, w.corruptOf("b")); diff != "" {
					t.Errorf("corrupt: -want +got:\n%s", diff)
				}
				if r := w.v.Report(); r["b"].Condemned == nil && test.want != nil && !test.leaves || len(r["a"].Corrupt) > 0 {
					t.Errorf("%+v", r)
				}
				if n := len(w.v.Withheld()["b"]); n != len(test.want) {
					t.Errorf("%d files are withheld", n)
				}
			})
		})
	}
}
