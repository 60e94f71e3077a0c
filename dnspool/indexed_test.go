package dnspool

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health"
)

// scatteredPool is a random pool in which groups have an index.
func scatteredPool(r *rand.Rand) atlas {
	names := slices.Sorted(maps.Keys(testPlaces))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:1+r.IntN(len(names))]
	heavy, limits, down := r.IntN(3) == 0, r.IntN(3) == 0, r.IntN(20)
	var text strings.Builder
	for i := range indexSize + r.IntN(400) {
		weight := 1 + r.IntN(30)
		if heavy && r.IntN(40) == 0 {
			weight *= 1000
		}
		state := "up"
		if r.IntN(20) < down {
			state = []string{"stale", "down", "unknown"}[r.IntN(3)]
		}
		fmt.Fprintf(&text, "m%d %d %s %s %s", i, weight, names[r.IntN(len(names))], []string{"https", "up"}[r.IntN(2)], state)
		if limits && r.IntN(4) == 0 {
			fmt.Fprintf(&text, " %s=%s", []string{"only", "not"}[r.IntN(2)], []string{"DE", "FR", "AU"}[r.IntN(3)])
		}
		text.WriteByte('\n')
	}
	return atlas(text.String())
}

// scatter puts mirrors at places that are near those of the pool, and numbers them.
func scatter(in *Input, r *rand.Rand) {
	numbers := map[string]int{}
	for i := range in.Pool.Mirrors {
		m := &in.Pool.Mirrors[i]
		numbers[m.URLPrefix] = i
		if m.Location.HasPosition && r.IntN(2) == 0 {
			m.Location.Latitude = max(-90, min(90, m.Location.Latitude+r.NormFloat64()*4))
			m.Location.Longitude = max(-180, min(180, m.Location.Longitude+r.NormFloat64()*4))
		}
	}
	in.Number = func(prefix string) int { return numbers[prefix] }
}

// anyPool is a snapshot of a random pool, with an index or too small for one.
func anyPool(t *testing.T, r *rand.Rand) *Snapshot {
	in := scatteredPool(r).input(t, config.Selection{
		Geo: r.IntN(3) > 0, Near: 2, MinCandidates: 1 + r.IntN(12), MaxShare: 1 - 0.9*r.Float64()})
	scatter(&in, r)
	if r.IntN(2) == 0 {
		in.Pool.Mirrors = in.Pool.Mirrors[:1+r.IntN(indexSize-1)]
	}
	return Build(in)
}

// randomRequest is one of a client at one of the tests' places, or near it.
func randomRequest(r *rand.Rand, s *Snapshot) Request {
	names := slices.Sorted(maps.Keys(testPlaces))
	q := Request{Family: Family(r.IntN(2)), Secure: r.IntN(2) == 0, Place: testPlaces[names[r.IntN(len(names))]],
		Seed: r.Uint64(), LoadDraw: r.Uint64()}
	if q.Place.HasPosition && r.IntN(2) == 0 {
		q.Place.Latitude += r.NormFloat64()
	}
	if r.IntN(3) == 0 {
		q.Without = &s.Mirrors[r.IntN(len(s.Mirrors))]
	}
	if density := r.IntN(6); density > 0 {
		q.Carriers = make([]uint64, r.IntN(len(s.Mirrors)/64+2))
		for i := range q.Carriers {
			for bit := range 64 {
				if r.IntN(5) < density {
					q.Carriers[i] |= 1 << bit
				}
			}
		}
	}
	return q
}

