package dnspool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mirrorpool/health"
)

func TestEligible(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		world
		dns4, dns6       []string // addresses
		web4, web6, safe []string // mirrors; safe: https over IPv4
		panic            bool
	}{
		"all up": {world: `
			a 1       192.0.2.1=up/up 2001:db8::1=up/up
			b 2 https 192.0.2.2=up/up`,
			dns4: []string{"192.0.2.1", "192.0.2.2"}, dns6: []string{"2001:db8::1"},
			web4: []string{"a", "b"}, web6: []string{"a"}, safe: []string{"b"}},
		"a disabled mirror is nowhere": {world: `
			a 1 192.0.2.1=up/up
			b 0 192.0.2.2=up/up`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}},
		"roles are judged separately": {world: `
			a 2 192.0.2.1=up/up
			b 1 192.0.2.2=down/up`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a", "b"}},
		"families are judged separately": {world: `
			a 1 192.0.2.1=up/up 2001:db8::1=down/down
			b 1 192.0.2.2=up/up 2001:db8::2=up/up`,
			dns4: []string{"192.0.2.1", "192.0.2.2"}, dns6: []string{"2001:db8::2"},
			web4: []string{"a", "b"}, web6: []string{"b"}},
		"DNS lists the addresses that are up, a redirect needs all": {world: `
			a 1 192.0.2.1=up/up 192.0.2.2=down/down
			b 2 192.0.2.3=up/up`,
			dns4: []string{"192.0.2.1", "192.0.2.3"}, web4: []string{"b"}},
		"DNS lists all addresses in the best state": {world: `
			a 1 192.0.2.1=stale/up 192.0.2.2=up/up 192.0.2.3=up/up 192.0.2.4=down/up
			b 1 192.0.2.5=up/up`,
			dns4: []string{"192.0.2.2", "192.0.2.3", "192.0.2.5"}, web4: []string{"a", "b"}},
		"kept out of DNS": {world: `
			a 1 dns=off 192.0.2.1=up/up
			b 1 dns=0   192.0.2.2=up/up
			c 1         192.0.2.3=up/up`,
			dns4: []string{"192.0.2.3"}, web4: []string{"a", "b", "c"}},
		"without rsync no redirects": {world: `
			a 1 rsync=down    192.0.2.1=up/up 2001:db8::1=up/up
			b 1 rsync=up      192.0.2.2=up/up
			c 1 rsync=unknown 192.0.2.3=up/up 2001:db8::3=up/up`,
			dns4: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, dns6: []string{"2001:db8::1", "2001:db8::3"},
			web4: []string{"b", "c"}, web6: []string{"c"}},
		"half is up: no panic": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.2=down/down`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}},
		"less than half is up: those that could not be judged join": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.2=stale/unknown
			c 9 192.0.2.3=down/stale
			d 0 192.0.2.4=up/up`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a", "b"}, panic: true},
		"one of eight is up, the others are dead": {world: `
			a 1 192.0.2.1=up/up
			b 9 192.0.2.2=down/down
			c 9 192.0.2.3=down/down rsync=down`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}},
		"freshness is no reason for panic": {world: `
			a 1 192.0.2.1=up/up
			b 9 192.0.2.2=stale/stale
			c 9 192.0.2.3=stale/stale`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}},
		"a fault of this host takes away no mirror, a fault of its own does": {world: `
			a 1 192.0.2.1=up/up
			b 9 https 192.0.2.2=suspected/suspected
			c 9 https 192.0.2.3=suspected/suspected
			d 9 https 192.0.2.4=down/down`,
			dns4: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, web4: []string{"a", "b", "c"}, safe: []string{"b", "c"}, panic: true},
		"those that are up are enough without the suspected": {world: `
			a 9 192.0.2.1=up/up
			b 9 192.0.2.2=suspected/suspected`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}},
		"none is up: stale ones before dead ones": {world: `
			a 1 192.0.2.1=stale/down
			b 9 192.0.2.2=down/stale`,
			dns4: []string{"192.0.2.1"}, web4: []string{"b"}, panic: true},
		"all are down together": {world: `
			a 1 192.0.2.1=down/down
			b 1 192.0.2.2=down@1/down@1`,
			dns4: []string{"192.0.2.1", "192.0.2.2"}, web4: []string{"a", "b"}, panic: true},
		"all are down: those that passed last": {world: `
			a 1 192.0.2.1=down@90/down@300
			b 1 192.0.2.2=down@80/down@200
			c 1 192.0.2.3=down@50/passing
			d 1 192.0.2.4=down@51/down@100`,
			dns4: []string{"192.0.2.3", "192.0.2.4"}, web4: []string{"c"}, panic: true},
		"all are down, and half of the weight passed last": {world: `
			a 9 192.0.2.1=down@50/down@50
			b 1 192.0.2.2=down@80/down@80`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a"}, panic: true},
		"an rsync port that is closed at this host counts for nothing": {world: `
			a 1 192.0.2.1=up/up rsync=suspected
			b 1 192.0.2.2=up/down rsync=suspected
			c 1 192.0.2.3=up/up rsync=down`,
			dns4: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, web4: []string{"a"}},
		"no address is known": {world: "a 1"},
		"two mirrors at one address": {world: `
			a 1 192.0.2.1=up/up
			b 1 192.0.2.1=up/up`,
			dns4: []string{"192.0.2.1"}, web4: []string{"a", "b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Build(test.input(t))
			same := func(what string, got, want []string) {
				t.Helper()
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			same("DNS, IPv4", addressesOf(s.DNS(IPv4)), test.dns4)
			same("DNS, IPv6", addressesOf(s.DNS(IPv6)), test.dns6)
			same("HTTP, IPv4", namesOf(s.http[IPv4][0]), test.web4)
			same("HTTP, IPv6", namesOf(s.http[IPv6][0]), test.web6)
			same("HTTPS, IPv4", namesOf(s.http[IPv4][1]), test.safe)
			if s.Panic() != test.panic {
				t.Errorf("panic: got %v, want %v", s.Panic(), test.panic)
			}
		})
	}
}

