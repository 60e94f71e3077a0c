package authority

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

var attestedTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeTXT, dns.TypeDS, dns.TypeCNAME,
	dns.TypeDNSKEY, dns.TypeCAA, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNSEC, dns.TypeHTTPS, dns.TypeANY, 65280}

// newAttestedTruth is newTruth of a signed zone.
func newAttestedTruth(tb testing.TB, n, maxAnswers int) (*truth, *validator) {
	tb.Helper()
	c := testConfig()
	c.Nameservers = []string{"ns1.example.org.", "ns2.dl.example.org."}
	c.Hostmaster = "hostmaster.mail.dl.example.org."
	c.CAA = []config.CAA{{Tag: "issue", Value: "ca.example.net"}}
	z, v := newTestSignedZone(tb, c, nil, testSnapshot(tb, n, maxAnswers))
	var p atomic.Pointer[zone]
	p.Store(z)
	return &truth{z, newFastPath(&p, new(tally))}, v
}

// TestAttestedAnswers validates what both paths answer for each name and type, whatever card is dealt.
func TestAttestedAnswers(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{0, 2}, {1, 2}, {6, 2}, {6, 6}, {40, 3}} {
		tr, v := newAttestedTruth(t, shape[0], shape[1])
		for _, name := range truthNames {
			if !dns.IsSubDomain(v.zone, name) {
				continue
			}
			for _, qtype := range attestedTypes {
				for range 3 {
					req := attestedQuery(name, qtype)
					card := r.Uint32()
					tr.zone.next[0].Store(card)
					tr.zone.next[1].Store(card)
					if err := v.check(req.Question[0], exchange(t, tr.zone, req, overTCP)); err != nil {
						t.Fatalf("%s %s: %v\n%v", name, dns.Type(qtype), err, exchange(t, tr.zone, req, overTCP))
					}
					msg := truthQuery(t, r, name, qtype, 1232)
					msg[len(msg)-wire11+7] |= 0x80
					tr.check(t, msg, card, r.IntN(2) == 0)
				}
			}
		}
	}
}

const wire11 = 11

// TestAttestedOneTruth is TestOneTruth of a signed zone.
func TestAttestedOneTruth(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	tr, _ := newAttestedTruth(t, 6, 2)
	fast, all := 0, 0
	for _, name := range truthNames {
		for _, qtype := range append([]uint16{0, 128, 255, dns.TypeRRSIG, dns.TypeAXFR, dns.TypeOPT}, attestedTypes...) {
			for _, size := range []int{-1, 0, 512, 1232, 65535} {
				all++
				if tr.check(t, truthQuery(t, r, name, qtype, size), r.Uint32(), r.IntN(2) == 0) {
					fast++
				}
			}
		}
	}
	if fast < all/3 {
		t.Errorf("only %d of %d queries took the fast path", fast, all)
	}
}

// TestAttestedQueriesAreFast makes sure that the common queries with DO take the fast path.
func TestAttestedQueriesAreFast(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	tr, _ := newAttestedTruth(t, 6, 2)
	buf := make([]byte, 0, 1232)
	for _, name := range []string{"dl.example.org.", "www.dl.example.org.", "m1.dl.example.org.", "de.eu.dl.example.org.",
		"nothing.dl.example.org.", "a.nothing.dl.example.org.", "x.dl.example.org."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeDNSKEY} {
			msg := truthQuery(t, r, name, qtype, 1232)
			msg[len(msg)-wire11+7] |= 0x80
			if !tr.check(t, msg, 7, false) {
				t.Errorf("%s %s: not answered on the fast path", name, dns.TypeToString[qtype])
			}
			_ = buf
		}
	}
}

