package authority

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// queryWithOptions is a query for the pool's address, with an OPT record that has the given data.
func queryWithOptions(tb testing.TB, options ...byte) []byte {
	tb.Helper()
	return typeWithOptions(tb, dns.TypeA, options...)
}

func typeWithOptions(tb testing.TB, qtype uint16, options ...byte) []byte {
	tb.Helper()
	msg := truthQuery(tb, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", qtype, 1232)
	binary.BigEndian.PutUint16(msg[len(msg)-2:], uint16(len(options)))
	return append(msg, options...)
}

// option is an EDNS option of size bytes.
func option(code uint16, size int) []byte {
	o := binary.BigEndian.AppendUint16(nil, code)
	o = binary.BigEndian.AppendUint16(o, uint16(size))
	return append(o, bytes.Repeat([]byte{0xa5}, size)...)
}

// withRecord is a message with one more record in the section whose count is at the given place of the header.
func withRecord(msg, record []byte, count int) []byte {
	msg = append(bytes.Clone(msg), record...)
	binary.BigEndian.PutUint16(msg[count:], binary.BigEndian.Uint16(msg[count:])+1)
	return msg
}

const answerCount, additionalCount = 6, 10 // where the header has them

// faultyMessages are messages with their flags and the codes that they are answered with.
func faultyMessages(t *testing.T) map[string]struct {
	msg   []byte
	rcode int
} {
	t.Helper()
	type faulty = struct {
		msg   []byte
		rcode int
	}
	plain := truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1)
	req := new(dns.Msg)
	if err := req.Unpack(plain); err != nil {
		t.Fatal(err)
	}
	key := newTestKey(t, "xfr.", 1)
	key.Sign(req, time.Now())
	signed, _, err := dns.TsigGenerateWithProvider(req, key.Ring(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	signature := signed[len(plain):]
	tsigHead := len("\003xfr\000") + 8 // to the length of the data
	tsigOf := func(data ...byte) []byte {
		record := bytes.Clone(signature[:tsigHead])
		return append(append(record, 0, byte(len(data))), data...)
	}
	a := []byte{0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1}
	shortA := []byte{0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 3, 192, 0, 2}
	tests := map[string]faulty{
		"no question":             {append(bytes.Clone(plain[:4]), make([]byte, 8)...), dns.RcodeFormatError},
		"two questions":           {withRecord(plain, plain[wire.HeaderSize:], 4), dns.RcodeFormatError},
		"cut":                     {plain[:len(plain)-1], dns.RcodeFormatError},
		"an address of 3 bytes":   {withRecord(plain, shortA, additionalCount), dns.RcodeFormatError},
		"a bad cookie":            {queryWithOptions(t, option(dns.EDNS0COOKIE, 7)...), dns.RcodeFormatError},
		"TSIG twice":              {withRecord(signed, signature, additionalCount), dns.RcodeFormatError},
		"a record behind TSIG":    {withRecord(signed, a, additionalCount), dns.RcodeFormatError},
		"an OPT record behind it": {withRecord(signed, queryWithOptions(t)[len(plain):], additionalCount), dns.RcodeFormatError},
		"TSIG as an answer":       {withRecord(plain, signature, answerCount), dns.RcodeFormatError},
		"TSIG without data":       {withRecord(plain, tsigOf(), additionalCount), dns.RcodeFormatError},
		"TSIG, a root name only":  {withRecord(plain, tsigOf(0), additionalCount), dns.RcodeFormatError},
		"TSIG, a MAC beyond it": {withRecord(plain, tsigOf(0, 0, 0, 0, 0, 0, 0, 1, 44, 0, 9, 0, 0, 0, 0, 0, 0), additionalCount),
			dns.RcodeFormatError},
		"TSIG, bytes behind": {withRecord(plain, tsigOf(0, 0, 0, 0, 0, 0, 0, 1, 44, 0, 0, 0, 0, 0, 0, 0, 0, 9),
			additionalCount), dns.RcodeFormatError},
		"a broken option, signed": {withRecord(queryWithOptions(t, option(dns.EDNS0LLQ, 1)...), signature, additionalCount),
			dns.RcodeFormatError},
		"signed with flags it had": {signed, dns.RcodeNotAuth}, // the flags that the test sets are not those that were signed
	}
	for opcode := 1; opcode < 16; opcode++ {
		msg := bytes.Clone(plain)
		msg[2] = byte(opcode<<3) | msg[2]&0x01
		tests[fmt.Sprint("opcode ", opcode)] = faulty{msg, dns.RcodeNotImplemented}
	}
	return tests
}

// TestFaultsOverTheWire sends each faulty message with all flags set: RD alone is copied.
func TestFaultsOverTheWire(t *testing.T) {
	t.Parallel()
	s, addr, _ := startPrimary(t, transferConfig("xfr."), nil, newTestKey(t, "xfr.", 1), "")
	s.publish(testSnapshot(t, 1, 2))
	const response, opcodes, rd = 0x80, 0x78, 0x01
	for name, test := range faultyMessages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, network := range []string{"udp", "tcp"} {
				for _, flags := range [][2]byte{{0x06, 0xff}, {0x07, 0xf0}, {0, 0}} {
					msg := bytes.Clone(test.msg)
					msg[2], msg[3] = msg[2]&opcodes|flags[0], flags[1]
					resp := exchangeRaw(t, addr, network, msg)
					want := [2]byte{response | msg[2]&opcodes | flags[0]&rd, byte(test.rcode)}
					if name == "signed with flags it had" && flags == [2]byte{} {
						continue // it may be just what was signed
					}
					if got := [2]byte(resp[2:4]); got != want {
						t.Errorf("over %s, with the flags %x: answered with the flags %x, want %x", network, flags, got, want)
					}
				}
			}
		})
	}
}

