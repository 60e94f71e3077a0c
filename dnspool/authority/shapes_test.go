package authority

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// A shape of query is a message that differs from a plain query in something else than its name and type.
type queryShape struct {
	name string
	make func(name string, qtype uint16) []byte
}

// queryShapes are the shapes in which TestDifferentialShapes asks everything.
func queryShapes(tb testing.TB) []queryShape {
	tb.Helper()
	with := func(change func(m *dns.Msg)) func(string, uint16) []byte {
		return func(name string, qtype uint16) []byte {
			m := new(dns.Msg)
			m.SetQuestion(name, qtype)
			change(m)
			packed, err := m.Pack()
			if err != nil {
				tb.Fatal(err)
			}
			return packed
		}
	}
	edns := func(size uint16, change func(opt *dns.OPT)) func(string, uint16) []byte {
		return with(func(m *dns.Msg) {
			m.SetEdns0(size, false)
			change(m.IsEdns0())
		})
	}
	raw := func(from func(string, uint16) []byte, change func(msg []byte) []byte) func(string, uint16) []byte {
		return func(name string, qtype uint16) []byte { return change(from(name, qtype)) }
	}
	plain := with(func(*dns.Msg) {})
	plainEDNS := edns(1232, func(*dns.OPT) {})
	shapes := []queryShape{
		{"plain", plain},
		{"no RD", with(func(m *dns.Msg) { m.RecursionDesired = false })},
		{"AD", with(func(m *dns.Msg) { m.AuthenticatedData = true })},
		{"CD", with(func(m *dns.Msg) { m.CheckingDisabled = true })},
		{"RA", with(func(m *dns.Msg) { m.RecursionAvailable = true })},
		{"AA", with(func(m *dns.Msg) { m.Authoritative = true })},
		{"TC", with(func(m *dns.Msg) { m.Truncated = true })},
		{"Z", with(func(m *dns.Msg) { m.Zero = true })},
		{"an rcode", with(func(m *dns.Msg) { m.Rcode = 5 })},
		{"EDNS", plainEDNS},
		{"EDNS, DO", edns(1232, func(o *dns.OPT) { o.SetDo() })},
		{"EDNS, 512 bytes", edns(512, func(o *dns.OPT) {})},
		{"EDNS, 0 bytes", edns(0, func(o *dns.OPT) {})},
		{"EDNS, 65535 bytes", edns(65535, func(o *dns.OPT) {})},
		{"EDNS, Z flags", edns(1232, func(o *dns.OPT) { o.Hdr.Ttl |= 0x7fff })},
		{"EDNS 1", edns(1232, func(o *dns.OPT) { o.SetVersion(1) })},
		{"EDNS 255, DO", edns(1232, func(o *dns.OPT) { o.SetVersion(255); o.SetDo() })},
		{"unknown option", edns(1232, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65002, Data: []byte("x")}} })},
		{"padding", edns(1232, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 20)}} })},
		{"NSID", edns(1232, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}} })},
		{"no question, a cookie", raw(plainEDNS, func(msg []byte) []byte {
			opt := msg[len(msg)-wire.OptSize:]
			msg = append(msg[:wire.HeaderSize], opt...)
			msg[5], msg[len(msg)-1] = 0, 12
			return append(msg, option(dns.EDNS0COOKIE, 8)...)
		})},
		{"TSIG twice", raw(plain, func(msg []byte) []byte {
			return withRecord(withRecord(msg, emptySignature, additionalCount), emptySignature, additionalCount)
		})},
		{"TSIG before OPT", raw(plainEDNS, func(msg []byte) []byte {
			end := len(msg) - wire.OptSize
			return append(withRecord(msg[:end], emptySignature, additionalCount), msg[end:]...)
		})},
		{"TSIG as an answer", raw(plain, func(msg []byte) []byte { return withRecord(msg, emptySignature, answerCount) })},
		{"TSIG without data", raw(plain, func(msg []byte) []byte {
			return withRecord(msg, []byte{1, 'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0}, additionalCount)
		})},
		{"two OPTs", raw(plainEDNS, func(msg []byte) []byte { msg[11] = 2; return append(msg, msg[len(msg)-wire.OptSize:]...) })},
		{"an OPT of another owner", raw(plainEDNS, func(msg []byte) []byte {
			opt := msg[len(msg)-wire.OptSize+1:]
			return append(append(slices.Clone(msg[:len(msg)-wire.OptSize]), 0xc0, 12), opt...)
		})},
		{"no question", raw(plain, func(msg []byte) []byte { msg[5] = 0; return msg[:wire.HeaderSize] })},
		{"two questions", raw(plain, func(msg []byte) []byte { msg[5] = 2; return append(msg, msg[wire.HeaderSize:]...) })},
		{"cut in the question", raw(plain, func(msg []byte) []byte { return msg[:len(msg)-3] })},
		{"an answer announced", raw(plain, func(msg []byte) []byte { msg[7] = 1; return msg })},
		{"an additional record announced", raw(plain, func(msg []byte) []byte { msg[11] = 1; return msg })},
		{"bytes behind", raw(plain, func(msg []byte) []byte { return append(msg, 1, 2, 3) })},
		{"a pointer at itself", raw(plain, func(msg []byte) []byte { return append(msg[:wire.HeaderSize], 0xc0, 12, 0, 1, 0, 1) })},
		{"a pointer forward", raw(plain, func(msg []byte) []byte {
			return append(msg[:wire.HeaderSize], 0xc0, 18, 0, 1, 0, 1, 1, 'a', 0)
		})},
		{"a reserved label", raw(plain, func(msg []byte) []byte { return append(msg[:wire.HeaderSize], 0x41, 'a', 0, 0, 1, 0, 1) })},
	}
	for _, code := range []uint16{dns.EDNS0LLQ, dns.EDNS0EXPIRE, dns.EDNS0ZONEVERSION} {
		for _, size := range []int{0, 1} {
			shapes = append(shapes, queryShape{fmt.Sprintf("option %d of %d bytes", code, size), raw(plainEDNS, func(msg []byte) []byte {
				msg[len(msg)-1] = byte(wire.OptionHead + size)
				return append(msg, option(code, size)...)
			})})
		}
	}
	for opcode := 1; opcode < 16; opcode++ {
		shapes = append(shapes, queryShape{fmt.Sprintf("opcode %d", opcode), with(func(m *dns.Msg) { m.Opcode = opcode })})
	}
	for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65280} {
		shapes = append(shapes, queryShape{fmt.Sprintf("class %d", class), with(func(m *dns.Msg) { m.Question[0].Qclass = class })})
	}
	return shapes
}

