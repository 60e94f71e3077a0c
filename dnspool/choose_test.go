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
	"mirrorpool/health"
)

// testSelection is what a configuration has by default.
var testSelection = config.Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5}

// Places by name: a city, a network of DFN in it, and so on.
var testPlaces = map[string]Place{
	"nowhere":      {},
	"berlin":       cityPlace("DE", "EU", 52.52, 13.40, 3320),
	"berlin-dfn":   cityPlace("DE", "EU", 52.52, 13.40, 680),
	"aachen-dfn":   cityPlace("DE", "EU", 50.78, 6.08, 680),
	"munich":       cityPlace("DE", "EU", 48.14, 11.58, 0),
	"paris":        cityPlace("FR", "EU", 48.86, 2.35, 0),
	"vienna":       cityPlace("AT", "EU", 48.21, 16.37, 0),
	"lisbon":       cityPlace("PT", "EU", 38.72, -9.14, 0),
	"sydney":       cityPlace("AU", "OC", -33.87, 151.21, 0),
	"auckland":     cityPlace("NZ", "OC", -36.85, 174.76, 0),
	"new-york":     cityPlace("US", "NA", 40.71, -74.01, 0),
	"los-angeles":  cityPlace("US", "NA", 34.05, -118.24, 0),
	"germany":      countryPlace("DE"),
	"europe":       {Continent: ParseCode("EU")},
	"network-680":  {ASN: 680},
	"antimeridian": cityPlace("FJ", "OC", -17.7, -179.9, 0),
	"suva":         cityPlace("FJ", "OC", -18.14, 178.44, 0),
	"toronto":      cityPlace("CA", "NA", 43.65, -79.38, 0),
	"berlin-fr":    cityPlace("FR", "EU", 52.52, 13.40, 0), // as if it were there
	"berlin-fr-tk": cityPlace("FR", "EU", 52.52, 13.40, 3320),
}

func cityPlace(country, continent string, latitude, longitude float64, asn uint32) Place {
	return Place{Country: ParseCode(country), Continent: ParseCode(continent), Latitude: latitude, Longitude: longitude, HasPosition: true, ASN: asn}
}

func countryPlace(code string) Place {
	p := Place{Country: ParseCode(code)}
	p.Settle()
	return p
}

// atlas is a pool written as text, with one mirror on a line:
//
//	NAME WEIGHT PLACE [https] [only=COUNTRY] [not=COUNTRY] [STATE]
type atlas string

func (a atlas) build(t testing.TB, selection config.Selection) *Snapshot {
	t.Helper()
	return Build(a.input(t, selection))
}

