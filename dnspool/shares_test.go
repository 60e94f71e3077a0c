package dnspool

import (
	"math"
	"testing"

	"mirrorpool/health"
)

func TestFirstShares(t *testing.T) {
	t.Parallel()
	s := Build(world(`
		a 30 192.0.2.1=up/up 2001:db8::1=up/up
		b 10 192.0.2.2=up/up 192.0.2.3=up/up
		c 20 192.0.2.3=up/up
		d 50 192.0.2.4=down/up
		e 70 dns=off 192.0.2.1=up/down
		f 10 192.0.2.3=down/down`).input(t))
	shares := s.FirstShares()
	for i, want := range []float64{0.5, 10.0 / 60, 20.0 / 60} {
		got := shares[i][0]
		if got.Family != IPv4 || math.Abs(got.Expected-want) > 1e-9 || math.Abs(got.Dealt-want) > 2.0/maxCards {
			t.Errorf("mirror %d: %+v, want %v", i, got, want)
		}
	}
	if len(shares[0]) != 2 || shares[0][1].Family != IPv6 || math.Abs(shares[0][1].Dealt-1) > 1e-9 || len(shares[1]) != 1 ||
		len(shares[3])+len(shares[4])+len(shares[5]) != 0 {
		t.Errorf("shares %v; want IPv6 for the first only, and none for those that are down or kept out", shares)
	}
	for i, m := range s.Mirrors {
		if m.InDNS != (len(shares[i]) > 0) {
			t.Errorf("mirror %d: said to be in DNS: %v, and its shares are %v", i, m.InDNS, shares[i])
		}
	}
	groups := map[Group]bool{}
	for _, g := range s.Groups() {
		groups[Group{Role: g.Role, Family: g.Family, Secure: g.Secure, Eligible: g.Eligible}] = true
	}
	for _, g := range []Group{{Role: health.DNS, Eligible: 60}, {Role: health.DNS, Family: IPv6, Eligible: 30},
		{Role: health.HTTP, Eligible: 110}} {
		if !groups[g] {
			t.Errorf("no group %+v in %v", g, groups)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	off := testSelection
	off.Geo = false
	reason := func(s *Snapshot, place string, family Family) Reason {
		var c Choice
		r := Request{Family: family, Place: testPlaces[place], Seed: 1}
		s.Choose(&c, &r)
		return s.Reason(&c, &r)
	}
	two := atlas("a 1 berlin\nb 1 sydney")
	limited := atlas("a 1 berlin only=DE\nb 1 paris down")
	for _, tt := range []struct {
		name string
		got  Reason
		want Reason
	}{
		{"near", reason(two.build(t, testSelection), "munich", IPv4), ByPlace},
		{"unknown place", reason(two.build(t, testSelection), "nowhere", IPv4), ByWeight},
		{"places are off", reason(two.build(t, off), "munich", IPv4), ByWeight},
		{"another family", reason(Build(world("a 1 192.0.2.1=up/up").input(t)), "nowhere", IPv6), OtherFamily},
		{"no other one", reason(limited.build(t, testSelection), "paris", IPv4), LastResort},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}
