package authority

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/tsig"
)

// snapshotWithout is snapshotAt of six mirrors, of which some are disabled, or off the list.
func snapshotWithout(t *testing.T, serial uint32, disabled, unlisted []int) *dnspool.Snapshot {
	t.Helper()
	s := snapshotAt(t, 6, serial)
	s.Mirrors = slices.Clone(s.Mirrors)
	for _, i := range disabled {
		s.Mirrors[i].Weight, s.Mirrors[i].DNS.Weight = 0, 0
	}
	for i := len(s.Mirrors) - 1; i >= 0; i-- {
		if slices.Contains(unlisted, i) {
			s.Mirrors = slices.Delete(s.Mirrors, i, i+1)
		}
	}
	return s
}

// TestDisabledMirrorsAreWithheld has mirrors be disabled while the zone cannot be signed. Clients with DO get the last
// signed version without them, with signatures that are right, and SERVFAIL where nothing is left.
func TestDisabledMirrorsAreWithheld(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	zone := s.config.Zone
	v := &validator{zone: zone, keys: []*dns.DNSKEY{s.keys.All[0].Record}, now: s.now, good: map[string]bool{}}
	s.sign(true, snapshotAt(t, 6, 1))
	ask := func(name string, qtype uint16, rcode int, without ...string) (seen map[string]bool) {
		t.Helper()
		s.ask(name, qtype, true) // on both paths
		from := overTCP
		from.addr, from.now = netip.MustParseAddr("127.0.0.1"), s.now
		fast := newFastPath(&s.zone, new(tally))
		seen = map[string]bool{}
		for i := range 200 {
			req := attestedQuery(name, qtype)
			resp := exchange(t, s.zone.Load(), req, from)
			if msg, err := req.Pack(); err == nil && i%2 == 0 {
				if packed, ok := fast.respond(nil, msg, from); ok {
					resp = new(dns.Msg)
					err = resp.Unpack(packed)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if resp.Rcode != rcode {
				t.Fatalf("want %s: %v", dns.RcodeToString[rcode], resp)
			}
			if err := v.sets(resp.Answer, nil); rcode == dns.RcodeSuccess && err != nil {
				t.Fatal(err)
			}
			for _, rr := range resp.Answer {
				if isAddress(rr.Header().Rrtype) {
					seen[addressOf(rr).String()] = true
				}
			}
		}
		for _, addr := range without {
			if seen[addr] {
				t.Errorf("%s %s has %s", name, dns.Type(qtype), addr)
			}
		}
		return seen
	}
	if seen := ask(zone, dns.TypeA, dns.RcodeSuccess); len(seen) != 6 {
		t.Errorf("before, the answers have %v", seen)
	}
	for name, snapshot := range map[string]*dnspool.Snapshot{
		"disabled": snapshotWithout(t, 2, []int{0, 3}, nil), "off the list": snapshotWithout(t, 3, nil, []int{0, 3}),
	} {
		s.sign(false, snapshot)
		if seen := ask(zone, dns.TypeA, dns.RcodeSuccess, "192.0.2.1", "192.0.2.4"); len(seen) != 4 {
			t.Errorf("%s: the answers have %v", name, seen)
		}
		ask(zone, dns.TypeAAAA, dns.RcodeSuccess, "2001:db8::1")
		ask("m1."+zone, dns.TypeA, dns.RcodeServerFailure)
		ask(zone, dns.TypeANY, dns.RcodeServerFailure)
		ask(zone, dns.TypeSOA, dns.RcodeSuccess)
		if resp := s.ask("m1."+zone, dns.TypeTXT, true); resp.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: %v", name, resp)
		}
		if resp := s.ask("nothing."+zone, dns.TypeA, true); resp.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %v", name, resp)
		}
	}
	s.sign(false, snapshotWithout(t, 4, []int{0, 1, 2, 3, 4}, nil)) // no card has the sixth alone
	ask(zone, dns.TypeA, dns.RcodeServerFailure)
	s.sign(false, snapshotAt(t, 6, 5)) // enabled again
	if seen := ask(zone, dns.TypeA, dns.RcodeSuccess); len(seen) != 6 {
		t.Errorf("once enabled again, the answers have %v", seen)
	}
	s.sign(true, snapshotWithout(t, 6, nil, nil))
	if s.zone.Load().withheld != nil {
		t.Error("mirrors are withheld from a zone that is signed")
	}
}

