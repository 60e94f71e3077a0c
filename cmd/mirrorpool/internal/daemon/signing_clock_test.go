package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
)

// look looks at a parent that has DS records.
func (d *signedDaemon) look(ds ...*dns.DS) {
	d.t.Helper()
	view := &dnssec.View{DS: ds, TTL: time.Hour, At: d.now()}
	d.parent.mu.Lock()
	d.parent.take(view)
	d.parent.mu.Unlock()
	if err := d.moveKeys(view); err != nil {
		d.t.Errorf("at %v: %v", d.now(), err)
	}
	d.rebuild()
}

// TestOneLookWithTheClockBehind has a rollover end, and the clock be behind for one look, of a process that runs or of
// one that starts. Once the clock is right, all is as it was.
func TestOneLookWithTheClockBehind(t *testing.T) {
	t.Parallel()
	const signed = `{"keys": "auto"}`
	for name, behind := range map[string]time.Duration{"a month": 30 * 24 * time.Hour, "a year": 365 * 24 * time.Hour, "an hour": time.Hour} {
		for _, restart := range []bool{false, true} {
			d := newSignedDaemon(t, signed)
			old := d.signer.Keys().All[0].DS()
			if err := d.rollKeys(""); err != nil {
				t.Fatal(err)
			}
			next := d.signer.Keys().All[1].DS()
			for hour := range 72 {
				d.wait(time.Hour)
				switch {
				case hour < 10:
					d.look(old)
				case hour < 40:
					d.look(old, next)
				default:
					d.look(next)
				}
			}
			right := d.now()
			want := d.signer.Keys().Phase(right)
			d.wait(-behind)
			if restart {
				if err := d.start(signed); err != nil {
					t.Fatalf("%s behind: %v", name, err)
				}
			}
			d.look(next)
			d.clock.Store(&right)
			d.look(next)
			if got := d.signer.Keys().Phase(right); got != want || d.signer.Stats().Failure != "" {
				t.Errorf("%s behind: the keys are %s, want %s: %s", name, got, want, d.signer.Stats().Failure)
			}
			if err := d.start(signed); err != nil {
				t.Errorf("%s behind: the next start: %v", name, err)
			}
		}
	}
}

// TestReloadWithTheClockBehind refuses other keys while it is not known what caches have.
func TestReloadWithTheClockBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, record := newListedKey(t, dir, 257)
	more, _ := newListedKey(t, dir, 257)
	d := newSignedDaemon(t, listed(t, first))
	d.look(record.ToDS(dns.SHA256))
	d.wait(-24 * time.Hour)
	d.write(listed(t, first, more), "")
	if answer := d.reloadSettings(false); !strings.Contains(answer.Error, "the clock is before 2027-01-15T08:00:00Z") {
		t.Errorf("other keys: %+v", answer)
	}
	d.write(listed(t, first)+`, "ttl": "2m"`, "")
	for _, err := range []error{d.rollKeys(""), d.abortRollover(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "the clock is before") {
			t.Errorf("a rollover: %v", err)
		}
	}
	if answer := d.reloadSettings(false); answer.Error != "" {
		t.Errorf("the same keys: %+v", answer)
	}
}

// TestStepsWaitForTheParent has a step of a rollover wait while the parent cannot be seen.
func TestStepsWaitForTheParent(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	if err := d.rollKeys(""); err != nil {
		t.Fatal(err)
	}
	old, next := d.signer.Keys().All[0], d.signer.Keys().All[1]
	d.wait(6 * time.Hour)
	d.look(old.DS(), next.DS())
	signs := d.signer.Keys().All[1].Times.Activate
	for _, step := range []struct {
		before time.Duration
		held   bool
	}{{3 * time.Hour, false}, {time.Hour, true}} {
		now := signs.Add(-step.before)
		d.clock.Store(&now)
		if err := d.moveKeys(nil); err != nil {
			t.Fatal(err)
		}
		if got := d.signer.Keys().All[1].Times.Activate; got.After(signs) != step.held {
			t.Errorf("%v before, the key is to sign at %v, was to at %v", step.before, got, signs)
		}
	}
	d.look(old.DS(), next.DS())
	held := d.signer.Keys()
	now := held.All[1].Times.Activate.Add(-time.Minute)
	d.clock.Store(&now)
	d.look(old.DS(), next.DS())
	d.wait(2 * parentInterval)
	if err := d.moveKeys(nil); err != nil || !d.signer.Keys().Same(held) {
		t.Errorf("a parent that was seen just now holds a step: %v", err)
	}
}

// TestStartAfterMissedSteps has the daemon be down while steps of a rollover were to come, at each hour of it, for some
// hours or days. Its secondaries serve on, so that caches have what it signed last: the key for that is published after
// the start for as long as they do. So is the one whose DS record the parent has, where it has lost the other
// meanwhile.
func TestStartAfterMissedSteps(t *testing.T) {
	t.Parallel()
	const signed = `{"keys": "auto"}`
	for _, algorithm := range []string{"", "ED25519"} {
		for _, down := range []time.Duration{4 * time.Hour, 60 * time.Hour} {
			for begin := 3; begin < 14; begin += 2 {
				for _, lost := range []bool{false, true} {
					d := newSignedDaemon(t, signed)
					old := d.rollFor(algorithm, begin)
					begun := d.now()
					d.wait(down)
					if err := d.start(signed); err != nil {
						t.Fatal(err)
					}
					wait, needed := time.Hour-time.Second, old.Times.At(begun) == dnssec.Active
					if lost {
						d.look(old.DS())
						wait, needed = 10*24*time.Hour, isPublished(old.Times.At(begun.Add(time.Hour)))
					}
					for _, after := range []time.Duration{0, wait} {
						d.wait(after)
						keys := d.signer.Keys().All // in the order of the folder
						i := slices.IndexFunc(keys, func(key *dnssec.Key) bool { return key.Tag == old.Tag })
						if got := keys[i].Times.At(d.now()); needed && !isPublished(got) {
							t.Errorf("%q, down after %d h for %v, DS lost: %v: %v after the start, the old key is %s", algorithm, begin, down, lost, after, got)
						}
					}
				}
			}
		}
	}
}

// isPublished reports whether a key that has signed is still published.
func isPublished(s dnssec.State) bool { return s == dnssec.Active || s == dnssec.Retired }

// rollFor begins a rollover, lets it go on for some hours at a parent that does what it is asked for, and returns the
// old key.
func (d *signedDaemon) rollFor(algorithm string, hours int) *dnssec.Key {
	d.t.Helper()
	if err := d.rollKeys(algorithm); err != nil {
		d.t.Fatal(err)
	}
	for range hours {
		d.wait(time.Hour)
		var ds []*dns.DS
		for _, key := range d.signer.Keys().All {
			if t := key.Times; !d.now().Before(t.SyncPublish) && (t.SyncDelete.IsZero() || d.now().Before(t.SyncDelete)) {
				ds = append(ds, key.DS())
			}
		}
		d.look(ds...)
	}
	return d.signer.Keys().All[0]
}
