package dnssec

import (
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestRolloverAfterTheParentLosesTheDS has the parent lose the new key's DS record at each hour of a rollover, and get
// it back three days later. At all times the DNSKEY set is signed by a key that the parent's DS records name, and each
// answer has as many signatures as without that. In the end the new key signs alone.
func TestRolloverAfterTheParentLosesTheDS(t *testing.T) {
	t.Parallel()
	const zoneTTL = 2 * time.Hour
	for _, algorithm := range []string{"", "ED25519"} {
		for lost := range 90 {
			k, err := read(testConfig(), "", testNow)
			if err != nil {
				t.Fatal(err)
			}
			old := k.All[0].DS()
			if k, err = k.Roll(algorithm, testNow, zoneTTL); err != nil {
				t.Fatal(err)
			}
			next := k.All[1].DS()
			for hour := range 24 * 12 {
				v := &View{At: testNow.Add(time.Duration(hour) * time.Hour), TTL: time.Hour, DS: []*dns.DS{old, next}}
				oldKey := k.All[0]
				switch {
				case oldKey.Times.At(v.At) == Removed && hour <= lost:
					v.DS = []*dns.DS{next}
				case hour < 8 || hour > lost && hour < lost+72:
					v.DS = []*dns.DS{old}
				case passed(oldKey.Times.SyncDelete, v.At):
					v.DS = []*dns.DS{next}
				}
				if oldKey.Times.At(v.At) == Removed {
					break // too late for any of this
				}
				k = k.Advance(v, zoneTTL)
				r, err := k.at(v.At)
				if err != nil {
					t.Fatalf("%q, lost at %d h: after %d h: %v", algorithm, lost, hour, err)
				}
				if !slices.ContainsFunc(r.signKeys, func(key *Key) bool { return v.has(key) }) {
					t.Fatalf("%q, lost at %d h: after %d h, no DS record of the parent names a key: %s", algorithm, lost, hour, k.describe(v.At))
				}
				if len(r.signZone) > 1 && algorithm == "" {
					t.Fatalf("lost at %d h: after %d h, two keys sign all: %s", lost, hour, k.describe(v.At))
				}
				if k.Advance(v, zoneTTL) != k {
					t.Fatalf("%q, lost at %d h: after %d h, it is planned again at once", algorithm, lost, hour)
				}
			}
			end := testNow.AddDate(0, 0, 12)
			if k.All[0].Times.At(end) != Removed || k.All[1].Times.At(end) != Active {
				t.Errorf("%q, lost at %d h: in the end %s", algorithm, lost, k.describe(end))
			}
		}
	}
}

// TestAbortAfterTheParentLosesTheDS gives a rollover up whose new DS record was at the parent for a while, before the
// new key signs.
func TestAbortAfterTheParentLosesTheDS(t *testing.T) {
	t.Parallel()
	for algorithm, signers := range map[string]int{"": 1, "ED25519": 2} {
		k, view := rolledKeys(t, algorithm)
		view.At = k.All[1].Times.SyncPublish
		both := &View{At: view.At, TTL: view.TTL, DS: []*dns.DS{k.All[0].DS(), k.All[1].DS()}}
		planned := k.Advance(both, time.Hour)
		got, err := planned.Abort(view, view.At.Add(time.Minute))
		if err != nil {
			t.Fatalf("%q: %v", algorithm, err)
		}
		state := Published
		if algorithm != "" {
			state = Active
		}
		wantStates(t, "given up", got, view.At.Add(abortWait-time.Hour), state, signers)
		wantStates(t, "in the end", got, view.At.AddDate(0, 1, 0), Removed, 1)
	}
}

// TestCrashWhileStepsAreTakenBack has a crash between two files leave a zone that can be signed.
func TestCrashWhileStepsAreTakenBack(t *testing.T) {
	t.Parallel()
	for range 8 { // the tags are drawn
		dir := t.TempDir()
		k, err := read(testConfig(), dir, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = k.Roll("", testNow, time.Hour); err != nil {
			t.Fatal(err)
		}
		seen := seenBy(k)
		k = k.Advance(seen, time.Hour)
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
		lost := *seen
		lost.DS, lost.At = lost.DS[:1], lost.At.Add(time.Minute)
		changes, err := k.Advance(&lost, time.Hour).stage()
		if err != nil || len(changes) < 2 {
			t.Fatal(changes, err)
		}
		for i, change := range changes {
			if i > 0 {
				change.Discard() // the crash
			} else if err := change.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Read(testConfig(), dir, testNow.AddDate(0, 1, 0)); err != nil {
			t.Errorf("after a crash, and a month: %v", err)
		}
	}
}

// TestReachedStepsStay: a step that others have seen is not taken back, and one that they have not is.
func TestReachedStepsStay(t *testing.T) {
	t.Parallel()
	now := testNow.AddDate(0, 0, 30)
	k, _ := rolledKeys(t, "ED25519")
	for at, stays := range map[time.Time]bool{now.Add(-time.Hour): true, now.Add(time.Hour): false} {
		next, old := *k.All[1], *k.All[0]
		next.Times.Activate, old.Times.SyncDelete, old.Times.Delete = testNow, at, now.Add(2*time.Hour)
		got := k.with(&next, &old).takeBack(now, &next, &old)
		for _, key := range got.All {
			if key.Tag != old.Tag {
				continue
			}
			if key.Times.SyncDelete.IsZero() == stays || !key.Times.Delete.IsZero() {
				t.Errorf("with CDS records until %v, at %v: %+v", at, now, key.Times)
			}
		}
	}
}

// TestOldDSComesBack has the parent's servers not be of one mind on the old DS record of an algorithm rollover. The old
// key stays until the record has gone for good, and for its TTL.
func TestOldDSComesBack(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "ED25519")
	old, next := k.All[0].DS(), k.All[1].DS()
	view.At = k.All[1].Times.SyncPublish
	for _, step := range []struct {
		after   time.Duration
		ds      []*dns.DS
		planned bool
	}{
		{0, []*dns.DS{old, next}, false},
		{view.TTL + margin, []*dns.DS{next}, true},
		{10 * time.Minute, []*dns.DS{old, next}, false},
		{10 * time.Minute, []*dns.DS{next}, true},
		{time.Hour, []*dns.DS{old, next}, false},
		{30 * 24 * time.Hour, []*dns.DS{old, next}, false},
		{10 * time.Minute, []*dns.DS{next}, true},
		{view.TTL + margin, []*dns.DS{old, next}, true}, // too late
	} {
		view.At, view.DS = view.At.Add(step.after), step.ds
		k = k.Advance(view, time.Hour)
		if times := k.All[0].Times; times.Delete.IsZero() == step.planned || times.Inactive.IsZero() == step.planned {
			t.Errorf("at %v, the old key is to be removed at %v and inactive at %v, planned: %v", view.At, times.Delete, times.Inactive, step.planned)
		}
		if r, err := k.at(view.At); err != nil || len(r.signZone) != 2 {
			t.Errorf("at %v, not both keys sign: %v", view.At, err)
		}
	}
}
