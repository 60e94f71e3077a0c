package wire

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"
)

// seeds are queries of several shapes.
func seeds(tb testing.TB) (messages [][]byte) {
	tb.Helper()
	for _, options := range [][]dns.EDNS0{
		nil,
		{},
		{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}},
		{&dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: []byte{0, 1, 24, 0, 192, 0, 2}}, &dns.EDNS0_PADDING{Padding: make([]byte, 9)}},
	} {
		req := new(dns.Msg).SetQuestion("a.B.dl.example.org.", dns.TypeA)
		if options != nil {
			req.SetEdns0(1232, true)
			req.IsEdns0().Option = options
		}
		msg, err := req.Pack()
		if err != nil {
			tb.Fatal(err)
		}
		messages = append(messages, msg)
	}
	return messages
}

// FuzzVet asserts that a message that must not be answered, a response and what is too short to be one, has no fault,
// and that a query that Parse takes for plain has none either.
func FuzzVet(f *testing.F) {
	for _, msg := range seeds(f) {
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		shape, fault := Vet(msg)
		if fault != NoFault && (len(msg) < HeaderSize || IsResponse(msg)) {
			t.Fatalf("%x would be answered", msg)
		}
		var name [MaxNameSize]byte
		var q Query
		if !q.Parse(msg, &name) {
			return
		}
		if fault != NoFault || shape.Questions != 1 || shape.end != q.End || !bytes.Equal(shape.Options(), q.Options) {
			t.Fatalf("%x is plain, but has fault %d and the shape %+v", msg, fault, shape)
		}
	})
}

// TestAllocs holds that none of what every query passes allocates.
func TestAllocs(t *testing.T) {
	jar := RandomCookieJar()
	buf := make([]byte, 0, 512)
	for i, msg := range seeds(t) {
		var name [MaxNameSize]byte
		allocs := testing.AllocsPerRun(1000, func() {
			Vet(msg)
			var q Query
			if q.Parse(msg, &name) && q.EDNS {
				buf = q.AppendOPT(append(buf[:0], msg[:q.End]...), 1232, 0)
				if q.Cookie != nil {
					buf = jar.AppendOption(buf, &q, testAddr, testNow)
				}
			}
		})
		if allocs != 0 {
			t.Errorf("query %d: %v allocations, want none", i, allocs)
		}
	}
}