// TestAttestedDoesNotAllocate holds the line.
func TestAttestedDoesNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tr, _ := newAttestedTruth(t, 6, 2)
	buf := make([]byte, 0, 1232)
	for _, name := range []string{"dl.example.org.", "de.eu.dl.example.org.", "a.nothing.dl.example.org.", "deep.dl.example.org."} {
		msg := truthQuery(t, r, name, dns.TypeA, 1232)
		msg[len(msg)-wire11+7] |= 0x80
		if n := testing.AllocsPerRun(1000, func() { buf, _ = tr.fast.respond(buf[:0], msg, overUDP) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// TestUnsignedAnswersStay compares a signed zone's answers without DO with those of the zone before it was signed.
func TestUnsignedAnswersStay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	c := testConfig()
	s := testSnapshot(t, 6, 2)
	signed, _ := newTestSignedZone(t, c, nil, s)
	plain := newZone(c, nil, s, [2]uint32{})
	signed.cookies = plain.cookies
	var p, q atomic.Pointer[zone]
	p.Store(signed)
	q.Store(plain)
	a, b := newFastPath(&p, new(tally)), newFastPath(&q, new(tally))
	for _, name := range truthNames {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeANY, 0, 65280} {
			for _, size := range []int{-1, 512, 1232} {
				msg := truthQuery(t, r, name, qtype, size)
				if size >= 0 {
					msg[len(msg)-wire11+7] &^= 0x80
				}
				a.next, b.next = [2]uint32{3, 3}, [2]uint32{3, 3}
				got, gotFast := a.respond(nil, bytes.Clone(msg), overUDP)
				want, wantFast := b.respond(nil, bytes.Clone(msg), overUDP)
				if gotFast != wantFast || !bytes.Equal(got, want) {
					t.Errorf("%s %s: %x %v, want %x %v", name, dns.Type(qtype), got, gotFast, want, wantFast)
				}
				req := new(dns.Msg)
				if err := req.Unpack(msg); err != nil {
					t.Fatal(err)
				}
				if x, y := fmt.Sprint(exchange(t, signed, req, overTCP)), fmt.Sprint(exchange(t, plain, req, overTCP)); x != y &&
					qtype != dns.TypeA && qtype != dns.TypeAAAA {
					t.Errorf("%s %s: %s, want %s", name, dns.Type(qtype), x, y)
				}
			}
		}
	}
}

// TestAttestedRandomZones validates the answers for every name and type of random zones.
func TestAttestedRandomZones(t *testing.T) {
	t.Parallel()
	for seed := range uint64(randomZones) {
		plain := newRandomZone(t, seed)
		z := *plain
		var v *validator
		z.zone, v = newTestSignedZone(t, plain.config, plain.static, testSnapshot(t, 1, 2))
		tr := &truth{z.zone, newTruth(t, 1, 2).fast}
		tr.fast.zone.Store(z.zone)
		r := rand.New(rand.NewPCG(seed, 17))
		for _, name := range plain.names() {
			if !dns.IsSubDomain(v.zone, dns.CanonicalName(name)) {
				continue
			}
			for _, qtype := range append([]uint16{dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeANY}, randomZoneTypes...) {
				req := attestedQuery(name, qtype)
				resp := exchange(t, z.zone, req, overTCP)
				if err := v.check(req.Question[0], resp); err != nil {
					t.Fatalf("zone %d: %s %s: %v\n%v\n%s", seed, name, dns.Type(qtype), err, resp, plain.text)
				}
				msg := truthQuery(t, r, name, qtype, 1232)
				msg[len(msg)-wire11+7] |= 0x80
				tr.check(t, msg, 3, r.IntN(2) == 0)
			}
		}
	}
}

// TestExpiredSignatures wants SERVFAIL on both paths once a signature has expired, and the answer as before for those
// that do not ask for signatures.
func TestExpiredSignatures(t *testing.T) {
	t.Parallel()
	tr, _ := newAttestedTruth(t, 6, 2)
	for _, test := range []struct {
		after time.Duration
		do    bool
		rcode int
	}{{7*24*time.Hour - time.Second, true, dns.RcodeSuccess}, {7 * 24 * time.Hour, true, dns.RcodeServerFailure},
		{7 * 24 * time.Hour, false, dns.RcodeSuccess}} {
		from := overUDP
		from.now = testNow.Add(test.after)
		req := attestedQuery("dl.example.org.", dns.TypeA)
		req.IsEdns0().SetDo(test.do)
		if resp := exchange(t, tr.zone, req, from); resp.Rcode != test.rcode {
			t.Errorf("after %v: %v", test.after, resp)
		}
		msg, err := req.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tr.fast.respond(nil, msg, from); ok != (test.rcode == dns.RcodeSuccess) {
			t.Errorf("after %v: answered from prepared answers: %v", test.after, ok)
		}
	}
}

func BenchmarkAttested(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		name, query string
		mirrors     int
	}{
		{"pool", "dl.example.org.", 6},
		{"pool of 200", "dl.example.org.", 200},
		{"NXDOMAIN", "nothing.dl.example.org.", 6},
	} {
		b.Run(test.name, func(b *testing.B) {
			tr, _ := newAttestedTruth(b, test.mirrors, 2)
			msg := truthQuery(b, r, test.query, dns.TypeA, 1232)
			msg[len(msg)-wire11+7] |= 0x80
			buf := make([]byte, 0, 1232)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = tr.fast.respond(buf[:0], msg, overUDP)
			}
		})
	}
}

