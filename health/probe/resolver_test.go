package probe

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// records is what the name servers of these tests know, in zone-file notation.
const records = `
mirror.example.net.   300  IN A     192.0.2.7
mirror.example.net.   300  IN A     192.0.2.5
mirror.example.net.   300  IN A     192.0.2.7
mirror.example.net.   60   IN AAAA  2001:db8::7
brief.example.net.    1    IN A     192.0.2.1
long.example.net.     99999 IN A    192.0.2.1
alias.example.net.    40   IN CNAME mirror.example.net.
mapped.example.net.   300  IN AAAA  ::ffff:192.0.2.1
mapped.example.net.   300  IN AAAA  2001:db8::1
inside.example.net.   300  IN A     10.0.0.1
`

// A nameServer answers from records. The names "fail" and "silent" get SERVFAIL and nothing; "big" is
// truncated over UDP.
type nameServer struct {
	zone    []dns.RR
	queries atomic.Int32
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.queries.Add(1)
	m := new(dns.Msg).SetReply(q)
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	label, _, _ := strings.Cut(name, ".")
	switch label {
	case "silent":
		return
	case "fail":
		m.Rcode = dns.RcodeServerFailure
	case "big":
		s.big(w, m)
	default:
		s.find(m, name, qtype)
	}
	w.WriteMsg(m)
}

func (s *nameServer) big(w dns.ResponseWriter, m *dns.Msg) {
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		m.Truncated = true
		return
	}
	for i := range 100 {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET,
			Ttl: 300},
			A: net.IPv4(192, 0, 2, byte(i))})
	}
}

func (s *nameServer) find(m *dns.Msg, name string, qtype uint16) {
	known := false
	for _, rr := range s.zone {
		if !strings.EqualFold(rr.Header().Name, name) {
			continue
		}
		known = true
		if alias, ok := rr.(*dns.CNAME); ok {
			m.Answer = append(m.Answer, rr)
			s.find(m, alias.Target, qtype)
			return
		}
		if rr.Header().Rrtype == qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) == 0 {
		soa, _ := dns.NewRR("example.net. 900 IN SOA ns. hostmaster. 1 2 3 4 600")
		m.Ns = append(m.Ns, soa)
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
}

// startNameServer runs a name server at addr, on the given port or, if that is empty, one of its own.
func startNameServer(t testing.TB, addr, port string) (*nameServer, string) {
	t.Helper()
	s := &nameServer{}
	zone := dns.NewZoneParser(strings.NewReader(records), "", "")
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
		s.zone = append(s.zone, rr)
	}
	if err := zone.Err(); err != nil {
		t.Fatal(err)
	}
	if port == "" {
		port = "0"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", net.JoinHostPort(addr, portOf(l)))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{Listener: l, Handler: s}, {PacketConn: pc, Handler: s}} {
		started, done := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { server.Shutdown(); <-done })
	}
	return s, portOf(l)
}

// resolver returns one that uses the given name servers, on one port, and an own hosts file.
func resolver(t testing.TB, port string, servers ...string) *Resolver {
	t.Helper()
	dir := t.TempDir()
	r := &Resolver{ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"), Port: port}
	conf := "search example.net\n"
	for _, server := range servers {
		conf += "nameserver " + server + "\n"
	}
	hosts := "10.1.1.1 inside.local inside # a comment\n2001:db8::5 INSIDE.local\nnonsense inside.local\n::ffff:10.1.1.2 " +
		"inside.local\n"
	for path, content := range map[string]string{r.ResolvConf: conf, r.Hosts: hosts} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func addrs(text string) []netip.Addr {
	var list []netip.Addr
	for field := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParseAddr(field))
	}
	return list
}

