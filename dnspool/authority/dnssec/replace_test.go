package dnssec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// listedKeys are key files that a configuration may list, by a letter and a number.
type listedKeys struct {
	t     *testing.T
	dir   string
	files map[string]string // without their ends
	text  map[string]string // of private files, without times
	ds    map[string]*dns.DS
}

// newListedKeys makes keys that sign keys (K) and others (Z), and the same of another algorithm (C and E).
func newListedKeys(t *testing.T, names ...string) *listedKeys {
	t.Helper()
	l := &listedKeys{t, t.TempDir(), map[string]string{}, map[string]string{}, map[string]*dns.DS{}}
	for _, name := range names {
		algorithm := dns.ECDSAP256SHA256
		if name[0] == 'C' || name[0] == 'E' {
			algorithm = dns.ED25519
		}
		key, err := generate(testZone, algorithm, Times{})
		if err != nil {
			t.Fatal(err)
		}
		if name[0] == 'Z' || name[0] == 'E' {
			key.Record.Flags = dns.ZONE
		}
		l.files[name] = filepath.Join(l.dir, fmt.Sprintf("K%s+%03d+%05d", testZone, algorithm, key.Record.KeyTag()))
		testbed.Put(t, l.files[name]+publicEnd, key.Record.String()+"\n")
		l.text[name], l.ds[name] = key.secret, key.DS()
		l.set(name, "")
	}
	return l
}

