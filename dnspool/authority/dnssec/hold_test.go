package dnssec

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestHold puts planned steps off for as long as the parent cannot be seen, hours before they come. The rollover goes
// on after that.
func TestHold(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "ED25519"} {
		k, view := rolledKeys(t, algorithm)
		if k.Hold(testNow) != k {
			t.Errorf("%q: there is nothing to hold yet", algorithm)
		}
		begun := testNow.Add(6 * time.Hour)
		both := seenBy(k)
		both.At, both.TTL = begun, 24*time.Hour
		k = k.Advance(both, time.Hour)
		if k.Hold(begun.Add(20*time.Hour)) != k {
			t.Errorf("%q: it is held long before the step", algorithm)
		}
		was, phase := k, k.Phase(begun.Add(20*time.Hour))
		for minutes := 20 * 60; minutes < 24*60*10; minutes += 10 {
			now := begun.Add(time.Duration(minutes)*time.Minute + time.Millisecond)
			k = k.Hold(now)
			for _, key := range k.All {
				if key.Times != key.Times.whole() {
					t.Fatalf("%q: a time is not as a file has it: %+v", algorithm, key.Times)
				}
			}
			if k.Hold(now) != k {
				t.Fatalf("%q: it is put off again at once", algorithm)
			}
			if got := k.Phase(now.Add(margin)); got != phase {
				t.Fatalf("%q: after %v, a step is to come: %s", algorithm, now.Sub(begun), got)
			}
		}
		if got, want := gaps(k), gaps(was); got != want {
			t.Errorf("%q: the steps follow each other after %v, want %v", algorithm, got, want)
		}
		view.At = begun.AddDate(0, 0, 10)
		view.DS = both.DS
		if got := k.Advance(view, time.Hour); got != k {
			t.Errorf("%q: it is planned again", algorithm)
		}
		end := begun.AddDate(0, 0, 11)
		if algorithm == "" && (k.All[0].Times.At(end) != Removed || k.All[1].Times.At(end) != Active) {
			t.Errorf("in the end, the keys are %s", k.describe(end))
		}
		led := *k
		led.leader = "ns1"
		if led.Hold(view.At) != &led {
			t.Errorf("%q: a follower changes the times of keys", algorithm)
		}
	}
}

// gaps are what lies between the steps of a rollover.
func gaps(k *Keys) [2]time.Duration {
	old, next := k.All[0].Times, k.All[1].Times
	if next.Activate.Before(testNow.Add(time.Hour)) { // with another algorithm
		return [2]time.Duration{}
	}
	return [2]time.Duration{old.Inactive.Sub(next.Activate), old.Delete.Sub(old.Inactive)}
}

// TestHoldIsSaid has the status say why no step comes.
func TestHoldIsSaid(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	const want = "no step comes while the parent's DS records cannot be seen"
	for problem, said := range map[string]bool{"": false, "no answer": true} {
		if got := k.Describe(view.At, view, problem).Next; strings.Contains(got, want) != said {
			t.Errorf("with the problem %q, it waits for %q", problem, got)
		}
	}
	one := &Keys{Zone: k.Zone, All: k.All[:1], auto: true}
	if got := one.Describe(view.At, &View{DS: []*dns.DS{k.All[0].DS()}}, "no answer").Next; got != "" {
		t.Errorf("without a rollover, it waits for %q", got)
	}
}

// TestResume has a server be down while the steps of a rollover are to come, or none of them. The key that is to go
// stays for as long as caches have what it has signed, and for another algorithm it signs on for as long as before.
func TestResume(t *testing.T) {
	t.Parallel()
	const ttl = 12 * time.Hour
	stays := cachedFor(ttl)
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	for name, test := range map[string]struct {
		algorithm        string
		inactive, remove int // when the key that is to go is to do so, in hours; -1: never
		aborted          bool
		latest, now      int           // when the parent was seen last, and the start
		later            time.Duration // by which it is removed
	}{
		"both missed":              {"", 10, 20, false, 9, 30, 10*time.Hour + stays},
		"the last one missed":      {"", 10, 20, false, 11, 20, stays},
		"the first one missed":     {"", 10, 20, false, 9, 10, 4 * time.Hour},
		"the first, long before":   {"", 10, 60, false, 9, 11, 0},
		"none missed":              {"", 10, 20, false, 10, 19, 0},
		"none yet":                 {"", 10, 20, false, 5, 9, 0},
		"removed before":           {"", 10, 20, false, 20, 30, 0},
		"not to be removed":        {"", 10, -1, false, 9, 30, 0},
		"the clock is behind":      {"", 10, 20, false, 30, 5, 0},
		"another algorithm":        {"ED25519", 23, 20, false, 19, 21, time.Hour + stays},
		"another algorithm, later": {"ED25519", 23, 20, false, 21, 30, 0},
		"given up":                 {"", -1, 20, true, 19, 30, 10*time.Hour + stays},
		"given up, and gone":       {"", -1, 20, true, 21, 30, 0},
	} {
		k, _ := rolledKeys(t, test.algorithm)
		goes := 0
		if test.aborted {
			goes = 1
		}
		key := *k.All[goes]
		if test.aborted {
			key.Times.SyncDelete = at(1)
		}
		if test.inactive >= 0 {
			key.Times.Inactive = at(test.inactive)
		}
		if test.remove >= 0 {
			key.Times.Delete = at(test.remove)
		}
		key.Times = key.Times.whole()
		k = k.with(&key)
		got := k.Resume(&Seen{Latest: at(test.latest)}, ttl, at(test.now).Add(time.Millisecond))
		if (got == k) != (test.later == 0) {
			t.Errorf("%s: it is another one: %v", name, got != k)
		}
		was, is := key.Times, got.All[goes].Times
		if later := is.Delete.Sub(was.Delete); later != test.later {
			t.Errorf("%s: the key is removed %v later, want %v", name, later, test.later)
		}
		if later := is.Inactive.Sub(was.Inactive); test.algorithm != "" && later != test.later || test.algorithm == "" && later != 0 {
			t.Errorf("%s: the key signs for %v longer", name, later)
		}
		if is != is.whole() {
			t.Errorf("%s: a time is not as a file has it: %+v", name, is)
		}
		follower := *k
		follower.leader = "ns1"
		if follower.Resume(&Seen{Latest: at(test.latest)}, ttl, at(test.now)) != &follower || k.Resume(&Seen{}, ttl, at(test.now)) != k {
			t.Errorf("%s: a follower changes times, or a server whose parent was never seen", name)
		}
	}
}
