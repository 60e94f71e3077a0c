package authority

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// truth answers from both paths.
type truth struct {
	zone *zone
	fast *fastPath
}

func newTruth(tb testing.TB, n, maxAnswers int) *truth {
	tb.Helper()
	c := testConfig()
	c.Nameservers = []string{"ns1.example.org.", "ns2.dl.example.org."} // one in the zone, which does not exist
	c.Hostmaster = "hostmaster.mail.dl.example.org."
	c.CAA = []config.CAA{{Tag: "issue", Value: "ca.example; validationmethods=dns-01"}, {Tag: "iodef", Value: "mailto:a@example.org"}}
	var p atomic.Pointer[zone]
	p.Store(newZone(c, nil, testSnapshot(tb, n, maxAnswers), [2]uint32{}))
	return &truth{p.Load(), newFastPath(&p, new(tally))}
}

// check asserts that the two paths give the same response to msg, where the fast one gives any, and returns
// whether it did. card is what both are to deal.
func (tr *truth) check(t testing.TB, msg []byte, card uint32, stream bool) (fast bool) {
	t.Helper()
	for f := range tr.fast.next {
		tr.fast.next[f] = card
		tr.zone.next[f].Store(card)
	}
	prefix := []byte("in front")
	from := overUDP
	if stream {
		from = overTCP
	}
	from.size = len(msg)
	got, fast := tr.fast.respond(prefix, msg, from)
	if !bytes.HasPrefix(got, prefix) || !fast && len(got) != len(prefix) {
		t.Fatalf("the buffer is spoilt: %q", got)
	}
	if !fast {
		return false
	}
	got = got[len(prefix):]
	msg = bytes.Clone(msg)
	s, f := wire.Vet(msg)
	switch {
	case f != wire.NoFault && (len(got) < wire.HeaderSize || int(got[3]) != f.Rcode()):
		t.Fatalf("%x is answered with %x, want %s", msg, got, dns.RcodeToString[f.Rcode()])
	case f != wire.NoFault || s.Questions == 0:
		return true
	}
	wire.Simplify(msg, s.Options())
	req := new(dns.Msg)
	if err := req.Unpack(msg); err != nil {
		t.Fatalf("miekg/dns does not take %x: %v", msg, err)
	}
	header := dns.Header{Bits: binary.BigEndian.Uint16(msg[2:]), Qdcount: binary.BigEndian.Uint16(msg[4:])}
	if accept(header) != dns.MsgAccept {
		t.Fatalf("accept does not let %x pass", msg)
	}
	want, err := tr.zone.respond(req, from)
	if err != nil {
		t.Fatal(err)
	}
	var a, b dns.Msg
	a.Unpack(got)
	b.Unpack(want)
	// Denials are put together from parts that are compressed against the name of the zone, not against each other and not
	// against labels before it, which gives them another length and another letter case.
	same := bytes.Equal(got, want)
	if opt := req.IsEdns0(); opt != nil && opt.Do() && tr.zone.signing != nil {
		same = strings.EqualFold(a.String(), b.String())
	}
	if !same {
		t.Fatalf("%v\nfast: %x\nslow: %x\nfast: %v\nslow: %v", req.Question, got, want, &a, &b)
	}
	return true
}

var truthNames = []string{
	"dl.example.org.", "www.dl.example.org.", "m1.dl.example.org.", "off.dl.example.org.",
	"eu.dl.example.org.", "*.eu.dl.example.org.", "de.eu.dl.example.org.", "a.b.de.eu.dl.example.org.", "x.*.eu.dl.example.org.",
	"deep.dl.example.org.", "b.deep.dl.example.org.", "a.b.deep.dl.example.org.", "c.a.b.deep.dl.example.org.",
	"nothing.dl.example.org.", "a.nothing.dl.example.org.", "x.m1.dl.example.org.",
	"hostmaster.mail.dl.example.org.", "mail.dl.example.org.", "x.mail.dl.example.org.", "x.hostmaster.mail.dl.example.org.",
	"ns2.dl.example.org.", "x.ns2.dl.example.org.", "ns1.dl.example.org.", `a\.b.dl.example.org.`, `\000.dl.example.org.`,
	`\000\255.x.dl.example.org.`,
	"example.org.", "xdl.example.org.", "org.", ".", "other.example.",
}

