package authority

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func testConfig() config.DNS {
	return config.DNS{
		Zone: "dl.example.org.", Names: []string{"@", "www", "*.eu", "a.b.deep"},
		Nameservers: []string{"ns1.example.org.", "ns2.example.org."}, Hostmaster: "hostmaster.example.org.",
		TTL: 60 * time.Second, MaxAnswers: 2, UDPSize: 1232,
	}
}

// testSnapshot is a pool of n mirrors that are up, all with an IPv4 address and every other one with an
// IPv6 address too. The first is named m1; a disabled one is named off.
func testSnapshot(tb testing.TB, n, maxAnswers int) *dnspool.Snapshot {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: maxAnswers},
		Now:    time.Unix(1_800_000_000, 0), Rand: rand.New(rand.NewPCG(1, 2)),
	}
	add := func(name string, weight uint32, addrs ...string) {
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", len(in.Pool.Mirrors)), Weight: weight, Name: name}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = weight
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		var r health.MirrorReport
		for _, addr := range addrs {
			r.Endpoints = append(r.Endpoints, health.Endpoint{
				Address: netip.MustParseAddr(addr), Role: health.DNS, Verdict: health.Verdict{State: health.Up}})
		}
		in.Health.Mirrors[m.URLPrefix] = r
	}
	for i := 1; i <= n; i++ {
		name := ""
		if i == 1 {
			name = "m1"
		}
		addrs := []string{fmt.Sprintf("192.0.%d.%d", 2+i/256, i%256)}
		if i%2 == 1 {
			addrs = append(addrs, fmt.Sprintf("2001:db8::%d", i))
		}
		add(name, 10, addrs...)
	}
	add("off", 0, "192.0.2.200")
	return dnspool.Build(in)
}

func testZone(tb testing.TB, n, maxAnswers int) *zone {
	return newZone(testConfig(), nil, testSnapshot(tb, n, maxAnswers), [2]uint32{})
}

const soa = "dl.example.org. %d IN SOA ns1.example.org. hostmaster.example.org. 1800000000 3600 600 604800 60"