// TestSettles has one address in doubt.
func TestSettles(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up 2001:db8::1=up/up\nb 1 192.0.2.2=up/up").input(t)
	in.Health.Policy = health.Policy{Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3}
	e := &in.Health.Mirrors["http://b.example.org/"].Endpoints[1] // in role DNS
	e.Verdict = e.Next(health.Observation{At: in.Now, Result: health.Down}, in.Health.Policy)
	s := Build(in)
	if got := s.DNS(IPv4).Settles; got <= 0 || got > 10*time.Second {
		t.Errorf("IPv4 settles within %v, want a few seconds", got)
	}
	if got := s.DNS(IPv6).Settles; got != 0 {
		t.Errorf("IPv6 settles within %v, want no doubt", got)
	}
	// The soonest of two counts, whichever comes first in the pool; doubts of redirects and of IPv6 do not.
	late := s.DNS(IPv4).Settles
	a := in.Health.Mirrors["http://a.example.org/"].Endpoints
	for _, test := range []struct {
		*health.Endpoint
		counts bool
	}{{&a[0], false}, {&a[3], false}, {&a[1], true}} {
		e := test.Endpoint
		for range 2 {
			e.Verdict = e.Next(health.Observation{At: in.Now, Result: health.Down}, in.Health.Policy)
		}
		if got := Build(in).DNS(IPv4).Settles; !test.counts && got != late || test.counts && (got <= 0 || got >= late) {
			t.Errorf("with %v in doubt in role %v too: settles within %v, before it was %v", e.Address, e.Role, got, late)
		}
	}
	in.Pool.Mirrors[0], in.Pool.Mirrors[1] = in.Pool.Mirrors[1], in.Pool.Mirrors[0]
	if got := Build(in).DNS(IPv4).Settles; got <= 0 || got >= late {
		t.Errorf("in another order of the file: settles within %v, want less than %v", got, late)
	}
}

func addressesOf(g *DNSGroup) (addrs []string) {
	for _, addr := range g.Addresses {
		addrs = append(addrs, addr.String())
	}
	return addrs
}

