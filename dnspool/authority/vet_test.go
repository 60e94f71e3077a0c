package authority

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// malformedQueries are messages that a query with an OPT record is turned into.
func malformedQueries(tb testing.TB) map[string][]byte {
	tb.Helper()
	plain := truthQuery(tb, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, 1232)
	question := plain[:len(plain)-wire.OptSize]
	opt := plain[len(plain)-wire.OptSize:]
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
		"cut in the name":                plain[:20],
		"cut in the question":            plain[:len(question)-1],
		"a record that is not there":     with(1),
		"a cut record":                   plain[:len(plain)-1],
		"an answer that is not there":    at(7, 1),
		"an endless number of records":   at(10, 0xff, 0xff),
		"a name that points at itself":   at(12, 0xc0, 12),
		"a name that points forward":     at(12, 0xc0, 30),
		"a name that points into header": at(12, 0xc0, 2),
		"a reserved kind of label":       at(12, 0x41),
		"a long chain of pointers": func() []byte {
			m := with(2, []byte{0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0}) // whose data is an empty name
			data := len(m) - 2
			for range 255 {
				m = binary.BigEndian.AppendUint16(m, 0xc000|uint16(len(m)-2))
			}
			binary.BigEndian.PutUint16(m[data-2:], uint16(len(m)-data))
			binary.BigEndian.PutUint16(m[data:], 0xc00c)
			return append(append(m, 0xc0|byte((len(m)-2)>>8), byte(len(m)-2)), 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		}(),
		"another reserved kind of label":  at(12, 0x81),
		"two OPT records":                 with(2, opt, opt),
		"an OPT record of another owner":  with(1, append([]byte{0xc0, 12}, opt[1:]...)),
		"an OPT record among the answers": func() []byte { m := with(0, opt); m[7] = 1; return m }(),
		"an option past its record":       with(1, options(0, 10, 0, 9, 1)),
		"an option without a length":      with(1, options(0, 10)),
		"data past the message":           with(1, address[:14]),
	}
}

func TestVet(t *testing.T) {
	t.Parallel()
	for name, msg := range malformedQueries(t) {
		if _, f := wire.Vet(msg); f != wire.Malformed {
			t.Errorf("%s: fault %d, want malformed", name, f)
		}
		out, ok := newTruth(t, 1, 2).fast.respond(nil, msg, overUDP)
		if want := append(append(bytes.Clone(msg[:2]), 0x80|msg[2]&1, dns.RcodeFormatError), make([]byte, 8)...); !ok ||
			!bytes.Equal(out, want) {
			t.Errorf("%s: answered with %x, want FORMERR", name, out)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range truthNames {
		if msg := truthQuery(t, r, name, dns.TypeA, 1232); faultOf(msg) != wire.NoFault {
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
	req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"},
		&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
	if msg, err := req.Pack(); err != nil || faultOf(msg) != wire.NoFault {
		t.Errorf("an IXFR query with compression and options is taken for malformed: %x, %v", msg, err)
	}
}

// TestBadOptions has cookies and subnets that break the rules of their RFCs, and their neighbours that do not.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		code uint16
		data string // hexadecimal
		good bool
	}{
		"a client's cookie":         {dns.EDNS0COOKIE, "0102030405060708", true},
		"with a server's":           {dns.EDNS0COOKIE, "01020304050607080102030405060708", true},
		"with the longest server's": {dns.EDNS0COOKIE, strings.Repeat("01", 40), true},
		"no cookie":                 {dns.EDNS0COOKIE, "", false},
		"7 bytes":                   {dns.EDNS0COOKIE, "01020304050607", false},
		"9 bytes":                   {dns.EDNS0COOKIE, "010203040506070809", false},
		"15 bytes":                  {dns.EDNS0COOKIE, strings.Repeat("01", 15), false},
		"41 bytes":                  {dns.EDNS0COOKIE, strings.Repeat("01", 41), false},
		"an IPv4 subnet":            {dns.EDNS0SUBNET, "00011800c00002", true},
		"one of 20 bits":            {dns.EDNS0SUBNET, "00011400c000f0", true},
		"an IPv6 subnet":            {dns.EDNS0SUBNET, "0002380020010db8000000", true},
		"no subnet":                 {dns.EDNS0SUBNET, "00010000", true},
		"no subnet of no family":    {dns.EDNS0SUBNET, "00000000", true},
		"a scope":                   {dns.EDNS0SUBNET, "00011818c00002", false},
		"bits beyond the prefix":    {dns.EDNS0SUBNET, "00011400c00002", false},
		"too few bytes":             {dns.EDNS0SUBNET, "00011800c000", false},
		"too many bytes":            {dns.EDNS0SUBNET, "00011800c0000201", false},
		"33 bits":                   {dns.EDNS0SUBNET, "00012100c000020100", false},
		"family 3":                  {dns.EDNS0SUBNET, "00030000", false},
		"cut":                       {dns.EDNS0SUBNET, "000118", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := new(dns.Msg)
			req.SetQuestion("dl.example.org.", dns.TypeA)
			req.SetEdns0(4096, true)
			req.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: test.code, Data: unhex(t, test.data)}}
			msg, err := req.Pack()
			if err != nil {
				t.Fatal(err)
			}
			tr := newTruth(t, 1, 2)
			tr.check(t, msg, 0, false)
			out, ok := tr.fast.respond(nil, msg, overUDP)
			if test.good {
				if ok && out[3]&0xf != dns.RcodeSuccess || tr.zone == nil {
					t.Errorf("answered with %x", out)
				}
				return
			}
			var resp dns.Msg
			if err := resp.Unpack(out); err != nil || !ok || resp.Rcode != dns.RcodeFormatError || len(resp.Question) != 1 ||
				resp.IsEdns0() == nil ||
				!resp.IsEdns0().Do() || resp.IsEdns0().UDPSize() != 1232 || len(resp.IsEdns0().Option) > 0 {
				t.Errorf("answered with %v, %v, %v; want FORMERR with an OPT record", ok, err, &resp)
			}
		})
	}
}

func faultOf(msg []byte) wire.Fault {
	_, f := wire.Vet(msg)
	return f
}
