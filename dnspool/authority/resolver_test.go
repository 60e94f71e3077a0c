package authority

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// run runs a server for c with a pool of six mirrors until the test ends, and returns where it listens.
func run(t *testing.T, c config.DNS) string {
	t.Helper()
	s, err := Listen(t.Context(), Options{Config: c, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(testSnapshot(t, 6, 2))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addrs()[0].String()
}

const unboundConfig = `server:
  directory: %[1]q
  pidfile: ""
  username: ""
  chroot: ""
  use-syslog: no
  interface: 127.0.0.1@%[2]s
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "iterator"
  qname-minimisation: yes
  qname-minimisation-strict: yes
  use-caps-for-id: yes
  harden-glue: yes
  harden-short-bufsize: yes
  harden-large-queries: yes
  harden-below-nxdomain: yes
  harden-referral-path: yes
  harden-algo-downgrade: yes
  local-zone: "example.org." nodefault
stub-zone:
  name: %[3]q
  stub-addr: %[4]s
remote-control:
  control-enable: no
`

// startUnbound runs a resolver that knows of one server for one zone, and returns its address.
func startUnbound(t *testing.T, zone, server string) string {
	t.Helper()
	program := testbed.Need(t, "unbound", "unbound")
	dir, port := t.TempDir(), testbed.FreePort(t)
	file := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(unboundConfig, dir, port, zone, strings.Replace(server, ":", "@", 1))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	testbed.Start(t, exec.Command(program, "-d", "-c", file))
	addr := fmt.Sprintf("127.0.0.1:%s", port)
	testbed.AwaitZone(t, addr, staticZone)
	return addr
}

// resolve asks a resolver.
func resolve(t *testing.T, resolver, name string, qtype uint16) *dns.Msg {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	client := dns.Client{Timeout: 20 * time.Second}
	resp, _, err := client.Exchange(req, resolver)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// checkResolver asks a resolver for names of the pool of run.
func checkResolver(t *testing.T, resolver string) {
	t.Helper()
	for _, test := range []struct {
		name           string
		qtype          uint16
		rcode, answers int
	}{
		{"dl.example.org.", dns.TypeA, 0, 2},
		{"dl.example.org.", dns.TypeAAAA, 0, 2},
		{"www.dl.example.org.", dns.TypeA, 0, 2},
		{"a.b.deep.dl.example.org.", dns.TypeA, 0, 2}, // below names without records
		{"x.y.eu.dl.example.org.", dns.TypeA, 0, 2},   // below a wildcard
		{"m1.dl.example.org.", dns.TypeA, 0, 1},
		{"deep.dl.example.org.", dns.TypeA, 0, 0},
		{"dl.example.org.", dns.TypeTXT, 0, 0},
		{"nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError, 0},
		{"a.nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError, 0},
	} {
		resp := resolve(t, resolver, test.name, test.qtype)
		if resp.Rcode != test.rcode || len(resp.Answer) != test.answers {
			t.Errorf("%s %s: %v, want %s and %d records", test.name, dns.Type(test.qtype), resp, dns.RcodeToString[test.rcode],
				test.answers)
		}
	}
}

// TestUnbound has a real resolver, as strict as it can be made, ask for the pool's names.
func TestUnbound(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Listen = []string{"127.0.0.1:0"}
	checkResolver(t, startUnbound(t, staticZone, run(t, c)))
}

const knotParent = `server:
  listen: %[1]s
  rundir: %[2]s
database:
  storage: %[2]s
log:
  - target: stderr
    any: warning
zone:
  - domain: example.org
    file: %[2]s/example.org.zone
    zonefile-sync: -1
`

const parentZone = `$TTL 300
example.org. SOA ns.example.org. hostmaster.example.org. 1 3600 600 86400 60
example.org. NS ns.example.org.
ns.example.org. A %[1]s
dl.example.org. NS ns1.dl.example.org.
dl.example.org. NS ns2.dl.example.org.
ns1.dl.example.org. A %[2]s
ns2.dl.example.org. A %[3]s
`

// TestDelegation has a resolver find two servers of the pool's zone by the delegation in its parent zone, which Knot
// serves. A resolver asks at port 53 only.
func TestDelegation(t *testing.T) {
	t.Parallel()
	knotd := testbed.Need(t, "knotd", "knot")
	const parent, first, second = "127.53.1.1", "127.53.1.2", "127.53.1.3"
	if l, err := net.Listen("tcp", parent+":53"); err != nil {
		testbed.Lack(t, "cannot listen at port 53: %v", err)
	} else {
		l.Close()
	}
	for _, addr := range []string{first, second} {
		c := testConfig()
		c.Nameservers = []string{"ns1.dl.example.org.", "ns2.dl.example.org."}
		c.Listen = []string{addr + ":53"}
		run(t, c)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"knot.conf":        fmt.Sprintf(knotParent, parent, dir),
		"example.org.zone": fmt.Sprintf(parentZone, parent, first, second),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	testbed.Start(t, exec.Command(knotd, "-c", filepath.Join(dir, "knot.conf")))
	testbed.AwaitZone(t, parent+":53", "example.org.")
	referral := resolve(t, parent+":53", "dl.example.org.", dns.TypeA)
	if referral.Authoritative || len(referral.Ns) != 2 || len(referral.Extra) != 2 {
		t.Fatalf("no referral: %v", referral)
	}
	checkResolver(t, startUnbound(t, "example.org", parent+":53"))
}

// TestTools runs the tools with which people look at DNS.
func TestTools(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Listen, c.NSID = []string{"127.0.0.1:0"}, "ns1"
	c.StatusClients = defaultStatusClients(t)
	host, port, _ := net.SplitHostPort(run(t, c))
	tests := map[string]struct {
		program, debianPackage string
		args                   []string
		want                   []string
		wantNot                []string
	}{
		"kdig": {"kdig", "knot-dnsutils", []string{"@" + host, "-p", port, "+cookie", "+nsid", "+subnet=192.0.2.0/24",
			"dl.example.org", "A"},
			[]string{"status: NOERROR", "NSID: 6E7331 \"ns1\"", "COOKIE: ", "CLIENT-SUBNET: 192.0.2.0/24/0", "192.0.2."},
			[]string{"WARNING"}},
		"kdig over TCP": {"kdig", "knot-dnsutils", []string{"@" + host, "-p", port, "+tcp", "+keepopen", "dl.example.org", "A",
			"www.dl.example.org", "AAAA"},
			[]string{"2001:db8::", "192.0.2."}, []string{"WARNING"}},
		"delv": {"delv", "bind9-dnsutils", []string{"@" + host, "-p", port, "+nodnssec", "-i", "dl.example.org", "A"},
			[]string{"; authoritative", "192.0.2."}, nil},
		"drill": {"drill", "ldnsutils", []string{"-p", port, "dl.example.org", "@" + host, "SOA"},
			[]string{"rcode: NOERROR", "flags: qr aa rd ;", "hostmaster.example.org. 1800000000"}, nil},
		"dig": {"dig", "bind9-dnsutils", []string{"@" + host, "-p", port, "+noedns", "+norec", "nothing.dl.example.org", "A"},
			[]string{"status: NXDOMAIN", "flags: qr aa;", "ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 0"}, []string{"OPT"}},
		"dig +cookie": {"dig", "bind9-dnsutils", []string{"@" + host, "-p", port, "+cookie=0102030405060708", "dl.example.org", "A"},
			[]string{"COOKIE: 0102030405060708", "(good)"}, nil},
		"dig, EDNS 1": {"dig", "bind9-dnsutils", []string{"@" + host, "-p", port, "+edns=1", "+noednsneg", "dl.example.org", "A"},
			[]string{"status: BADVERS", "EDNS: version: 0"}, nil},
		"dig, refused": {"dig", "bind9-dnsutils", []string{"@" + host, "-p", port, "example.net", "A"},
			[]string{"status: REFUSED", "EDE: 20 (Not Authoritative)"}, nil},
		"dig, the status": {"dig", "bind9-dnsutils", []string{"@" + host, "-p", port, "_status.dl.example.org", "TXT", "+short"},
			[]string{`"serial 1800000000" "panic no"`}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := testbed.Need(t, test.program, test.debianPackage)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, test.args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, not := range test.wantNot {
				if strings.Contains(string(out), not) {
					t.Errorf("%q in\n%s", not, out)
				}
			}
		})
	}
}
