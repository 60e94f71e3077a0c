package dnssec

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestSeen follows a parent's DS records: since when each is there, and until when caches may have others.
func TestSeen(t *testing.T) {
	t.Parallel()
	a, b := rr(t, testZone+" DS 1 13 2 "+strings.Repeat("ab", 32)).(*dns.DS), rr(t, testZone+" DS 2 13 2 "+strings.Repeat("cd", 32)).(*dns.DS)
	upper := *a
	upper.Digest = strings.ToUpper(a.Digest)
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	var s Seen
	for i, step := range []struct {
		hours  int
		ds     []*dns.DS
		ttl    time.Duration
		since  []int // hours, of the DS records in their order
		cached int   // hours; no: there never were others
	}{
		{0, nil, time.Hour, nil, -1},
		{1, []*dns.DS{a}, 24 * time.Hour, []int{1}, 25},
		{2, []*dns.DS{&upper}, time.Hour, []int{1}, 25},
		{3, []*dns.DS{b, a}, time.Hour, []int{3, 1}, 27},
		{4, []*dns.DS{b}, time.Hour, []int{3}, 28},
		{5, nil, time.Hour, nil, 29},
		{6, nil, time.Hour, nil, 29},
		{7, []*dns.DS{a}, time.Hour, []int{7}, 31},
		{6, []*dns.DS{a}, time.Hour, []int{6}, 30}, // the clock was ahead
	} {
		s = s.With(&View{DS: step.ds, TTL: step.ttl, At: at(step.hours).Add(time.Millisecond)})
		since := []time.Time{}
		for i, ds := range step.ds {
			if since = append(since, s.Since[dsData(ds)]); !since[i].Equal(at(step.since[i])) {
				t.Errorf("step %d: %s is there since %v, want after %d hours", i, dsData(ds), since[i], step.since[i])
			}
		}
		if len(s.Since) != len(step.ds) || step.cached >= 0 && !s.CachedUntil().Equal(at(step.cached)) || step.cached < 0 && !s.Changed.IsZero() {
			t.Errorf("step %d: %v; caches may have others until %v", i, slices.Sorted(maps.Keys(s.Since)), s.CachedUntil())
		}
	}
}

// TestPastIsKept remembers what caches may have beside the keys, for as long as these are remembered.
func TestPastIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	past := Past{Parent: Seen{Longest: time.Hour, Changed: testNow.UTC()}}
	if err := past.Keep(dir, testZone); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(SignersFile(dir)); err == nil {
		t.Error("something is remembered of a zone that was not signed")
	}
	k, err := read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := past.Keep(dir, testZone); err != nil {
		t.Fatal(err)
	}
	if k, err = k.Roll("", testNow, time.Hour); err == nil {
		err = k.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Recall(dir, testZone); err != nil || got.Parent.Longest != time.Hour || !got.Parent.Changed.Equal(testNow) {
		t.Errorf("after a rollover has begun, %+v is remembered: %v", got, err)
	}
	if err := Forget(dir, testZone); err != nil {
		t.Fatal(err)
	}
	if got, err := Recall(dir, testZone); err != nil || got.Parent.Longest != 0 {
		t.Errorf("of a zone that was forgotten, %+v is remembered: %v", got, err)
	}
	if err := (&Past{}).Keep("", testZone); err != nil {
		t.Errorf("without a folder: %v", err)
	}
	for _, use := range []func() error{func() error { return past.Keep(dir, testZone) }, func() error { _, err := Recall(dir, testZone); return err }} {
		testbed.Put(t, SignersFile(dir), "garbage")
		if err := use(); err == nil || !strings.Contains(err.Error(), "what caches may have of "+testZone) {
			t.Errorf("of a file that is of no use: %v", err)
		}
	}
	broken := filepath.Join(t.TempDir(), "file")
	testbed.Put(t, broken, "")
	if err := past.Keep(broken, testZone); err == nil {
		t.Error("kept in what is no folder")
	}
}