// TestOneTruth asks both paths a large set of queries.
func TestOneTruth(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeTXT, dns.TypeDS, dns.TypeCNAME,
		dns.TypeNULL,
		dns.TypeHTTPS, dns.TypeCAA, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeOPT, dns.TypeTSIG, dns.TypeMAILB,
		0, 127, 128, 255, 256, 65280, 65535}
	for _, shape := range [][2]int{{1, 2}, {6, 2}, {6, 1}, {6, 6}, {40, 40}, {100, 100}} {
		t.Run(fmt.Sprintf("%d mirrors, %d answers", shape[0], shape[1]), func(t *testing.T) {
			tr := newTruth(t, shape[0], shape[1])
			fast, all := 0, 0
			for _, name := range truthNames {
				for _, qtype := range types {
					for _, size := range []int{-1, 0, 511, 512, 700, 1232, 4096, 65535} {
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
		})
	}
}

// truthQuery is a query in random letter case with random harmless flags; with EDNS where size is not negative.
func truthQuery(tb testing.TB, r *rand.Rand, name string, qtype uint16, size int) []byte {
	tb.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	req.RecursionDesired, req.AuthenticatedData, req.CheckingDisabled = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	if size >= 0 {
		req.SetEdns0(uint16(size), r.IntN(2) == 0)
	}
	msg, err := req.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	for i := wire.HeaderSize; i < len(msg) && msg[i] != 0; { // the labels' letters
		end := i + 1 + int(msg[i])
		for i++; i < end; i++ {
			if c := msg[i] | 0x20; 'a' <= c && c <= 'z' && r.IntN(2) == 0 {
				msg[i] ^= 0x20
			}
		}
	}
	return msg
}

// TestPlainQueriesAreFast makes sure that the common queries do take the fast path.
func TestPlainQueriesAreFast(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	tr := newTruth(t, 6, 2)
	for _, name := range []string{"dl.example.org.", "www.dl.example.org.", "m1.dl.example.org.", "de.eu.dl.example.org.",
		"nothing.dl.example.org.", "a.nothing.dl.example.org."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeMX} {
			withCookie := truthQuery(t, r, name, qtype, 1232)
			withCookie[len(withCookie)-1] = 12
			withCookie = append(withCookie, 0, byte(dns.EDNS0COOKIE), 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
			if !tr.check(t, withCookie, 7, false) {
				t.Errorf("%s %s with a cookie, as BIND sends it: not answered on the fast path", name, dns.TypeToString[qtype])
			}
			for _, size := range []int{-1, 512, 1232, 4096} {
				if !tr.check(t, truthQuery(t, r, name, qtype, size), 7, false) {
					t.Errorf("%s %s, size %d: not answered on the fast path", name, dns.TypeToString[qtype], size)
				}
			}
		}
	}
}

// TestFastPathPassesOn lists what the fast path leaves to miekg/dns, although it is well formed.
func TestFastPathPassesOn(t *testing.T) {
	t.Parallel()
	plain := truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
	end := len(plain) - wire.OptSize
	change := func(at int, b byte) []byte {
		msg := bytes.Clone(plain)
		msg[at] = b
		return msg
	}
	nsid := append(change(end+10, 4), 0, byte(dns.EDNS0NSID), 0, 0)
	tests := map[string][]byte{
		"empty":               nil,
		"a header only":       plain[:wire.HeaderSize-1],
		"a response":          change(2, 0x80),
		"TC":                  change(2, 0x02),
		"an rcode":            change(3, 0x01),
		"Z":                   change(3, 0x40),
		"OPT but not counted": change(11, 0),
		"class CH":            change(end-1, dns.ClassCHAOS),
		"not an OPT record":   change(end+2, byte(dns.TypeA)),
		"an extended rcode":   change(end+5, 1),
		"EDNS version 1":      change(end+6, 1),
		"an answered option":  nsid,
		"a byte too many":     append(bytes.Clone(plain), 0),
	}
	d := newTruth(t, 6, 2).fast
	if _, ok := d.respond(nil, plain, overUDP); !ok {
		t.Fatal("the plain query is not answered")
	}
	for name, msg := range tests {
		if _, ok := d.respond(nil, msg, overUDP); ok {
			t.Errorf("%s: answered", name)
		}
	}
}

// TestFastPathDoesNotAllocate holds the line.
func TestFastPathDoesNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := newTruth(t, 6, 2).fast
	buf := make([]byte, 0, 1232)
	for _, name := range []string{"dl.example.org.", "de.eu.dl.example.org.", "a.nothing.dl.example.org."} {
		msg := truthQuery(t, r, name, dns.TypeA, 1232)
		if n := testing.AllocsPerRun(1000, func() { buf, _ = d.respond(buf[:0], msg, overUDP) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// FuzzOneTruth looks for a packet on which the two paths disagree.
func FuzzOneTruth(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range truthNames {
		f.Add(truthQuery(f, r, name, dns.TypeA, -1), uint32(1), false)
		f.Add(truthQuery(f, r, name, dns.TypeMX, 600), uint32(2), true)
		msg := truthQuery(f, r, name, dns.TypeAAAA, 1232)
		msg[len(msg)-1] = 12 + 7
		msg = append(msg, 0, byte(dns.EDNS0COOKIE), 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 0xe9, 0, 3, 1, 2, 3)
		f.Add(msg, uint32(3), false)
	}
	tr := newTruth(f, 40, 40)
	f.Fuzz(func(t *testing.T, msg []byte, card uint32, stream bool) { tr.check(t, msg, card, stream) })
}

func BenchmarkFastPath(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		name, query string
		mirrors     int
		size        int
	}{
		{"pool", "dl.example.org.", 6, -1},
		{"pool, EDNS", "dl.example.org.", 6, 1232},
		{"pool of 200", "dl.example.org.", 200, -1},
		{"NXDOMAIN", "nothing.dl.example.org.", 6, -1},
	} {
		b.Run(test.name, func(b *testing.B) {
			d := newTruth(b, test.mirrors, 2).fast
			msg := truthQuery(b, r, test.query, dns.TypeA, test.size)
			buf := make([]byte, 0, 1232)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = d.respond(buf[:0], msg, overUDP)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	msg := truthQuery(b, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
	var buf [wire.MaxNameSize]byte
	b.ReportAllocs()
	for b.Loop() {
		var q wire.Query
		q.Parse(msg, &buf)
	}
}

// BenchmarkReloadUnderFire compares, on one CPU, answering while nothing changes with answering while the pool
// changes a hundred times a second: the ratio of the two is what that takes away.
func BenchmarkReloadUnderFire(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, rate := range map[string]int{"quiet": 0, "100 changes a second": 100} {
		b.Run(name, func(b *testing.B) { benchmarkReload(b, rate) })
	}
}

func BenchmarkPublish(b *testing.B) {
	s, c := testSnapshot(b, 200, 2), testConfig()
	b.ReportAllocs()
	for b.Loop() {
		newZone(c, nil, s, [2]uint32{})
	}
}

func benchmarkReload(b *testing.B, rate int) {
	c := testConfig()
	var current atomic.Pointer[zone]
	changes := 0
	publish := func(n int) {
		current.Store(newZone(c, nil, testSnapshot(b, 10+n%2, 2), [2]uint32{}))
		changes++
	}
	publish(0)
	ctx, cancel := context.WithCancel(b.Context())
	var publisher sync.WaitGroup
	if rate > 0 {
		publisher.Go(func() {
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					publish(n)
				}
			}
		})
	}
	d := newFastPath(&current, new(tally))
	msg := truthQuery(b, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1)
	buf := make([]byte, 0, 1232)
	for b.Loop() {
		buf, _ = d.respond(buf[:0], msg, overUDP)
	}
	cancel()
	publisher.Wait()
	b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
}
