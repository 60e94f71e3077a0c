package authority

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(testNow)
	ask := func(addr string, n int, now time.Time) (allowed int) {
		for range n {
			if l.allow(netip.MustParseAddr(addr), 10, now) {
				allowed++
			}
		}
		return allowed
	}
	for _, step := range []struct {
		addr  string
		after time.Duration
		want  int
	}{
		{"192.0.2.1", 0, 10},                          // a second's worth at once
		{"192.0.2.200", 0, 0},                         // the same network
		{"::ffff:192.0.2.7", 0, 0},                    // and again
		{"192.0.3.1", 0, 10},                          // another one
		{"2001:db8::1", 0, 10},                        //
		{"2001:db8::ff:1:2:3:4", 0, 0},                // the same /56
		{"2001:db8:0:100::1", 0, 10},                  // another one
		{"192.0.2.1", 100 * time.Millisecond, 1},      //
		{"192.0.2.1", 500 * time.Millisecond, 4},      //
		{"192.0.2.1", time.Hour, 10},                  // not more for waiting longer
		{"192.0.2.1", time.Hour + time.Nanosecond, 0}, //
	} {
		if got := ask(step.addr, 100, testNow.Add(step.after)); got != step.want {
			t.Errorf("%s after %v: %d allowed, want %d", step.addr, step.after, got, step.want)
		}
	}
}

// TestRateLimit asks for more than the limit in every way there is.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.RateLimit = 5
	jar := wire.RandomCookieJar()
	query := func(options ...dns.EDNS0) []byte {
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", dns.TypeA)
		if len(options) > 0 {
			req.SetEdns0(1232, true)
			req.IsEdns0().Option = options
		}
		msg, err := req.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	cookie := func(s string) dns.EDNS0 { return &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: s} }
	good := fmt.Sprintf("%x", jar.AppendTo(nil, []byte("client!!"), overUDP.addr, testNow))
	nsid := &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	tests := map[string]struct {
		msg  []byte
		from client
		want map[string]int // of 25 queries, of which 5 are within the limit
	}{
		"plain":                 {query(), overUDP, map[string]int{"answer": 5, "nothing": 10, "TC": 10}},
		"a cookie to be learnt": {query(cookie("0102030405060708")), overUDP, map[string]int{"answer": 5, "BADCOOKIE": 20}},
		"a cookie to be renewed": {query(cookie(good[:32] + "00112233445566778899")), overUDP,
			map[string]int{"answer": 5, "BADCOOKIE": 20}},
		"a good cookie":          {query(cookie(good)), overUDP, map[string]int{"answer": 25}},
		"over TCP":               {query(), overTCP, map[string]int{"answer": 25}},
		"by the slow path":       {query(nsid), overUDP, map[string]int{"passed on": 5, "nothing": 10, "TC": 10}},
		"the same with a cookie": {query(nsid, cookie(good)), overUDP, map[string]int{"passed on": 25}},
		"and with a new one":     {query(nsid, cookie("0102030405060708")), overUDP, map[string]int{"passed on": 5, "BADCOOKIE": 20}},
		"another opcode":         {append([]byte{0, 0, 0x28}, query()[3:]...), overUDP, map[string]int{"NOTIMP": 5, "nothing": 20}},
		"cut":                    {query()[:20], overUDP, map[string]int{"FORMERR": 5, "nothing": 20}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			z := newZone(c, nil, testSnapshot(t, 6, 2), [2]uint32{})
			z.cookies, z.limiter = jar, newLimiter(testNow)
			var p atomic.Pointer[zone]
			p.Store(z)
			d := newFastPath(&p, new(tally))
			got := map[string]int{}
			for range 25 {
				out, ok := d.respond(nil, test.msg, test.from)
				got[outcome(t, out, ok)]++
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			held := uint64(0)
			for i := range d.tally.limited {
				held += d.tally.limited[i].Load()
			}
			if want := 25 - test.want["answer"] - test.want["passed "+
				"on"] - test.want["FORMERR"] - test.want["NOTIMP"]; held != uint64(want) {
				t.Errorf("%d are counted, want %d", held, want)
			}
		})
	}
}

// outcome names what came of a query.
func outcome(t *testing.T, out []byte, ok bool) string {
	t.Helper()
	if !ok {
		return "passed on"
	}
	if len(out) == 0 {
		return "nothing"
	}
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		t.Fatal(err)
	}
	switch {
	case m.Rcode == dns.RcodeBadCookie:
		if opt := m.IsEdns0(); len(m.Answer) > 0 || !opt.Do() || len(opt.Option) != 1 ||
			len(opt.Option[0].(*dns.EDNS0_COOKIE).Cookie) != 2*wire.CookieSize {
			t.Errorf("a bad BADCOOKIE: %v", &m)
		}
		return "BADCOOKIE"
	case m.Rcode == dns.RcodeNotImplemented:
		return "NOTIMP"
	case m.Truncated:
		if len(m.Answer) > 0 {
			t.Errorf("TC with an answer: %v", &m)
		}
		return "TC"
	case m.Rcode == dns.RcodeFormatError:
		return "FORMERR"
	default:
		return "answer"
	}
}

// TestAmplification bounds what a forged query can send to its victim, on both paths.
func TestAmplification(t *testing.T) {
	t.Parallel()
	for _, answers := range []int{2, 100} {
		tr := newTruth(t, 100, answers)
		for _, q := range staticQueries(t) {
			for _, size := range []int{-1, 512, 4096} {
				req := new(dns.Msg)
				req.SetQuestion(q.Name, q.Qtype)
				if size > 0 {
					req.SetEdns0(uint16(size), true)
					req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID},
						&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
				}
				msg, err := req.Pack()
				if err != nil {
					t.Fatal(err)
				}
				from := overUDP
				from.size = len(msg)
				out, err := tr.zone.respond(req, from)
				if err != nil {
					t.Fatal(err)
				}
				if len(out) > amplification*len(msg) {
					t.Fatalf("%v, size %d: %d bytes for %d", q, size, len(out), len(msg))
				}
				if out, _ := tr.fast.respond(nil, msg, overUDP); len(out) > amplification*len(msg) {
					t.Fatalf("%v, size %d, fast: %d bytes for %d", q, size, len(out), len(msg))
				}
			}
		}
	}
}

// TestNoAnswerPorts sends good queries from where no client is.
func TestNoAnswerPorts(t *testing.T) {
	t.Parallel()
	d := newTruth(t, 1, 2).fast
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	msg, _ := req.Pack()
	for port, want := range map[uint16]bool{0: false, 7: false, 19: false, 464: false, 53: true, 1000: true, 65535: true} {
		from := overUDP
		from.port = port
		if out, ok := d.respond(nil, msg, from); !ok || (len(out) > 0) != want {
			t.Errorf("from port %d: %x, %v", port, out, ok)
		}
	}
}
