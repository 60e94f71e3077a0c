package dnssec

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestClockBehindPlansNothing looks at the parent by a clock that is behind, at each step of a rollover and long after
// it. What was planned stays as it is.
func TestClockBehindPlansNothing(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "ED25519"} {
		k, view := rolledKeys(t, algorithm)
		old, next := k.All[0], k.All[1]
		for step, ds := range [][]*Key{{old}, {old, next}, {old, next}, {next}, {next}} {
			view.DS = nil
			for _, key := range ds {
				view.DS = append(view.DS, key.DS())
			}
			k = k.Advance(view, time.Hour)
			for _, behind := range []time.Duration{time.Second, 3 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour} {
				for _, ds := range [][]*dns.DS{{old.DS()}, {old.DS(), next.DS()}, {next.DS()}, nil} {
					wrong := &View{DS: ds, TTL: time.Hour, At: view.At.Add(-behind), Latest: view.At}
					if got := k.Advance(wrong, time.Hour); got != k {
						t.Errorf("%q, step %d, %v behind: %s", algorithm, step, behind, got.describe(view.At))
					}
					wrong.Latest = time.Time{} // which an earlier version did not remember
					if got := k.Advance(wrong, time.Hour); behind > 24*time.Hour*7 && got != k {
						t.Errorf("%q, step %d, %v behind a key: %s", algorithm, step, behind, got.describe(view.At))
					}
				}
			}
			view.At = view.At.Add(36 * time.Hour)
		}
		end := view.At.AddDate(0, 0, 7)
		if r, err := k.at(end); err != nil || len(r.published) != 1 || r.published[0].Tag != next.Tag {
			t.Errorf("%q: in the end the keys are %s: %v", algorithm, k.describe(end), err)
		}
	}
}

// TestReachedActivationStays has a clock be so far behind that a key that signs is yet to, where nothing else is
// remembered: when it signs is not planned again.
func TestReachedActivationStays(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	both := seenBy(k)
	both.At = view.At.Add(6 * time.Hour)
	k = k.Advance(both, 60*24*time.Hour)
	early := *both
	early.At = view.At
	if got := k.Advance(&early, time.Hour); got != k {
		t.Errorf("it is planned again: %+v", got.All[1].Times)
	}
}

// TestClockBehindIsSaid has the status say that a rollover waits for the clock, and refuses to begin one or give it up.
func TestClockBehindIsSaid(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	view.Latest = view.At
	now := view.At.Add(-24 * time.Hour)
	const want = "the clock is before 2027-01-15T08:00:00Z"
	if got := k.Describe(now, view, "").Next; !strings.Contains(got, want) {
		t.Errorf("it waits for %q", got)
	}
	if got := k.Describe(view.At, view, "").Next; strings.Contains(got, want) {
		t.Errorf("by the right clock, it waits for %q", got)
	}
	if _, err := k.Abort(view, now); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("given up: %v", err)
	}
	one, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Roll("", testNow.Add(-margin-time.Second), time.Hour); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("begun: %v", err)
	}
	if _, err := one.Roll("", testNow.Add(-margin), time.Hour); err != nil {
		t.Errorf("begun with a clock that is a bit behind: %v", err)
	}
}

// TestListingIsRemembered has a start with the clock behind not forget when a key was listed.
func TestListingIsRemembered(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	id := k.All[0].id
	k.follow(signers{Keys: []string{"257 13 other"}}, testNow)
	for _, now := range []time.Time{testNow.AddDate(0, -1, 0), testNow.AddDate(0, -2, 0), testNow} {
		k.follow(k.signers(), now)
		if s := k.signers(); !s.Since[id].Equal(testNow) {
			t.Errorf("at %v, it is remembered that the key was listed at %v", now, s.Since)
		}
	}
	if !k.since[id].Equal(testNow) {
		t.Errorf("by the right clock, it was listed at %v", k.since[id])
	}
	seen := Past{Parent: Seen{Latest: testNow}}
	k.follow(signers{Keys: []string{"257 13 other"}, Past: seen}, testNow.AddDate(0, -1, 0))
	if !k.since[id].Equal(testNow) {
		t.Errorf("a key that is listed while the clock is behind was listed at %v", k.since[id])
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
		"right": -time.Hour, "in the same second": 0, "an hour ahead": time.Hour,
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
