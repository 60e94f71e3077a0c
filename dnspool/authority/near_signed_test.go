package authority

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func TestNearSize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ addresses, answers, want int }{
		{0, 2, 2}, {1, 2, 2}, {1, 1000, 1000}, {2, 2, 2}, {12, 12, 12}, {13, 13, 6}, {29, 3, 3}, {30, 3, 2}, {90, 2, 2}, {91, 2, 1},
		{91, 1, 1}, {4096, 2, 1}, {4097, 2, 0}, {40_000, 1000, 0},
	} {
		if got := nearSize(test.addresses, test.answers); got != test.want {
			t.Errorf("%d addresses, %d in an answer: %d, want %d", test.addresses, test.answers, got, test.want)
		}
	}
}

// TestNearCards wants all sets of some addresses, each once.
func TestNearCards(t *testing.T) {
	t.Parallel()
	cards := &cardSets{index: map[string]int{}}
	cards.addAll(4, 2)
	var got []string
	for _, card := range cards.sets {
		got = append(got, fmt.Sprint(card))
	}
	slices.Sort(got)
	if want := "[0 1] [0 2] [0 3] [0] [1 2] [1 3] [1] [2 3] [2] [3]"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	for _, none := range [][2]int{{0, 2}, {4, 0}} {
		if cards.addAll(none[0], none[1]); len(cards.sets) != 10 {
			t.Errorf("of %d addresses, %d in an answer: %d sets more", none[0], none[1], len(cards.sets)-10)
		}
	}
}

// signedNearZone is nearZone, signed, with so many addresses in an answer, and more mirrors at the end of the world.
func signedNearZone(t *testing.T, answers, more int) (*zone, *validator) {
	t.Helper()
	in := nearInput(nil)
	in.Policy.MaxAnswers = answers
	for i := range more {
		m := in.Pool.Mirrors[4]
		m.URLPrefix = fmt.Sprintf("http://more%d.example.org/", i)
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = health.MirrorReport{Endpoints: []health.Endpoint{{Role: health.DNS,
			Address: netip.AddrFrom4([4]byte{198, 18, byte(i / 256), byte(i)}), Verdict: health.Verdict{State: health.Up}}}}
	}
	c := testConfig()
	c.Geo, c.MaxAnswers = true, answers
	z, v := newTestSignedZone(t, c, nil, dnspool.Build(in))
	z.place = nearPlaces
	return z, v
}

// withSubnet adds a client's network to a query.
func withSubnet(t *testing.T, req *dns.Msg, subnet string) *dns.Msg {
	t.Helper()
	ip, network, err := net.ParseCIDR(subnet)
	if err != nil {
		t.Fatal(err)
	}
	bits, _ := network.Mask.Size()
	req.IsEdns0().Option = append(req.IsEdns0().Option,
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(bits), Address: ip})
	return req
}

// TestNearSigned validates the answers for places, of which Berlin has addresses of its own, and wants them from no
// prepared deck.
func TestNearSigned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ answers, more, addresses int }{{1, 0, 1}, {2, 0, 2}, {3, 0, 3}, {2, 90, 1}} {
		z, v := signedNearZone(t, test.answers, test.more)
		var p atomic.Pointer[zone]
		p.Store(z)
		fast := newFastPath(&p, new(tally))
		seen := map[string]bool{}
		for range 300 {
			for _, subnet := range []string{"198.51.100.0/24", "203.0.113.0/25", "192.0.2.0/24"} {
				req := withSubnet(t, attestedQuery("www.dl.example.org.", dns.TypeA), subnet)
				resp := exchange(t, z, req, overUDP)
				if err := v.check(req.Question[0], resp); err != nil {
					t.Fatalf("%+v, %s: %v\n%v", test, subnet, err, resp)
				}
				addresses := 0
				for _, rr := range resp.Answer {
					if a, ok := rr.(*dns.A); ok && subnet == "198.51.100.0/24" {
						addresses++
						seen[a.A.String()] = true
					}
				}
				if subnet == "198.51.100.0/24" && addresses != test.addresses {
					t.Fatalf("%+v: %v", test, resp)
				}
			}
		}
		if len(seen) != 3 {
			t.Errorf("%+v: clients in Berlin get %v, want the three mirrors in Europe", test, seen)
		}
		msg, err := attestedQuery("www.dl.example.org.", dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if response, ok := fast.respond(nil, msg, overUDP); ok {
			t.Errorf("%+v: answered whatever the place is: %x", test, response)
		}
	}
}

// TestNearSignedTooMany has all clients get the same answers where there are too many mirrors to sign other ones.
func TestNearSignedTooMany(t *testing.T) {
	t.Parallel()
	z, v := signedNearZone(t, 2, maxNearSets)
	far := false
	for range 100 {
		req := attestedQuery("www.dl.example.org.", dns.TypeA)
		from := overTCP
		from.addr = netip.MustParseAddr("198.51.100.9")
		resp := exchange(t, z, req, from)
		if err := v.check(req.Question[0], resp); err != nil {
			t.Fatal(err)
		}
		for _, rr := range resp.Answer {
			a, ok := rr.(*dns.A)
			far = far || ok && strings.HasPrefix(a.A.String(), "198.18.")
		}
	}
	if !far {
		t.Error("clients in Berlin get mirrors of their own")
	}
}

// TestNearSignedFlap wants a mirror that leaves and comes back to cost next to no signature.
func TestNearSignedFlap(t *testing.T) {
	t.Parallel()
	c, keys := signedConfig(t, testConfig())
	c.Geo, c.Names = true, []string{"@"}
	in := nearInput(nil)
	in.Policy.MaxAnswers = c.MaxAnswers
	signer := newTestSigner(keys)
	build := func(in dnspool.Input) uint64 {
		t.Helper()
		before := signer.Stats().Made
		if _, err := newSignedZone(c, nil, dnspool.Build(in), [2]uint32{}, signer); err != nil {
			t.Fatal(err)
		}
		return signer.Stats().Made - before
	}
	first := build(in)
	if first < 6+15 {
		t.Errorf("%d signatures, want one of each address and of each two", first)
	}
	if made := build(withDown(in, 2)); made > 3 { // SOA, and what only the TTL changes
		t.Errorf("%d signatures for a mirror that leaves", made)
	}
	if made := build(in); made > 3 {
		t.Errorf("%d signatures for a mirror that comes back", made)
	}
}