// TestAnswers has one mirror with both families, so that there is one answer.
func TestAnswers(t *testing.T) {
	t.Parallel()
	negative, apex := fmt.Sprintf(soa, 60), fmt.Sprintf(soa, 3600)
	tests := []struct {
		name      string
		qtype     uint16
		rcode     int
		answer    []string
		authority []string
	}{
		{"dl.example.org.", dns.TypeA, 0, []string{"dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"dl.example.org.", dns.TypeAAAA, 0, []string{"dl.example.org. 60 IN AAAA 2001:db8::1"}, nil},
		{"dL.eXample.ORG.", dns.TypeA, 0, []string{"dL.eXample.ORG. 60 IN A 192.0.2.1"}, nil},
		{"dl.example.org.", dns.TypeSOA, 0, []string{apex}, nil},
		{"dl.example.org.", dns.TypeNS, 0, []string{"dl.example.org. 3600 IN NS ns1.example.org.",
			"dl.example.org. 3600 IN NS ns2.example.org."}, nil},
		{"dl.example.org.", dns.TypeMX, 0, nil, []string{negative}},
		{"dl.example.org.", 65432, 0, nil, []string{negative}},
		{"dl.example.org.", dns.TypeANY, 0, []string{`dl.example.org. 3600 IN HINFO "RFC8482" ""`}, nil},
		{"www.dl.example.org.", dns.TypeA, 0, []string{"www.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"www.dl.example.org.", dns.TypeSOA, 0, nil, []string{negative}},
		{"m1.dl.example.org.", dns.TypeA, 0, []string{"m1.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"M1.dl.example.org.", dns.TypeAAAA, 0, []string{"M1.dl.example.org. 60 IN AAAA 2001:db8::1"}, nil},
		// A disabled mirror is in no answer, not even by its name.
		{"off.dl.example.org.", dns.TypeA, 0, nil, []string{negative}},
		{"off.dl.example.org.", dns.TypeAAAA, 0, nil, []string{negative}},
		{"nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{negative}},
		{"nothing.DL.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{strings.Replace(negative, "dl", "DL", 1)}},
		{"x.m1.dl.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{negative}},
		// A wildcard (RFC 4592), the empty non-terminal above it, and empty non-terminals above a name.
		{"de.eu.dl.example.org.", dns.TypeA, 0, []string{"de.eu.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"x.de.eu.dl.example.org.", dns.TypeA, 0, []string{"x.de.eu.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"de.eu.dl.example.org.", dns.TypeTXT, 0, nil, []string{negative}},
		{"eu.dl.example.org.", dns.TypeA, 0, nil, []string{negative}},
		{"deep.dl.example.org.", dns.TypeA, 0, nil, []string{negative}},
		{"b.deep.dl.example.org.", dns.TypeA, 0, nil, []string{negative}},
		{"a.b.deep.dl.example.org.", dns.TypeA, 0, []string{"a.b.deep.dl.example.org. 60 IN A 192.0.2.1"}, nil},
		{"c.b.deep.dl.example.org.", dns.TypeA, dns.RcodeNameError, nil, []string{negative}},
		{"dl.example.org.", dns.TypeAXFR, dns.RcodeRefused, nil, nil},
		{"dl.example.org.", dns.TypeIXFR, dns.RcodeRefused, nil, nil},
		{"example.org.", dns.TypeA, dns.RcodeRefused, nil, nil},
		{"xdl.example.org.", dns.TypeA, dns.RcodeRefused, nil, nil},
		{".", dns.TypeNS, dns.RcodeRefused, nil, nil},
	}
	z := testZone(t, 1, 2)
	for _, test := range tests {
		t.Run(test.name+dns.TypeToString[test.qtype], func(t *testing.T) {
			req := new(dns.Msg)
			req.SetQuestion(test.name, test.qtype)
			resp := exchange(t, z, req, overUDP)
			if resp.Rcode != test.rcode {
				t.Errorf("rcode %s, want %s", dns.RcodeToString[resp.Rcode], dns.RcodeToString[test.rcode])
			}
			if want := test.rcode != dns.RcodeRefused; resp.Authoritative != want {
				t.Errorf("AA %v, want %v", resp.Authoritative, want)
			}
			compare(t, "answer", resp.Answer, test.answer)
			compare(t, "authority", resp.Ns, test.authority)
			compare(t, "additional", resp.Extra, nil)
		})
	}
}

// Two askers, at the same address and time.
var (
	testNow = time.Unix(1_800_000_000, 0)
	overUDP = client{addr: netip.MustParseAddr("198.51.100.7"), port: 5353, now: testNow}
	overTCP = client{addr: netip.MustParseAddr("198.51.100.7"), port: 5353, now: testNow, stream: true}
)

// exchange returns what a client reads from the wire.
func exchange(tb testing.TB, z *zone, req *dns.Msg, from client) *dns.Msg {
	tb.Helper()
	packed, err := z.respond(req, from)
	if err != nil {
		tb.Fatalf("no response to %v: %v", req, err)
	}
	resp := new(dns.Msg)
	if err := resp.Unpack(packed); err != nil {
		tb.Fatal(err)
	}
	return resp
}

func compare(t *testing.T, section string, got []dns.RR, want []string) {
	t.Helper()
	var lines []string
	for _, rr := range got {
		lines = append(lines, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	if diff := cmp.Diff(want, lines, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", section, diff)
	}
}

func TestClassesAndHeader(t *testing.T) {
	t.Parallel()
	z := testZone(t, 1, 2)
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	req.AuthenticatedData, req.CheckingDisabled, req.Zero, req.RecursionDesired = true, true, true, true
	resp := exchange(t, z, req, overUDP)
	if h := resp.MsgHdr; h.Id != req.Id || !h.Response || h.AuthenticatedData || h.CheckingDisabled || h.Zero ||
		h.RecursionAvailable || !h.RecursionDesired || h.Truncated {
		t.Errorf("header %+v", h)
	}
	for _, class := range []uint16{dns.ClassCHAOS, dns.ClassANY, dns.ClassNONE, 77} {
		req.Question[0].Qclass = class
		if resp := exchange(t, z, req, overUDP); resp.Rcode != dns.RcodeRefused {
			t.Errorf("class %d: %s, want REFUSED", class, dns.RcodeToString[resp.Rcode])
		}
	}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header dns.Header
		want   dns.MsgAcceptAction
	}{
		"a query":       {dns.Header{Qdcount: 1}, dns.MsgAccept},
		"a response":    {dns.Header{Bits: 1 << 15, Qdcount: 1}, dns.MsgIgnore},
		"NOTIFY":        {dns.Header{Bits: dns.OpcodeNotify << 11, Qdcount: 1}, dns.MsgRejectNotImplemented},
		"UPDATE":        {dns.Header{Bits: dns.OpcodeUpdate << 11, Qdcount: 1}, dns.MsgRejectNotImplemented},
		"no question":   {dns.Header{}, dns.MsgReject},
		"two questions": {dns.Header{Qdcount: 2}, dns.MsgReject},
	}
	for name, test := range tests {
		if got := accept(test.header); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestEDNS(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		size    uint16
		version uint8
		do      bool
		rcode   int
	}{
		"plain":                {size: 1232},
		"DNSSEC OK":            {size: 4096, do: true},
		"too small is 512":     {size: 100},
		"an unknown version":   {size: 1232, version: 1, rcode: dns.RcodeBadVers},
		"unknown version, D O": {size: 1232, version: 9, do: true, rcode: dns.RcodeBadVers},
	}
	z := testZone(t, 1, 2)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := new(dns.Msg)
			req.SetQuestion("dl.example.org.", dns.TypeA)
			req.SetEdns0(test.size, test.do)
			req.IsEdns0().SetVersion(test.version)
			req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}}
			resp := exchange(t, z, req, overUDP)
			opt := resp.IsEdns0()
			if opt == nil {
				t.Fatal("no OPT record in the response")
			}
			if resp.Rcode != test.rcode || opt.Do() != test.do || opt.Version() != 0 || opt.UDPSize() != 1232 || len(opt.Option) > 0 {
				t.Errorf("rcode %d, %v", resp.Rcode, opt)
			}
			if got := len(resp.Answer); (got > 0) != (test.rcode == 0) {
				t.Errorf("%d records in the answer", got)
			}
		})
	}
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	z := testZone(t, 100, 100)
	for _, test := range []struct{ offer, limit int }{{0, 512}, {100, 512}, {600, 600}, {1232, 1232}, {4096, 1232}} {
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", dns.TypeA)
		if test.offer > 0 {
			req.SetEdns0(uint16(test.offer), false)
		}
		resp := exchange(t, z, req, overUDP)
		packed, err := z.respond(req, overUDP)
		if err != nil {
			t.Fatal(err)
		}
		if !resp.Truncated || len(packed) > test.limit {
			t.Errorf("offered %d: %d bytes, truncated %v", test.offer, len(packed), resp.Truncated)
		}
		if (resp.IsEdns0() != nil) != (test.offer > 0) {
			t.Errorf("offered %d: OPT record %v", test.offer, resp.IsEdns0())
		}
		if resp := exchange(t, z, req, overTCP); resp.Truncated || len(resp.Answer) != 100 {
			t.Errorf("over TCP: %d answers, truncated %v", len(resp.Answer), resp.Truncated)
		}
	}
}

func TestPoolTTL(t *testing.T) {
	t.Parallel()
	c := config.DNS{TTL: 60 * time.Second, TTLMin: 5 * time.Second}
	for settles, want := range map[time.Duration]uint32{
		0: 60, time.Millisecond: 5, 4 * time.Second: 5, 9600 * time.Millisecond: 10, 59 * time.Second: 59, time.Hour: 60,
	} {
		if got := poolTTL(c, settles); got != want {
			t.Errorf("in doubt for %v: TTL %d, want %d", settles, got, want)
		}
	}
}

// TestDealing asserts that one pass over the deck gives each mirror its share of first places and of all.
func TestDealing(t *testing.T) {
	t.Parallel()
	z := testZone(t, 6, 2)
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	cards := z.snapshot.DNS(dnspool.IPv4).Deck.Len()
	first, all := map[string]int{}, map[string]int{}
	for range cards {
		for i, rr := range exchange(t, z, req, overUDP).Answer {
			addr := rr.(*dns.A).A.String()
			all[addr]++
			if i == 0 {
				first[addr]++
			}
		}
	}
	for i := 1; i <= 6; i++ {
		addr := fmt.Sprintf("192.0.2.%d", i)
		if d := first[addr] - cards/6; d < -1 || d > 1 {
			t.Errorf("%s leads %d of %d answers", addr, first[addr], cards)
		}
		if d := all[addr] - cards/3; d < -1 || d > 1 {
			t.Errorf("%s is in %d of %d answers", addr, all[addr], cards)
		}
	}
}

// TestFirstPlacesFollowWeights asks 10,000 times and tests the first places with chi-squared, alpha 0.001, from a fixed
// seed. TestDemoFollowsWeights does the same from outside.
func TestFirstPlacesFollowWeights(t *testing.T) {
	t.Parallel()
	weights := []uint32{30, 20, 10, 5, 1}
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{MaxAnswers: 2}, Rand: rand.New(rand.NewPCG(13, 14)),
	}
	for i, weight := range weights {
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", i), Weight: weight, DNS: config.MirrorDNS{Weight: weight}}
		m.URL, _ = url.Parse(m.URLPrefix)
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = health.MirrorReport{Endpoints: []health.Endpoint{{
			Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Role: health.DNS, Verdict: health.Verdict{State: health.Up}}}}
	}
	z := newZone(testConfig(), nil, dnspool.Build(in), [2]uint32{7, 7})
	const queries = 10_000
	first := make([]float64, len(weights))
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	for range queries {
		first[exchange(t, z, req, overUDP).Answer[0].(*dns.A).A[3]]++
	}
	chi := 0.0
	for i, weight := range weights {
		want := queries * float64(weight) / 66
		chi += (first[i] - want) * (first[i] - want) / want
	}
	if chi > 18.47 { // the 0.999 quantile with four degrees of freedom
		t.Errorf("first places %v do not follow the weights %v: chi-squared %.1f", first, weights, chi)
	}
}

func FuzzRespond(f *testing.F) {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeANY, dns.TypeAXFR, 65432} {
		for _, name := range []string{"dl.example.org.", "m1.dl.example.org.", "x.eu.DL.example.org.", "nothing.dl.example.org.", "."} {
			req := new(dns.Msg)
			req.SetQuestion(name, qtype)
			packed, _ := req.Pack()
			f.Add(packed)
			req.SetEdns0(4096, true)
			packed, _ = req.Pack()
			f.Add(packed)
		}
	}
	z := testZone(f, 40, 40)
	f.Fuzz(func(t *testing.T, in []byte) {
		req := new(dns.Msg)
		if req.Unpack(in) != nil || req.Response || req.Opcode != dns.OpcodeQuery || len(req.Question) != 1 {
			return // miekg/dns and accept let only the others through
		}
		out, err := z.respond(req, overUDP)
		if err != nil {
			t.Fatalf("no response to %v: %v", req, err)
		}
		var resp dns.Msg
		if err := resp.Unpack(out); err != nil || !resp.Response || resp.Id != req.Id || len(resp.Question) != 1 ||
			resp.Question[0] != req.Question[0] {
			t.Fatalf("not a response to this query: %v: %v", err, &resp)
		}
		if len(out) > 1232 {
			t.Fatalf("%d bytes over UDP", len(out))
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	z := testZone(b, 6, 2)
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := z.respond(req, overUDP); err != nil {
			b.Fatal(err)
		}
	}
}
