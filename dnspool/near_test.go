package dnspool

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health"
)

// nearInput is the input for an atlas with DNS answers by place, where each mirror is at an address of its own:
// 192.0.2.1 is that of the first.
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

// TestNearDerated has mirrors whose weights in DNS are others than for redirects, and one that fails now and then at
// one of its addresses.
func TestNearDerated(t *testing.T) {
	t.Parallel()
	in := nearInput(t, "a 1 berlin\nb 1 berlin\nc 1 berlin\nd 1 berlin", testSelection)
	for i := range in.Pool.Mirrors {
		in.Pool.Mirrors[i].DNS.Weight = []uint32{20, 20, 20, 40}[i]
	}
	first := in.Pool.Mirrors[0].URLPrefix
	report := in.Health.Mirrors[first]
	other := slices.Clone(report.Endpoints[:2])
	for i := range other {
		other[i].Address = netip.MustParseAddr("192.0.2.9")
		other[i].Rate = health.Rate{Failed: 0b101} // a quarter of the weight counts
	}
	report.Endpoints = slices.Concat(report.Endpoints[:2], other)
	in.Health.Mirrors[first] = report
	var c Choice
	const all = 12.5 + 20 + 20 + 40 // a has (1 + 1/4)/2 of its weight
	want := map[string]float64{"192.0.2.1": 10 / all, "192.0.2.9": 2.5 / all, "192.0.2.2": 20 / all, "192.0.2.3": 20 / all, "192.0.2.4": 40 / all}
	if got := nearWeights(Build(in), &c, testPlaces["berlin"]); !sameWeights(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