// TestIndexedChoice compares choices by an index with those that look at each mirror, in random pools: they are the
// same, and most are made by the index.
func TestIndexedChoice(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(31, 32))
	pools := 1500
	if testing.Short() {
		pools = 200
	}
	all, indexed := 0, 0
	for range pools {
		in := scatteredPool(r).input(t, config.Selection{
			Geo: r.IntN(5) > 0, Near: 1 + 2*r.Float64(), MinCandidates: 1 + r.IntN(12), MaxShare: 1 - 0.99*r.Float64(),
			MaxLoad: float64(r.IntN(2)) * r.Float64()})
		scatter(&in, r)
		s := Build(in)
		var got, want, again Choice
		for range 40 {
			q := randomRequest(r, s)
			s.Choose(&got, &q)
			s.chooseOfAll(&want, &q)
			if want.Busy {
				want.Picked, want.RunnersUp = nil, nil
			}
			if got.Picked != want.Picked || got.Busy != want.Busy || !slices.Equal(got.RunnersUp, want.RunnersUp) {
				t.Fatalf("%v picks %v, then %v; want %v, then %v; of %d mirrors, by %+v", q, got.Picked, got.RunnersUp, want.Picked,
					want.RunnersUp, len(s.Mirrors), s.policy.Selection)
			}
			if g := &s.http[q.Family][q.only()]; g.index != nil {
				all++
				if again.chooseIndexed(&s.policy, g, &q) {
					indexed++
				}
			}
		}
	}
	t.Logf("%d of %d choices are made by an index", indexed, all)
	if indexed < all/2 || all < 10*pools {
		t.Errorf("%d of %d choices are made by an index, want more", indexed, all)
	}
}

// BenchmarkChooseIndexed has 10,000 mirrors: in all countries of the table or in one, with a client at a known place or
// not, and where four of five carry the file or four in all do.
func BenchmarkChooseIndexed(b *testing.B) {
	const mirrors = 10_000
	berlin := testPlaces["berlin"]
	carriers := func(each int) []uint64 {
		bits := make([]uint64, mirrors/64+1)
		for i := range mirrors {
			if (i%each == 0) == (each > 5) {
				bits[i/64] |= 1 << (i % 64)
			}
		}
		return bits
	}
	for _, test := range []struct {
		name      string
		countries int
		request   Request
	}{
		{"everywhere", len(countries), Request{Place: berlin}},
		{"one country", 1, Request{Place: berlin}},
		{"unknown place", len(countries), Request{}},
		{"most carry", len(countries), Request{Place: berlin, Carriers: carriers(5)}},
		{"few carry", len(countries), Request{Place: berlin, Carriers: carriers(2500)}},
	} {
		b.Run(test.name, func(b *testing.B) {
			s := Build(worldwide(mirrors, test.countries))
			var c Choice
			b.ReportAllocs()
			for b.Loop() {
				test.request.Seed++
				s.Choose(&c, &test.request)
			}
		})
	}
}

// worldwide has n mirrors in some countries, of which Germany is one.
func worldwide(n, some int) Input {
	r := rand.New(rand.NewPCG(41, 42))
	in := Input{Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: Policy{MaxAnswers: 2, Selection: testSelection}, Now: worldTime, Rand: r}
	germany := slices.IndexFunc(countries[:], func(c country) bool { return c.code == ParseCode("DE") })
	numbers := map[string]int{}
	for i := range n {
		x := countries[(germany+r.IntN(some))%len(countries)]
		prefix := fmt.Sprintf("https://m%d.example.org/", i)
		u, _ := url.Parse(prefix)
		in.Pool.Mirrors = append(in.Pool.Mirrors, config.Mirror{URLPrefix: prefix, URL: u, Weight: 1 + r.Uint32N(30),
			Location: config.Location{Country: x.code.String(), HasPosition: true, ASN: 1 + r.Uint32N(3000),
				Latitude: x.latitude + 3*r.NormFloat64(), Longitude: x.longitude + 3*r.NormFloat64()}})
		numbers[prefix] = i
		in.Health.Mirrors[prefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: network(i), Role: health.HTTP, Verdict: health.Verdict{State: health.Up}}}}
	}
	in.Number = func(prefix string) int { return numbers[prefix] }
	return in
}

func BenchmarkNewIndex(b *testing.B) {
	s := Build(worldwide(10_000, len(countries)))
	b.ReportAllocs()
	for b.Loop() {
		newIndex(s.http[IPv4][0].entries)
	}
}
