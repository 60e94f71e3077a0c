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
			now := begun.Add(time.Duration(minutes) * time.Minute)
			k = k.Hold(now)
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
