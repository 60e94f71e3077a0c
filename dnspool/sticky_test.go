package dnspool

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

// TestOneNearManyFar: one mirror alone near 100,000 clients stays at its cap, and the far ones share the rest.
func TestOneNearManyFar(t *testing.T) {
	t.Parallel()
	clients := 100_000
	if testing.Short() {
		clients = 20_000
	}
	for _, maxShare := range []float64{0.5, 0.2, 0.05} {
		for _, candidates := range []int{1, 3, 31} {
			text := "near 100 sydney\n"
			for i := range 30 {
				text += fmt.Sprintf("far%d %d %s\n", i, 1+i%7, []string{"berlin", "paris", "lisbon", "new-york"}[i%4])
			}
			selection := testSelection
			selection.MaxShare, selection.MinCandidates = maxShare, candidates
			got, _ := picks(atlas(text).build(t, selection), clients, testPlaces["sydney"])
			for name, n := range got {
				share := float64(n) / float64(clients)
				margin := 4.5 * math.Sqrt(maxShare*(1-maxShare)/float64(clients))
				if share > maxShare+margin || name == "near" && share < maxShare-margin {
					t.Errorf("max_share %g, min_candidates %d: %s has %.4f of the clients", maxShare, candidates, name, share)
				}
			}
			if least := max(candidates, int(math.Ceil(1/maxShare))); len(got) < least {
				t.Errorf("max_share %g, min_candidates %d: %d mirrors serve, want %d or more", maxShare, candidates, len(got), least)
			}
		}
	}
}

// TestStickySharesFollowWeights: over many networks, each mirror's share is its weight's, within 1 %.
func TestStickySharesFollowWeights(t *testing.T) {
	t.Parallel()
	const networks = 1_000_000
	s := atlas("a 10 munich\nb 20 munich\nc 30 munich\nd 40 munich\n").build(t, testSelection)
	got, _ := picks(s, networks, testPlaces["berlin"])
	for name, want := range map[string]float64{"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4} {
		if share := float64(got[name]) / networks; math.Abs(share-want) > 0.01*want {
			t.Errorf("%s has %.5f of the networks, want %g within 1 %%", name, share, want)
		}
	}
}

// TestMovesOnlyWhatItMust changes a pool and looks who is sent elsewhere.
func TestMovesOnlyWhatItMust(t *testing.T) {
	t.Parallel()
	const networks = 50_000
	const near = "a 20 munich\nb 20 munich\nc 30 munich\nd 30 munich\n"
	const capped = "a 100 sydney\nb 10 berlin\nc 10 berlin\nd 10 berlin\n"
	tests := map[string]struct {
		before, after string
		from          string
		to, away      string  // whom a moving client has to come from, or to go to; empty: any
		share         float64 // of the clients, that moves
	}{
		"nothing changes":       {near, near, "berlin", "-", "-", 0},
		"another order":         {near, "d 30 munich\nc 30 munich\nb 20 munich\na 20 munich\n", "berlin", "-", "-", 0},
		"other weights alike":   {near, "a 2 munich\nb 2 munich\nc 3 munich\nd 3 munich\n", "berlin", "-", "-", 0},
		"one leaves":            {near, "a 20 munich\nb 20 munich\nd 30 munich\n", "berlin", "", "c", 0.3},
		"one is disabled":       {near, "a 20 munich\nb 20 munich\nc 0 munich\nd 30 munich\n", "berlin", "", "c", 0.3},
		"one goes down":         {near, "a 20 munich\nb 20 munich\nc 30 munich down\nd 30 munich\n", "berlin", "", "c", 0.3},
		"one joins":             {near, near + "e 25 munich\n", "berlin", "e", "", 0.2},
		"one joins far away":    {near, near + "e 90 sydney\n", "berlin", "-", "-", 0},
		"a weight grows":        {near, "a 45 munich\nb 20 munich\nc 30 munich\nd 30 munich\n", "berlin", "a", "", 0.16},
		"a weight shrinks":      {near, "a 20 munich\nb 20 munich\nc 30 munich\nd 10 munich\n", "berlin", "", "d", 0.175},
		"one leaves beside cap": {capped, "a 100 sydney\nb 10 berlin\nd 10 berlin\n", "sydney", "", "c", 1.0 / 6},
		"one joins beside cap":  {capped, capped + "e 10 berlin\n", "sydney", "e", "", 1.0 / 8},
		"the capped one grows":  {capped, "a 500 sydney\nb 10 berlin\nc 10 berlin\nd 10 berlin\n", "sydney", "-", "-", 0},
		"the capped one leaves": {capped, "b 10 berlin\nc 10 berlin\nd 10 berlin\n", "sydney", "", "a", 0.5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, before := picks(atlas(test.before).build(t, testSelection), networks, testPlaces[test.from])
			_, after := picks(atlas(test.after).build(t, testSelection), networks, testPlaces[test.from])
			moved := 0
			for i := range before {
				if before[i] == after[i] {
					continue
				}
				moved++
				if test.away != "" && before[i] != test.away || test.to != "" && after[i] != test.to {
					t.Fatalf("a client moved from %s to %s", before[i], after[i])
				}
			}
			if share := float64(moved) / networks; math.Abs(share-test.share) > 0.01 {
				t.Errorf("%.4f of the clients moved, want %.4f", share, test.share)
			}
		})
	}
}

