package dnspool

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mirrorpool/config"
	"mirrorpool/health"
)

// world is a pool written as text, with one mirror on a line:
//
//	NAME WEIGHT [https] [dns=WEIGHT|dns=off] [rsync=STATE] ADDRESS=DNS-STATE/HTTP-STATE...
//
// STATE may be one of health, behind for a mirror that is up without the reference's content, suspected for one whose
// failure a fault of this host explains, passing for one that is down and passes by now, or down@N for one that is down
// since N minutes ago.
type world string

// worldTime is when worlds are seen, and worldRelease the reference of then.
var (
	worldTime    = time.Unix(1_800_000_000, 0)
	worldRelease = worldTime.Add(-24 * time.Hour)
)

func (w world) input(t testing.TB) Input {
	t.Helper()
	in := Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: Policy{PanicThreshold: 0.5, MaxAnswers: 2},
		Now:    worldTime, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	in.Health.Policy = health.Policy{Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3}
	in.Health.Reference.Trace = worldRelease
	for line := range strings.Lines(string(w)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			m, r := parseMirror(t, fields)
			in.Pool.Mirrors = append(in.Pool.Mirrors, m)
			in.Health.Mirrors[m.URLPrefix] = r
		}
	}
	return in
}

func parseMirror(t testing.TB, fields []string) (config.Mirror, health.MirrorReport) {
	t.Helper()
	m := config.Mirror{Name: fields[0], Weight: uint32(number(t, fields[1]))}
	m.DNS.Weight = m.Weight
	scheme := "http"
	var report health.MirrorReport
	for _, field := range fields[2:] {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case key == "https":
			scheme = key
		case key == "dns" && value == "off":
			m.DNS.Off = true
		case key == "rsync":
			e := endpoint(t, netip.Addr{}, health.Rsync, value)
			report.Rsync = &e
		case key == "dns":
			m.DNS.Weight = uint32(number(t, value))
		default:
			addr := netip.MustParseAddr(key)
			dns, web, _ := strings.Cut(value, "/")
			report.Endpoints = append(report.Endpoints,
				endpoint(t, addr, health.HTTP, web), endpoint(t, addr, health.DNS, dns))
		}
	}
	m.URLPrefix = scheme + "://" + m.Name + ".example.org/"
	m.URL, _ = url.Parse(m.URLPrefix)
	return m, report
}

func number(t testing.TB, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// endpoint is one in the state that a world's text says.
func endpoint(t testing.TB, addr netip.Addr, role health.Role, text string) health.Endpoint {
	t.Helper()
	name, minutes, _ := strings.Cut(text, "@")
	e := health.Endpoint{Address: addr, Role: role}
	e.Checked = worldTime
	switch name {
	case "behind":
		name, e.Trace = "up", worldRelease.Add(-time.Hour)
	case "up":
		e.Trace = worldRelease
	case "suspected":
		name, e.Suspect = "down", health.SuspectClock
	case "passing":
		name, e.PassingSince = "down", worldTime
	}
	e.State, e.Since = state(t, name), worldTime
	if minutes != "" {
		e.Since = worldTime.Add(-time.Duration(number(t, minutes)) * time.Minute)
	}
	return e
}

func state(t testing.TB, name string) (s health.State) {
	t.Helper()
	if err := s.UnmarshalText([]byte(name)); err != nil {
		t.Fatal(err)
	}
	return s
}

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
			dns4: []string{"192.0.2.3", "192.0.2.4"}, web4: []string{"c", "d"}, panic: true},
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
		if g := s.DNS(IPv4); g.Enabled != 1002 || g.Newcomers != 0 && g.Newcomers != 1000 {
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
		got = append(got, fmt.Sprintf("%s %s %sup %g of %g, newcomers %g", g.Role, g.Family, secure, g.Up, g.Enabled, g.Newcomers))
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
		return [...]*bool{&s.dns[IPv4].Panic, &s.dns[IPv6].Panic, &s.http[IPv4][0].Panic, &s.http[IPv4][1].Panic, &s.http[IPv6][0].Panic, &s.http[IPv6][1].Panic}
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

// TestSerialOfLongerAnswers has a DNS operator ask for more addresses in an answer: a zone made of it changes.
func TestSerialOfLongerAnswers(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up").input(t)
	in.Previous, in.Now = Build(in), in.Now.Add(time.Minute)
	in.Policy.MaxAnswers = 1
	if got := Build(in).Serial; got != in.Previous.Serial+60 {
		t.Errorf("serial %d after %d, want a minute more", got, in.Previous.Serial)
	}
}

// TestSerialWithoutName has a mirror appear that is in no answer, and has no name for its own addresses: nothing changes.
func TestSerialWithoutName(t *testing.T) {
	t.Parallel()
	const base = "a 1 192.0.2.1=up/up\n"
	in := world(base + "b 0 192.0.2.2=up/up").input(t)
	in.Pool.Mirrors[1].Name = ""
	in.Previous, in.Now = Build(world(base).input(t)), in.Now.Add(time.Minute)
	if got := Build(in).Serial; got != in.Previous.Serial {
		t.Errorf("serial %d after %d, want the same", got, in.Previous.Serial)
	}
}

func TestSerial(t *testing.T) {
	t.Parallel()
	base := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n")
	first := Build(base.input(t))
	if first.Serial != 1_800_000_000 {
		t.Errorf("first serial %d, want the time", first.Serial)
	}
	tests := map[string]struct {
		world
		at   int64
		want uint32
	}{
		"the zone changed":         {base, 1_800_000_100, 1_800_000_100},
		"nothing changed":          {base, 1_800_000_100, 1_800_000_000},
		"only HTTP changed":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/down\n", 1_800_000_100, 1_800_000_000},
		"a verdict changed":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_800_000_100, 1_800_000_100},
		"twice in a second":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_800_000_000, 1_800_000_001},
		"the clock was set back":   {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_700_000_000, 1_800_000_001},
		"a weight changed":         {"a 2 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n", 1_800_000_100, 1_800_000_100},
		"a named address appeared": {base + "c 0 192.0.2.3=up/up", 1_800_000_100, 1_800_000_100},
		// Neither is in the pool's answers, but the one has an address at its name.
		"a mirror was disabled": {base + "c 0 192.0.2.3=up/up", 1_800_000_100, 1_800_000_100},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t)
			in.Previous, in.Now = first, time.Unix(test.at, 0)
			in.ZoneChanged = name == "the zone changed"
			if name == "a mirror was disabled" {
				enabled := (base + "c 1 dns=off 192.0.2.3=up/up").input(t)
				in.Previous = Build(enabled)
			}
			if got := Build(in).Serial; got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestSerialAfterRestart begins where the serial had come to before.
func TestSerialAfterRestart(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000
	for _, test := range []struct{ last, now, want uint32 }{
		{0, now, now},
		{now - 5, now, now},
		{now, now, now + 1},
		{now + 77, now, now + 78}, // the clock was set back
		{math.MaxUint32, 5, 5},    // RFC 1982
		{5, math.MaxUint32, 6},
		{math.MaxUint32, math.MaxUint32, 1}, // 0 means that it is not known
	} {
		in := world("a 1 192.0.2.1=up/up").input(t)
		in.LastSerial, in.Now = test.last, time.Unix(int64(test.now), 0)
		if got := Build(in).Serial; got != test.want {
			t.Errorf("after %d, at %d: got %d, want %d", test.last, test.now, got, test.want)
		}
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