// TestDisabledMirrorsAreWithheldByPlace does the same with answers by place.
func TestDisabledMirrorsAreWithheldByPlace(t *testing.T) {
	t.Parallel()
	signed, v := signedNearZone(t, 2, 0)
	now := *signed.snapshot
	now.Mirrors = slices.Clone(now.Mirrors)
	disabled := *now.Mirrors[0].Mirror
	disabled.Weight, disabled.DNS.Weight = 0, 0
	now.Mirrors[0].Mirror = &disabled
	gone := now.Mirrors[0].Addresses()[0].Unmap()
	c := testConfig()
	c.Geo, c.MaxAnswers = true, 2
	z := newUnsignableZone(c, nil, &now, [2]uint32{}, signed)
	z.place = nearPlaces
	from := overUDP
	from.addr, from.now = gone, now.Built
	near := map[string]bool{} // what clients in Berlin get
	for range 300 {
		for _, subnet := range []string{"198.51.100.0/24", "203.0.113.0/25", "192.0.2.0/24"} {
			req := withSubnet(t, attestedQuery(signed.origin, dns.TypeA), subnet)
			resp := exchange(t, z, req, from)
			if err := v.check(req.Question[0], resp); err != nil {
				t.Fatalf("%s: %v\n%v", subnet, err, resp)
			}
			if slices.ContainsFunc(resp.Answer, func(rr dns.RR) bool { return addressOf(rr) == gone }) {
				t.Fatalf("%s: a disabled mirror is in %v", subnet, resp)
			}
			for _, rr := range resp.Answer {
				if subnet == "198.51.100.0/24" && rr.Header().Rrtype == dns.TypeA {
					near[addressOf(rr).String()] = true
				}
			}
		}
	}
	if len(near) != 2 {
		t.Errorf("clients in Berlin get %v, want the two mirrors in Europe that are left", near)
	}
}

// TestTransferIsWithheld gives no zone to secondaries that has a mirror which has been disabled since.
func TestTransferIsWithheld(t *testing.T) {
	t.Parallel()
	c, keys := signedConfig(t, transferConfig("127.0.0.1/32"))
	core, logs := observer.New(zap.WarnLevel)
	feed, err := transfer.NewServer(c, (*tsig.Key)(nil).Ring(), "", zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	s, addr := startServer(t, "127.0.0.1:0", func(s *Server) {
		s.o.Config, s.o.Transfers, s.o.Signer = c, feed, newTestSigner(keys)
	})
	at := func(s *dnspool.Snapshot) *dnspool.Snapshot { s.Built = time.Now(); return s }
	s.publish(at(snapshotAt(t, 6, 7)))
	for _, step := range []struct {
		can  bool
		next *dnspool.Snapshot
		want int
	}{
		{false, at(snapshotAt(t, 6, 8)), dns.RcodeSuccess},
		{false, at(snapshotWithout(t, 9, []int{3}, nil)), dns.RcodeServerFailure},
		{true, at(snapshotWithout(t, 10, []int{3}, nil)), dns.RcodeSuccess},
	} {
		s.o.Signer.SetKeys(nil, 0)
		if step.can {
			s.o.Signer.SetKeys(keys, c.DNSSEC.Validity)
		}
		s.publish(step.next)
		for _, req := range []*dns.Msg{axfrRequest(), ixfrRequest(6)} {
			resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(req, addr)
			if err != nil || resp.Rcode != step.want {
				t.Errorf("serial %d: %v, %v", step.next.Serial, resp, err)
			}
		}
	}
	if logs.FilterMessageSnippet("zone not transferred: it has mirrors that have been disabled").Len() != 2 {
		t.Errorf("the log has %v", logs.All())
	}
}
