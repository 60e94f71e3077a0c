package dnssec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestRemovals refuses times of listed keys by which one is removed that caches still need.
func TestRemovals(t *testing.T) {
	t.Parallel()
	const on, both = "Publish -99, Activate -99", "K1 Z1 Z2"
	for name, test := range map[string]struct {
		keys  string
		times map[string]string
		ds    string
		want  string // in the error; "" for none
	}{
		"signs to the last":           {both, map[string]string{"Z1": on + ", Inactive 9, Delete 9", "Z2": "Publish 0, Activate 9"}, "K1", "has signed until 2027-01-15T21:00:00Z"},
		"without being inactive":      {both, map[string]string{"Z1": on + ", Delete 9", "Z2": "Publish 0, Activate 9"}, "K1", "has signed until 2027-01-15T21:00:00Z"},
		"in caches":                   {both, map[string]string{"Z1": on + ", Inactive 9, Delete 12", "Z2": "Publish 0, Activate 9"}, "K1", "has signed until 2027-01-15T21:00:00Z"},
		"not in caches":               {both, map[string]string{"Z1": on + ", Inactive 9, Delete 13", "Z2": "Publish 0, Activate 9"}, "K1", ""},
		"not in caches, by three":     {both, map[string]string{"Z1": on + ", Inactive 9, Delete 13", "Z2": "Publish 0, Activate 10"}, "K1", ""},
		"both sign":                   {both, map[string]string{"Z1": on + ", Delete 9", "Z2": "Publish -9, Activate 5"}, "K1", ""},
		"both sign, too short":        {both, map[string]string{"Z1": on + ", Delete 9", "Z2": "Publish -9, Activate 6"}, "K1", "that it has signed"},
		"the KSK takes over":          {"K1 Z1", map[string]string{"Z1": on + ", Delete 9"}, "K1", "has signed until 2027-01-15T21:00:00Z"},
		"signs for an hour":           {"K1 Z1", map[string]string{"Z1": "Publish -9, Activate 8, Delete 9"}, "K1", "has signed until 2027-01-15T21:00:00Z"},
		"never signed":                {both, map[string]string{"Z1": on, "Z2": "Publish -9, Delete 9"}, "K1", ""},
		"removed before":              {both, map[string]string{"Z1": on + ", Delete -1", "Z2": on}, "K1", ""},
		"the only DS":                 {"K1 K2 Z1", map[string]string{"K1": on + ", Delete 9"}, "K1", "DS record of no other key that stays"},
		"DS of both":                  {"K1 K2 Z1", map[string]string{"K1": on + ", Delete 9"}, "K1 K2", ""},
		"DS of one that goes, too":    {"K1 K2 Z1", map[string]string{"K1": on + ", Delete 9", "K2": on + ", Delete 8"}, "K1 K2", "DS record of no other key that stays"},
		"no DS":                       {"K1 K2 Z1", map[string]string{"K1": on + ", Delete 9"}, "", ""},
		"an algorithm ends":           {"K1 Z1 C1 E1", map[string]string{"C1": on + ", Inactive 9, Delete 9", "E1": on + ", Inactive 9, Delete 9"}, "K1", "until 2027-01-15T18:00:00Z; have it sign"},
		"an algorithm signs on":       {"K1 Z1 C1 E1", map[string]string{"C1": on + ", Inactive 9, Delete 9", "E1": on + ", Inactive 10, Delete 9"}, "K1", ""},
		"an algorithm ceases to sign": {"K1 Z1 C1 E1", map[string]string{"C1": on + ", Inactive 9", "E1": on + ", Inactive 9"}, "K1", "with the algorithm ED25519, until 2027-01-15T17:00:00Z"},
		"it is deleted an hour ahead": {"K1 Z1 C1 E1", map[string]string{"C1": on + ", Delete 8, Inactive 9", "E1": on + ", Delete 8, Inactive 9"}, "K1", ""},
		"a key of an algorithm stays": {"K1 Z1 C1 E1", map[string]string{"C1": on + ", Delete 9"}, "K1", ""},
		"one key that signs all":      {"K1", map[string]string{"K1": on + ", Delete 9"}, "", "that it has signed until"},
	} {
		l := newListedKeys(t, "K1", "K2", "Z1", "Z2", "C1", "E1")
		files := []string{}
		for _, key := range strings.Fields(test.keys) {
			files = append(files, l.files[key])
		}
		before, err := Read(testConfig(files...), "", testNow)
		if err != nil {
			t.Fatal(name, err)
		}
		for key, times := range test.times {
			l.set(key, times)
		}
		k, err := Read(testConfig(files...), "", testNow)
		if err != nil {
			t.Fatal(name, err)
		}
		view := &View{TTL: 24 * time.Hour, At: testNow.Add(-99 * time.Hour)}
		for _, key := range strings.Fields(test.ds) {
			view.DS = append(view.DS, l.ds[key])
		}
		seen := new(Seen).With(view)
		for _, now := range []*Keys{k, k.Follow(before, testNow)} {
			err = now.CheckRemovals(&seen, 4*time.Hour, testNow)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
		}
		if err := k.Follow(k, testNow).CheckRemovals(&seen, 4*time.Hour, testNow); err != nil {
			t.Errorf("%s, in force before: %v", name, err)
		}
	}
}

