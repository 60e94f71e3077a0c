package dnspool

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health"
)

// TestCurrentFirst has a release that some mirrors carry and others, within max_lag, do not.
func TestCurrentFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		world
		want string
	}{
		"one carries it": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.2=behind/behind
			c 1 192.0.2.3=behind/behind
			d 1 192.0.2.4=behind/behind`, want: "a b c d"},
		"as many as should compete": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.2=up/up
			c 1 192.0.2.3=up/up
			d 1 192.0.2.4=behind/behind`, want: "a b c"},
		"one of them would have too much": {world: `
			a 1 192.0.2.1=up/up
			b 3 192.0.2.2=up/up
			c 1 192.0.2.3=up/up
			d 1 192.0.2.4=behind/behind`, want: "a b c d"},
		"one of a mirror's addresses lacks it": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.2=up/up 192.0.2.5=behind/behind
			c 1 192.0.2.3=up/up
			d 1 192.0.2.4=up/up`, want: "a c d"},
		"the others are down": {world: `
			a 1 192.0.2.1=behind/behind
			b 9 192.0.2.2=down/down`, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t)
			in.Policy.MinCandidates, in.Policy.MaxShare = 3, 0.5
			s := Build(in)
			if got := strings.Join(namesOf(s.http[IPv4][0]), " "); got != test.want || s.Panic() {
				t.Errorf("HTTP: %s, want %s; panic %v", got, test.want, s.Panic())
			}
			var dns []string
			for _, m := range s.Mirrors {
				if m.InDNS {
					dns = append(dns, m.Name)
				}
			}
			if got := strings.Join(dns, " "); got != test.want {
				t.Errorf("DNS: %s, want %s", got, test.want)
			}
		})
	}
}

// TestLacksForDNS has mirrors with the new trace and without files of the release: they count as behind, for DNS alone.
func TestLacksForDNS(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=up/up\nd 1 192.0.2.4=up/up").input(t)
	in.Policy.MinCandidates, in.Policy.MaxShare = 3, 0.5
	prefix := in.Pool.Mirrors[3].URLPrefix
	report := in.Health.Mirrors[prefix]
	report.Lacks = "lacks 1 of 2 files of the release"
	in.Health.Mirrors[prefix] = report
	if d := Build(in).Mirrors[3]; d.InDNS || !d.InWeb {
		t.Errorf("in DNS %v, in redirects %v, want redirects alone", d.InDNS, d.InWeb)
	}
}

// TestCarrierLeftOut: a mirror that is left out because it is behind serves the files that it alone carries.
func TestCarrierLeftOut(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=up/up\nd 1 192.0.2.4=behind/behind\ne 1 192.0.2.5=down/down").input(t)
	in.Policy.MinCandidates, in.Policy.MaxShare = 3, 0.5
	in.Number = func(prefix string) int {
		return slices.IndexFunc(in.Pool.Mirrors, func(m config.Mirror) bool { return m.URLPrefix == prefix })
	}
	in.Pool.Mirrors[0].ServeOnly.Countries = []string{"FR"} // restricted mirrors in the pool change nothing
	s := Build(in)
	for carriers, want := range map[uint64]string{1 << 3: "d", 1<<1 | 1<<3: "b", 1 << 4: "", 0: ""} {
		var c Choice
		s.Choose(&c, &Request{Carriers: []uint64{carriers}})
		if got := nameOf(c.Picked); got != want {
			t.Errorf("carriers %b: %q, want %q", carriers, got, want)
		}
	}
	var c Choice
	if s.Choose(&c, &Request{Carriers: []uint64{}}); c.Picked != nil {
		t.Errorf("no carrier: %q", c.Picked.Name)
	}
}

func nameOf(m *Mirror) string {
	if m == nil {
		return ""
	}
	return m.Name
}

// TestWithout: a request that leaves a mirror out gets another one where there is one that is as good: at an address
// of the client's family, and up if it is.
func TestWithout(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up": "b",
		"a 1 192.0.2.1=up/up":                      "a",

		"a 1 192.0.2.1=up/up\nb 1 2001:db8::2=up/up":   "a",
		"a 1 2001:db8::1=up/up\nb 1 2001:db8::2=up/up": "b",
		"a 1 192.0.2.1=up/down\nb 1 192.0.2.2=up/down": "b",
	} {
		checkWithout(t, text, Build(world(text).input(t)), Place{}, want)
	}
	others := "\nc 1 paris not=DE\nd 1 paris not=DE\ne 1 paris not=DE" // so that one that is down is not eligible
	for text, want := range map[string]string{
		"a 1 berlin\nb 1 berlin down":      "a",
		"a 1 berlin\nb 1 berlin":           "b",
		"a 1 berlin down\nb 1 berlin down": "b",
	} {
		text += others
		checkWithout(t, text, atlas(text).build(t, testSelection), testPlaces["berlin"], want)
	}
}

// checkWithout has clients at a place leave the first mirror out.
func checkWithout(t *testing.T, text string, s *Snapshot, place Place, want string) {
	t.Helper()
	var c Choice
	for seed := range uint64(20) {
		s.Choose(&c, &Request{Without: &s.Mirrors[0], Place: place, Seed: seed})
		if got := nameOf(c.Picked); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestLivingBeforeDead kills k of n mirrors, for all k: a dead mirror is in no answer and no redirect while one lives.
func TestLivingBeforeDead(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 8; n++ {
		for k := 1; k < n; k++ {
			in := largePool(n).input(t)
			for i := range in.Pool.Mirrors {
				for e := range in.Health.Mirrors[in.Pool.Mirrors[i].URLPrefix].Endpoints {
					v := &in.Health.Mirrors[in.Pool.Mirrors[i].URLPrefix].Endpoints[e].Verdict
					if v.State = health.Up; i < k {
						v.State = health.Down
					}
				}
			}
			s := Build(in)
			for i, m := range s.Mirrors {
				if m.InDNS != (i >= k) || m.InWeb != (i >= k) {
					t.Errorf("%d of %d are dead: mirror %d: in DNS %v, in redirects %v", k, n, i, m.InDNS, m.InWeb)
				}
			}
		}
	}
}

func TestRankOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]rank{
		"up": rankUp, "unknown": rankUnknown, "suspected": rankSuspected, "stale": rankStale, "down": rankDown,
	} {
		e := endpoint(t, netip.Addr{}, health.HTTP, text)
		if got := rankOf(&e); got != want {
			t.Errorf("%s: rank %d, want %d", text, got, want)
		}
		if got := want.state(); got != e.State {
			t.Errorf("%s: the state of its rank is %v", text, got)
		}
	}
}

// TestMaxLoad has one mirror of four left, which is to serve a part of the clients at most.
func TestMaxLoad(t *testing.T) {
	t.Parallel()
	const dead = "\nb 1 192.0.2.2=down/down\nc 1 192.0.2.3=down/down\nd 1 192.0.2.4=down/down"
	for name, test := range map[string]struct {
		world
		maxLoad, want float64 // want: share of the clients that are served
	}{
		"off":                            {"a 1 192.0.2.1=up/up" + dead, 0, 1},
		"half of the clients":            {"a 1 192.0.2.1=up/up" + dead, 0.5, 0.5},
		"at least its own share":         {"a 1 192.0.2.1=up/up" + dead, 0.1, 0.25},
		"enough are up":                  {"a 3 192.0.2.1=up/up" + dead, 0.1, 1},
		"none is up":                     {"a 1 192.0.2.1=down/down" + dead, 0.1, 1},
		"others join, as if it was ours": {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=unknown/unknown\nc 1 192.0.2.3=down/down", 0.1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t)
			in.Policy.MaxLoad = test.maxLoad
			s := Build(in)
			const clients = 20_000
			served := 0
			var c Choice
			for seed := range uint64(clients) {
				r := Request{Seed: mix(seed), LoadDraw: mix(seed + clients)}
				s.Choose(&c, &r)
				if c.Picked != nil {
					served++
				}
				if e := s.Explain(&r); seed < 100 && (e.Mirrors[0].Order == 1) != (c.Picked != nil) {
					t.Fatalf("client %d: served %v, explained as %+v", seed, c.Picked != nil, e.Mirrors[0])
				}
				if (c.Picked == nil) != c.Busy {
					t.Fatalf("client %d: picked %v, busy %v", seed, c.Picked, c.Busy)
				}
			}
			if got := float64(served) / clients; math.Abs(got-test.want) > 0.02 {
				t.Errorf("%.3f of the clients are served, want %.3f", got, test.want)
			}
			if len(s.DNS(IPv4).Addresses) == 0 {
				t.Error("DNS answers nothing")
			}
		})
	}
}

// TestDerated has a mirror of four whose checks fail now and then, at one of its addresses.
func TestDerated(t *testing.T) {
	t.Parallel()
	in := world(`
		a 10 192.0.2.1=up/up 192.0.2.9=up/up
		b 10 192.0.2.2=up/up
		c 10 192.0.2.3=up/up
		d 10 192.0.2.4=up/up`).input(t)
	flaky := in.Health.Mirrors["http://a.example.org/"].Endpoints
	for i := range flaky {
		if flaky[i].Address == netip.MustParseAddr("192.0.2.9") {
			flaky[i].Rate = health.Rate{Failed: 0b101} // a quarter of the weight counts
		}
	}
	s := Build(in)
	g := s.DNS(IPv4)
	weights := map[string]float64{}
	for i, addr := range g.Addresses {
		weights[addr.String()] = g.Weights[i]
	}
	if weights["192.0.2.1"] != 5 || weights["192.0.2.9"] != 1.25 || weights["192.0.2.2"] != 10 {
		t.Errorf("DNS: %v", weights)
	}
	if g.UpWeight != 40 || s.Panic() {
		t.Errorf("weight that is up: %v, panic %v", g.UpWeight, s.Panic())
	}
	const clients = 50_000
	got := map[string]float64{}
	var c Choice
	for seed := range uint64(clients) {
		s.Choose(&c, &Request{Seed: mix(seed)})
		got[c.Picked.Name] += 1. / clients
	}
	if want := 2.5 / 32.5; math.Abs(got["a"]-want) > 0.01 {
		t.Errorf("redirects to a: %.3f of all, want %.3f", got["a"], want)
	}
	e := s.Explain(&Request{Seed: 1})
	for _, m := range e.Mirrors {
		if says := strings.Contains(m.Why, "its weight counts for 25 %"); says != (m.Name == "a") || says != (m.Derated == 0.25) {
			t.Errorf("%s: derated %v, %q", m.Name, m.Derated, m.Why)
		}
	}
}