func TestLookup(t *testing.T) {
	_, port := startNameServer(t, "127.0.0.1", "")
	r := resolver(t, port, "127.0.0.1")
	big := ""
	for i := range maxAddresses {
		big += " " + netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()
	}
	for _, test := range []struct {
		host       string
		v4, v6     string
		ttl4, ttl6 time.Duration
		local      bool
	}{
		{"mirror.example.net", "192.0.2.5 192.0.2.7", "2001:db8::7", 300 * time.Second, 60 * time.Second, false},
		{"MIRROR.example.net", "192.0.2.5 192.0.2.7", "2001:db8::7", 300 * time.Second, 60 * time.Second, false},
		{"mirror", "", "", 600 * time.Second, 600 * time.Second, false}, // the search list is not for us
		{"alias.example.net", "192.0.2.5 192.0.2.7", "2001:db8::7", 40 * time.Second, 40 * time.Second, false},
		{"brief.example.net", "192.0.2.1", "", minTTL, 600 * time.Second, false},
		{"long.example.net", "192.0.2.1", "", maxTTL, 600 * time.Second, false},
		{"none.example.net", "", "", 600 * time.Second, 600 * time.Second, false},
		{"mapped.example.net", "", "2001:db8::1", 600 * time.Second, 300 * time.Second, false},
		{"big.example.net", big, "", 300 * time.Second, retryTTL, false},
		{"inside.local", "10.1.1.1 10.1.1.2", "2001:db8::5", minTTL, minTTL, true},
		{"localhost", "127.0.0.1", "::1", minTTL, minTTL, true},
		{"m7.localhost", "127.0.0.1", "::1", minTTL, minTTL, true},
	} {
		v4, v6 := r.Lookup(within(t, 10*time.Second), test.host)
		if v4.Err != nil || v6.Err != nil {
			t.Errorf("%s: %v, %v", test.host, v4.Err, v6.Err)
			continue
		}
		if !slices.Equal(v4.Addresses, addrs(test.v4)) || !slices.Equal(v6.Addresses, addrs(test.v6)) {
			t.Errorf("%s has %v and %v, want %s and %s", test.host, v4.Addresses, v6.Addresses, test.v4, test.v6)
		}
		if v4.TTL != test.ttl4 || v6.TTL != test.ttl6 || v4.Local != test.local || v6.Local != test.local {
			t.Errorf("%s holds for %v and %v (local: %v), want %v and %v", test.host, v4.TTL, v6.TTL, v4.Local, test.ttl4, test.ttl6)
		}
	}
}

func TestLookupFailures(t *testing.T) {
	_, port := startNameServer(t, "127.0.0.1", "")
	for _, test := range []struct {
		name, host string
		servers    []string
		timeout    time.Duration
		want       string
	}{
		{"SERVFAIL", "fail.example.net", []string{"127.0.0.1"}, 5 * time.Second,
			"asking 127.0.0.1:PORT for fail.example.net A: SERVFAIL"},
		{"silence", "silent.example.net", []string{"127.0.0.1"}, 100 * time.Millisecond,
			"asking 127.0.0.1:PORT for silent.example.net A: timed out"},
		{"no server", "mirror.example.net", []string{"127.0.0.2"}, 5 * time.Second,
			"asking 127.0.0.2:PORT for mirror.example.net A: connection refused"},
	} {
		v4, v6 := resolver(t, port, test.servers...).Lookup(within(t, test.timeout), test.host)
		want := strings.ReplaceAll(test.want, "PORT", port)
		if v4.Err == nil || v4.Err.Error() != want || v6.Err == nil || v4.TTL != retryTTL {
			t.Errorf("%s: %v (again after %v) and %v, want %s", test.name, v4.Err, v4.TTL, v6.Err, want)
		}
	}
	r := &Resolver{ResolvConf: "/nonexistent", Hosts: "/nonexistent"}
	want := `no name server to resolve "mirror.example.net": open /nonexistent: no such file or directory`
	if v4, v6 := r.Lookup(t.Context(), "mirror.example.net"); v4.Err == nil || v4.Err.Error() != want || v6.Err == nil {
		t.Errorf("without a configuration: %v, want %s", v4.Err, want)
	}
}

func TestLookupAsksTheSecondServer(t *testing.T) {
	second, port := startNameServer(t, "127.0.0.3", "")
	v4, v6 := resolver(t, port, "127.0.0.2", "127.0.0.3").Lookup(within(t, 10*time.Second), "mirror.example.net")
	if v4.Err != nil || len(v4.Addresses) != 2 || len(v6.Addresses) != 1 || second.queries.Load() != 2 {
		t.Errorf("%v, %v after %d queries, want the second server's answers", v4, v6, second.queries.Load())
	}
}
