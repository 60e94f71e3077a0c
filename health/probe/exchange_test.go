package probe

import (
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// startResolver runs a name server that answers as handle says, and returns its port.
func startResolver(t *testing.T, handle dns.HandlerFunc) (port string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: handle, NotifyStartedFunc: func() { close(started) }}
	go func() { defer close(done); server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { server.Shutdown(); <-done })
	_, port, err = net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// reply is the good response to a query for an address.
func reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	if name := q.Question[0].Name; q.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300},
			A: net.IPv4(192, 0, 2, 1)}}
	}
	return m
}

// TestLookupWithoutEDNS has resolvers that do not know EDNS, in all the ways there are (RFC 6891 section 7).
func TestLookupWithoutEDNS(t *testing.T) {
	t.Parallel()
	refuse := func(rcode int, question bool) func(dns.ResponseWriter, *dns.Msg) {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetRcode(q, rcode)
			if !question {
				m.Question = nil
			}
			w.WriteMsg(m)
		}
	}
	for name, withEDNS := range map[string]func(dns.ResponseWriter, *dns.Msg){
		"FORMERR":                   refuse(dns.RcodeFormatError, true),
		"FORMERR, the header alone": refuse(dns.RcodeFormatError, false),
		"NOTIMP":                    refuse(dns.RcodeNotImplemented, true),
		"SERVFAIL":                  refuse(dns.RcodeServerFailure, true),
		"silence":                   func(dns.ResponseWriter, *dns.Msg) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := startResolver(t, func(w dns.ResponseWriter, q *dns.Msg) {
				if q.IsEdns0() != nil {
					withEDNS(w, q)
					return
				}
				w.WriteMsg(reply(q))
			})
			v4, v6 := resolver(t, port, "127.0.0.1").Lookup(within(t, 10*time.Second), "mirror.example.net")
			if v4.Err != nil || v6.Err != nil || !slices.Equal(v4.Addresses, addrs("192.0.2.1")) {
				t.Errorf("found %v, %v", v4, v6)
			}
		})
	}
}

// TestLookupOfAnotherResponse has a resolver send what does not answer the query, and then what does.
func TestLookupOfAnotherResponse(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m *dns.Msg){
		"another name":    func(m *dns.Msg) { m.Question[0].Name = "other.example.net." },
		"another type":    func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX },
		"another class":   func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"two questions":   func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"no question":     func(m *dns.Msg) { m.Question = nil },
		"another ID":      func(m *dns.Msg) { m.Id++ },
		"another opcode":  func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		"not a response":  func(m *dns.Msg) { m.Response = false },
		"an error, no ID": func(m *dns.Msg) { m.Rcode, m.Id, m.Question, m.Answer = dns.RcodeFormatError, m.Id+1, nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var queries atomic.Int32
			port := startResolver(t, func(w dns.ResponseWriter, q *dns.Msg) {
				queries.Add(1)
				wrong := reply(q)
				for _, rr := range wrong.Answer {
					rr.(*dns.A).A = net.IPv4(192, 0, 2, 66)
				}
				change(wrong)
				w.WriteMsg(wrong)
				w.Write([]byte("short"))
				w.WriteMsg(reply(q))
			})
			v4, v6 := resolver(t, port, "127.0.0.1").Lookup(within(t, 10*time.Second), "MIRROR.example.net")
			if v4.Err != nil || v6.Err != nil || !slices.Equal(v4.Addresses, addrs("192.0.2.1")) || queries.Load() != 2 {
				t.Errorf("found %v, %v with %d queries", v4, v6, queries.Load())
			}
		})
	}
}

// TestLookupUnderAFlood: a resolver that sends nothing but other responses does not keep a look-up busy.
func TestLookupUnderAFlood(t *testing.T) {
	t.Parallel()
	port := startResolver(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := reply(q)
		m.Id++
		for range 2 * maxResponses {
			w.WriteMsg(m)
		}
	})
	v4, _ := resolver(t, port, "127.0.0.1").Lookup(within(t, 2*serverTries*serverWait+time.Second), "mirror.example.net")
	if want := "asking 127.0.0.1:" + port + " for mirror.example.net A: 100 responses to other queries"; v4.Err == nil ||
		v4.Err.Error() != want {
		t.Errorf("got %v, want %s", v4.Err, want)
	}
}
