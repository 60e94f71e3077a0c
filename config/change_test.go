package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testPool makes a pool of entries "host weight members".
func testPool(t testing.TB, entries ...string) *Pool {
	t.Helper()
	var list []string
	for _, e := range entries {
		host, rest, _ := strings.Cut(e, " ")
		weight, more, _ := strings.Cut(rest, " ")
		list = append(list, fmt.Sprintf(`{"url_prefix": "https://%s.example.net/", "weight": %s%s}`, host, weight, more))
	}
	pool, _, err := ParsePool("m", []byte(`{"version": 1, "mirrors": [`+strings.Join(list, ",")+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name      string
		old, next []string
		want      string
	}{
		{"nothing", []string{"a 1", "b 2"}, []string{"a 1", "b 2"}, ""},
		{"added and removed", []string{"a 1", "b 2"}, []string{"b 2", "c 3"},
			"added     https://c.example.net/\nremoved   https://a.example.net/"},
		{"weights", []string{"a 1", "b 2", "c 0"}, []string{"a 0", "b 3", "c 4"},
			"weight    https://a.example.net/ 1 -> 0 (disabled)\nweight    https://b.example.net/ 2 -> 3\nweight    " +
				"https://c.example.net/ 0 -> 4 (enabled)"},
		{"addresses", []string{"a 1"}, []string{`a 1 , "dns": {"addresses": ["192.0.2.1", "2001:db8::1"]}`},
			"addresses https://a.example.net/ (looked up) -> 192.0.2.1, 2001:db8::1"},
		{"other", []string{`a 1 , "name": "x", "notes": "n"`},
			[]string{`a 1 , "name": "y", "dns": false, "location": {"country": "DE"}, "exclude": {"asns": [1]}`},
			"changed   https://a.example.net/ notes, name, dns, location, exclude"},
		{"weight with its own in DNS", []string{`a 9 , "dns": {"weight": 5}`}, []string{`a 0 , "dns": {"weight": 5}`},
			"weight    https://a.example.net/ 9 -> 0 (disabled)"},
		{"weight in DNS", []string{`a 9 , "dns": {"weight": 5}`}, []string{`a 9 , "dns": {"weight": 6}`},
			"changed   https://a.example.net/ dns.weight"},
		{"order", []string{"a 1", "b 2", "c 1"}, []string{"c 1", "a 1", "b 2"}, "order     of the mirrors"},
		{"taken out of the middle", []string{"a 1", "b 2", "c 1"}, []string{"a 1", "c 1"}, "removed   https://b.example.net/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, next := testPool(t, tt.old...), testPool(t, tt.next...)
			c := Compare(old, next)
			if diff := cmp.Diff(tt.want, strings.Join(c.Lines(), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if c.Empty() != (tt.want == "") {
				t.Errorf("Empty: %v", c.Empty())
			}
			if back := Compare(next, old); len(back.Added) != len(c.Removed) || len(back.Weights) != len(c.Weights) {
				t.Errorf("not the reverse: %+v", back)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name      string
		old, next []string
		limit     float64
		want      Ruling
		lost      int
		share     float64
	}{
		{"nothing leaves", []string{"a 1", "b 1"}, []string{"a 1", "b 1", "c 1"}, 0.5, GuardPass, 0, 0},
		{"exactly half", []string{"a 1", "b 1"}, []string{"a 1"}, 0.5, GuardPass, 1, 0.5},
		{"more than half", []string{"a 2", "b 1"}, []string{"b 1"}, 0.5, GuardHold, 1, 2.0 / 3},
		{"disabled counts as removed", []string{"a 2", "b 1"}, []string{"a 0", "b 1"}, 0.5, GuardHold, 1, 2.0 / 3},
		{"weight and not number", []string{"a 1", "b 1", "c 1", "d 7"}, []string{"d 7"}, 0.5, GuardPass, 3, 0.3},
		{"less weight still serves", []string{"a 100", "b 1"}, []string{"a 1", "b 1"}, 0.5, GuardPass, 0, 0},
		{"a disabled one cannot leave", []string{"a 0", "b 1"}, []string{"b 1"}, 0.1, GuardPass, 0, 0},
		{"replaced", []string{"a 1", "b 1"}, []string{"c 1", "d 1"}, 0.5, GuardHold, 2, 1},
		{"off", []string{"a 1", "b 1"}, []string{"c 1"}, 0, GuardPass, 2, 1},
		{"none left", []string{"a 1", "b 1"}, []string{"a 0"}, 0.5, GuardRefuse, 2, 1},
		{"none left, guard off", []string{"a 1", "b 1"}, []string{"a 0"}, 0, GuardRefuse, 2, 1},
		{"new ones with less than half", []string{"a 1", "b 1", "c 1"}, []string{"a 1", "b 1", "c 1", "d 3"}, 0.5, GuardPass, 0, 0},
		{"a new one with more", []string{"a 1", "b 1", "c 1"}, []string{"a 1", "b 1", "c 1", "d 4"}, 0.5, GuardHold, 0, 0},
		{"a new one with more, guard off", []string{"a 1"}, []string{"a 1", "d 4"}, 0, GuardPass, 0, 0},
		{"a weight grows by a digit", []string{"a 10", "b 10", "c 10", "d 10"}, []string{"a 100", "b 10", "c 10", "d 10"}, 0.5, GuardHold, 0, 0},
		{"all weights grow", []string{"a 1", "b 2"}, []string{"a 10", "b 20"}, 0.1, GuardPass, 0, 0},
		{"huge weights", []string{"a 2147483647", "b 2147483647", "c 2147483647"}, []string{"b 1"}, 0.5, GuardHold, 2, 2.0 / 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Guard(testPool(t, tt.old...), testPool(t, tt.next...), tt.limit, nil)
			if d.Ruling != tt.want || d.Lost != tt.lost || d.Share != tt.share || d.Limit != tt.limit {
				t.Errorf("got %+v", d)
			}
		})
	}
	if d := Guard(nil, testPool(t, "a 1"), 0.5, nil); d.Ruling != GuardPass {
		t.Errorf("the first pool: %+v", d)
	}
	if d := Guard(nil, testPool(t, "a 0"), 0.5, nil); d.Ruling != GuardRefuse {
		t.Errorf("a first pool without enabled mirrors: %+v", d)
	}
	noDNS := testPool(t, "a 1", "b 1")
	for i := range noDNS.Mirrors {
		noDNS.Mirrors[i].DNS = MirrorDNS{Off: true}
	}
	inDNS := "it takes out of DNS 2 of 2 enabled mirrors, 100 % of the weight, and mirrors_guard allows 50 %"
	if d := Guard(testPool(t, "a 1", "b 1"), noDNS, 0.5, nil); d.Ruling != GuardHold || d.String() != inDNS {
		t.Errorf("all mirrors leave DNS: %v, want %s", d, inDNS)
	}
	want := "it removes or disables 2 of 3 enabled mirrors, 75 % of the weight, and mirrors_guard allows 50 %"
	if got := Guard(testPool(t, "a 1", "b 2", "c 1"), testPool(t, "a 1"), 0.5, nil).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestGuardKnowsHealth has a typo, a mirror of weight 100 that was never up beside 60 that are, and its correction.
func TestGuardKnowsHealth(t *testing.T) {
	t.Parallel()
	works := func(names string) func(string) bool {
		return func(prefix string) bool {
			name := strings.TrimPrefix(prefix, "https://")
			return strings.Contains(names, name[:1])
		}
	}
	good, typo := []string{"a 10", "b 20", "c 30"}, []string{"a 10", "b 20", "c 30", "x 100"}
	for _, tt := range []struct {
		name      string
		old, next []string
		up        string
		want      Ruling
		moved     float64
	}{
		{"a typo", good, typo, "abc", GuardHold, 100.0 / 160},
		{"its correction", typo, good, "abc", GuardPass, 0},
		{"its correction, by weight", typo, []string{"a 10", "b 20", "c 30", "x 10"}, "abc", GuardPass, 0},
		{"the correction, had it been up", typo, good, "abcx", GuardHold, 100.0 / 160},
		{"a typo in the weight of one that is down", append(slices.Clone(good), "x 10"), typo, "abc", GuardHold, 100.0 / 160},
		{"a little more weight for one that is down", append(slices.Clone(good), "x 10"), []string{"a 10", "b 20", "c 30", "x 20"}, "abc",
			GuardPass, 20.0 / 80},
		{"the dead leave", good, []string{"a 10"}, "a", GuardPass, 0},
		{"the living leave", good, []string{"b 20", "c 30"}, "a", GuardHold, 0},
		{"none is up, and most leave", good, []string{"a 10"}, "", GuardHold, 5.0 / 6},
		{"none is up, and little changes", good, []string{"a 10", "b 20", "c 29"}, "", GuardPass, 10.0/59 - 10.0/60 + 20.0/59 - 20.0/60},
		{"nothing was enabled", []string{"a 0"}, []string{"a 1"}, "", GuardPass, 0},
	} {
		d := Guard(testPool(t, tt.old...), testPool(t, tt.next...), 0.5, works(tt.up))
		if d.Ruling != tt.want || math.Abs(d.Moved-tt.moved) > 1e-9 || !(d.Share >= 0 && d.Share <= 1) {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
	d := Guard(testPool(t, good...), testPool(t, typo...), 0.5, works("abc"))
	if want := "it moves 62 % of the clients to other mirrors (" + d.Gains + " alone gets 62 %), and mirrors_guard allows 50 %"; d.String() != want ||
		!strings.Contains(d.Gains, "x") {
		t.Errorf("%s, want %s", d, want)
	}
}

// TestGuardSaysWhatMoves: the mirror that gains most is named, by its new share.
func TestGuardSaysWhatMoves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		old, next []string
		gains     string
		gain      float64
		enabled   int
	}{
		{[]string{"a 1", "b 1", "x 0"}, []string{"a 1", "c 1"}, "c", 0.5, 2}, // a keeps its half
		{[]string{"a 1", "b 1"}, []string{"a 1", "b 1", "c 5", "d 3"}, "c", 0.5, 2},
		{[]string{"a 1", "b 1"}, []string{"a 1", "b 1", "c 3", "d 5"}, "d", 0.5, 2},
		{[]string{"a 1", "b 1"}, []string{"a 1", "b 1", "c 4", "d 4"}, "c", 0.4, 2}, // the first of two that are alike
		{[]string{"a 1"}, []string{"a 0"}, "", 0, 1},
	} {
		d := Guard(testPool(t, tt.old...), testPool(t, tt.next...), 0.5, nil)
		name := strings.TrimSuffix(strings.TrimPrefix(d.Gains, "https://"), ".example.net/")
		if name != tt.gains || math.Abs(d.Gain-tt.gain) > 1e-9 || d.Enabled != tt.enabled {
			t.Errorf("%v to %v: %+v", tt.old, tt.next, d)
		}
	}
	const want = "it moves 75 % of the clients to other mirrors (https://c.example.net/ alone gets 75 %), and mirrors_guard allows 50 %"
	if d := Guard(testPool(t, "a 1", "b 1"), testPool(t, "a 1", "c 3"), 0.5, nil); d.Share != 0.5 || d.String() != want {
		t.Errorf("as much is lost as may be: %+v: %s, want %s", d, d, want)
	}
	const inDNS = "it moves 60 % of the DNS answers to other mirrors (https://c.example.net/ alone gets 60 %), and mirrors_guard allows 50 %"
	next := testPool(t, "a 1", "b 1", "c 1")
	next.Mirrors[2].DNS.Weight = 3
	if d := Guard(testPool(t, "a 1", "b 1"), next, 0.5, nil); d.String() != inDNS {
		t.Errorf("%s, want %s", d, inDNS)
	}
}
