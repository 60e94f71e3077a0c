package dnssec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// rolledKeys are keys with a rollover that has just begun, and what the parent has: the old key's DS record.
func rolledKeys(t *testing.T, algorithm string) (*Keys, *View) {
	t.Helper()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	view := seenBy(k)
	view.At = testNow
	if k, err = k.Roll(algorithm, testNow, time.Hour); err != nil {
		t.Fatal(err)
	}
	return k, view
}

// wantStates wants both keys to be in a state, and the zone to be signed by the first and so many more.
func wantStates(t *testing.T, when string, k *Keys, now time.Time, next State, signers int) {
	t.Helper()
	if got := k.All[1].Times.At(now); got != next || k.All[0].Times.At(now) != Active {
		t.Errorf("%s, the keys are %s; want the new one %s", when, k.describe(now), next)
	}
	r, err := k.at(now)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if len(r.signZone) != signers || len(r.synced) != 1 || r.synced[0] != k.All[0] {
		t.Errorf("%s, %d keys sign the zone, want %d; the parent is asked for DS records of %v", when, len(r.signZone), signers, r.synced)
	}
}

// TestAbort gives a rollover up: at once where the parent was not asked for anything, and otherwise after two days, or
// when the parent has let go of the new key.
func TestAbort(t *testing.T) {
	t.Parallel()
	for algorithm, published := range map[string]struct {
		state   State
		signers int
	}{"": {Published, 1}, "ED25519": {Active, 2}} {
		k, view := rolledKeys(t, algorithm)
		early, err := k.Abort(nil, testNow)
		if err != nil {
			t.Fatal(err)
		}
		wantStates(t, "given up at once", early, testNow, Removed, 1)
		if _, err := early.Roll(algorithm, testNow, time.Hour); err != nil {
			t.Errorf("another rollover: %v", err)
		}

		asked := k.All[1].Times.SyncPublish
		view.At = asked
		late, err := k.Abort(view, asked)
		if err != nil {
			t.Fatal(err)
		}
		gone := asked.Add(abortWait)
		wantStates(t, "given up late", late, asked, published.state, published.signers)
		wantStates(t, "a second before it is removed", late, gone.Add(-time.Second), published.state, published.signers)
		if algorithm != "" {
			wantStates(t, "while caches have its DNSKEY record", late, gone, Signing, 2)
			gone = gone.Add(KeyTTL*time.Second + margin)
			wantStates(t, "a second before caches have forgotten it", late, gone.Add(-time.Second), Signing, 2)
		}
		wantStates(t, "two days later", late, gone, Removed, 1)
		if late.Advance(view, time.Hour) != late {
			t.Error("there is nothing to plan anew")
		}
		if next := late.next(asked, view); !strings.Contains(next, "whose rollover was given up, is removed at "+
			asked.Add(abortWait).Format(time.RFC3339)) {
			t.Errorf("it waits for %q", next)
		}
		for want, err := range map[string]error{
			"was given up before":                 aborted(late, view, asked),
			"was given up, and that is still the": rolled(late, asked),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}

		// The parent follows what CDS asked for before.
		view.DS = append(view.DS, late.All[1].DS())
		view.At = asked.Add(abortWait - view.TTL)
		kept := late.Advance(view, time.Hour)
		wantStates(t, "with a DS record", kept, view.At.Add(abortWait-time.Hour), published.state, published.signers)
		if next := kept.next(view.At, view); !strings.Contains(next, "the parent is to remove the DS record of the key") {
			t.Errorf("it waits for %q", next)
		}
		if kept.Advance(view, time.Hour) != kept {
			t.Error("there is nothing to plan anew")
		}
		view.DS = view.DS[:1]
		view.At = view.At.Add(time.Hour)
		if kept.Advance(view, time.Hour) != kept {
			t.Error("without the DS record, it is planned anew")
		}

		// The clock was wrong when the rollover was given up, or is now.
		wrong, err := k.Abort(view, asked.AddDate(3, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if wrong.Advance(view, time.Hour) != wrong {
			t.Error("with another clock, it is planned anew")
		}
	}
}

// TestAbortWaitsForCaches has the new key stay for as long as caches may hide its DS record from a resolver, twice. Its
// times are those that a file can have.
func TestAbortWaitsForCaches(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	now := k.All[1].Times.SyncPublish.Add(time.Millisecond)
	view.At, view.TTL = now, 72*time.Hour
	k, err := k.Abort(view, now)
	if err != nil {
		t.Fatal(err)
	}
	times := k.All[1].Times
	if want := now.Truncate(time.Second).Add(2 * (72*time.Hour + margin)); times != times.whole() || !times.Delete.Equal(want) {
		t.Errorf("%+v, want it removed at %v", times, want)
	}
}

func aborted(k *Keys, v *View, now time.Time) error { _, err := k.Abort(v, now); return err }
func rolled(k *Keys, now time.Time) error           { _, err := k.Roll("", now, time.Hour); return err }

// TestAbortIsRefused lists where a rollover cannot be given up.
func TestAbortIsRefused(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	next := k.All[1]
	asked := next.Times.SyncPublish
	both := &View{At: asked, TTL: view.TTL, DS: append([]*dns.DS{next.DS()}, view.DS...)}
	other, _ := rolledKeys(t, "ED25519")
	otherAsked := other.All[1].Times.SyncPublish
	planned := other.Advance(&View{At: otherAsked, TTL: view.TTL, DS: []*dns.DS{other.All[0].DS(), other.All[1].DS()}}, time.Hour)
	single, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	listed, follower := *k, *k
	listed.auto, follower.leader = false, "ns1"
	for name, test := range map[string]struct {
		keys *Keys
		view *View
		now  time.Time
		want string
	}{
		"the parent has the DS record":    {k, both, asked, fmt.Sprintf("the parent has a DS record of the new key %d", next.Tag)},
		"the parent had it":               {k.Advance(both, time.Hour), view, asked.Add(4 * time.Hour), "is on its way out since"},
		"it had one by an algorithm":      {planned, nil, otherAsked, "is on its way out since"},
		"the parent cannot be seen":       {k, nil, asked, fmt.Sprintf("whether the parent has a DS record of the new key %d is not known", next.Tag)},
		"no rollover":                     {single, view, testNow, "no rollover is under way"},
		"keys that the configuration has": {&listed, view, testNow, "the configuration names the key files"},
		"another server leads":            {&follower, view, testNow, "ns1 leads the rollovers"},
	} {
		if err := aborted(test.keys, test.view, test.now); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestAbortWithALongTTL has the new key of a rollover that was given up stay for as long as its TTL takes, which is no
// sign of a wrong clock.
func TestAbortWithALongTTL(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	view.At, view.TTL = k.All[1].Times.SyncPublish, 10*24*time.Hour
	view.DS = []*dns.DS{k.All[0].DS()}
	aborted, err := k.Abort(view, view.At)
	if err != nil {
		t.Fatal(err)
	}
	if left := aborted.All[1].Times.Delete.Sub(view.At); left < 20*24*time.Hour {
		t.Errorf("it stays for %v", left)
	}
	if got := aborted.Advance(view, time.Hour); got != aborted {
		t.Errorf("it is to be removed at %v, and then at %v", aborted.All[1].Times.Delete, got.All[1].Times.Delete)
	}
}
