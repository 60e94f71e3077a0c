package authority

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/tsig"
)

func newTestKey(tb testing.TB, name string, fill byte) *tsig.Key {
	tb.Helper()
	k, err := tsig.NewKey(name, "hmac-sha256", bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// transferConfig allows transfers to the given clients and keys only.
func transferConfig(allow ...string) config.DNS {
	c := testConfig()
	c.Listen, c.AllowTransfer = []string{"127.0.0.1:0"}, allow
	return c
}

// startPrimary runs a server with a feed until stop is called, or the test ends.
func startPrimary(
	tb testing.TB, c config.DNS, static *StaticRecords, key *tsig.Key, dir string,
) (s *Server, addr string, stop func()) {
	tb.Helper()
	feed, err := transfer.NewServer(c, key.Ring(), dir, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	s, err = Listen(tb.Context(), Options{Config: c, ZoneFile: static, Transfers: feed, Keys: key.Ring(), Log: zap.NewNop()})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	}
	tb.Cleanup(stop)
	return s, s.Addrs()[0].String(), stop
}

// snapshotAt is testSnapshot with a serial.
func snapshotAt(tb testing.TB, mirrors int, serial uint32) *dnspool.Snapshot {
	tb.Helper()
	s := *testSnapshot(tb, mirrors, 2)
	s.Serial = serial
	return &s
}

// transfer asks for a transfer as a secondary does, and returns all records, message by message.
func fetchZone(tb testing.TB, addr string, req *dns.Msg, key *tsig.Key) (messages [][]dns.RR, err error) {
	tb.Helper()
	var tr dns.Transfer
	tr.ReadTimeout = 20 * time.Second
	if key != nil {
		tr.TsigProvider = key.Ring()
		key.Sign(req, time.Now())
	}
	envelopes, err := tr.In(req, addr)
	if err != nil {
		return nil, err
	}
	for e := range envelopes {
		if e.Error != nil {
			return messages, e.Error
		}
		messages = append(messages, e.RR)
	}
	return messages, nil
}

func axfrRequest() *dns.Msg { return new(dns.Msg).SetAxfr("dl.example.org.") }

func ixfrRequest(serial uint32) *dns.Msg {
	return new(dns.Msg).SetIxfr("dl.example.org.", serial, "ns1.example.org.", "x.example.org.")
}

func lines(rrs []dns.RR) (lines []string) {
	for _, rr := range rrs {
		lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
	}
	return lines
}

// TestAXFR wants all records, once each, between two SOA records: all addresses whatever max_answers is, and none of a
// disabled mirror.
func TestAXFR(t *testing.T) {
	t.Parallel()
	c := transferConfig("127.0.0.0/8")
	c.Names = []string{"@", "*.eu"}
	s, addr, _ := startPrimary(t, c, nil, nil, "")
	s.publish(snapshotAt(t, 3, 7))
	messages, err := fetchZone(t, addr, axfrRequest(), nil)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	soa := strings.Replace(fmt.Sprintf(soa, 3600), "1800000000", "7", 1)
	got := lines(messages[0])
	if got[0] != soa || got[len(got)-1] != soa {
		t.Errorf("it begins with %s and ends with %s", got[0], got[len(got)-1])
	}
	got = got[1 : len(got)-1]
	slices.Sort(got)
	var want []string
	for _, owner := range []string{"dl.example.org.", "*.eu.dl.example.org."} {
		for _, data := range []string{"A 192.0.2.1", "A 192.0.2.2", "A 192.0.2.3", "AAAA 2001:db8::1", "AAAA 2001:db8::3"} {
			want = append(want, owner+" 60 IN "+data)
		}
	}
	want = append(want, "dl.example.org. 3600 IN NS ns1.example.org.", "dl.example.org. 3600 IN NS ns2.example.org.",
		"m1.dl.example.org. 60 IN A 192.0.2.1", "m1.dl.example.org. 60 IN AAAA 2001:db8::1")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestIXFR follows a zone through its versions.
func TestIXFR(t *testing.T) {
	t.Parallel()
	c := transferConfig("127.0.0.0/8")
	c.Names = []string{"@"}
	s, addr, _ := startPrimary(t, c, nil, nil, "")
	s.publish(snapshotAt(t, 12, 7))
	s.publish(snapshotAt(t, 11, 8))
	s.publish(snapshotAt(t, 11, 8)) // nothing new
	s.publish(snapshotAt(t, 13, 9))
	soa := func(serial string) string {
		return strings.Replace(fmt.Sprintf(soa, 3600), "1800000000", serial, 1)
	}
	const owner = "dl.example.org. 60 IN "
	for _, test := range []struct {
		serial uint32
		want   []string // nil: all of the zone
	}{
		{7, []string{soa("9"), soa("7"), owner + "A 192.0.2.12", soa("8"),
			soa("8"), soa("9"), owner + "A 192.0.2.12", owner + "A 192.0.2.13", owner + "AAAA 2001:db8::13", soa("9")}},
		{8, []string{soa("9"), soa("8"), soa("9"), owner + "A 192.0.2.12", owner + "A 192.0.2.13", owner + "AAAA 2001:db8::13",
			soa("9")}},
		{9, []string{soa("9")}},
		{10, []string{soa("9")}}, // it is ahead of us
		{6, nil},
	} {
		messages, err := fetchZone(t, addr, ixfrRequest(test.serial), nil)
		if err != nil || len(messages) != 1 {
			t.Errorf("since %d: %d messages, %v", test.serial, len(messages), err)
			continue
		}
		got := lines(messages[0])
		if test.want == nil {
			test.want = got
			if len(got) < 20 || strings.Count(strings.Join(got, "\n"), "SOA") != 2 {
				t.Errorf("since %d: got %q, want the zone", test.serial, got)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("since %d: got\n%s\nwant\n%s", test.serial, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
	// Over UDP the SOA says that there is something to come for over TCP (RFC 1995 section 2).
	resp, _, err := new(dns.Client).Exchange(ixfrRequest(7), addr)
	if err != nil || !slices.Equal(lines(resp.Answer), []string{soa("9")}) || !resp.Authoritative {
		t.Errorf("over UDP: %v, %v", resp, err)
	}
	bare := ixfrRequest(7)
	bare.Ns = nil
	resp, _, err = (&dns.Client{Net: "tcp"}).Exchange(bare, addr)
	if err != nil || resp.Rcode != dns.RcodeFormatError {
		t.Errorf("IXFR from nothing: %v, %v; want FORMERR", resp, err)
	}
}

// largeStatic is a zone file of n records.
func largeStatic(tb testing.TB, n int) *StaticRecords {
	tb.Helper()
	var text strings.Builder
	text.WriteString("@ 3600 IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 604800 60\n@ IN NS ns1.example.org.\n")
	for i := range n - 2 {
		fmt.Fprintf(&text, "host%d IN TXT \"this is the record %d\"\n", i, i)
	}
	static, err := parseStatic("large", []byte(text.String()), "dl.example.org.", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return static
}

// TestLargeTransfer needs many messages, each of them signed.
func TestLargeTransfer(t *testing.T) {
	t.Parallel()
	key := newTestKey(t, "xfr.", 1)
	c := transferConfig("xfr.")
	c.Names = []string{"@"}
	s, addr, _ := startPrimary(t, c, largeStatic(t, 5000), key, "")
	s.publish(snapshotAt(t, 200, 7))
	messages, err := fetchZone(t, addr, axfrRequest(), key)
	if err != nil || len(messages) < 5 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	if all := slices.Concat(messages...); len(all) != 5000+200+100+2+1 {
		t.Errorf("%d records", len(all))
	}
}

// TestTransferHoldsUpNoOthers has transfers wait for their turn, signed and not, and other queries on the same
// connection. These are answered at once (RFC 7766 section 6.2.1.1), and nothing is lost if the client half-closes.
func TestTransferHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	key := newTestKey(t, "transfer.", 1)
	s, addr, _ := startPrimary(t, transferConfig("transfer."), nil, key, "")
	s.publish(snapshotAt(t, 3, 7))
	var others []func() // that take all turns
	for range transfer.MaxTransfers {
		done, ok := s.o.Transfers.TakeTurn()
		if !ok {
			t.Fatal("there are fewer turns than transfers")
		}
		others = append(others, done)
	}
	var stream []byte
	ask := func(id, qtype uint16) {
		m := new(dns.Msg).SetQuestion("dl.example.org.", qtype)
		m.Id = id
		message, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		stream = append(stream, frame(message)...)
	}
	askSigned := func(id, qtype uint16) (mac string) {
		m := new(dns.Msg).SetQuestion("dl.example.org.", qtype)
		m.Id = id
		key.Sign(m, time.Now())
		message, mac, err := dns.TsigGenerateWithProvider(m, key.Ring(), "", false)
		if err != nil {
			t.Fatal(err)
		}
		stream = append(stream, frame(message)...)
		return mac
	}
	mac := askSigned(1, dns.TypeAXFR)
	ask(2, dns.TypeA)
	ask(3, dns.TypeMX)
	ask(4, dns.TypeAXFR) // REFUSED
	askSigned(5, dns.TypeSOA)
	askSigned(6, dns.TypeAXFR) // waits until the first one is over, and so do those after it
	ask(7, dns.TypeA)
	conn := dialTCP(t, addr)
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for id := uint16(2); id <= 5; id++ {
		if m := readFrame(t, conn); m.Id != id {
			t.Fatalf("the answer to %d comes where that to %d is due", m.Id, id)
		}
	}
	for _, done := range others {
		done()
	}
	var prefix [2]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		t.Fatal(err)
	}
	if err := dns.TsigVerifyWithProvider(message, key.Ring(), mac, false); err != nil || binary.BigEndian.Uint16(message) != 1 {
		t.Errorf("the transfer has the id %d, and its signature: %v", binary.BigEndian.Uint16(message), err)
	}
	rest := []uint16{readFrame(t, conn).Id, readFrame(t, conn).Id}
	slices.Sort(rest)
	if !slices.Equal(rest, []uint16{6, 7}) {
		t.Errorf("the rest has the ids %d", rest)
	}
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes more, %v; want the end", n, err)
	}
}

// TestCutTransfer has clients that go away or do not read while they are served.
func TestCutTransfer(t *testing.T) {
	t.Parallel()
	s, addr, _ := startPrimary(t, transferConfig("127.0.0.1/32"), largeStatic(t, 5000), nil, "")
	s.publish(snapshotAt(t, 200, 7))
	message, err := axfrRequest().Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * transfer.MaxTransfers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // a reset, not an end
			t.Fatal(err)
		}
		if _, err := conn.Write(append([]byte{0, byte(len(message))}, message...)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if messages, err := fetchZone(t, addr, axfrRequest(), nil); err != nil || len(messages) < 5 {
		t.Errorf("afterwards: %d messages, %v", len(messages), err)
	}
}
