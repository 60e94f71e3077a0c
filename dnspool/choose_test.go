package dnspool

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
)

// TestFar has the distances of the package's comment, and others to be checked on a map.
func TestFar(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, to                string
		distance, border, every float64 // the last is how exact the map is, km
	}{
		{"berlin", "berlin", 0, 0, 1},
		{"berlin", "berlin-dfn", 0, 300, 1},
		{"berlin", "munich", 504, 300, 5},
		{"berlin-dfn", "aachen-dfn", 542, 0, 5},
		{"berlin", "paris", 878, 600, 5},
		{"sydney", "auckland", 2156, 600, 10},
		{"sydney", "berlin", 16090, 3000, 50},
		{"new-york", "los-angeles", 3936, 300, 10},
		{"suva", "antimeridian", 182, 300, 5},
		{"berlin", "germany", 285, 300, 25},
		{"berlin", "europe", 3000, 600, 0},
		{"berlin", "nowhere", 12000, 3000, 0},
		{"europe", "paris", 3000, 600, 0},
		{"europe", "sydney", 12000, 3000, 0},
		{"network-680", "berlin-dfn", 12000, 0, 0},
		{"network-680", "network-680", 12000, 0, 0},
	}
	for _, test := range tests {
		from, to := testPlaces[test.from], testPlaces[test.to]
		c := newClient(&from)
		e := &entry{country: to.Country, continent: to.Continent, asn: to.ASN, at: to.direction(), hasPosition: to.HasPosition}
		distance, border := c.far(e)
		if math.Abs(distance-test.distance) > test.every || border != test.border {
			t.Errorf("%s to %s: %.0f km, border %g; want %g and %g", test.from, test.to, distance, border, test.distance, test.border)
		}
	}
}

