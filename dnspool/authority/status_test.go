package authority

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

func TestChaos(t *testing.T) {
	t.Parallel()
	silent, told := testConfig(), testConfig()
	told.Version, told.NSID = `me "1"`, "ns1"
	for name, test := range map[string]struct {
		version bool
		qtype   uint16
		want    string // off and on
	}{
		"version.bind.":   {true, dns.TypeTXT, `"me \"1\""`},
		"VERSION.server.": {true, dns.TypeTXT, `"me \"1\""`},
		"id.server.":      {false, dns.TypeTXT, `"ns1"`},
		"hostname.bind.":  {false, dns.TypeANY, `"ns1"`},
		"authors.bind.":   {false, dns.TypeTXT, ""},
		"dl.example.org.": {false, dns.TypeTXT, ""},
	} {
		req := new(dns.Msg)
		req.SetQuestion(name, test.qtype)
		req.Question[0].Qclass = dns.ClassCHAOS
		if resp := exchange(t, newZone(silent, nil, testSnapshot(t, 1, 2), [2]uint32{}), req, overUDP); resp.Rcode != dns.RcodeRefused {
			t.Errorf("%s, where nothing is configured: %v", name, resp)
		}
		resp := exchange(t, newZone(told, nil, testSnapshot(t, 1, 2), [2]uint32{}), req, overUDP)
		switch {
		case test.want == "":
			if resp.Rcode != dns.RcodeRefused {
				t.Errorf("%s: %v", name, resp)
			}
		case len(resp.Answer) != 1 || !strings.HasSuffix(resp.Answer[0].String(), "\tCH\tTXT\t"+test.want) ||
			resp.Answer[0].Header().Ttl != 0:
			t.Errorf("%s: %v, want %s", name, resp, test.want)
		}
	}
}

func TestStatusRecords(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.StatusClients = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	z := newZone(c, nil, testSnapshot(t, 2, 2), [2]uint32{})
	ask := func(name string, qtype uint16, addr string) *dns.Msg {
		t.Helper()
		req := new(dns.Msg)
		req.SetQuestion(name, qtype)
		from := overTCP
		from.addr = netip.MustParseAddr(addr)
		return exchange(t, z, req, from)
	}
	text := func(m *dns.Msg) (all string) {
		for _, rr := range m.Answer {
			all += rr.String() + "\n"
		}
		return all
	}
	for name, want := range map[string][]string{
		"_status.dl.example.org.": {`"serial 1800000000" "panic no" "mirrors 3, enabled 2" "dns ipv4: weight 20 of 20 is up" ` +
			`"dns ipv6: weight 10 of 10 is up"`},
		"_mirrors.DL.example.org.": {`"http://m0.example.org/" "name m1" "weight 10, 10 in DNS" "eligible for DNS yes, for ` +
			`redirects no" "dns 192.0.2.1 up" "dns 2001:db8::1 up"`,
			`"http://m2.example.org/" "name off" "weight 0, 0 in DNS" "eligible for DNS no, for redirects no"`},
	} {
		for _, addr := range []string{"198.51.100.9", "::ffff:198.51.100.9"} {
			got := ask(name, dns.TypeTXT, addr)
			for _, line := range want {
				if !strings.Contains(text(got), " 0 IN TXT "+line) && !strings.Contains(strings.ReplaceAll(text(got), "\t", " "),
					" 0 IN TXT "+line) {
					t.Errorf("%s for %s: got\n%swant %s", name, addr, text(got), line)
				}
			}
		}
		if got := ask(name, dns.TypeA, "198.51.100.9"); got.Rcode != 0 || len(got.Answer) > 0 || len(got.Ns) != 1 {
			t.Errorf("%s A: %v, want NODATA", name, got)
		}
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			if got := ask(name, dns.TypeTXT, addr); got.Rcode != dns.RcodeNameError || len(got.Answer) > 0 {
				t.Errorf("%s for %s: %v, want NXDOMAIN", name, addr, got)
			}
		}
		if got := ask("x."+name, dns.TypeTXT, "198.51.100.9"); got.Rcode != dns.RcodeNameError {
			t.Errorf("x.%s: %v, want NXDOMAIN", name, got)
		}
	}
	// A mirror may have more addresses than fit.
	snapshot := testSnapshot(t, 3, 2)
	for range 5000 {
		snapshot.Mirrors[0].Endpoints = append(snapshot.Mirrors[0].Endpoints, snapshot.Mirrors[0].Endpoints[0])
	}
	z = newZone(c, nil, snapshot, [2]uint32{})
	if got := ask("_mirrors.dl.example.org.", dns.TypeTXT, "198.51.100.9"); len(got.Answer) != 4 ||
		!strings.Contains(text(got), `"and 4970 more"`) {
		t.Errorf("a mirror with 5,002 endpoints: %d records", len(got.Answer))
	}
	// A pool whose mirrors do not fit into a message tells how many are missing.
	z = newZone(c, nil, testSnapshot(t, 1200, 2), [2]uint32{})
	if got := text(ask("_mirrors.dl.example.org.", dns.TypeTXT, "198.51.100.9")); !strings.Contains(got, `more"`) {
		t.Errorf("1,200 mirrors: no word of the missing ones")
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"plain": "plain", `a"b\c`: `a\"b\\c`, "a\x00b\n": "a?b?", "é": "??",
		strings.Repeat("x", 300): strings.Repeat("x", 255)} {
		if got := escape(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

// defaultStatusClients are those of a configuration that says nothing of them.
func defaultStatusClients(t *testing.T) []netip.Prefix {
	t.Helper()
	s, _, err := config.ParseServer("mirrorpool.json",
		[]byte(`{"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	return s.DNS.StatusClients
}

func TestOwnAddress(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p := netip.MustParsePrefix(a.String()); !p.Addr().IsLinkLocalUnicast() && !ownAddress(p.Addr()) {
			t.Errorf("%s is this host's", p.Addr())
		}
	}
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", "0.0.0.0", "::"} {
		if ownAddress(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not this host's", addr)
		}
	}
}
