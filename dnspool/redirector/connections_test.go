package redirector

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"mirrorpool/dnspool/listen"
	"mirrorpool/testdata/testbed"
)

// TestMakeRoom opens more connections than there may be, of one network and in all: each new one is answered, and one
// of those that have waited longest ends. The one answered last stays, by whichever path it was.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	s, stop := runServer(t, func(s *Server) { *s.conns = *listen.NewConnLimiter(4, 3) })
	defer stop()
	open := func(from, request string) (conn net.Conn, in *bufio.Reader) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		conn, err := d.Dial("tcp4", s.Addrs()[0].String())
		if err != nil {
			t.Skipf("cannot connect from %s: %v", from, err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		in = bufio.NewReader(conn)
		io.WriteString(conn, request)
		readAnswer(t, in)
		settle(t, s)
		return conn, in
	}
	ended := func(what string, in *bufio.Reader) {
		t.Helper()
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%s: %v, want its end", what, err)
		}
	}
	const other = "GET /pub/?mirrorlist HTTP/1.1\r\nHost: a\r\n\r\n" // net/http's
	first, fromFirst := open("127.7.1.1", other)
	_, fromSecond := open("127.7.1.2", plainText)
	third, fromThird := open("127.7.1.3", plainText)
	io.WriteString(first, other)
	readAnswer(t, fromFirst)
	settle(t, s)
	fourth, fromFourth := open("127.7.1.4", other)
	ended("of a network with one too many, who has waited longest", fromSecond)
	io.WriteString(third, plainText)
	readAnswer(t, fromThird)
	settle(t, s)
	open("127.7.2.1", plainText)
	open("127.7.3.1", plainText)
	ended("of the largest network, who has waited longest", fromFirst)
	for i, c := range []struct {
		conn net.Conn
		in   *bufio.Reader
	}{{third, fromThird}, {fourth, fromFourth}} {
		fmt.Fprint(c.conn, plainText)
		if resp := readAnswer(t, c.in); resp.StatusCode != 302 {
			t.Errorf("connection %d of those that stay: %s", i, resp.Status)
		}
	}
	if size := s.conns.Stats(); size != (listen.ConnStats{Connections: 4, Networks: 3, Evicted: 2}) {
		t.Errorf("connections: %+v", size)
	}
	if problems, err := testutil.CollectAndLint(s); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// settle waits until all connections wait for their clients: they are marked so just after the answer.
func settle(t *testing.T, s *Server) {
	t.Helper()
	testbed.Eventually(t, "no connection is busy", func() bool { return s.busy.Load() == 0 })
}

// TestProxiesAreNotOneClient: a proxy may have more connections than a client network.
func TestProxiesAreNotOneClient(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limiter := listen.NewConnLimiter(10, 1)
	l := &limitedListener{inner, limiter, func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.7.2.0/24")} }}
	defer l.Close()
	for _, from := range []string{"127.7.1.1", "127.7.1.2", "127.7.2.1", "127.7.2.2", "127.7.2.3"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		client, err := d.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Skipf("cannot connect from %s: %v", from, err)
		}
		defer client.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if size := limiter.Stats(); size != (listen.ConnStats{Connections: 4, Networks: 1, Evicted: 1}) {
		t.Errorf("it is %+v, want one of the clients and three of the proxies", size)
	}
}
