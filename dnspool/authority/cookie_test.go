package authority

import (
	"encoding/hex"
	"testing"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestCookiesOverTheWire has a client learn its cookie and show it, on both paths.
func TestCookiesOverTheWire(t *testing.T) {
	t.Parallel()
	tr := newTruth(t, 6, 2)
	for _, more := range [][]dns.EDNS0{nil, {&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}} { // the fast path, and the slow one
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", dns.TypeA)
		req.SetEdns0(1232, false)
		ask := func(cookie string) string {
			t.Helper()
			req.IsEdns0().Option = append([]dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}, more...)
			msg, err := req.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if fast := tr.check(t, msg, 1, false); fast != (more == nil) {
				t.Fatalf("answered by the fast path: %v", fast)
			}
			for _, o := range exchange(t, tr.zone, req, overUDP).IsEdns0().Option {
				if c, ok := o.(*dns.EDNS0_COOKIE); ok {
					return c.Cookie
				}
			}
			t.Fatal("no cookie in the response")
			return ""
		}
		first := ask("0102030405060708")
		if len(first) != 2*wire.CookieSize || first[:16] != "0102030405060708" {
			t.Errorf("got the cookie %s", first)
		}
		if again := ask(first); again != first {
			t.Errorf("the cookie %s became %s", first, again)
		}
		if again := ask(first[:16] + "0100000000000000deadbeefdeadbeef"); again != first {
			t.Errorf("a bad cookie is answered with %s, want %s", again, first)
		}
	}
}

func BenchmarkFastPathWithCookie(b *testing.B) {
	d := newTruth(b, 6, 2).fast
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	req.SetEdns0(1232, false)
	req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
	msg, err := req.Pack()
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1232)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = d.respond(buf[:0], msg, overUDP)
	}
}