// emptySignature is a TSIG record of the key "k", without a MAC.
var emptySignature = append([]byte{1, 'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 17}, make([]byte, 17)...)

// shapeQuestions are what each shape asks for.
func shapeQuestions() []dns.Question {
	long := strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("b", 53) + "." + staticZone // 255 octets
	var questions []dns.Question
	for _, name := range []string{staticZone, "DL.Example.ORG.", "nothing.dl.example.org.", "txt.dl.example.org.",
		"example.net.", "version.bind.", ".", long} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeSOA, dns.TypeANY, dns.TypeDS, 0, dns.TypeOPT, dns.TypeTKEY,
			dns.TypeMAILB, dns.TypeMAILA, 65281} {
			questions = append(questions, dns.Question{Name: name, Qtype: qtype})
		}
	}
	return questions
}

// A difference is an answer of a peer that is not ours, and why.
type difference struct {
	peer   string
	shapes []string // nil: all
	types  []uint16 // nil: all
	why    string
}

// shapeDifferences are the differences that are meant.
var shapeDifferences = []difference{
	{"bind", nil, []uint16{dns.TypeOPT, dns.TypeTKEY, dns.TypeMAILB, dns.TypeMAILA},
		"it refuses to be asked for types without records of their own; for us and NSD there are none: RFC 6895 section 3.1 asks " +
			"for no more"},
	{"knot", nil, []uint16{0}, "it does not implement type 0, of which for us, BIND and NSD there are no records (RFC 6895 " +
		"section 3.1)"},
	{"bind", []string{"CD"}, nil, "it copies CD, which an authoritative server should clear (RFC 4035 section 3.1.6)"},
	{"bind", []string{"option 1 of 0 bytes", "option 1 of 1 bytes", "option 9 of 1 bytes"}, nil,
		"it wants LLQ and EXPIRE to be well formed, although they change nothing here; we ignore them (RFC 6891 section 6.1.2), " +
			"as Knot and NSD do"},
	{"knot", []string{"no question, a cookie"}, nil,
		"it does not implement queries without a question, which RFC 7873 section 5.4 has for cookies; BIND does"},
	{"bind", []string{"an OPT of another owner"}, nil,
		"at the root a pointer at the question is the root's name; RFC 6891 section 6.1.2 wants the name to be 0, and we take it " +
			"by the letter"},
	{"knot", []string{"an OPT of another owner"}, nil,
		"it does not look at the owner, which has to be the root (RFC 6891 section 6.1.2); BIND and NSD do"},
	{"knot", []string{"bytes behind"}, nil,
		"it refuses what is behind the message, as RFC 1035 does not; BIND and NSD ignore it, too"},
	{"nsd", []string{"an rcode"}, nil,
		"it refuses a query with an rcode, which RFC 1035 section 4.1.1 gives no meaning in queries; BIND and Knot ignore it, too"},
	{"nsd", []string{"EDNS 255, DO"}, nil, "it forgets DO, which is copied (RFC 3225 section 3)"},
	{"nsd", []string{"two questions"}, nil, "it clears RD, which is copied (RFC 1035 section 4.1.1)"},
	{"bind", []string{"opcode 4", "opcode 5"}, nil,
		"it is open to NOTIFY and UPDATE, which we do not implement: NOTIMP (RFC 1996 section 3.12, RFC 2136 section 2.2)"},
	{"knot", []string{"opcode 4", "opcode 5"}, nil, "likewise"},
	{"nsd", []string{"opcode 4"}, nil, "it does implement NOTIFY, and refuses it from everyone here"},
	{"bind", []string{"opcode 1", "opcode 2", "opcode 3", "opcode 6", "opcode 7", "opcode 8", "opcode 9", "opcode 10",
		"opcode 11", "opcode 12",
		"opcode 13", "opcode 14", "opcode 15"}, nil, "it clears RD, which is copied (RFC 1035 section 4.1.1)"},
	{"bind", []string{"class 0", "class 2", "class 254", "class 255", "class 65280"}, nil,
		"it says FORMERR or NOTIMP where we, Knot and NSD say REFUSED: the query is well formed, and of a class that is not served"},
	{"knot", []string{"class 3"}, nil, "it tells its version unless told otherwise"},
	{"nsd", []string{"class 3"}, nil, "likewise"},
	{"knot", []string{"class 255"}, nil,
		"it takes class ANY for IN; an answer of any class can hardly be complete, and BIND refuses it too"},
	{"nsd", []string{"class 255"}, nil, "likewise, but without AA"},
}