// set sets the times of a key, as dnssec-settime does: "Activate 3" is three hours after the start.
func (l *listedKeys) set(name, times string) {
	l.t.Helper()
	text := l.text[name]
	for time := range strings.SplitSeq(times, ", ") {
		field, hours := "", 0
		if _, err := fmt.Sscan(time, &field, &hours); err == nil {
			text += fmt.Sprintf("%s: %s\n", field, l.at(hours).UTC().Format(timeFormat))
		}
	}
	if err := os.WriteFile(l.files[name]+privateEnd, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *listedKeys) at(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }

// A listing is a step of a test of keys that are listed: the configuration is read again, perhaps after changes.
type listing struct {
	hours int
	times map[string]string // of keys, from now on
	ds    string            // that the parent has from now on; "-" for none, "" for those before
	keys  string            // that are listed
	want  string            // in the error; "" for none
}

var listings = map[string][]listing{
	"the key that the parent names is left out": {{ds: "K1", keys: "K1 K2 Z1"}, {hours: 99, keys: "K2 Z1", want: "DS record of no other key"},
		{hours: 99, ds: "K1 K2", keys: "K2 Z1", want: "may trust no other key until 2027-01-20T11:00:00Z"},
		{hours: 122, keys: "K2 Z1", want: "until 2027-01-20"}, {hours: 123, keys: "K2 Z1"}},
	"its DS record has gone just now": {{ds: "K1", keys: "K1 K2 Z1"}, {hours: 99, ds: "K2", keys: "K2 Z1", want: "no other key until"},
		{hours: 123, keys: "K2 Z1"}},
	"its DS record has gone, and no other came": {{ds: "K1", keys: "K1 K2 Z1"}, {hours: 99, ds: "-", keys: "K2 Z1", want: "no other key until"},
		{hours: 123, keys: "K2 Z1"}},
	"there never was a DS record":          {{keys: "K1 K2 Z1"}, {keys: "K2 Z1"}},
	"the parent names a stranger":          {{ds: "K3", keys: "K1 K2 Z1"}, {hours: 24, keys: "K2 Z1"}},
	"the parent named a key just now":      {{keys: "K1 K2 Z1"}, {ds: "K3", keys: "K2 Z1", want: "DS record of no other key"}},
	"it is removed by its time":            {{ds: "K1", keys: "K1 K2 Z1"}, {hours: 99, times: map[string]string{"K1": "Publish 0, Activate 0, Delete 98"}, keys: "K1 K2 Z1", want: "no other key"}},
	"it was to be removed":                 {{times: map[string]string{"K1": "Publish 0, Activate 0, Delete 98"}, ds: "K1", keys: "K1 K2 Z1"}, {hours: 98, keys: "K2 Z1"}},
	"another key for the zone at once":     {{keys: "K1 Z1"}, {hours: 9, keys: "K1 Z2", want: "would sign dl.example.org. at once"}},
	"a key for the zone where none was":    {{keys: "K1"}, {hours: 9, keys: "K1 Z1", want: "would sign dl.example.org. at once"}},
	"no key for the zone any more":         {{keys: "K1 Z1"}, {hours: 9, keys: "K1", want: "that it has signed for 4h0m0s"}},
	"one key that signs all, then another": {{ds: "K1", keys: "K1"}, {hours: 9, ds: "K1 K2", keys: "K1 K2"}, {hours: 32, keys: "K2", want: "until"}, {hours: 33, keys: "K2"}},
	"pre-publication": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 9, Activate 12", "Z1": "Publish 0, Activate 0, Inactive 12"}, keys: "K1 Z1 Z2"},
		{hours: 10, keys: "K1 Z1 Z2"}, {hours: 11, keys: "K1 Z2", want: "that it has signed until 2027-01-16T00:00:00Z"}, {hours: 12, keys: "K1 Z1 Z2"},
		{hours: 15, keys: "K1 Z2", want: "that it has signed until 2027-01-16T00:00:00Z"}, {hours: 16, keys: "K1 Z2"}},
	"pre-publication that is to be too short": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 20, Activate 20", "Z1": "Publish 0, Activate 0, Inactive 20"},
		keys: "K1 Z1 Z2", want: "from 2027-01-16T04:00:00Z on"}, {hours: 9, times: map[string]string{"Z2": "Publish 19, Activate 20"}, keys: "K1 Z1 Z2"}},
	"the other key signs all in place of one for the zone": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z1": "Publish 0, Activate 0, Inactive 9, Delete 57"}, keys: "K1 Z1"},
		{hours: 12, keys: "K1", want: "until 2027-01-15T21:00:00Z"}, {hours: 57, keys: "K1"}},
	"pre-publication that is too short after another change": {{keys: "K1 K2 Z1"}, {hours: 9, times: map[string]string{"K2": "Publish 12, Activate 12",
		"Z2": "Publish 20, Activate 20", "Z1": "Publish 0, Activate 0, Inactive 20"}, keys: "K1 K2 Z1 Z2", want: "from 2027-01-16T04:00:00Z on"}},
	"pre-publication, too short": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 9, Activate 10"}, keys: "K1 Z1 Z2"},
		{hours: 10, times: map[string]string{"Z1": "Publish 0, Activate 0, Inactive 10", "Z2": "Publish 10, Activate 10"}, keys: "K1 Z1 Z2", want: "at once"}},
	"the clock is behind": {{keys: "K1 Z1"}, {hours: 9, keys: "K1 Z1 Z2"}, {hours: 20, keys: "K1 Z2"}, {hours: -9000, keys: "K1 Z2"}},
	"double signature": {{keys: "K1 Z1"}, {hours: 9, keys: "K1 Z1 Z2"}, {hours: 12, keys: "K1 Z2", want: "that it has signed for 4h0m0s"},
		{hours: 13, keys: "K1 Z2"}},
	"pre-publication that is given up": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 9, Activate 99"}, keys: "K1 Z1 Z2"}, {hours: 10, keys: "K1 Z1"}},
	"the same soon after the first":    {{times: map[string]string{"Z1": "Publish 0, Activate 0"}, keys: "K1 Z1"}, {keys: "K1 Z1"}},
	"another algorithm at once": {{keys: "K1 Z1"}, {hours: 9, keys: "K1 Z1 C1", want: "from 2027-01-15T23:00:00Z on (dnssec-settime -A and -P)"},
		{hours: 9, times: map[string]string{"C1": "Activate 9, Publish 15"}, keys: "K1 Z1 C1"}, {hours: 14, keys: "K1 Z1 C1"},
		{hours: 15, keys: "K1 Z1 C1"}},
	"another algorithm later": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"C1": "Publish 9, Activate 99"}, keys: "K1 Z1 C1", want: "from 2027-01-19T17:00:00Z on"},
		{hours: 9, times: map[string]string{"C1": "Activate 99, Publish 103"}, keys: "K1 Z1 C1"}},
	"another algorithm with two keys": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"C1": "Activate 9, Publish 11", "E1": "Activate 9, Publish 13"}, keys: "K1 Z1 C1 E1", want: "would be published"},
		{hours: 9, times: map[string]string{"C1": "Activate 9, Publish 13"}, keys: "K1 Z1 C1 E1"}},
	"another algorithm in a hurry": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"C1": "Activate 9, Publish 15"}, keys: "K1 Z1 C1"},
		{hours: 11, times: map[string]string{"C1": "Activate 9, Publish 11"}, keys: "K1 Z1 C1", want: "would be published"}, {hours: 13, keys: "K1 Z1 C1"}},
	"an algorithm is left out": {{ds: "K1", keys: "K1 C1"}, {hours: 99, keys: "K1", want: "algorithm ED25519, which no other key has; list it again"},
		{hours: 99, times: map[string]string{"C1": "Publish 0, Activate 0, Delete 99, Inactive 100"}, keys: "K1 C1"},
		{hours: 99, keys: "K1", want: "until 2027-01-19T12:00:00Z; list it again until then"}, {hours: 100, keys: "K1"}},
	"an algorithm is left out that is not published yet": {{ds: "K1", keys: "K1"}, {hours: 99, times: map[string]string{"C1": "Activate 99, Publish 103"}, keys: "K1 C1"},
		{hours: 100, keys: "K1"}},
	"an algorithm keeps another key":                      {{ds: "K1", keys: "K1 Z1 C1 E1"}, {hours: 99, keys: "K1 Z1 C1"}},
	"the clock was ahead of the key of another algorithm": {{keys: "K1 C1"}, {hours: -9, keys: "K1 C1"}},
	"a key signs again, and the other one goes": {{times: map[string]string{"K2": "Publish 0, Activate 0, Inactive 1"}, ds: "K1 K2", keys: "K1 K2"},
		{hours: 99, times: map[string]string{"K2": "Publish 0, Activate 0"}, keys: "K2", want: "would sign dl.example.org. at once"},
		{hours: 99, keys: "K1 K2"}, {hours: 102, keys: "K2", want: "that it has signed"}, {hours: 103, keys: "K2"}},
	"a key goes and signs on": {{ds: "K1", keys: "K1 K2 Z1"}, {hours: 99, times: map[string]string{"K1": "Publish 0, Activate 0, Delete 99, Inactive 101"},
		keys: "K1 K2 Z1", want: "DS record of no other key"}},
	"a key goes with the last that signs": {{times: map[string]string{"K2": "Publish 0, Activate 0, Inactive 50"}, ds: "K2", keys: "K1 K2 C1"},
		{hours: 99, keys: "K2 C1", want: "DS record of no other key"}},
	"times are changed to be earlier": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 50, Activate 60"}, keys: "K1 Z1 Z2"},
		{hours: 20, times: map[string]string{"Z2": "Publish 9, Activate 9"}, keys: "K1 Z1 Z2"}, {hours: 20, keys: "K1 Z2", want: "would sign"},
		{hours: 23, keys: "K1 Z2", want: "that it has signed for 4h0m0s"}, {hours: 24, keys: "K1 Z2"}},
	"it is published earlier, and signs": {{keys: "K1 Z1"}, {hours: 9, times: map[string]string{"Z2": "Publish 50, Activate 60"}, keys: "K1 Z1 Z2"},
		{hours: 20, times: map[string]string{"Z2": "Publish 9, Activate 60"}, keys: "K1 Z1 Z2"},
		{hours: 20, times: map[string]string{"Z2": "Publish 9, Activate 20", "Z1": "Publish 0, Activate 0, Inactive 20"}, keys: "K1 Z1 Z2", want: "would sign"}},
	"the last that signs with an algorithm is left out": {{times: map[string]string{"C1": "Publish 0, Activate 0, Inactive 50"}, ds: "K1", keys: "K1 C1 E1"},
		{hours: 99, keys: "K1 C1", want: "algorithm ED25519, which no other key has; list it again"}},
	"an algorithm that has ceased to sign": {{times: map[string]string{"C1": "Activate 0, Publish 9, Inactive 20"}, keys: "K1 C1"},
		{hours: 99, times: map[string]string{"C2": "Activate 99, Publish 102"}, keys: "K1 C2", want: "would be published"},
		{hours: 99, times: map[string]string{"C2": "Activate 99, Publish 103"}, keys: "K1 C2"}},
	"a key for the zone is removed": {{times: map[string]string{"Z1": "Publish 0, Activate 0, Inactive 1, Delete 2"}, keys: "K1 Z1"}, {hours: 2, keys: "K1"}},
}

