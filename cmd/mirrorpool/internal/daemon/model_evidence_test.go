package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// evidenceHosts is how many mirrors the pool of TestOwnFaults has: every other one speaks https.
const evidenceHosts = 6

// TestOwnFaults breaks something of this host, so that most mirrors seem to fail, and then one mirror really breaks.
// The answers go on throughout, and that mirror leaves them where anything tells it from the others.
func TestOwnFaults(t *testing.T) {
	t.Parallel()
	overTLS := func(host int, _ netip.Addr, role health.Role) bool { return host%2 == 0 && role == health.HTTP }
	for name, test := range map[string]struct {
		lie     lie
		mood    mood
		of      func(host int, addr netip.Addr, role health.Role) bool // what gets the mood
		suspect string
		blind   bool // no evidence is left
	}{
		"the resolver knows no host":           {lie: nowhere, suspect: health.SuspectResolver},
		"the resolver gives private addresses": {lie: private, suspect: health.SuspectResolver},
		"the resolver gives one wrong address": {lie: portal, suspect: health.SuspectResolver},
		"the resolver is dead":                 {lie: dead, suspect: health.SuspectResolver},
		"the trust store is gone":              {mood: distrusted, of: overTLS, suspect: health.SuspectTrustStore},
		"the clock is wrong":                   {mood: expired, of: overTLS, suspect: health.SuspectClock},
		"the https port is closed":             {mood: unreachable, of: overTLS, suspect: health.SuspectHTTPS},
		"the rsync port is closed": {mood: unreachable, suspect: health.SuspectRsync,
			of: func(_ int, _ netip.Addr, role health.Role) bool { return role == health.Rsync }},
		"IPv6 is down": {mood: unreachable, suspect: health.SuspectIPv6,
			of: func(_ int, addr netip.Addr, role health.Role) bool { return role != health.Rsync && addr.Is6() }},
		"IPv4 is down": {mood: unreachable, suspect: health.SuspectIPv4,
			of: func(_ int, addr netip.Addr, role health.Role) bool { return role != health.Rsync && addr.Is4() }},
		"no route, port, memory or descriptor is left": {mood: blind, blind: true,
			of: func(int, netip.Addr, health.Role) bool { return true }},
		"the network is down": {mood: unreachable, blind: true,
			of: func(int, netip.Addr, health.Role) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := startEvidence(t, dir)
				defer func() { m.stop() }()
				m.expectServed(t, "at first", 0)
				m.world.breakAll(test.lie, test.mood, test.of)
				// Each minute, over half an hour: judging takes time, and must not show.
				for range 30 {
					time.Sleep(time.Minute)
					settle()
					m.expectServed(t, "with a fault of this host", 0)
				}
				if got := m.checker.Report().SuspectNames(); test.suspect != "" && got != test.suspect {
					t.Errorf("suspected: %q, want %q", got, test.suspect)
				}
				if said := m.checker.Report().Suspects; test.mood == expired && !strings.Contains(said[0].Text, "72h0m0s ahead of theirs") {
					t.Errorf("said of the clock: %+v", said)
				}
				for _, s := range m.ledger.Summaries(time.Time{}, m.time()) {
					for _, in := range s.Incidents {
						t.Errorf("in the ledger of %s: %+v", s.URLPrefix, in)
					}
				}
				m.world.kill(0)
				time.Sleep(10 * time.Minute)
				settle()
				if test.blind {
					m.expectServed(t, "without evidence", 0)
					return
				}
				m.expectServed(t, "and one mirror dead", 1)
				m.world.recover()
				time.Sleep(20 * time.Minute)
				settle()
				m.expectServed(t, "after all", 0)
				if got := m.checker.Report().SuspectNames(); got != "" {
					t.Errorf("still suspected: %q", got)
				}
			})
		})
	}
}

