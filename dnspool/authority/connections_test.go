package authority

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"mirrorpool/dnspool/listen"
	"mirrorpool/testdata/testbed"
)

// TestCrowd fills it: one network with all that it may have, others with the rest.
func TestCrowd(t *testing.T) {
	t.Parallel()
	c, now, most := newConnLimiter(), time.Unix(1_800_000_000, 0), min(maxConnections, listen.MaxDescriptors()/2)
	ofNetwork := min(maxNetworkConnections, most/8)
	enter := func(addr string) { c.Admit(networkOf(netip.MustParseAddr(addr)), io.NopCloser(nil), now) }
	for i := range ofNetwork {
		enter(fmt.Sprintf("192.0.2.%d", i%250))
	}
	if size := c.Stats(); size != (listen.ConnStats{Connections: ofNetwork, Networks: 1}) {
		t.Errorf("a network has %+v, want %d connections", size, ofNetwork)
	}
	enter("::ffff:192.0.2.1")
	if size := c.Stats(); size != (listen.ConnStats{Connections: ofNetwork, Networks: 1, Evicted: 1}) {
		t.Errorf("and with one more it has %+v", size)
	}
	for i := range maxConnections { // each from a network of its own
		enter(fmt.Sprintf("2001:db8:%x:%x00::1", i>>8, i&0xff))
	}
	if size := c.Stats(); size.Connections != most || int(size.Evicted) != 1+ofNetwork+maxConnections-most {
		t.Errorf("in all there are %+v, of %d descriptors", size, listen.MaxDescriptors())
	}
}

// TestConnectionsLeave opens and closes connections.
func TestConnectionsLeave(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	for range 3 {
		var conns []net.Conn
		for range 40 {
			conns = append(conns, dialTCP(t, addr))
		}
		for _, conn := range conns {
			conn.Close()
		}
	}
	testbed.EventuallyNil(t, func() error {
		if left := s.connLimiter.Stats(); left != (listen.ConnStats{}) {
			return fmt.Errorf("%+v are still counted", left)
		}
		return nil
	})
}

// TestMakeRoom opens more connections than there may be: one that has been answered last, by whichever path, stays.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0", func(s *Server) { *s.connLimiter = *listen.NewConnLimiter(3, 3) })
	s.publish(testSnapshot(t, 1, 2))
	ask := func(conn net.Conn, qtype uint16) error {
		c := dns.Conn{Conn: conn}
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("dl.example.org.", qtype)); err != nil {
			return err
		}
		_, err := c.ReadMsg()
		return err
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeANY} { // ANY is miekg/dns's
		var conns []net.Conn
		for range 3 {
			conns = append(conns, dialTCP(t, addr))
			if err := ask(conns[len(conns)-1], dns.TypeA); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask(conns[0], qtype); err != nil {
			t.Fatal(err)
		}
		fourth := dialTCP(t, addr)
		if err := ask(fourth, dns.TypeA); err != nil {
			t.Errorf("one more connection: %v", err)
		}
		if _, err := conns[1].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the one that has waited longest: %v, want its end", err)
		}
		for i, conn := range []net.Conn{conns[0], conns[2], fourth} {
			if err := ask(conn, qtype); err != nil {
				t.Errorf("connection %d of those that stay: %v", i, err)
			}
		}
	}
}

// TestHalfClose sends queries and says that there are no more, byte by byte.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	conn := dialTCP(t, addr)
	defer conn.Close()
	conn.SetNoDelay(true)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeANY, dns.TypeAAAA} {
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", qtype)
		msg, err := req.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range frame(msg) {
			if _, err := conn.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn.CloseWrite()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var types []uint16
	for range 3 {
		types = append(types, readFrame(t, conn).Question[0].Qtype)
	}
	if slices.Sort(types); !slices.Equal(types, []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeANY}) {
		t.Errorf("answers for %v", types)
	}
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the answers: %d bytes, %v; want the end", n, err)
	}
}

// TestSilentConnection waits until the server has had enough of it.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	conn := dialTCP(t, addr)
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(20 * firstQueryTime))
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes, %v; want the end", n, err)
	}
}

// holdVariable names the environment variable that makes this test program hold connections to the address in it, until
// its input ends. A process of its own has descriptors of its own.
const holdVariable = "MIRRORPOOL_TEST_HOLD"

const heldConnections = 10_000

// TestMain also fails the package if a goroutine outlives the tests: the code that starts one waits for it.
func TestMain(m *testing.M) {
	if addr := os.Getenv(holdVariable); addr != "" {
		hold(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

// hold opens connections from many networks, and asks once over each.
func hold(addr string) {
	var group errgroup.Group
	group.SetLimit(8)
	held := make([]net.Conn, heldConnections)
	for i := range held {
		group.Go(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/250), byte(1+i%250))}}
			conn, err := d.Dial("tcp", addr)
			if err != nil {
				return err
			}
			held[i] = conn
			c := dns.Conn{Conn: conn}
			req := new(dns.Msg)
			req.SetQuestion("dl.example.org.", dns.TypeA)
			if err := c.WriteMsg(req); err != nil {
				return err
			}
			_, err = c.ReadMsg()
			return err
		})
	}
	fmt.Println(group.Wait())
	io.Copy(io.Discard, os.Stdin)
}

// BenchmarkIdleConnections holds 10,000 connections of many networks, each of which has asked once, and measures what
// they take of memory, and how long a query over UDP takes with them and without. It fails if one is closed early.
func BenchmarkIdleConnections(b *testing.B) {
	s, addr := startServer(b, "127.0.0.1:0")
	s.publish(testSnapshot(b, 10, 2))
	before, quiet := residentMiB(b), medianLatency(b, addr)
	start := time.Now()
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), holdVariable+"="+addr)
	client.Stderr = os.Stderr
	in, err := client.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := client.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Start(); err != nil {
		b.Fatal(err)
	}
	defer client.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "<nil>\n" {
		b.Fatalf("the client says %q, %v", line, err)
	}
	open := s.connLimiter.Stats().Connections
	if took := time.Since(start); open < heldConnections {
		b.Fatalf("%d of %d connections are open after %v", open, heldConnections, took)
	}
	grown, busy := residentMiB(b)-before, medianLatency(b, addr)
	for b.Loop() {
	}
	b.ReportMetric(grown, "MiB")
	b.ReportMetric(float64(quiet.Microseconds()), "µs-quiet")
	b.ReportMetric(float64(busy.Microseconds()), "µs-held")
}

// medianLatency is how long a query over UDP takes.
func medianLatency(b *testing.B, addr string) time.Duration {
	b.Helper()
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	all := make([]time.Duration, 5000)
	for i := range all {
		start := time.Now()
		conn.SetDeadline(start.Add(5 * time.Second))
		if err := conn.WriteMsg(req); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.ReadMsg(); err != nil {
			b.Fatal(err)
		}
		all[i] = time.Since(start)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// residentMiB is how much memory the process has.
func residentMiB(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	b.Fatal(errors.New("no VmRSS in /proc/self/status"))
	return 0
}