func TestSticky(t *testing.T) {
	t.Parallel()
	sticky, twin := NewSticky("a secret of sixteen", time.Hour), NewSticky("a secret of sixteen", time.Hour)
	other := NewSticky("another secret", time.Hour)
	seed := func(s *Sticky, addr string, after time.Duration) uint64 {
		return s.Seed(netip.MustParseAddr(addr), testNow.Add(after))
	}
	begin, end := sticky.Window(netip.MustParseAddr("192.0.2.1"), testNow)
	if end.Sub(begin) != time.Hour || begin.After(testNow) || !end.After(testNow) {
		t.Errorf("at %v the window is %v to %v", testNow, begin, end)
	}
	first, last := begin.Sub(testNow), end.Sub(testNow)-time.Nanosecond
	base := seed(sticky, "192.0.2.1", 0)
	for what, same := range map[string]bool{
		"another server":           seed(twin, "192.0.2.1", 0) == base,
		"another address of it":    seed(sticky, "192.0.2.254", 0) == base,
		"in IPv6 clothes":          seed(sticky, "::ffff:192.0.2.9", 0) == base,
		"the window's beginning":   seed(sticky, "192.0.2.1", first) == base,
		"the window's end":         seed(sticky, "192.0.2.1", last) == base,
		"not: before the window":   seed(sticky, "192.0.2.1", first-1) != base,
		"not: after the window":    seed(sticky, "192.0.2.1", last+1) != base,
		"not: another network":     seed(sticky, "192.0.3.1", 0) != base,
		"not: another secret":      seed(other, "192.0.2.1", 0) != base,
		"an IPv6 network is a /48": seed(sticky, "2001:db8:1::1", 0) == seed(sticky, "2001:db8:1:ffff::1", 0),
		"not: another /48":         seed(sticky, "2001:db8:1::1", 0) != seed(sticky, "2001:db8:2::1", 0),
	} {
		if !same {
			t.Error(what)
		}
	}
	// The windows of many networks begin at times that are spread evenly.
	var quarters [4]int
	for i := range 4000 {
		begin, _ := sticky.Window(network(i), testNow)
		quarters[int(testNow.Sub(begin)/(15*time.Minute))]++
	}
	for _, n := range quarters {
		if n < 850 || n > 1150 {
			t.Errorf("windows begin unevenly: %v in each quarter", quarters)
		}
	}
	// A later window meets another mirror as often as chance has it.
	s := atlas("a 10 munich\nb 10 munich\nc 10 munich\nd 10 munich\n").build(t, testSelection)
	var c Choice
	moved := 0
	for i := range 4000 {
		pick := func(at time.Time) *Mirror {
			s.Choose(&c, &Request{Place: testPlaces["berlin"], Seed: sticky.Seed(network(i), at)})
			return c.Picked
		}
		if pick(testNow) != pick(testNow.Add(time.Hour)) {
			moved++
		}
	}
	if moved < 2850 || moved > 3150 {
		t.Errorf("%d of 4000 networks meet another mirror in the next window, want about 3000", moved)
	}
}

// TestDrawsStay has known draws: servers of different versions that share a secret have to choose alike, as has one
// before and after an upgrade.
func TestDrawsStay(t *testing.T) {
	t.Parallel()
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} { // SplitMix64 from 0
		if got := mix(uint64(i+1) * golden); got != want {
			t.Errorf("SplitMix64 number %d is %#x, want %#x", i, got, want)
		}
	}
	for addr, want := range map[string]uint64{"192.0.2.1": 0x94db7d926cd843df, "2001:db8::1": 0x228abd9537940058} {
		if got := testSticky.Seed(netip.MustParseAddr(addr), testNow); got != want {
			t.Errorf("the seed of %s is %#x, want %#x", addr, got, want)
		}
	}
	if got, want := wait(7, 7), 54*math.Ln2; !(math.Abs(got-want) < 1e-9) { // the hash is 0, the longest wait there is
		t.Errorf("a wait of %v, want %v", got, want)
	}
}