// TestNoAddressKnown starts for the first time with a resolver that is dead, or that lies. There is no answer to give
// until it works.
func TestNoAddressKnown(t *testing.T) {
	t.Parallel()
	for _, l := range [...]lie{dead, nowhere} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			m := newEvidence(t, dir)
			m.world.breakAll(l, passes, nil)
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
			defer func() { m.stop() }()
			if err := m.opens(); err != nil {
				t.Fatal(err)
			}
			for _, qtype := range [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeAXFR} {
				if rrs, err := m.ask(modelZone, qtype); !errors.Is(err, errServerFailure) {
					t.Errorf("%s: %v, %v, want SERVFAIL", dns.TypeToString[qtype], rrs, err)
				}
			}
			if prefixes, err := m.redirect(modelClients[0]); prefixes != nil || err != nil {
				t.Errorf("a redirect to %v, %v, want 503", prefixes, err)
			}
			if err := m.ready(); err == nil || !strings.Contains(err.Error(), "no address of any mirror is known") || m.alive() != nil {
				t.Errorf("ready: %v, alive: %v", err, m.alive())
			}
			if groups := m.describe().Groups; len(groups) != 3 || groups[0].EnabledWeight != 10*evidenceHosts {
				t.Errorf("the groups of the status: %+v", groups)
			}
			m.world.recover()
			time.Sleep(2 * time.Minute)
			settle()
			m.expectServed(t, "once the resolver works", 0)
			if err := m.ready(); err != nil {
				t.Error(err)
			}
		})
	}
}

// newEvidence returns the program, not started, with a pool whose addresses come from DNS.
func newEvidence(t *testing.T, dir string) *model {
	m := newModel(t, dir, 0)
	for host := range evidenceHosts {
		m.pool[host] = modelEntry{host: host, weight: 10, dnsWeight: -1, rsync: true}
	}
	return m
}

// startEvidence starts that, and waits until all is checked.
func startEvidence(t *testing.T, dir string) *model {
	m := newEvidence(t, dir)
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	if err := m.opens(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
	settle()
	return m
}

// expectServed reports unless all mirrors but the first dead ones are in answers and redirects, over both families.
func (m *model) expectServed(t *testing.T, when string, dead int) {
	t.Helper()
	answered, _, _, err := m.transferred()
	if err != nil {
		t.Error(err)
	}
	want := map[netip.Addr]bool{}
	for host := dead; host < evidenceHosts; host++ {
		for _, addr := range hostAddresses(host, false) {
			want[addr] = true
		}
	}
	if !maps.Equal(answered, want) {
		t.Errorf("%s: DNS answers %v, want %v", when, slices.SortedFunc(maps.Keys(answered), netip.Addr.Compare),
			slices.SortedFunc(maps.Keys(want), netip.Addr.Compare))
	}
	for _, family := range [...]dnspool.Family{dnspool.IPv4, dnspool.IPv6} {
		hosts := map[int]bool{}
		for range 60 {
			prefixes, err := m.redirect(modelClient{family, true})
			if err != nil || len(prefixes) == 0 {
				t.Fatalf("%s: a redirect over %v to %v: %v", when, family, prefixes, err)
			}
			hosts[hostOf(strings.Split(prefixes[0], "/")[2])] = true
		}
		for host := 0; host < evidenceHosts; host += 2 {
			if hosts[host] != (host >= dead) {
				t.Errorf("%s: redirects over %v to m%d: %v; status:\n%s", when, family, host, hosts[host], m.explained())
			}
		}
	}
}

// explained says how all endpoints stand, for the log of a failed test.
func (m *model) explained() string {
	var b strings.Builder
	for prefix, r := range m.checker.Report().Mirrors {
		for _, e := range r.Endpoints {
			fmt.Fprintf(&b, "%s %v %v %v %q suspect %q excluded %q\n",
				prefix, e.Address, e.Role, e.State, e.Reason, e.Suspect, e.ExcludedBecause)
		}
	}
	return b.String()
}

// breakAll makes the resolver lie, and all that is of a kind behave in one way.
func (w *world) breakAll(l lie, m mood, of func(int, netip.Addr, health.Role) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lie, w.ahead = l, 72*time.Hour
	for host := range evidenceHosts {
		for _, addr := range hostAddresses(host, false) {
			for _, role := range []health.Role{health.HTTP, health.DNS, health.Rsync} {
				if of != nil && of(host, addr, role) {
					w.moods[key(host, addr, role)] = m
				}
			}
		}
	}
}

// kill makes a host fail in a way of its own wherever it does not fail already.
func (w *world) kill(host int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range hostAddresses(host, false) {
		for _, role := range []health.Role{health.HTTP, health.DNS} {
			if k := key(host, addr, role); w.moods[k] == passes || w.moods[k] == distrusted || w.moods[k] == expired {
				w.moods[k] = fails
			}
		}
	}
}

// recover makes all pass again.
func (w *world) recover() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lie = truth
	clear(w.moods)
}