// TestAttestedStaticZone validates the answers for every name and type of the zone file that has one of each thing.
func TestAttestedStaticZone(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Names, c.ZoneFile = []string{"pool"}, staticFile
	static, err := LoadZoneFile(c)
	if err != nil {
		t.Fatal(err)
	}
	z, v := newTestSignedZone(t, c, static, testSnapshot(t, 1, 2))
	for _, q := range staticQueries(t) {
		if !dns.IsSubDomain(v.zone, q.Name) {
			continue
		}
		resp := exchange(t, z, attestedQuery(q.Name, q.Qtype), overTCP)
		if err := v.check(q, resp); err != nil {
			t.Errorf("%s %s: %v\n%v", q.Name, dns.Type(q.Qtype), err, resp)
		}
	}
}

// BenchmarkSign makes the zone of a pool with names for all mirrors, both families, for the first time and after a
// verdict has changed; and one that answers by place.
func BenchmarkSign(b *testing.B) {
	for _, test := range []struct {
		name    string
		mirrors int
		geo     bool
	}{{"30 mirrors", 30, false}, {"1000 mirrors", 1000, false}, {"90 mirrors by place", 90, true}} {
		c, keys := signedConfig(b, testConfig())
		c.Names, c.Geo = []string{"@"}, test.geo
		all := poolInput(b, test.mirrors, c.MaxAnswers)
		first := dnspool.Build(all)
		b.Run("first, "+test.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := newSignedZone(c, nil, first, [2]uint32{}, newTestSigner(keys)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("a change, "+test.name, func(b *testing.B) {
			signer := newTestSigner(keys)
			if _, err := newSignedZone(c, nil, first, [2]uint32{}, signer); err != nil {
				b.Fatal(err)
			}
			previous, changes := first, 0
			before := signer.Stats().Made
			for b.Loop() {
				b.StopTimer()
				next := withDown(all, changes%test.mirrors)
				next.Previous = previous
				b.StartTimer()
				previous = dnspool.Build(next)
				if _, err := newSignedZone(c, nil, previous, [2]uint32{}, signer); err != nil {
					b.Fatal(err)
				}
				changes++
			}
			b.ReportMetric(float64(signer.Stats().Made-before)/float64(changes), "signatures/op")
		})
	}
}

// poolInput is a pool of mirrors that are up, each with a name and an address of both families.
func poolInput(tb testing.TB, n, maxAnswers int) dnspool.Input {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: maxAnswers}, Now: testNow, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	for i := range n {
		m := config.Mirror{URLPrefix: fmt.Sprintf("http://m%d.example.org/", i), Weight: uint32(1 + i%20), Name: fmt.Sprintf("m%d", i)}
		m.URL, _ = url.Parse(m.URLPrefix)
		m.DNS.Weight = m.Weight
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
		in.Health.Mirrors[m.URLPrefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Role: health.DNS, Verdict: health.Verdict{State: health.Up}},
			{Address: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), Role: health.DNS, Verdict: health.Verdict{State: health.Up}},
		}}
	}
	return in
}

// withDown is in with one mirror down.
func withDown(in dnspool.Input, down int) dnspool.Input {
	report := health.Report{Mirrors: maps.Clone(in.Health.Mirrors)}
	prefix := in.Pool.Mirrors[down].URLPrefix
	endpoints := slices.Clone(report.Mirrors[prefix].Endpoints)
	for i := range endpoints {
		endpoints[i].State = health.Down
	}
	report.Mirrors[prefix] = health.MirrorReport{Endpoints: endpoints}
	in.Health = &report
	return in
}