// TestRemovalsElsewhere leaves keys alone that this program has planned the times of, and sets that were signed ahead;
// another server's key is none that stays here.
func TestRemovalsElsewhere(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1", "K2", "Z1")
	l.set("K1", "Publish -99, Activate -99, Delete 9")
	k, err := Read(testConfig(l.files["K1"], l.files["Z1"]), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Read(testConfig(l.files["K2"]), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	auto := *k
	auto.auto = true
	for name, test := range map[string]struct {
		keys    *Keys
		refused bool
	}{
		"listed":                {k, true},
		"auto":                  {&auto, false},
		"signed ahead":          {k.with(&Key{Record: other.All[0].Record, signed: []signedSet{{}}}), false},
		"another server's stay": {k.with(newOtherKey(other.All[0].Record)), true},
	} {
		seen := new(Seen).With(&View{DS: []*dns.DS{l.ds["K1"], l.ds["K2"]}, TTL: time.Hour, At: testNow})
		if err := test.keys.CheckRemovals(&seen, time.Hour, testNow); (err != nil) != test.refused {
			t.Errorf("%s: %v, want it refused: %v", name, err, test.refused)
		}
	}
}

// TestRemovalAfterTheDSHasGone has a key be removed whose DS record the parent has replaced an hour ago, or removed: it
// is in caches for a day.
func TestRemovalAfterTheDSHasGone(t *testing.T) {
	t.Parallel()
	for after, want := range map[int]string{9: "until 2027-01-16T07:00:00Z; have it be deleted then", 22: "until 2027-01-16T07", 23: ""} {
		for _, ds := range []string{"K2", "-", "K3"} {
			l := newListedKeys(t, "K1", "K2", "K3", "Z1")
			l.set("K1", fmt.Sprintf("Publish -99, Activate -99, Delete %d", after))
			k, err := Read(testConfig(l.files["K1"], l.files["K2"], l.files["Z1"]), "", testNow)
			if err != nil {
				t.Fatal(err)
			}
			seen := new(Seen).With(&View{TTL: 24 * time.Hour, At: testNow.Add(-99 * time.Hour), DS: []*dns.DS{l.ds["K1"]}})
			next := &View{TTL: 24 * time.Hour, At: testNow.Add(-time.Hour)}
			if ds != "-" {
				next.DS = []*dns.DS{l.ds[ds]}
			}
			seen = seen.With(next)
			err = k.CheckRemovals(&seen, 4*time.Hour, testNow)
			if want != "" && ds == "K3" { // which is not listed
				want = "a DS record of no other key that stays"
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("after %d hours, with the DS record %s: %v, want %q", after, ds, err, want)
			}
		}
	}
}