// TestShares has pools and clients, and the share that each mirror gets of such clients.
func TestShares(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		atlas
		from      string
		selection func(*config.Selection)
		want      string // NAME=SHARE in percent, rounded; with ! if max_share limits it
	}{
		"near ones share by weight": {atlas: `
			a 10 berlin
			b 20 munich
			c 10 vienna
			d 90 sydney`, from: "berlin-dfn", want: "a=38 b=50! c=12 d=0"}, // vienna is 1224 km far, 3 times as much as berlin
		"three in the country are enough": {atlas: `
			a 10 berlin
			b 10 munich
			c 20 aachen-dfn
			d 90 vienna`, from: "berlin", want: "a=25 b=25 c=50 d=0"},
		"one alone on its continent is limited": {atlas: `
			a 10 sydney
			b 10 berlin
			c 10 paris
			d 10 new-york`, from: "sydney", want: "a=50! b=25 c=0 d=25"},
		"no limit": {atlas: `
			a 10 sydney
			b 10 new-york
			c 10 berlin`, from: "sydney",
			selection: func(s *config.Selection) { s.MaxShare, s.MinCandidates = 1, 1 }, want: "a=100 b=0 c=0"},
		"nearness counts for who joins": {atlas: `
			a 10 berlin
			b 10 vienna
			c 10 sydney`, from: "berlin", selection: func(s *config.Selection) { s.MaxShare = 1 }, want: "a=92 b=8 c=0"},
		"where two must share, they share alike": {atlas: `
			a 90 sydney
			b 10 berlin`, from: "sydney", want: "a=50 b=50"},
		"one alone has all": {atlas: "a 1 sydney", from: "berlin", want: "a=100"},
		"and those who are too far do not": {atlas: `
			a 90 berlin
			b 10 munich
			c 50 sydney`, from: "berlin", selection: func(s *config.Selection) { s.MinCandidates = 2 }, want: "a=50 b=50 c=0"},
		"max_share of a half asks for two": {atlas: `
			a 10 berlin
			b 10 munich
			c 10 paris`, from: "berlin", selection: func(s *config.Selection) { s.MinCandidates = 1 }, want: "a=50 b=50 c=0"},
		"near enough are enough, though not all are nearer than others": {atlas: `
			a 10 new-york
			b 10 los-angeles
			c 10 los-angeles
			d 90 toronto`, from: "new-york", want: "a=33 b=33 c=33 d=0"},
		"just near": {atlas: `
			a 10 berlin-fr-tk
			b 10 berlin-fr`, from: "berlin",
			selection: func(s *config.Selection) { s.MaxShare, s.MinCandidates, s.Near = 1, 1, 7 }, want: "a=50 b=50"}, // 100 and 700 km
		"one that would take just the limit is not limited": {atlas: `
			a 20 berlin
			b 10 munich
			c 10 aachen-dfn`, from: "berlin", want: "a=50 b=25 c=25"},
		"a low limit takes more candidates": {atlas: `
			a 90 berlin
			b 10 munich
			c 10 paris
			d 10 lisbon
			e 10 sydney`, from: "berlin", selection: func(s *config.Selection) { s.MaxShare = 0.25 }, want: "a=25 b=25 c=25 d=25 e=0"},
		"no place: by weight, without a limit": {atlas: `
			a 80 berlin
			b 20 sydney`, from: "nowhere", want: "a=80 b=20"},
		"places are turned off": {atlas: `
			a 80 berlin
			b 20 sydney`, from: "sydney", selection: func(s *config.Selection) { s.Geo = false }, want: "a=80 b=20"},
		"mirrors without places are alike": {atlas: `
			a 10 nowhere
			b 10 nowhere
			c 20 nowhere`, from: "berlin", want: "a=25 b=25 c=50"},
		"serve_only and exclude": {atlas: `
			a 10 munich only=FR
			b 10 munich not=DE
			c 10 munich only=DE
			d 10 munich not=FR
			e 10 munich only=FR only=DE`, from: "berlin", want: "c=33 d=33 e=33"},
		"they count without a place": {atlas: `
			a 10 munich only=FR
			b 10 munich not=DE`, from: "nowhere", want: "b=100"},
		"they count without nearness": {atlas: `
			a 10 munich only=FR
			b 10 munich`, from: "berlin", selection: func(s *config.Selection) { s.Geo = false }, want: "b=100"},
		"one that is down serves rather than none": {atlas: `
			a 90 munich only=FR
			b 10 munich down
			c 10 munich stale
			d 10 munich stale`, from: "berlin", want: "c=50 d=50"},
		"in panic, all that are eligible and serve this place": {atlas: `
			a 10 munich
			b 30 munich unknown
			c 10 munich only=FR`, from: "nowhere", want: "a=25 b=75"},
		"none serves this place": {atlas: "a 10 munich only=FR", from: "berlin", want: ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			selection := testSelection
			if test.selection != nil {
				test.selection(&selection)
			}
			s := test.build(t, selection)
			e := s.Explain(&Request{Place: testPlaces[test.from], Seed: 1})
			shares := map[string]string{}
			sum := 0.0
			for _, m := range e.Mirrors {
				if m.Order > 0 {
					shares[m.Name] = fmt.Sprintf("%s=%.0f%s", m.Name, 100*m.Share, map[bool]string{true: "!"}[m.Capped])
					sum += m.Share
				}
			}
			var got []string
			for _, name := range slices.Sorted(maps.Keys(shares)) {
				got = append(got, shares[name])
			}
			if text := strings.Join(got, " "); text != test.want || len(got) > 0 && math.Abs(sum-1) > 1e-9 {
				t.Errorf("shares %s, in all %g; want %s", text, sum, test.want)
			}
			checkDrawn(t, s, Request{Place: testPlaces[test.from]}, &e)
		})
	}
}

// TestRunnersUp has the order of those who are not picked: who competes is before the others, who come by how far they
// are, and among those that are as far always in the same order.
func TestRunnersUp(t *testing.T) {
	t.Parallel()
	order := func(pool atlas) (names []string) {
		selection := testSelection
		selection.MaxShare, selection.MinCandidates = 1, 1
		s := pool.build(t, selection)
		var c Choice
		s.Choose(&c, &Request{Place: testPlaces["berlin"], Seed: 1})
		for _, m := range append([]*Mirror{c.Picked}, c.RunnersUp...) {
			names = append(names, m.Name)
		}
		return names
	}
	got := order("a 1 auckland\ns 1 sydney\nn 1 new-york\np 1 paris\nl 1 lisbon\nm 1 munich\nx 1 sydney")
	if want := []string{"m", "p", "l", "n"}; !slices.Equal(got[:4], want) || slices.Contains(got, "a") {
		t.Errorf("%v; want %v, and then those in Sydney", got, want)
	}
	if again := order("x 1 sydney\nm 1 munich\nl 1 lisbon\np 1 paris\nn 1 new-york\ns 1 sydney\na 1 " +
		"auckland"); !slices.Equal(got, again) {
		t.Errorf("%v, and in another order of the file %v", got, again)
	}
}