// TestFewSignaturesForAChange wants a verdict that changes to cost few signatures, though each answer has two mirrors
// of hundreds: only the sets that are new are signed.
func TestFewSignaturesForAChange(t *testing.T) {
	t.Parallel()
	c, keys := signedConfig(t, testConfig())
	c.Names = []string{"@"}
	in := poolInput(t, 300, c.MaxAnswers)
	signer := newTestSigner(keys)
	previous := dnspool.Build(in)
	for change := range 10 {
		before := signer.Stats().Made
		if _, err := newSignedZone(c, nil, previous, [2]uint32{}, signer); err != nil {
			t.Fatal(err)
		}
		made := signer.Stats().Made - before
		places := 2 * 4096 * 2 * 20 / (10.5 * 300) // of the heaviest mirror, both families
		if most := uint64(3 * places); change > 0 && made > most {
			t.Errorf("change %d: %d signatures, want at most %d", change, made, most)
		}
		next := withDown(in, 7*change)
		next.Previous = previous
		previous = dnspool.Build(next)
	}
}

// TestAttestedChallenges signs the answers to challenges of certificate authorities, which come and go.
func TestAttestedChallenges(t *testing.T) {
	t.Parallel()
	c := testConfig()
	const name = "_acme-challenge.www.dl.example.org."
	var none *StaticRecords
	for _, values := range []map[string][]string{{name: {"one", "two"}}, nil} {
		z, v := newTestSignedZone(t, c, none.WithTXT(c, values), testSnapshot(t, 1, 2))
		for _, q := range []dns.Question{{Name: name, Qtype: dns.TypeTXT, Qclass: dns.ClassINET}, {Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET},
			{Name: "x." + name, Qtype: dns.TypeTXT, Qclass: dns.ClassINET}} {
			resp := exchange(t, z, attestedQuery(q.Name, q.Qtype), overTCP)
			if err := v.check(q, resp); err != nil || q.Name == name && q.Qtype == dns.TypeTXT && hasType(resp.Answer, dns.TypeTXT) != (values != nil) {
				t.Errorf("%s %s: %v\n%v", q.Name, dns.Type(q.Qtype), err, resp)
			}
		}
	}
}

// FuzzAttestedTruth looks for a packet on which the two paths disagree in a signed zone.
func FuzzAttestedTruth(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range truthNames {
		f.Add(truthQuery(f, r, name, dns.TypeA, 1232), uint32(1), false)
		f.Add(truthQuery(f, r, name, dns.TypeDNSKEY, 600), uint32(2), true)
	}
	tr, v := newAttestedTruth(f, 40, 3)
	f.Fuzz(func(t *testing.T, msg []byte, card uint32, stream bool) {
		if !tr.check(t, msg, card, stream) {
			return
		}
		req := new(dns.Msg)
		if req.Unpack(msg) != nil || len(req.Question) != 1 || req.IsEdns0() == nil || !req.IsEdns0().Do() {
			return
		}
		tr.fast.next = [2]uint32{card, card}
		from := overTCP
		from.size = len(msg)
		packed, ok := tr.fast.respond(nil, msg, from)
		resp := new(dns.Msg)
		if !ok || resp.Unpack(packed) != nil || resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError {
			return
		}
		if err := v.check(req.Question[0], resp); err != nil {
			t.Errorf("%v: %v\n%v", req.Question, err, resp)
		}
	})
}

// TestAttestedBlindZone has mirrors of which no address is known: that gives SERVFAIL, and nothing may deny addresses.
func TestAttestedBlindZone(t *testing.T) {
	t.Parallel()
	in := poolInput(t, 3, 2)
	in.Health.Mirrors = map[string]health.MirrorReport{}
	z, v := newTestSignedZone(t, testConfig(), nil, dnspool.Build(in))
	if !z.blind {
		t.Fatal("an address is known")
	}
	for _, name := range []string{"dl.example.org.", "www.dl.example.org.", "x.eu.dl.example.org.", "nothing.dl.example.org."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeMX} {
			req := attestedQuery(name, qtype)
			resp := exchange(t, z, req, overTCP)
			if z.pool["*."+parent(name)] || z.pool[name] {
				if qtype != dns.TypeMX {
					if resp.Rcode != dns.RcodeServerFailure || len(resp.Answer)+len(resp.Ns) > 0 {
						t.Errorf("%s %s: %v, want SERVFAIL", name, dns.Type(qtype), resp)
					}
					continue
				}
			}
			if err := v.check(req.Question[0], resp); err != nil {
				t.Errorf("%s %s: %v\n%v", name, dns.Type(qtype), err, resp)
			}
			for _, rr := range resp.Ns {
				if nsec, ok := rr.(*dns.NSEC); ok && z.pool[nsec.Hdr.Name] && !slices.Contains(nsec.TypeBitMap, dns.TypeA) {
					t.Errorf("%v denies addresses that are not known yet", nsec)
				}
			}
		}
	}
}
