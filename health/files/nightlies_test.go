package files

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestBehindNightlies has something new every 50 minutes for two days: a mirror that lacks the latest is not behind by
// all of that.
func TestBehindNightlies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a", "b", "c", "d")
		defer w.stop()
		for i := range 60 {
			name := fmt.Sprintf("night%d.iso", i)
			w.do(func() { w.origin[name], w.trees["a"][name], w.trees["b"][name] = 5, 5, 5 })
			after(45 * time.Minute)
			if what, since := w.catalog.Behind(prefixOf("c")); what == "" || time.Since(since) > 4*time.Hour {
				t.Fatalf("night %d: c %s, for %v", i, what, time.Since(since))
			}
			w.do(func() { w.trees["c"][name] = 5 })
			after(5 * time.Minute)
		}
	})
}

// TestAskedMirrorsAreMany: what is kept is bounded.
func TestAskedMirrorsAreMany(t *testing.T) {
	t.Parallel()
	var a answers
	for i := range maxAnswered + 500 {
		q := question{uint64(i), 1}
		if a.begin(q, 0, testTime.Add(time.Duration(i)*time.Second), false, nil) != begun {
			t.Fatal("no question")
		}
		a.end(q, lacks, 0, testTime, lackTimes{lacksFor, maxLacksFor})
		a.finish(q)
	}
	if len(a.byPath) > maxAnswered || len(a.asking) > 0 {
		t.Errorf("%d paths kept, %d asked", len(a.byPath), len(a.asking))
	}
	for i := range maxAnswers + 500 { // of 400 mirrors
		a.end(question{uint64(i / 400), i % 400}, lacks, 0, testTime, lackTimes{lacksFor, maxLacksFor})
	}
	sum := 0
	for _, said := range a.byPath {
		sum += len(said)
	}
	if sum > maxAnswers || sum < maxAnswers/2 || sum != a.kept {
		t.Errorf("%d answers kept, counted as %d", sum, a.kept)
	}
}