func (a atlas) input(t testing.TB, selection config.Selection) Input {
	t.Helper()
	var text strings.Builder
	type extra struct {
		place          Place
		serve, exclude []string
	}
	extras := map[string]extra{}
	for line := range strings.Lines(string(a)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		place, ok := testPlaces[fields[2]]
		if !ok {
			t.Fatalf("unknown place %q", fields[2])
		}
		x, state, https := extra{place: place}, "up", ""
		for _, field := range fields[3:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "https":
				https = field
			case "only":
				x.serve = append(x.serve, value)
			case "not":
				x.exclude = append(x.exclude, value)
			default:
				state = field
			}
		}
		extras[fields[0]] = x
		fmt.Fprintf(&text, "%s %s %s 192.0.2.1=up/%s 2001:db8::1=up/%s\n", fields[0], fields[1], https, state, state)
	}
	in := world(text.String()).input(t)
	in.Policy.Selection = selection
	for i := range in.Pool.Mirrors {
		m := &in.Pool.Mirrors[i]
		x := extras[m.Name]
		m.Location = config.Location{
			Country: x.place.Country.String(), Continent: x.place.Continent.String(), ASN: x.place.ASN,
			Latitude: x.place.Latitude, Longitude: x.place.Longitude, HasPosition: x.place.HasPosition,
		}
		m.ServeOnly.Countries, m.Exclude.Countries = x.serve, x.exclude
	}
	return in
}

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
			c 10 berlin`, from: "sydney", selection: func(s *config.Selection) { s.MaxShare, s.MinCandidates = 1, 1 }, want: "a=100 b=0 c=0"},
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

// TestRunnersUp has the order of those who are not picked: who competes is before the others, who come by how far they are,
// and among those that are as far always in the same order.
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
	if again := order("x 1 sydney\nm 1 munich\nl 1 lisbon\np 1 paris\nn 1 new-york\ns 1 sydney\na 1 auckland"); !slices.Equal(got, again) {
		t.Errorf("%v, and in another order of the file %v", got, again)
	}
}

// nearInput is the input for an atlas with DNS answers by place, where each mirror is at an address of its own: 192.0.2.1
// is that of the first.
func nearInput(t testing.TB, a atlas, selection config.Selection) Input {
	t.Helper()
	in := a.input(t, selection)
	in.Policy.DNSGeo = true
	for i := range in.Pool.Mirrors {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		for k := range in.Health.Mirrors[in.Pool.Mirrors[i].URLPrefix].Endpoints[:2] {
			in.Health.Mirrors[in.Pool.Mirrors[i].URLPrefix].Endpoints[k].Address = addr
		}
	}
	return in
}

// nearWeights returns the weights of the addresses in answers by place; nil if there are none by place.
func nearWeights(s *Snapshot, c *Choice, place Place) map[string]float64 {
	near, ok := s.Near(c, IPv4, &place)
	if !ok {
		return nil
	}
	weights := map[string]float64{}
	for i, index := range near.Addresses {
		weights[s.DNS(IPv4).Addresses[index].String()] = near.Weights[i]
	}
	return weights
}

func sameWeights(a, b map[string]float64) bool {
	same := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	return (a == nil) == (b == nil) && maps.EqualFunc(a, b, same)
}

// TestNear has DNS answers by place: those of redirects, in coarse steps.
func TestNear(t *testing.T) {
	t.Parallel()
	s := Build(nearInput(t, "b 10 berlin-dfn\nv 10 vienna\np 20 paris\ns 90 sydney\n", testSelection))
	var c Choice
	berlin := testPlaces["berlin"]
	// 10 points, 10/4 and 20/4 instead of 10*400/1223 and 20*400/1577: the first is limited to a half.
	want := map[string]float64{"192.0.2.1": 0.5, "192.0.2.2": 0.5 / 3, "192.0.2.3": 1.0 / 3}
	if got := nearWeights(s, &c, berlin); !sameWeights(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	// The same memory serves a redirect, in fine steps.
	r := &Request{Place: berlin, Seed: 1}
	s.Choose(&c, r)
	for i := range c.scores {
		if m := &c.scores[i]; m.mirror.Name == "v" && math.Abs(c.of(m)-0.196) > 0.001 {
			t.Errorf("a redirect goes to Vienna with the chance %v, want 19.6 %%", c.of(m))
		}
	}
}

// TestNearTakesWhoMayServe has mirrors that are not for DNS, or not for all places.
func TestNearTakesWhoMayServe(t *testing.T) {
	t.Parallel()
	off := testSelection
	off.Geo = false
	tests := map[string]struct {
		atlas
		selection config.Selection
		place     string
		want      map[string]float64 // nil: not by place
	}{
		"a place": {"a 1 berlin\nb 1 berlin", testSelection, "berlin", map[string]float64{"192.0.2.1": 0.5, "192.0.2.2": 0.5}},
		"one in DNS is down": {"a 1 berlin down\nb 1 berlin\nc 1 berlin", testSelection, "berlin",
			map[string]float64{"192.0.2.2": 0.5, "192.0.2.3": 0.5}},
		"no place":               {"a 1 berlin\nb 1 berlin", testSelection, "nowhere", nil},
		"places do not count":    {"a 1 berlin\nb 1 berlin", off, "berlin", nil},
		"but who may be served":  {"a 1 berlin only=DE\nb 1 berlin", off, "paris", map[string]float64{"192.0.2.2": 1}},
		"the last may not":       {"a 1 berlin\nb 1 berlin only=DE", off, "paris", map[string]float64{"192.0.2.1": 1}},
		"or who may not":         {"a 1 berlin not=FR\nb 1 berlin", off, "paris", map[string]float64{"192.0.2.2": 1}},
		"no place, but a limit":  {"a 1 berlin only=DE\nb 1 berlin", testSelection, "nowhere", map[string]float64{"192.0.2.2": 1}},
		"one limited is down":    {"a 1 berlin only=DE down\nb 1 berlin\nc 1 berlin", off, "berlin", nil},
		"none may serve these":   {"a 1 berlin only=DE\nb 1 berlin not=FR", testSelection, "paris", nil},
		"none may, and no place": {"a 1 berlin only=DE\nb 1 berlin only=FR", off, "nowhere", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := nearInput(t, test.atlas, test.selection)
			for _, m := range in.Pool.Mirrors { // for the atlas tells of role HTTP
				endpoints := in.Health.Mirrors[m.URLPrefix].Endpoints
				endpoints[1].State, endpoints[0].State = endpoints[0].State, health.Up
			}
			var c Choice
			if got := nearWeights(Build(in), &c, testPlaces[test.place]); !sameWeights(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestNearAddresses has a mirror with two addresses, of which one is also another's.
func TestNearAddresses(t *testing.T) {
	t.Parallel()
	in := nearInput(t, "a 1 berlin\nb 1 berlin\nc 1 berlin\nd 1 berlin", testSelection)
	first, second := in.Pool.Mirrors[0].URLPrefix, in.Pool.Mirrors[1].URLPrefix
	shared := in.Health.Mirrors[first]
	shared.Endpoints = slices.Concat(shared.Endpoints[:2], in.Health.Mirrors[second].Endpoints[:2])
	in.Health.Mirrors[first] = shared
	var c Choice
	want := map[string]float64{"192.0.2.1": 0.125, "192.0.2.2": 0.125 + 0.25, "192.0.2.3": 0.25, "192.0.2.4": 0.25}
	if got := nearWeights(Build(in), &c, testPlaces["berlin"]); !sameWeights(got, want) {
		t.Errorf("%v, want %v", got, want)
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
			req := Request{Family: Family(r.IntN(2)), Secure: r.IntN(2) == 0, Place: testPlaces[names[r.IntN(len(names))]], Seed: r.Uint64()}
			s.Choose(&c, &req)
			e := s.Explain(&req)
			checkExplained(t, &c, &e, &req, s, text.String())
		}
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
			t.Fatalf("mirror %d in order is explained as %s, order %d, and chosen are %d others, in\n%s", i, m.Name, m.Order, len(chosen), text)
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

// TestDrawsStay has known draws: servers of different versions that share a secret have to choose alike, as has one before
// and after an upgrade.
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
	names := []string{"berlin", "munich", "aachen-dfn", "paris", "vienna", "lisbon", "new-york", "los-angeles", "auckland", "germany"}
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
