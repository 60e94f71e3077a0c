package files

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWithoutOrigin: of several sizes of a file, the one counts that most mirrors have to which clients may be sent.
func TestWithoutOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{}, tree(), "a", "b", "c")
		defer w.stop()
		w.want("old.iso", "has has has")
		w.do(func() { w.trees["a"]["stable/a.iso"] = 20; delete(w.trees["b"], "old.iso") })
		after(testInterval)
		w.want("stable/a.iso", "lacks has has") // one mirror may be copying it
		w.want("old.iso", "has lacks has")
		w.do(func() { w.trees["b"]["stable/a.iso"] = 20 })
		after(testInterval)
		w.want("stable/a.iso", "has has lacks") // c has the one before it was rewritten, which was larger
		w.do(func() { delete(w.trees["a"], "stable/a.iso"); delete(w.trees["b"], "stable/a.iso") })
		after(testInterval)
		w.want("stable/a.iso", "lacks lacks has")
		w.do(func() { delete(w.trees["c"], "stable/a.iso") })
		after(testInterval)
		w.want("stable/a.iso", "unknown unknown unknown")
	})
}

// TestPartialCopies: a copy that is still being made does not count beside a complete one, however many there are.
func TestPartialCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{}, tree(), "a", "b", "c", "d")
		defer w.stop()
		w.do(func() {
			for name, size := range map[string]int64{"a": 300, "b": 500, "c": 100, "d": 200} {
				w.trees[name]["new.iso"] = size
			}
		})
		after(testInterval)
		w.want("new.iso", "lacks has lacks lacks")
		w.do(func() { w.trees["c"]["new.iso"] = 500 })
		after(testInterval)
		w.want("new.iso", "lacks has has lacks")
	})
}

// TestStaleMajority: mirrors that clients are not sent to any more do not keep a file from counting as it is now.
func TestStaleMajority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{}, tree(), "a", "b", "c")
		defer w.stop()
		w.do(func() { w.trees["a"]["stable/a.iso"] = 20 })
		after(testInterval)
		w.want("stable/a.iso", "lacks has has")
		w.do(func() { w.stale = map[string]bool{"b": true, "c": true} })
		w.observe(worldBegan)
		synctest.Wait()
		w.want("stable/a.iso", "has lacks lacks")
		w.do(func() { w.stale = nil })
		w.observe(worldBegan)
		synctest.Wait()
		w.want("stable/a.iso", "lacks has has")
	})
}

// TestRewrittenWithoutOrigin: files that are rewritten in place count by time as well, but for mirrors that keep no
// times.
func TestRewrittenWithoutOrigin(t *testing.T) {
	t.Parallel()
	copies := func(version uint32) []record {
		return sortRecords([]record{
			{hashPath("a.json"), file{10, version, rewritten}}, {hashPath("b"), file{1, 50, regular}}, {hashPath("c"), file{2, 60, regular}},
		})
	}
	p := &pooled{universe: &Universe{}, rows: make([]*Row, 3), votes: []bool{true, true, true}, traces: []int64{1, 1, 1}}
	state := func() (text string) {
		for _, row := range p.rows {
			number, _ := p.universe.find(hashPath("a.json"))
			text += map[bool]string{true: "has ", false: "lacks "}[row != nil && row.has.Contains(number)]
		}
		return text
	}
	for _, step := range []struct {
		mirror  int
		version uint32
		want    string
	}{
		{0, 1000, "has lacks lacks "}, {1, 1000, "has has lacks "}, {2, 2000, "has has lacks "}, {1, 2000, "lacks has has "},
		{0, 2001, "has has has "}, {0, 1000, "lacks has has "},
	} {
		listed := copies(step.version)
		next, err := p.with(step.mirror, listed, MaxFiles)
		if err != nil {
			t.Fatal(err)
		}
		c := Catalog{universe: p.universe, mirrors: make([]*mirror, len(p.rows))}
		c.Now = func() time.Time { return testTime }
		for number, row := range p.rows {
			c.mirrors[number] = &mirror{row: row}
		}
		c.takeJoined(next)
		c.mirrors[step.mirror].row = next.universe.judge(listed).row(testTime)
		for number, m := range c.mirrors {
			p.rows[number] = m.row
		}
		if p.universe, p.dissents = next.universe, next.dissents; state() != step.want {
			t.Errorf("after %v: %s", step, state())
		}
	}
}

// TestTogetherIsBounded: a mirror that lists more than all may have together is refused, and what was known stays.
func TestTogetherIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{}, tree(), "a", "b")
		defer w.stop()
		w.catalog.joining.Lock()
		w.catalog.maxFiles = 5
		w.catalog.joining.Unlock()
		w.do(func() {
			for i := range 3 {
				w.trees["b"][fmt.Sprint(i)] = 1
			}
			w.trees["a"]["one.iso"] = 1
		})
		after(2 * testInterval)
		w.want("old.iso", "has has")
		w.want("one.iso", "has unknown")
		o := w.catalog.Overview()
		if problem := o.Mirrors[prefixOf("b")].Problem; o.Files != 4 || !strings.Contains(problem, "more than 5 files together") {
			t.Errorf("%d files, %s", o.Files, problem)
		}
	})
}

// TestDeadMirrorHoldsNothing: a file that only a mirror has which was not listed for long is not taken for published.
func TestDeadMirrorHoldsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{}, tree(), "a", "b", "c")
		defer w.stop()
		w.do(func() { w.down["c"] = true; delete(w.trees["a"], "old.iso"); delete(w.trees["b"], "old.iso") })
		after(2 * testInterval)
		w.want("old.iso", "lacks lacks has")
		after(3 * testInterval)
		if got := w.catalog.Find("old.iso", time.Now()).Status; got != Unlisted {
			t.Errorf("status %v", got)
		}
		w.want("stable/a.iso", "has has unknown")
		w.do(func() { w.down["c"] = false })
		after(testInterval)
		w.want("old.iso", "lacks lacks has")
		w.want("stable/a.iso", "has has has")
	})
}
