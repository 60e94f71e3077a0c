package authority

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/miekg/dns"
)

// malformed are messages that a query with an OPT record is turned into.
func malformed(tb testing.TB) map[string][]byte {
	tb.Helper()
	plain := truthQuery(tb, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
	question := plain[:len(plain)-optSize]
	opt := plain[len(plain)-optSize:]
	with := func(count int, records ...[]byte) []byte {
		msg := append(bytes.Clone(question), bytes.Join(records, nil)...)
		binary.BigEndian.PutUint16(msg[10:], uint16(count))
		return msg
	}
	at := func(i int, b ...byte) []byte {
		msg := bytes.Clone(plain)
		copy(msg[i:], b)
		return msg
	}
	options := func(data ...byte) []byte {
		o := bytes.Clone(opt)
		o[10] = byte(len(data))
		return append(o, data...)
	}
	address := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1}
	return map[string][]byte{
		"cut in the name":                 plain[:20],
		"cut in the question":             plain[:len(question)-1],
		"a record that is not there":      with(1),
		"a cut record":                    plain[:len(plain)-1],
		"an answer that is not there":     at(7, 1),
		"an endless number of records":    at(10, 0xff, 0xff),
		"a name that points at itself":    at(12, 0xc0, 12),
		"a name that points forward":      at(12, 0xc0, 30),
		"a name that points into header":  at(12, 0xc0, 2),
		"a reserved kind of label":        at(12, 0x41),
		"another reserved kind of label":  at(12, 0x81),
		"two OPT records":                 with(2, opt, opt),
		"an OPT record of another owner":  with(1, append([]byte{0xc0, 12}, opt[1:]...)),
		"an OPT record among the answers": func() []byte { m := with(0, opt); m[7] = 1; return m }(),
		"an option past its record":       with(1, options(0, 10, 0, 9, 1)),
		"an option without a length":      with(1, options(0, 10)),
		"data past the message":           with(1, address[:14]),
	}
}

func TestWellFormed(t *testing.T) {
	t.Parallel()
	for name, msg := range malformed(t) {
		if wellFormed(msg) {
			t.Errorf("%s: taken for well formed", name)
		}
		out, ok := newTruth(t, 1, 2).dealer.answer(nil, msg, false)
		if want := append(append(bytes.Clone(msg[:2]), 0x80|msg[2]&1, dns.RcodeFormatError), make([]byte, 8)...); !ok || !bytes.Equal(out, want) {
			t.Errorf("%s: answered with %x, want FORMERR", name, out)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range truthNames {
		if msg := truthQuery(t, r, name, dns.TypeA, 1232); !wellFormed(msg) {
			t.Errorf("%s: a plain query is taken for malformed", name)
		}
	}
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeIXFR)
	req.Compress = true
	soa, err := dns.NewRR("dl.example.org. IN SOA ns1.dl.example.org. hostmaster.dl.example.org. 1 2 3 4 5")
	if err != nil {
		t.Fatal(err)
	}
	req.Ns = []dns.RR{soa}
	req.SetEdns0(1232, true)
	req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
	if msg, err := req.Pack(); err != nil || !wellFormed(msg) {
		t.Errorf("an IXFR query with compression and options is taken for malformed: %x, %v", msg, err)
	}
}

// FuzzWellFormed asserts that what must not be answered, a response and what is too short to be one, is left to
// miekg/dns, which does not.
func FuzzWellFormed(f *testing.F) {
	for _, msg := range malformed(f) {
		f.Add(msg)
	}
	f.Add(truthQuery(f, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if !wellFormed(msg) && (len(msg) < headerSize || msg[2]&0x80 != 0) {
			t.Fatalf("%x would be answered", msg)
		}
	})
}