// TestReplacedKeys replaces keys that the configuration lists, at a parent whose DS records are cached for a day and in
// a zone whose records are cached for four hours. What would break the chain in a cache is refused; a restart makes no
// difference.
func TestReplacedKeys(t *testing.T) {
	t.Parallel()
	for name, steps := range listings {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarts %v", name, restarts), func(t *testing.T) {
				t.Parallel()
				l := newListedKeys(t, "K1", "K2", "K3", "Z1", "Z2", "C1", "C2", "E1")
				dir, past, ds := "", Past{TTLs: TTLs{Longest: 4 * time.Hour}}, []*dns.DS(nil)
				if restarts {
					dir = t.TempDir()
				}
				var inForce *Keys
				for i, step := range steps {
					now := l.at(step.hours)
					for key, times := range step.times {
						l.set(key, times)
					}
					if step.ds != "" {
						ds = nil
						for _, key := range strings.Fields(strings.Trim(step.ds, "-")) {
							ds = append(ds, l.ds[key])
						}
					}
					past.Parent = past.Parent.With(&View{DS: ds, TTL: 24 * time.Hour, At: now})
					if inForce != nil {
						if err := past.Keep(dir, testZone); err != nil {
							t.Fatal(err)
						}
					}
					var files []string
					for _, key := range strings.Fields(step.keys) {
						files = append(files, l.files[key])
					}
					next, err := Read(testConfig(files...), dir, now)
					if err == nil && restarts {
						var known Past
						if known, err = Recall(dir, testZone); err != nil {
							t.Fatal(err)
						}
						err = next.CheckStart(&known, now)
					} else if err == nil {
						next = next.Follow(inForce, now)
						err = next.CheckReplaced(&past.Parent, past.TTLs.Held(now), now)
					}
					if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
						t.Fatalf("step %d: %v, want %q", i, err, step.want)
					}
					if err != nil {
						if hint := "remove " + SignersFile(dir); next != nil && strings.HasSuffix(err.Error(), hint) != restarts {
							t.Errorf("step %d: %v, want %q with a restart", i, err, hint)
						}
						continue
					}
					if inForce = next; restarts {
						if err := next.Save(); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// TestLeavesOut lists keys for keys that are left out. That is refused, also as this program begins to manage keys.
func TestLeavesOut(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1", "K2", "Z1")
	before, err := Read(testConfig(l.files["K1"], l.files["K2"], l.files["Z1"]), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := Read(testConfig(l.files["K2"]), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	auto, err := Read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	seen := (&Seen{}).With(&View{DS: []*dns.DS{l.ds["K1"]}, TTL: time.Hour, At: testNow})
	for name, test := range map[string]struct {
		keys    *Keys
		left    string
		refused bool
	}{
		"listed":          {listed.Follow(before, testNow), fmt.Sprint([]uint16{l.ds["K1"].KeyTag}), true},
		"listed at first": {listed.Follow(nil, testNow), "[]", false},
		"auto":            {auto.Follow(before, testNow), "[]", true},
		"auto as before":  {auto.Follow(auto, testNow), "[]", false},
	} {
		if got := fmt.Sprint(test.keys.LeavesOut(testNow)); got != test.left {
			t.Errorf("%s: %s are left out, want %s", name, got, test.left)
		}
		if err := test.keys.CheckReplaced(&seen, time.Hour, testNow); (err != nil) != test.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := listed.Follow(before, testNow).CheckReplaced(&seen, 0, testNow.AddDate(-100, 0, 0)); err == nil ||
		!strings.Contains(err.Error(), "want an active key") {
		t.Errorf("while no key signs: %v", err)
	}
}

// TestConfirmedKeys has a key sign at once that caches do not know, as was confirmed. A restart does not ask again.
func TestConfirmedKeys(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1", "Z1", "Z2")
	dir, past := t.TempDir(), &Past{}
	if _, err := read(testConfig(l.files["K1"], l.files["Z1"]), dir, testNow); err != nil {
		t.Fatal(err)
	}
	swapped := testConfig(l.files["K1"], l.files["Z2"])
	k, err := Read(swapped, dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if k.CheckStart(past, testNow) == nil {
		t.Error("a key signs at once")
	}
	if k = k.Confirmed(); k.CheckReplaced(&past.Parent, 0, testNow.Add(time.Hour)) == nil {
		t.Error("what was confirmed is how new a key is, not that another is gone")
	}
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
	if k, err = Read(swapped, dir, testNow); err == nil {
		err = k.CheckStart(past, testNow)
	}
	if err != nil {
		t.Errorf("a restart: %v", err)
	}
}

// setTimes sets the times of a key, as dnssec-settime does.
func setTimes(t *testing.T, stem string, times Times) {
	t.Helper()
	text, err := os.ReadFile(stem + privateEnd)
	if err == nil {
		err = os.WriteFile(stem+privateEnd, []byte(withoutTimes(string(text))+times.text()), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplacedKeysThatWereSignedAhead goes by the TTL with which DNSKEY records were signed elsewhere: two hours.
func TestReplacedKeysThatWereSignedAhead(t *testing.T) {
	t.Parallel()
	k, other := newSplitKey(t), newSplitKey(t)
	at := func(minutes int) time.Time { return testNow.Add(time.Duration(minutes) * time.Minute) }
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 30, k.both()...)
	k.moveAway(t, ".2", testNow, 30, append(k.both(), dns.Copy(other.zsk))...)
	setTimes(t, other.zskAt, Times{Publish: at(0), Activate: at(90)})
	inForce, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	all := testConfig(k.kskAt, k.zskAt, other.zskAt)
	for _, step := range []struct {
		minutes int
		refused bool
	}{{0, false}, {90, true}, {119, true}, {120, false}} {
		if step.minutes == 90 {
			setTimes(t, k.zskAt, Times{Publish: at(-99), Activate: at(-99), Inactive: at(90)})
		}
		next, err := Read(all, "", at(step.minutes))
		if err != nil {
			t.Fatal(err)
		}
		next = next.Follow(inForce, at(step.minutes))
		if err := next.CheckReplaced(&Seen{}, time.Hour, at(step.minutes)); (err != nil) != step.refused {
			t.Errorf("after %d minutes: %v, want it refused: %v", step.minutes, err, step.refused)
		} else if err == nil {
			inForce = next
		}
	}
}

// TestKeyOfTheNextPeriod has a key sign alone from a time on, where only the DNSKEY records have it that were signed
// ahead for the next period: these are served from an hour after that begins, and caches have those before for two
// more.
func TestKeyOfTheNextPeriod(t *testing.T) {
	t.Parallel()
	k, other := newSplitKey(t), newSplitKey(t)
	begins := testNow.AddDate(0, 0, 9)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
	k.moveAway(t, ".2", begins, 30, append(k.both(), dns.Copy(other.zsk))...)
	inForce, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	now := testNow.Add(time.Minute)
	for minutes, refused := range map[int]bool{60: true, 120: true, 179: true, 180: false, 240: false} {
		signs := begins.Add(time.Duration(minutes) * time.Minute)
		setTimes(t, k.zskAt, Times{Publish: testNow, Activate: testNow, Inactive: signs})
		setTimes(t, other.zskAt, Times{Publish: testNow, Activate: signs})
		next, err := Read(testConfig(k.kskAt, k.zskAt, other.zskAt), "", now)
		if err != nil {
			t.Fatal(err)
		}
		err = next.Follow(inForce, now).CheckReplaced(&Seen{}, time.Hour, now)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "from "+signs.UTC().Format(time.RFC3339)+" on") {
			t.Errorf("%d minutes after the period begins: %v, want it refused: %v", minutes, err, refused)
		}
	}
}

// TestDoubleSignatureWithShortTTLs has two keys sign all for as long as caches may have the DNSKEY records without the
// new one, however low the TTLs of all else are.
func TestDoubleSignatureWithShortTTLs(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1", "Z1", "Z2")
	listed := func(now time.Time, names ...string) *Keys {
		t.Helper()
		var files []string
		for _, name := range names {
			files = append(files, l.files[name])
		}
		k, err := Read(testConfig(files...), "", now)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	both := listed(testNow, "K1", "Z1", "Z2").Follow(listed(testNow, "K1", "Z1"), testNow)
	for minutes, refused := range map[int]bool{30: true, 59: true, 60: false} {
		now := testNow.Add(time.Duration(minutes) * time.Minute)
		if err := listed(now, "K1", "Z2").Follow(both, now).CheckReplaced(&Seen{}, time.Minute, now); (err != nil) != refused {
			t.Errorf("after %d minutes: %v", minutes, err)
		}
	}
}
