package dnspool

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/health"
)

// TestNewcomerCausesNoPanic has a mirror with most of the weight, which is down, and has been up before or not.
func TestNewcomerCausesNoPanic(t *testing.T) {
	t.Parallel()
	const prefix = "http://new.example.org/"
	for _, test := range []struct {
		newcomer [2]bool // by role
		panic    bool
	}{{[2]bool{true, true}, false}, {[2]bool{}, true}, {[2]bool{health.HTTP: true}, true}, {[2]bool{health.DNS: true}, true}} {
		in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nnew 1000 192.0.2.3=unknown/unknown").input(t)
		report := in.Health.Mirrors[prefix]
		report.Newcomer = test.newcomer
		in.Health.Mirrors[prefix] = report
		s := Build(in)
		if s.Panic() != test.panic {
			t.Errorf("newcomer by role %v: panic %v, want %v", test.newcomer, s.Panic(), test.panic)
		}
		if g := s.DNS(IPv4); g.EnabledWeight != 1002 || g.NewcomerWeight != 0 && g.NewcomerWeight != 1000 {
			t.Errorf("newcomer by role %v: %+v", test.newcomer, g.Tally)
		}
	}
	// Where no other mirror is up, newcomers are better than nothing.
	in := world("new 1000 192.0.2.3=down/down").input(t)
	in.Health.Mirrors[prefix] = health.MirrorReport{Endpoints: in.Health.Mirrors[prefix].Endpoints, Newcomer: [2]bool{true, true}}
	if s := Build(in); !s.Panic() || len(s.DNS(IPv4).Addresses) != 1 {
		t.Errorf("newcomers alone: panic %v, %v", s.Panic(), s.DNS(IPv4).Addresses)
	}
}

// TestLostMirrorsCount has mirrors that have lost their addresses: their weight is still that of enabled mirrors.
func TestLostMirrorsCount(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up 2001:db8::1=up/up\nb 2 https\nc 4 https\nd 0\ne 8 dns=off\nf 16").input(t)
	for name, report := range map[string]health.MirrorReport{
		"https://b": {LostIPv4: true}, "https://c": {LostIPv4: true, LostIPv6: true, Newcomer: [2]bool{true, true}},
		"http://d": {LostIPv4: true}, "http://e": {LostIPv4: true}, "http://f": {}, // not looked up yet
	} {
		in.Health.Mirrors[name+".example.org/"] = report
	}
	want := []string{
		"dns ipv4 up 1 of 7, newcomers 4", "http ipv4 up 1 of 15, newcomers 4", "http ipv4 https up 0 of 6, newcomers 4",
		"dns ipv6 up 1 of 5, newcomers 4", "http ipv6 up 1 of 5, newcomers 4", "http ipv6 https up 0 of 4, newcomers 4",
	}
	var got []string
	for _, g := range Build(in).Groups() {
		secure := ""
		if g.Secure {
			secure = "https "
		}
		got = append(got, fmt.Sprintf("%s %s %sup %g of %g, newcomers %g",
			g.Role, g.Family, secure, g.UpWeight, g.EnabledWeight, g.NewcomerWeight))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOwnFault has a server that cannot judge any more: who was unfit before stays the last resort.
func TestOwnFault(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=unknown/unknown\nb 9 192.0.2.2=unknown/unknown").input(t)
	a, b := in.Health.Mirrors["http://a.example.org/"].Endpoints, in.Health.Mirrors["http://b.example.org/"].Endpoints
	for i := range a {
		a[i].From, b[i].From = health.Up, health.Down
	}
	in.Policy.PanicThreshold = 0
	s := Build(in)
	if got := addressesOf(s.DNS(IPv4)); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("DNS: %v, want the one that was up", got)
	}
	if got := namesOf(s.http[IPv4][0]); !slices.Equal(got, []string{"a"}) {
		t.Errorf("HTTP: %v, want the one that was up", got)
	}
}

// TestPanicIsLeftSlowly has 20 mirrors with a threshold of a half.
func TestPanicIsLeftSlowly(t *testing.T) {
	t.Parallel()
	var previous *Snapshot
	for _, step := range []struct {
		up    int
		panic bool
	}{{20, false}, {10, false}, {9, true}, {10, true}, {11, false}, {10, false}} {
		var text strings.Builder
		for i := range 20 {
			s := "unknown"
			if i < step.up {
				s = "up"
			}
			fmt.Fprintf(&text, "m%d 1 192.0.2.%d=%s/%s\n", i, i+1, s, s)
		}
		in := world(text.String()).input(t)
		in.Previous = previous
		previous = Build(in)
		if previous.Panic() != step.panic {
			t.Errorf("with %d of 20 up: panic %v, want %v", step.up, previous.Panic(), step.panic)
		}
	}
}

// TestPanicIsLeft has all up again, where the margin does not fit above the threshold.
func TestPanicIsLeft(t *testing.T) {
	t.Parallel()
	in := largePool(calmSize).input(t)
	in.Policy.PanicThreshold = 0.98
	in.Previous = Build(in)
	for f := range in.Previous.dns {
		in.Previous.dns[f].Panic, in.Previous.http[f][0].Panic, in.Previous.http[f][1].Panic = true, true, true
	}
	if Build(in).Panic() {
		t.Error("panic lasts though all are up")
	}
}

// TestPanicLastsInItsGroup has half of a large pool up: enough for a group that was calm, too little for one in panic.
func TestPanicLastsInItsGroup(t *testing.T) {
	t.Parallel()
	groups := func(s *Snapshot) [6]*bool {
		return [...]*bool{&s.dns[IPv4].Panic, &s.dns[IPv6].Panic, &s.http[IPv4][0].Panic, &s.http[IPv4][1].Panic,
			&s.http[IPv6][0].Panic, &s.http[IPv6][1].Panic}
	}
	for i := range 6 {
		in := largePool(calmSize).input(t)
		for k := range in.Pool.Mirrors {
			m := &in.Pool.Mirrors[k]
			m.Weight, m.DNS.Weight = 1, 1
			for e := range in.Health.Mirrors[m.URLPrefix].Endpoints {
				if k < calmSize/2 {
					in.Health.Mirrors[m.URLPrefix].Endpoints[e].State = health.Unknown
				}
			}
		}
		in.Previous = Build(in)
		*groups(in.Previous)[i] = true
		for k, panics := range groups(Build(in)) {
			if *panics != (k == i) {
				t.Errorf("group %d was in panic: group %d is in panic: %v", i, k, *panics)
			}
		}
	}
}