// TestExampleInDoc has the example of the package's comment.
func TestExampleInDoc(t *testing.T) {
	t.Parallel()
	s := atlas("b 10 berlin-dfn\nv 10 vienna\np 20 paris\ns 90 sydney\n").build(t, testSelection)
	e := s.Explain(&Request{Place: testPlaces["berlin"], Seed: 1})
	slices.SortFunc(e.Mirrors, func(a, b Explained) int { return cmp.Compare(a.Far, b.Far) })
	var got strings.Builder
	for _, m := range e.Mirrors {
		fmt.Fprintf(&got, "%s %d: 100 + %.0f + %g = %.0f, %.2f, %.2f, %.1f %%\n",
			m.Name, m.Weight, m.Distance, m.Border, m.Far, m.Nearness, m.Points, 100*m.Share)
	}
	const want = `b 10: 100 + 0 + 300 = 400, 1.00, 10.00, 50.0 %
v 10: 100 + 523 + 600 = 1223, 0.33, 3.27, 19.6 %
p 20: 100 + 877 + 600 = 1577, 0.25, 5.07, 30.4 %
s 90: 100 + 16095 + 3000 = 19195, 0.00, 0.00, 0.0 %
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// checkDrawn checks that as many draws as expected go to each mirror.
func checkDrawn(t *testing.T, s *Snapshot, r Request, want *Explanation) {
	t.Helper()
	const draws = 20_000
	got := map[*Mirror]float64{}
	var c Choice
	for seed := range uint64(draws) {
		r.Seed = mix(seed)
		s.Choose(&c, &r)
		got[c.Picked]++
	}
	for _, m := range want.Mirrors {
		limit := 4.5*math.Sqrt(draws*m.Share*(1-m.Share)) + 1e-6
		if math.Abs(got[m.Mirror]-draws*m.Share) > limit {
			t.Errorf("%s is picked %g times in %d, want %.0f", m.Name, got[m.Mirror], draws, draws*m.Share)
		}
	}
}

// network returns the n-th of the networks of clients.
func network(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n>>16) + 1, byte(n >> 8), byte(n), 7})
}

var (
	testNow    = time.Unix(1_800_000_000, 0)
	testSticky = NewSticky("a secret of sixteen", 10*time.Minute)
)

// picks counts whom the first n client networks at a place are sent to.
func picks(s *Snapshot, n int, place Place) (counts map[string]int, each []string) {
	counts, each = map[string]int{}, make([]string, n)
	var c Choice
	r := Request{Place: place}
	for i := range n {
		r.Seed = testSticky.Seed(network(i), testNow)
		s.Choose(&c, &r)
		each[i] = c.Picked.Name
		counts[c.Picked.Name]++
	}
	return counts, each
}

// TestChooseAgreesWithExplain compares the two for random pools, clients and settings.
func TestChooseAgreesWithExplain(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(21, 22))
	names := slices.Sorted(maps.Keys(testPlaces))
	states := []string{"up", "up", "up", "stale", "down", "unknown"}
	pools := 2000
	if testing.Short() {
		pools = 400
	}
	for range pools {
		var text strings.Builder
		for i := range 1 + r.IntN(40) {
			fmt.Fprintf(&text, "m%d %d %s %s %s", i, r.IntN(4)*r.IntN(30), names[r.IntN(len(names))],
				[]string{"https", "up"}[r.IntN(2)], states[r.IntN(len(states))])
			if r.IntN(5) == 0 {
				fmt.Fprintf(&text, " %s=%s", []string{"only", "not"}[r.IntN(2)], []string{"DE", "FR", "AU"}[r.IntN(3)])
			}
			text.WriteByte('\n')
		}
		s := atlas(text.String()).build(t, config.Selection{
			Geo: r.IntN(5) > 0, Near: 1 + 2*r.Float64(), MinCandidates: 1 + r.IntN(40), MaxShare: 1 - 0.99*r.Float64()})
		var c Choice
		for range 20 {
			req := Request{Family: Family(r.IntN(2)), Secure: r.IntN(2) == 0, Place: testPlaces[names[r.IntN(len(names))]],
				Seed: r.Uint64()}
			s.Choose(&c, &req)
			e := s.Explain(&req)
			checkExplained(t, &c, &e, &req, s, text.String())
		}
	}
}

// TestShareOf compares the shares of some mirrors with those that are explained. Where a choice has not looked at each
// mirror, there is none.
func TestShareOf(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(23, 24))
	none, parts := 0, 0
	for range 100 {
		s := anyPool(t, r)
		var c Choice
		for range 20 {
			q := randomRequest(r, s)
			q.Without = nil
			s.Choose(&c, &q)
			some := []uint64{r.Uint64(), r.Uint64(), 0, r.Uint64()}
			want := 0.0
			for _, m := range s.Explain(&q).Mirrors {
				if isSet(some, uint32(m.Mirror.Number)) {
					want += m.Share
				}
			}
			switch got := c.ShareOf(some); {
			case got == 0 && c.group != nil && c.group.index != nil:
				none++
			case math.Abs(got-want) > 1e-9:
				t.Fatalf("some mirrors have a share of %v, want %v, for %+v", got, want, q)
			case got > 0:
				parts++
			}
		}
	}
	if none == 0 || parts < 100 {
		t.Errorf("there was a share %d times, and none %d times", parts, none)
	}
}

func checkExplained(t *testing.T, c *Choice, e *Explanation, r *Request, s *Snapshot, text string) {
	t.Helper()
	if len(e.Mirrors) != len(s.Mirrors) {
		t.Fatalf("%d mirrors are explained, want %d, in\n%s", len(e.Mirrors), len(s.Mirrors), text)
	}
	chosen := append([]*Mirror{c.Picked}, c.RunnersUp...)
	sum, competing := 0.0, 0
	for i, m := range e.Mirrors {
		if i <= MaxRunnersUp && m.Order > 0 && (i >= len(chosen) || chosen[i] != m.Mirror) || m.Order > 0 && m.Order != i+1 {
			t.Fatalf("mirror %d in order is explained as %s, order %d, and chosen are %d others, in\n%s", i, m.Name, m.Order,
				len(chosen), text)
		}
		if m.Why == "" || m.Order > 0 && (!m.Mirror.Enabled() || r.Secure && m.Mirror.URL.Scheme != "https") {
			t.Fatalf("%+v in\n%s", m, text)
		}
		if m.Order > 0 {
			sum += m.Share
		}
		if m.Share > 0 {
			competing++
		}
	}
	if c.Picked == nil {
		return
	}
	if math.Abs(sum-1) > 1e-9 || e.Mirrors[0].Share == 0 {
		t.Fatalf("shares sum up to %v, and that of the one picked is %v, in\n%s", sum, e.Mirrors[0].Share, text)
	}
	if !e.Geo {
		return
	}
	for _, m := range e.Mirrors {
		if m.Share > max(s.policy.MaxShare, 1/float64(competing))+1e-9 {
			t.Fatalf("%s has a share of %v, want at most %v, in\n%s", m.Name, m.Share, s.policy.MaxShare, text)
		}
	}
}

func TestChooseDoesNotAllocate(t *testing.T) {
	s := benchAtlas(500).build(t, testSelection)
	addr := netip.MustParseAddr("192.0.2.1")
	for _, place := range []string{"nowhere", "berlin", "sydney"} {
		var c Choice
		r := Request{Place: testPlaces[place]}
		if n := testing.AllocsPerRun(1000, func() {
			r.Seed = testSticky.Seed(addr, testNow)
			s.Choose(&c, &r)
		}); n != 0 {
			t.Errorf("from %s, a choice allocates %v times, want 0", place, n)
		}
	}
}

// benchAtlas has n mirrors, at many places.
func benchAtlas(n int) atlas {
	names := []string{"berlin", "munich", "aachen-dfn", "paris", "vienna", "lisbon", "new-york", "los-angeles", "auckland",
		"germany"}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "m%d %d %s https\n", i, 1+i%30, names[i%len(names)])
	}
	return atlas(text.String())
}

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{30, 500} {
		s := benchAtlas(n).build(b, testSelection)
		for _, place := range []string{"nowhere", "berlin", "sydney"} {
			b.Run(fmt.Sprintf("%d/%s", n, place), func(b *testing.B) {
				var c Choice
				r := Request{Place: testPlaces[place]}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					r.Seed = testSticky.Seed(network(i&0xffff), testNow)
					s.Choose(&c, &r)
				}
			})
		}
	}
}
