package dnssec

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestAlgorithmRolloverWithAWrongClock has the clock be a year ahead at each step of an algorithm rollover. Once it is
// right again, the rollover goes on as if it had always been.
func TestAlgorithmRolloverWithAWrongClock(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = k.Roll("ED25519", testNow, time.Hour); err != nil {
		t.Fatal(err)
	}
	view := seenBy(k)
	view.At = k.All[1].Times.SyncPublish
	next, old := k.rolling(view.At)
	for step := range 2 {
		wrong := *view
		wrong.At = view.At.AddDate(1, 0, 0)
		k = k.Advance(&wrong, time.Hour)
		k = k.Advance(view, time.Hour)
		times, known := k.All[0].Times, view.At.Add(view.TTL+margin)
		if k.Advance(view, time.Hour) != k {
			t.Errorf("step %d is planned again", step)
		}
		switch step {
		case 0:
			if !times.SyncDelete.Equal(known) || !times.Delete.IsZero() || !times.Inactive.IsZero() {
				t.Errorf("the parent is to remove the old DS record from %v on, want %v: %+v", times.SyncDelete, known, times)
			}
			view.At, view.DS = known, []*dns.DS{next.DS()}
		case 1:
			if !times.Delete.Equal(known) || !times.Inactive.Equal(known.Add(KeyTTL*time.Second+margin)) {
				t.Errorf("the key %d is removed at %v, want %v: %+v", old.Tag, times.Delete, known, times)
			}
		}
	}
}

// TestRolloverBegunWithAWrongClock begins a rollover while the clock is a year ahead. Once it is right, the new key is
// published for as long as ever before the parent is asked for its DS record.
func TestRolloverBegunWithAWrongClock(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "ED25519"} {
		k, err := read(testConfig(), "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := k.Roll(algorithm, testNow.AddDate(1, 0, 0), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		right, err := k.Roll(algorithm, testNow, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		view := &View{DS: []*dns.DS{k.All[0].DS()}, TTL: time.Hour, At: testNow}
		again := wrong.Advance(view, time.Hour)
		got, want := again.All[1].Times, right.All[1].Times
		if want.Created = got.Created; got != want || !got.Created.After(k.All[0].Times.Created) {
			t.Errorf("%q: it begins again with %+v, want %+v", algorithm, got, want)
		}
		for _, keys := range []*Keys{again, right} {
			if keys.Advance(view, time.Hour) != keys {
				t.Errorf("%q: it begins again without end", algorithm)
			}
		}
		if slow, err := k.Roll(algorithm, testNow, 30*24*time.Hour); err != nil || slow.Advance(view, 30*24*time.Hour) != slow {
			t.Errorf("%q: with a long TTL it begins again: %v", algorithm, err)
		}
	}
}

// TestLowerTTLHurriesNothing has the parent's DS records be seen with a day to live, and then with a minute, as another
// resolver has them. What was planned for when no cache has the records of before stays.
func TestLowerTTLHurriesNothing(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "ED25519"} {
		k, view := rolledKeys(t, algorithm)
		view.At, view.DS, view.TTL = testNow.Add(24*time.Hour), seenBy(k).DS, 24*time.Hour
		planned := k.Advance(view, time.Hour)
		if planned == k {
			t.Fatalf("%q: nothing is planned", algorithm)
		}
		low := *view
		low.At, low.TTL = view.At.Add(10*time.Minute), time.Minute
		if got := planned.Advance(&low, time.Hour); got != planned {
			t.Errorf("%q: %+v and %+v, was %+v and %+v", algorithm, got.All[0].Times, got.All[1].Times, planned.All[0].Times, planned.All[1].Times)
		}
	}
}

// TestNewKeyIsTheLaterOneByAnyClock rolls a key over that was made by a clock that was ahead. The key that signs stays
// in its place until the parent has the DS record of the new one, and then gives way to that.
func TestNewKeyIsTheLaterOneByAnyClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{
		"right": -time.Hour, "in the same second": 0, "a year ahead": 365 * 24 * time.Hour,
	} {
		dir := t.TempDir()
		first, err := read(testConfig(), dir, testNow.Add(ahead))
		if err != nil {
			t.Fatal(err)
		}
		k, err := first.Roll("", testNow.Add(300*time.Millisecond), time.Hour)
		if err == nil {
			err = k.Save()
		}
		if err != nil {
			t.Fatal(err)
		}
		if k, err = read(testConfig(), dir, testNow); err != nil { // which may turn their order
			t.Fatal(err)
		}
		if next, old := k.rolling(testNow); old == nil || old.id != first.All[0].id || next.Times.At(testNow) != Published ||
			!next.Times.Created.After(old.Times.Created) {
			t.Errorf("%s: it rolls from %v to %v, want from %v", name, old, next, first.All[0])
		}
		seen := seenBy(k)
		k = k.Advance(seen, time.Hour)
		end := seen.At.Add(24 * time.Hour)
		r, err := k.at(end)
		if err != nil || len(r.published) != 1 || r.published[0].id == first.All[0].id {
			t.Errorf("%s: in the end the keys are %s: %v", name, k.describe(end), err)
		}
	}
}