// explain returns the index of the difference that is meant, or -1.
func explain(peer, shape string, qtype uint16) int {
	return slices.IndexFunc(shapeDifferences, func(d difference) bool {
		return d.peer == peer && (d.shapes == nil || slices.Contains(d.shapes, shape)) &&
			(d.types == nil || slices.Contains(d.types, qtype))
	})
}

// TestDifferentialShapes sends BIND, Knot and NSD the same messages, of all shapes, as mirrorpool, and wants the same
// answers but for shapeDifferences. A difference that is no longer seen has to be taken out there.
//
// ANY is left out, to which each gives another small answer (RFC 8482). So is what a peer does not answer at all:
// silence is no example to follow.
func TestDifferentialShapes(t *testing.T) {
	t.Parallel()
	ours := startStatic(t)
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			theirs := p.start(t)
			seen, compared := map[int]bool{}, map[int]bool{} // of shapeDifferences
			for _, shape := range queryShapes(t) {
				silences := 0 // of the peer: it is not asked for ever
				for _, q := range shapeQuestions() {
					msg := shape.make(q.Name, q.Qtype)
					for _, network := range []string{"udp", "tcp"} {
						got := rawView(t, ours, network, msg, 10*time.Second)
						if got == silence {
							t.Errorf("%s of %s %s over %s: no answer", shape.name, q.Name, dns.Type(q.Qtype), network)
						}
						want := silence
						if silences < 3 && !(p.name == "bind" && shape.name == "class 3") { // whose rate it limits
							want = rawView(t, theirs, network, msg, 500*time.Millisecond)
						}
						if want == silence {
							silences++
						}
						if want == silence || q.Qtype == dns.TypeANY {
							continue
						}
						why := explain(p.name, shape.name, q.Qtype)
						if compared[why] = true; got == want {
							continue
						}
						if seen[why] = true; why < 0 {
							t.Errorf("%s of %s %s over %s\nmirrorpool: %s\n%s: %s", shape.name, q.Name, dns.Type(q.Qtype), network, got, p.name, want)
						}
					}
				}
			}
			for i, d := range shapeDifferences {
				if compared[i] && !seen[i] {
					t.Errorf("there is no difference any more in %v of %v: %s", d.shapes, d.types, d.why)
				}
			}
		})
	}
}

// silence is the view of no answer.
const silence = "silence"

// rawView sends a message and puts what comes back within patience into words, in lower case: a peer may write names as
// it was asked, or as it knows them.
func rawView(t *testing.T, addr, network string, msg []byte, patience time.Duration) string {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := dns.Conn{Conn: conn}
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		conn.(*net.TCPConn).CloseWrite()
	}
	resp, err := c.ReadMsgHeader(nil)
	if err != nil {
		return silence
	}
	bits := binary.BigEndian.Uint16(resp[2:])
	text := fmt.Sprintf("opcode=%d %s", bits>>11&0xf, dns.RcodeToString[int(bits&0xf)])
	for _, flag := range []struct {
		bit  uint16
		name string
	}{{1 << 10, "aa"}, {1 << 9, "tc"}, {1 << 8, "rd"}, {1 << 7, "ra"}, {1 << 6, "z"}, {1 << 5, "ad"}, {1 << 4, "cd"}} {
		if bits&flag.bit != 0 {
			text += " " + flag.name
		}
	}
	var m dns.Msg
	if err := m.Unpack(resp); err != nil {
		return text + " unreadable"
	}
	if opt := m.IsEdns0(); opt != nil {
		text += fmt.Sprintf(" edns=%d do=%v rcode=%d", opt.Version(), opt.Do(), m.Rcode)
	}
	return strings.ToLower(text + sectionsOf(&m))
}
