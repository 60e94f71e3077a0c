package authority

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/dnspool"
)

// publish makes the answers come from a snapshot, as the options that s was opened with have it.
func (s *Server) publish(snapshot *dnspool.Snapshot) { s.Publish(s.o.Config, s.o.ZoneFile, snapshot) }

// startServer runs a server until the end of the test, with what is changed in it before.
func startServer(t testing.TB, listen string, with ...func(*Server)) (*Server, string) {
	t.Helper()
	c := testConfig()
	c.Listen = []string{listen}
	s, err := Listen(t.Context(), Options{Config: c, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range with {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	return s, s.Addrs()[0].String()
}

func TestServer(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		resp, _, err := client.Exchange(req, addr)
		if err != nil || resp.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s, before the first snapshot: %v, %v; want SERVFAIL", network, resp, err)
		}
	}
	s.publish(testSnapshot(t, 1, 2))
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		resp, _, err := client.Exchange(req, addr)
		if err != nil || len(resp.Answer) != 1 {
			t.Errorf("%s: %v, %v; want an answer", network, resp, err)
		}
	}
}

// TestTCPAfterTruncation does what a resolver does with a truncated answer.
func TestTCPAfterTruncation(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 100, 100))
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	client := dns.Client{}
	resp, _, err := client.Exchange(req, addr)
	if err != nil || !resp.Truncated {
		t.Fatalf("%v, %v; want a truncated response", resp, err)
	}
	client.Net = "tcp"
	if resp, _, err = client.Exchange(req, addr); err != nil || len(resp.Answer) != 100 {
		t.Errorf("%v, %v; want 100 addresses", resp, err)
	}
}

// TestBadPackets sends what is not a query, and then a query, to see who is still there.
func TestBadPackets(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	query := func(change func(m *dns.Msg)) []byte {
		m := new(dns.Msg)
		m.SetQuestion("dl.example.org.", dns.TypeA)
		change(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	good := query(func(*dns.Msg) {})
	tests := map[string]struct {
		packet []byte
		rcode  int // -1: silence
	}{
		"empty":               {nil, -1},
		"shorter than header": {good[:11], -1},
		"a response":          {query(func(m *dns.Msg) { m.Response = true }), -1},
		"cut in the question": {good[:20], dns.RcodeFormatError},
		"no question":         {query(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		"two questions":       {query(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"opcode STATUS":       {query(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		"NOTIFY":              {query(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		"UPDATE":              {query(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			for _, packet := range [][]byte{test.packet, good} {
				if _, err := conn.Write(packet); err != nil {
					t.Fatal(err)
				}
			}
			want := []int{test.rcode, dns.RcodeSuccess}
			if test.rcode < 0 {
				want = want[1:]
			}
			got := map[int]bool{} // packets are answered side by side, in any order
			for range want {
				buf := make([]byte, 1500)
				n, err := conn.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				var m dns.Msg
				if err := m.Unpack(buf[:n]); err != nil {
					t.Fatal(err)
				}
				got[m.Rcode] = true
			}
			for _, rcode := range want {
				if !got[rcode] {
					t.Errorf("answers %v, want %s too", got, dns.RcodeToString[rcode])
				}
			}
		})
	}
}

func TestListenFailure(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Listen = []string{"127.0.0.1:0", "192.0.2.1:0"} // the second address is not of this host
	if _, err := Listen(t.Context(), Options{Config: c, Log: zap.NewNop()}); err == nil {
		t.Error("no error at an address that is not ours")
	}
}

// TestWildcardListener asks at several of this host's addresses. A client that is connected to one takes answers
// from no other.
func TestWildcardListener(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"0.0.0.0:0": {"127.0.0.1", "127.0.0.77"},
		":0":        {"127.0.0.1", "127.0.0.77", "::1"},
		"[::]:0":    {"::1"},
	}
	for listen, hosts := range tests {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			s, addr := startServer(t, listen)
			s.publish(testSnapshot(t, 1, 2))
			_, port, _ := net.SplitHostPort(addr)
			for _, host := range hosts {
				for _, qtype := range []uint16{dns.TypeA, dns.TypeANY} { // by the fast path, and by miekg/dns
					req := new(dns.Msg)
					req.SetQuestion("dl.example.org.", qtype)
					resp, _, err := new(dns.Client).Exchange(req, net.JoinHostPort(host, port))
					if err != nil || len(resp.Answer) != 1 {
						t.Errorf("%s %s: %v, %v; want an answer", host, dns.TypeToString[qtype], resp, err)
					}
				}
			}
		})
	}
}

// TestPublishUnderLoad changes the snapshot all the time while clients ask, and loses no query.
func TestPublishUnderLoad(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	snapshots := []*dnspool.Snapshot{testSnapshot(t, 6, 2), testSnapshot(t, 3, 1)}
	s.publish(snapshots[0])
	ctx, cancel := context.WithCancel(t.Context())
	var publisher, clients sync.WaitGroup
	changes := 0
	publisher.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				changes++
				s.publish(snapshots[changes%2])
			}
		}
	})
	for i, network := range []string{"udp", "udp", "tcp"} {
		clients.Go(func() {
			conn, err := dns.Dial(network, addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for n := range 3000 {
				req := new(dns.Msg)
				req.SetQuestion("dl.example.org.", []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeANY}[(n+i)%3])
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				if err := conn.WriteMsg(req); err != nil {
					t.Errorf("%s, query %d: %v", network, n, err)
					return
				}
				if resp, err := conn.ReadMsg(); err != nil || resp.Id != req.Id || len(resp.Answer) == 0 {
					t.Errorf("%s, query %d: %v, %v", network, n, resp, err)
					return
				}
			}
		})
	}
	clients.Wait()
	cancel()
	publisher.Wait()
	t.Logf("%d changes", changes)
}
