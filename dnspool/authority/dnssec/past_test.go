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
		{-700, []*dns.DS{a}, time.Hour, []int{7}, 31}, // the clock is behind
		{-700, []*dns.DS{a, b}, time.Hour, []int{7, 7}, 31},
		{8, []*dns.DS{a, b}, time.Hour, []int{7, 7}, 31},
		{-700, nil, time.Hour, nil, 32},
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

// TestSeenOfNoKey finds no DS record of what cannot be a key.
func TestSeenOfNoKey(t *testing.T) {
	t.Parallel()
	if at, ok := new(Seen).since(&dns.DNSKEY{Hdr: dns.RR_Header{Name: testZone}, PublicKey: "no base64"}); ok {
		t.Errorf("since %v", at)
	}
}

// TestPastDiffers knows one past from another by all that is in it.
func TestPastDiffers(t *testing.T) {
	t.Parallel()
	past := func() *Past {
		return &Past{Parent: Seen{time.Hour, map[string]time.Time{"a": testNow}, testNow, testNow}, TTLs: TTLs{time.Hour, time.Hour, testNow}}
	}
	if same := past(); !same.equal(past()) {
		t.Error("a past is not the same as itself")
	}
	later := testNow.Add(time.Second)
	for i, change := range []func(p *Past){
		func(p *Past) { p.Parent.Longest++ }, func(p *Past) { p.Parent.Since["a"] = later }, func(p *Past) { p.Parent.Since["b"] = testNow },
		func(p *Past) { p.Parent.Changed = later }, func(p *Past) { p.TTLs.Longest++ }, func(p *Past) { p.TTLs.Before++ },
		func(p *Past) { p.TTLs.Until = later }, func(p *Past) { p.Parent.Latest = testNow.Add(latestKept) },
	} {
		changed := past()
		if change(changed); changed.equal(past()) || past().equal(changed) {
			t.Errorf("change %d makes no difference", i)
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
	file, err := os.Stat(SignersFile(dir))
	if err == nil {
		err = past.Keep(dir, testZone)
	}
	if again, statErr := os.Stat(SignersFile(dir)); err != nil || statErr != nil || !os.SameFile(file, again) {
		t.Errorf("the same is written again: %v, %v", err, statErr)
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

// TestTTLs knows for how long caches may have records, whatever TTLs these had before.
func TestTTLs(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	var ttls TTLs
	for i, step := range []struct {
		hours int
		ttl   time.Duration
		held  time.Duration
	}{
		{0, time.Hour, time.Hour},
		{1, day, day},
		{2, time.Minute, day},
		{10, time.Minute, 16 * time.Hour},
		{11, 2 * time.Minute, 15 * time.Hour}, // the longest of all before counts
		{26, 2 * time.Minute, 2 * time.Minute},
		{-1000, 2 * time.Minute, 15 * time.Hour}, // the clock was set back
		{-1000, time.Minute, 15 * time.Hour},
		{11, time.Minute, 15 * time.Hour}, // and is right again
	} {
		ttls = ttls.With(step.ttl, at(step.hours))
		if got := ttls.Held(at(step.hours)); got != step.held {
			t.Errorf("step %d: records may be in caches for %v, want %v", i, got, step.held)
		}
	}
}

// TestOutlive has the old key of a rollover stay for longer where it signs records that get a longer TTL, and not where
// it signs no more.
func TestOutlive(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	begun, view := rolledKeys(t, "")
	view.At, view.DS = testNow.Add(6*time.Hour), seenBy(begun).DS
	seen := begun.Advance(view, time.Hour)
	signsUntil := seen.All[0].Times.Inactive
	led := *seen
	led.leader = "ns1"
	other, _ := rolledKeys(t, "ED25519")
	for name, test := range map[string]struct {
		keys *Keys
		ttl  time.Duration
		now  time.Time
		want time.Duration // for which the old key stays after it has signed; 0: as it was
	}{
		"longer":                  {seen, week, view.At, week + margin},
		"longer, at the last":     {seen, week, signsUntil.Add(-time.Second), week + margin},
		"longer, too late":        {seen, week, signsUntil, 0},
		"as long":                 {seen, time.Hour, view.At, 0},
		"shorter":                 {seen, time.Minute, view.At, 0},
		"of another leader":       {&led, week, view.At, 0},
		"before the DS is seen":   {begun, week, view.At, 0},
		"with another algorithm":  {other, week, view.At, 0},
		"without a rollover":      {seen.with(), week, view.At.AddDate(1, 0, 0), 0},
		"where nothing is signed": {nil, week, view.At, 0},
	} {
		got := test.keys.Outlive(test.ttl, test.now)
		if test.want == 0 {
			if got != test.keys {
				t.Errorf("%s: the keys are %s", name, got.describe(test.now))
			}
			continue
		}
		if old := got.All[0].Times; old.Delete.Sub(old.Inactive) != test.want || !old.Inactive.Equal(signsUntil) {
			t.Errorf("%s: the old key stays until %v", name, old.Delete)
		}
	}
}