// exchangeRaw sends a message and returns the response.
func exchangeRaw(t *testing.T, addr, network string, msg []byte) []byte {
	t.Helper()
	conn, err := dns.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(msg); err != nil {
		t.Fatal(err)
	}
	resp, err := conn.ReadMsgHeader(nil)
	if err != nil {
		t.Fatalf("%x over %s: %v", msg, network, err)
	}
	return resp
}

// TestOptionsOfAnyLength sends options that are not answered, in all lengths: the answer is the same as without.
func TestOptionsOfAnyLength(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	for _, network := range []string{"udp", "tcp"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeANY} { // which is not prepared
			want := exchangeRaw(t, addr, network, typeWithOptions(t, qtype))[2:]
			for code := range uint16(25) {
				for _, size := range []int{0, 1, 2, 3, 4, 5, 8, 17, 18, 19, 100} {
					if !wire.Ignored(code, make([]byte, size)) {
						continue
					}
					msg := typeWithOptions(t, qtype, option(code, size)...)
					if got := exchangeRaw(t, addr, network, msg)[2:]; !bytes.Equal(got, want) {
						t.Fatalf("option %d of %d bytes over %s: %x, want %x", code, size, network, got, want)
					}
				}
			}
		}
	}
}

// TestCookieWithoutQuestion asks for a cookie and nothing else (RFC 7873 section 5.4).
func TestCookieWithoutQuestion(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	ask := func(cookie string, version byte) (rcode int, given string) {
		t.Helper()
		query := queryWithOptions(t, append(binary.BigEndian.AppendUint16([]byte{0, byte(dns.EDNS0COOKIE)}, uint16(len(cookie)/2)),
			unhex(t, cookie)...)...)
		question := len(query) - wire.OptSize - wire.OptionHead - len(cookie)/2
		msg := append(bytes.Clone(query[:wire.HeaderSize]), query[question:]...)
		msg[5], msg[wire.HeaderSize+6] = 0, version
		var resp dns.Msg
		if err := resp.Unpack(exchangeRaw(t, addr, "udp", msg)); err != nil {
			t.Fatal(err)
		}
		if len(resp.Question)+len(resp.Answer)+len(resp.Ns) > 0 || resp.IsEdns0() == nil || !resp.Response {
			t.Fatalf("answered with %v", &resp)
		}
		for _, o := range resp.IsEdns0().Option {
			given += o.(*dns.EDNS0_COOKIE).Cookie
		}
		return resp.Rcode, given
	}
	const client = "0102030405060708"
	rcode, cookie := ask(client, 0)
	if rcode != dns.RcodeSuccess || len(cookie) != 2*wire.CookieSize || cookie[:len(client)] != client {
		t.Fatalf("for a client's cookie: %s, %q", dns.RcodeToString[rcode], cookie)
	}
	if rcode, again := ask(cookie, 0); rcode != dns.RcodeSuccess || again != cookie {
		t.Errorf("for a good cookie: %s, %q", dns.RcodeToString[rcode], again)
	}
	bad := client + "01000000" + hex.EncodeToString(make([]byte, 12))
	if rcode, again := ask(bad, 0); rcode != dns.RcodeBadCookie || again == bad {
		t.Errorf("for a bad cookie: %s, %q", dns.RcodeToString[rcode], again)
	}
	if rcode, _ := ask(client, 1); rcode != dns.RcodeBadVers {
		t.Errorf("for EDNS version 1: %s", dns.RcodeToString[rcode])
	}
}