// namesOf returns the names of the eligible mirrors, sorted.
func namesOf(g webGroup) (names []string) {
	for _, e := range g.entries {
		if e.eligible {
			names = append(names, e.mirror.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestRules asserts rules 1 and 2 of the design for random pools and verdicts.
func TestRules(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 10))
	states := []string{"up", "unknown", "stale", "down"}
	for range 2000 {
		var text strings.Builder
		for i := range r.IntN(8) {
			fmt.Fprintf(&text, "m%d %d ", i, r.IntN(3))
			if r.IntN(2) == 0 {
				text.WriteString("https ")
			}
			for j := range r.IntN(3) {
				at := []string{"192.0.2.", "2001:db8::"}[r.IntN(2)]
				fmt.Fprintf(&text, "%s%d=%s/%s ", at, 10*i+j+1, states[r.IntN(4)], states[r.IntN(4)])
			}
			text.WriteByte('\n')
		}
		checkRules(t, world(text.String()))
	}
}

func checkRules(t *testing.T, w world) {
	t.Helper()
	s := Build(w.input(t))
	for _, family := range []Family{IPv4, IPv6} {
		enabled, disabled := map[netip.Addr]bool{}, map[netip.Addr]bool{}
		for i := range s.Mirrors {
			m := &s.Mirrors[i]
			for _, addr := range m.Addresses() {
				if FamilyOf(addr) == family && m.Enabled() {
					enabled[addr] = true
				} else if FamilyOf(addr) == family {
					disabled[addr] = true
				}
			}
		}
		g := s.DNS(family)
		for _, addr := range g.Addresses {
			if disabled[addr] && !enabled[addr] {
				t.Fatalf("rule 1: disabled address %v is eligible in\n%s", addr, w)
			}
		}
		if len(enabled) > 0 && g.Deck.Len() == 0 {
			t.Fatalf("rule 2: no answer in\n%s", w)
		}
	}
	for _, family := range []Family{IPv4, IPv6} {
		for _, secure := range []bool{false, true} {
			m := pickWeb(s, family, secure, 1)
			if m != nil && (!m.Enabled() || secure && m.URL.Scheme != "https") {
				t.Fatalf("redirect to %s, secure %v, in\n%s", m.URLPrefix, secure, w)
			}
		}
	}
}

// pickWeb picks for a client whose place is not known.
func pickWeb(s *Snapshot, f Family, secure bool, seed uint64) *Mirror {
	var c Choice
	s.Choose(&c, &Request{Family: f, Secure: secure, Seed: seed})
	return c.Picked
}

func TestChooseFallsBackToTheOtherFamily(t *testing.T) {
	t.Parallel()
	s := Build(world("a 1 192.0.2.1=up/up").input(t))
	if m := pickWeb(s, IPv6, false, 1); m == nil {
		t.Error("a client over IPv6 got no mirror, want the IPv4 one")
	}
	if m := pickWeb(s, IPv4, true, 1); m != nil {
		t.Errorf("a secure request got %s", m.URLPrefix)
	}
}

func TestCardDoesNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	deck := Build(largePool(1000).input(t)).DNS(IPv4).Deck
	if n := testing.AllocsPerRun(1000, func() { deck.Card(r.Uint32()) }); n != 0 {
		t.Errorf("a card allocates %v times, want 0", n)
	}
}

// TestDeckIsKept asserts that a change elsewhere leaves the order of the answers alone.
func TestDeckIsKept(t *testing.T) {
	t.Parallel()
	first := Build(world("a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up").input(t))
	for text, kept := range map[world]bool{
		"a 1 192.0.2.1=up/down\nb 2 192.0.2.2=up/up":                    true,
		"a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up 2001:db8::1=up/up":    true,
		"a 1 192.0.2.1=up/up\nb 3 192.0.2.2=up/up":                      false,
		"a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up\nc 1 192.0.2.3=up/up": false,
	} {
		in := text.input(t)
		in.Previous, in.Rand = first, rand.New(rand.NewPCG(3, 4))
		if got := slices.Equal(Build(in).DNS(IPv4).Deck.places, first.DNS(IPv4).Deck.places); got != kept {
			t.Errorf("deck kept: %v, want %v, in\n%s", got, kept, text)
		}
	}
	in := world("a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up").input(t)
	in.Previous, in.Policy.MaxAnswers = first, 1
	if got := len(Build(in).DNS(IPv4).Deck.Card(0)); got != 1 {
		t.Errorf("%d addresses in an answer after max_answers was made 1", got)
	}
}

// TestBuildIsPure builds twice from the same input.
func TestBuildIsPure(t *testing.T) {
	t.Parallel()
	w := largePool(50)
	a, b := Build(w.input(t)), Build(w.input(t))
	if !slices.Equal(a.DNS(IPv4).Deck.places, b.DNS(IPv4).Deck.places) {
		t.Error("the same input and seed give different decks")
	}
}

func largePool(n int) world {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "m%d %d https 198.18.%d.%d=up/up 2001:db8::%x=up/up\n", i, 1+i%30, i/250, i%250+1, i+1)
	}
	return world(text.String())
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := largePool(n).input(b)
			b.ReportAllocs()
			for b.Loop() {
				Build(in)
			}
		})
	}
}

// TestBuildKeepsCards has a mirror leave and come back: nearly all sets of addresses stay in the deck.
func TestBuildKeepsCards(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 120 { // of which there are more pairs than cards
		fmt.Fprintf(&text, "m%d 10 192.0.2.%d=up/up\n", i, i+1)
	}
	in := world(text.String()).input(t)
	sets := func(s *Snapshot) map[[2]netip.Addr]bool {
		g, known := s.DNS(IPv4), map[[2]netip.Addr]bool{}
		for c := range g.Deck.Len() {
			card := g.Deck.Card(uint32(c))
			a, b := g.Addresses[card[0]], g.Addresses[card[1]]
			if b.Less(a) {
				a, b = b, a
			}
			known[[2]netip.Addr{a, b}] = true
		}
		return known
	}
	before := Build(in)
	for _, state := range []health.State{health.Down, health.Up} {
		in.Health.Mirrors["http://m7.example.org/"].Endpoints[1].State, in.Previous = state, before
		after := Build(in)
		old, now, fresh, all := sets(before), sets(after), 0, 0
		for set := range now {
			if all++; !old[set] {
				fresh++
			}
		}
		m7 := netip.MustParseAddr("192.0.2.8")
		for set := range old {
			if state == health.Down && !now[set] && set[0] != m7 && set[1] != m7 {
				t.Errorf("%v are gone, neither of which has left", set)
			}
		}
		if fresh > all/10 || state == health.Down && fresh == 0 {
			t.Errorf("m7 is %v: %d of %d sets are new, want some, and less than a tenth", state, fresh, all)
		}
		before = after
	}
}
