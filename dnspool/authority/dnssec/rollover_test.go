package dnssec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// seenBy is a parent that has all keys.
func seenBy(k *Keys) *View {
	v := &View{TTL: time.Hour, At: testNow.Add(48 * time.Hour)}
	for _, key := range k.All {
		v.DS = append(v.DS, key.DS())
	}
	return v
}

// TestNewKeyIsKeptFirst has a crash between two files leave a zone that can be signed, whichever key has the lower tag.
func TestNewKeyIsKeptFirst(t *testing.T) {
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
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
		changes, err := k.Advance(seenBy(k), time.Hour).stage()
		if err != nil || len(changes) < 3 {
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

// TestHalfARolloverGoesOn has a rollover go on where only one of two files was replaced before a crash.
func TestHalfARolloverGoesOn(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), t.TempDir(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := k.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	seen := seenBy(rolled)
	if got := rolled.Describe(seen.At, seen, "").Next; got != "the parent's DS record has been seen" {
		t.Errorf("before the next step it waits for %q", got)
	}
	whole := rolled.Advance(seen, time.Hour)
	next, old := whole.rolling(seen.At)
	nextBefore, oldBefore := rolled.rolling(seen.At)
	for name, half := range map[string]*Keys{
		"the new key's file":     rolled.with(next, oldBefore),
		"the old key's file":     rolled.with(nextBefore, old),
		"none":                   rolled,
		"both, and nothing else": whole,
	} {
		later := *seen
		later.At = seen.At.Add(10 * time.Minute)
		got := half.Advance(&later, time.Hour)
		end := later.At.Add(6 * time.Hour)
		if got.All[0].Times.At(end.Add(24*time.Hour)) != Removed || got.All[1].Times.At(end) != Active {
			t.Errorf("%s: %s", name, got.describe(end.Add(24*time.Hour)))
		}
		if signs := got.All[1].Times.Activate; name == "the new key's file" && !signs.Equal(next.Times.Activate) {
			t.Errorf("%s: the new key signs at %v, was to sign at %v", name, signs, next.Times.Activate)
		}
		if got.Advance(&later, time.Hour) != got {
			t.Errorf("%s: it goes on without end", name)
		}
	}
	late := *seen
	late.At = next.Times.Activate.Add(time.Hour)
	if old := rolled.with(next, oldBefore).Advance(&late, time.Hour).All[0].Times; !old.Inactive.Equal(late.At.Add(late.TTL + margin).Truncate(time.Second)) {
		t.Errorf("where the new key signs already, the old one signs until %v", old.Inactive)
	}
	short := rolled.Advance(seen, time.Minute).All[0].Times // the DNSKEY set is cached for longer than the zone is
	if kept := short.Delete.Sub(short.Inactive); kept != KeyTTL*time.Second+margin {
		t.Errorf("the old key is kept for %v after it was replaced", kept)
	}
	uneven := *seen
	uneven.At = uneven.At.Add(time.Millisecond)
	for _, key := range rolled.Advance(&uneven, time.Hour).All { // or what is read from the files would differ
		if key.Times != key.Times.whole() {
			t.Errorf("the times %+v are not those that a file can have", key.Times)
		}
	}
	if whole.Advance(seen, time.Hour) != whole {
		t.Error("a rollover that is planned is planned again")
	}
}

// timeline follows a rollover hour by hour, at a parent that does what CDS asks for five hours later, and whose DS
// records are cached for a day. It returns what has changed when: the keys, the old one first, with * where CDS asks
// for a DS record; which of them the parent has; and what is waited for.
func timeline(t *testing.T, algorithm string) (lines []string) {
	t.Helper()
	k, err := read(testConfig(), t.TempDir(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	old := k.All[0]
	if k, err = k.Roll(algorithm, testNow, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer(fmt.Sprint(old.Tag), "OLD", fmt.Sprint(k.All[1].Tag), "NEW")
	parent := &View{DS: []*dns.DS{old.DS()}, TTL: 24 * time.Hour}
	asked, last := 0, ""
	for hour := range 24 * 14 {
		parent.At = testNow.Add(time.Duration(hour) * time.Hour)
		k = k.Advance(parent, 2*time.Hour)
		r, err := k.at(parent.At)
		if err != nil {
			t.Fatalf("after %d hours: %v", hour, err)
		}
		if end, why := k.End(parent.At); why != nil {
			t.Errorf("after %d hours, the keys are to end at %v: %v", hour, end, why)
		}
		if got := k.Describe(parent.At, parent, "").Parent.Problem; got != "" {
			t.Errorf("after %d hours: %s", hour, got)
		}
		state := ""
		for _, key := range k.All {
			state += string(key.Times.At(parent.At))
			if slices.Contains(r.synced, key) {
				state += "*"
			}
			state += " "
		}
		state += "| signs keys" + tags(k, r.signKeys) + ", all else" + tags(k, r.signZone) + " | parent"
		for _, ds := range parent.DS {
			state += fmt.Sprintf(" %d", ds.KeyTag)
		}
		state = names.Replace(fmt.Sprintf("%s | DS %d | %s", state, len(k.Describe(parent.At, parent, "").DS), k.next(parent.At, parent)))
		if state != last {
			lines, last = append(lines, fmt.Sprintf("%3d h %s", hour, state)), state
		}
		if asked++; len(r.synced) == len(parent.DS) && r.synced[0].Tag == parent.DS[0].KeyTag {
			asked = 0
		}
		if asked == 5 {
			parent.DS = nil
			for _, key := range r.synced {
				parent.DS = append(parent.DS, key.DS())
			}
		}
	}
	return lines
}

// tags are the tags of some keys, in the order of all.
func tags(all *Keys, some []*Key) (text string) {
	for _, k := range all.All {
		if slices.Contains(some, k) {
			text += fmt.Sprintf(" %d", k.Tag)
		}
	}
	return text
}

// TestRolloverTimeline wants each step of a rollover when RFC 6781 allows it, with two hours to spare, and not before.
func TestRolloverTimeline(t *testing.T) {
	t.Parallel()
	for algorithm, want := range timelines {
		if got := strings.Join(timeline(t, algorithm), "\n"); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q:\n%s", algorithm, got)
		}
	}
}

var timelines = map[string]string{
	"": `
  0 h active* published | signs keys OLD NEW, all else OLD | parent OLD | DS 1 | the parent is asked for a DS record of the key NEW at 2027-01-15T11:00:00Z
  3 h active* published* | signs keys OLD NEW, all else OLD | parent OLD | DS 2 | the parent is to have a DS record of the key NEW beside that of OLD
  8 h active* published* | signs keys OLD NEW, all else OLD | parent OLD NEW | DS 2 | the key NEW signs at 2027-01-16T18:00:00Z
 34 h retired active* | signs keys OLD NEW, all else NEW | parent OLD NEW | DS 1 | the key OLD is removed at 2027-01-16T22:00:00Z
 38 h removed active* | signs keys NEW, all else NEW | parent OLD NEW | DS 1 | the parent is to remove the DS record of the key OLD
 39 h removed active* | signs keys NEW, all else NEW | parent NEW | DS 1 |`,
	"ED25519": `
  0 h active* signing | signs keys OLD, all else OLD NEW | parent OLD | DS 1 | the key NEW is published at 2027-01-15T12:00:00Z
  4 h active* active | signs keys OLD NEW, all else OLD NEW | parent OLD | DS 1 | the parent is asked for a DS record of the key NEW at 2027-01-15T15:00:00Z
  7 h active* active* | signs keys OLD NEW, all else OLD NEW | parent OLD | DS 2 | the parent is to have a DS record of the key NEW beside that of OLD
 12 h active* active* | signs keys OLD NEW, all else OLD NEW | parent OLD NEW | DS 2 | the parent is asked to remove the DS record of the key OLD at 2027-01-16T22:00:00Z
 38 h active active* | signs keys OLD NEW, all else OLD NEW | parent OLD NEW | DS 1 | the parent is to remove the DS record of the key OLD
 43 h active active* | signs keys OLD NEW, all else OLD NEW | parent NEW | DS 1 | the key OLD is removed at 2027-01-18T05:00:00Z
 69 h signing active* | signs keys NEW, all else OLD NEW | parent NEW | DS 1 | the key OLD signs no more at 2027-01-18T08:00:00Z
 72 h removed active* | signs keys NEW, all else NEW | parent NEW | DS 1 |`,
}

// TestParentHas recognizes a DS record by all that is in it, whatever its digest.
func TestParentHas(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	key := k.All[0]
	for name, test := range map[string]struct {
		digest uint8
		change func(ds *dns.DS)
		want   bool
	}{
		"SHA-256":           {dns.SHA256, func(*dns.DS) {}, true},
		"SHA-384":           {dns.SHA384, func(*dns.DS) {}, true},
		"in upper case":     {dns.SHA256, func(ds *dns.DS) { ds.Digest = strings.ToUpper(ds.Digest) }, true},
		"another tag":       {dns.SHA256, func(ds *dns.DS) { ds.KeyTag++ }, false},
		"another algorithm": {dns.SHA256, func(ds *dns.DS) { ds.Algorithm++ }, false},
		"another digest":    {dns.SHA256, func(ds *dns.DS) { ds.Digest = strings.Repeat("00", 32) }, false},
		"an unknown digest": {dns.SHA256, func(ds *dns.DS) { ds.DigestType = 99 }, false},
	} {
		ds := key.Record.ToDS(test.digest)
		test.change(ds)
		if got := (&View{DS: []*dns.DS{ds}}).has(key); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestNewKeyIsTheLaterOne tells the new key from the old one whatever their order in the folder of keys.
func TestNewKeyIsTheLaterOne(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = k.Roll("", testNow.Add(time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	turned := *k
	turned.All = []*Key{k.All[1], k.All[0]}
	for _, keys := range []*Keys{k, &turned} {
		if next, old := keys.rolling(testNow.Add(time.Hour)); next != k.All[1] || old != k.All[0] {
			t.Errorf("%s: it rolls from %v to %v", keys.describe(testNow), old, next)
		}
	}
}

// TestUsesAlgorithm knows which algorithms keys have that are in use, or are going to be.
func TestUsesAlgorithm(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := k.Roll("ED25519", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if lower, err := k.Roll("ed25519", testNow, time.Hour); err != nil || !lower.UsesAlgorithm("ED25519", testNow) {
		t.Errorf("in lower case: %v", err)
	}
	aborted, err := rolled.Abort(nil, testNow)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		keys *Keys
		want bool
	}{"one key": {k, false}, "a rollover": {rolled, true}, "a rollover that was given up": {aborted, false}} {
		if !test.keys.UsesAlgorithm("ECDSAP256SHA256", testNow) || test.keys.UsesAlgorithm("ED25519", testNow) != test.want {
			t.Errorf("%s: the algorithms are not those of %s", name, test.keys.describe(testNow))
		}
	}
}

// TestRollIsRefused lists where no rollover can begin.
func TestRollIsRefused(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := k.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	split := newSplitKey(t)
	both, err := Read(testConfig(split.kskAt, split.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	withOther, withdrawn := *k, *k
	withOther.All = append(slices.Clone(k.All), newOtherKey(dns.Copy(split.ksk).(*dns.DNSKEY)))
	withdrawn.withdraw = true
	if _, err := withOther.Roll("", testNow, time.Hour); err != nil {
		t.Errorf("with another server's key of the same algorithm: %v", err)
	}
	twoKeys, twoSigners, ended := *both, *both, *k.All[0]
	twoKeys.auto = true // as if they had been put into the folder of keys
	more, err := generate(testZone, dns.ECDSAP256SHA256, Times{Created: testNow, Publish: testNow, Activate: testNow, Delete: testNow.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	third := *more
	third.Times.Created = testNow.Add(-time.Hour)
	third.Tag++
	third.id += "another"
	twoSigners = *k.with(more, &third)
	ended.Times.Delete = testNow
	for name, test := range map[string]struct {
		keys            *Keys
		algorithm, want string
	}{
		"under way":         {rolled, "", fmt.Sprintf("a rollover from the key %d to %d is under way", k.All[0].Tag, rolled.All[1].Tag)},
		"KSK and ZSK":       {&twoKeys, "", "want one key that signs all, got"},
		"three keys":        {&twoSigners, "", "want one key that signs all, got"},
		"no key signs":      {k.with(&ended), "", "want an active key"},
		"withdrawn":         {&withdrawn, "", "take it out and reload first"},
		"alone of two":      {&withOther, "ED25519", "all servers have to change it together"},
		"another algorithm": {k, "RSASHA256", `want the algorithm ECDSAP256SHA256 or ED25519, got "RSASHA256"`},
	} {
		if _, err := test.keys.Roll(test.algorithm, testNow, time.Hour); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestTwoListedKeysAreNoRollover copies two keys into the folder of keys that were listed before, with and without a
// time at which they were made. Neither replaces the other: none can be given up, and a rollover asks for one of them.
func TestTwoListedKeysAreNoRollover(t *testing.T) {
	t.Parallel()
	for _, made := range []string{"", ", Created -98"} {
		for _, names := range [][]string{{"K1", "K2"}, {"K1", "C1"}} {
			l := newListedKeys(t, names...)
			l.set(names[0], "Publish -99, Activate -99")
			l.set(names[1], "Publish -99, Activate -99"+made)
			k, err := Read(testConfig(l.files[names[0]], l.files[names[1]]), "", testNow)
			if err != nil {
				t.Fatal(err)
			}
			k.auto = true
			if _, err := k.Abort(nil, testNow); err == nil || !strings.Contains(err.Error(), "no rollover is under way") {
				t.Errorf("%v%s: given up: %v", names, made, err)
			}
			if _, err := k.Roll("", testNow, time.Hour); err == nil || !strings.Contains(err.Error(), "want one key that signs all, got") {
				t.Errorf("%v%s: a rollover: %v", names, made, err)
			}
			if next := k.Describe(testNow, nil, "").Next; next != "" {
				t.Errorf("%v%s: next is %q", names, made, next)
			}
		}
	}
}

// TestKeysOfTheSameTag replaces a key, and not another server's with the same tag.
func TestKeysOfTheSameTag(t *testing.T) {
	t.Parallel()
	other, ours, changed := &Key{Tag: 1, id: "other"}, &Key{Tag: 1, id: "ours"}, &Key{Tag: 1, id: "ours"}
	k := (&Keys{All: []*Key{other, ours}}).with(changed)
	if len(k.All) != 2 || k.All[0] != other || k.All[1] != changed {
		t.Errorf("the keys are %v", k.All)
	}
}
