package authority

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// A peer is another authoritative server. configure writes its configuration to dir and returns its arguments.
type peer struct {
	name, program, debianPackage string
	configure                    func(dir, zoneFile, port string) (conf string, args []string)
}

var peers = []peer{
	{"bind", "named", "bind9", func(dir, zone, port string) (string, []string) {
		return fmt.Sprintf(`options { directory %[1]q; pid-file "pid"; session-keyfile "key"; listen-on port %[3]s { 127.0.0.1; };
			listen-on-v6 { none; }; recursion no; minimal-responses yes; minimal-any yes; notify no; dnssec-validation no;
			check-names primary ignore; zero-no-soa-ttl no; };
			controls { }; zone "dl.example.org" { type primary; file %[2]q; };`, dir, zone, port), []string{"-g", "-c"}
	}},
	{"knot", "knotd", "knot", func(dir, zone, port string) (string, []string) {
		return fmt.Sprintf("server:\n  listen: 127.0.0.1@%[3]s\n  rundir: %[1]s\n  answer-rotation: off\ndatabase:\n  storage: "+
				"%[1]s\nlog:\n  - target: stderr\n    any: warning\n"+
				"zone:\n  - domain: dl.example.org\n    file: %[2]s\n    zonefile-sync: -1\n    semantic-checks: off\n", dir, zone, port),
			[]string{"-c"}
	}},
	{"nsd", "nsd", "nsd", func(dir, zone, port string) (string, []string) {
		return fmt.Sprintf("server:\n  ip-address: 127.0.0.1@%[3]s\n  username: \"\"\n  zonesdir: \"%[1]s\"\n  database: \"\"\n  "+
			"pidfile: \"%[1]s/pid\"\n  xfrdfile: \"%[1]s/xfrd\"\n"+
			"  xfrdir: \"%[1]s\"\n  zonelistfile: \"%[1]s/zones\"\n  rrl-ratelimit: 0\n  minimal-responses: yes\n  refuse-any: "+
			"yes\nremote-control:\n  control-enable: no\n"+
			"zone:\n  name: dl.example.org\n  zonefile: %[2]s\n", dir, zone, port), []string{"-d", "-c"}
	}},
}

// start runs the peer until the test ends, and returns its address.
func (p peer) start(t *testing.T) string {
	t.Helper()
	zone, err := filepath.Abs(staticFile)
	if err != nil {
		t.Fatal(err)
	}
	return p.serve(t, zone)
}

// serve is start with a zone file.
func (p peer) serve(t *testing.T, zone string) string {
	t.Helper()
	program := testbed.Need(t, p.program, p.debianPackage)
	dir := t.TempDir()
	port := testbed.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%s", port)
	conf, args := p.configure(dir, zone, port)
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	testbed.Start(t, exec.Command(program, append(args, file)...))
	testbed.AwaitZone(t, addr, staticZone)
	return addr
}

// staticQueries are all names of the zone, names above, below and between them, each with many types.
func staticQueries(tb testing.TB) (queries []dns.Question) {
	tb.Helper()
	names := map[string]bool{"example.org.": true, ".": true, "dl.example.net.": true, "nothing.dl.example.org.": true,
		"a.nothing.dl.example.org.": true}
	static, err := LoadZoneFile(config.DNS{ZoneFile: staticFile, Zone: staticZone})
	if err != nil {
		tb.Fatal(err)
	}
	for name := range static.nodes {
		names[name], names["x."+name], names["x.y."+name], names["*."+name] = true, true, true, true
	}
	for name := range names {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeTXT, dns.TypeCNAME,
			dns.TypeDS, dns.TypeSRV, dns.TypeCAA, dns.TypePTR, dns.TypeHTTPS, 65280, 65281} {
			queries = append(queries, dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET})
		}
	}
	slices.SortFunc(queries, func(a, b dns.Question) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Qtype, b.Qtype))
	})
	return queries
}

// TestDifferential asks BIND, Knot and NSD the same as mirrorpool, of the same zone, and wants the same answers, but
// for what view leaves out and explained knows.
func TestDifferential(t *testing.T) {
	t.Parallel()
	ours := startStatic(t)
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			theirs := p.start(t)
			different := 0
			for _, q := range staticQueries(t) {
				for _, network := range []string{"udp", "tcp"} {
					got, want := view(t, ours, network, q), view(t, theirs, network, q)
					if got == want || explained(p.name, q) {
						continue
					}
					if different++; different < 10 {
						t.Errorf("%s %s over %s\nmirrorpool: %s\n%s: %s", q.Name, dns.TypeToString[q.Qtype], network, got, p.name, want)
					}
				}
			}
			if different > 0 {
				t.Errorf("%d differences", different)
			}
		})
	}
}

// startStatic runs mirrorpool with the zone file that the peers have, and returns its address.
func startStatic(t *testing.T) string {
	t.Helper()
	c := testConfig()
	c.Names, c.Listen = []string{"pool"}, []string{"127.0.0.1:0"}
	c.ZoneFile = staticFile
	static, err := LoadZoneFile(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), Options{Config: c, ZoneFile: static, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(testSnapshot(t, 1, 2))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addrs()[0].String()
}

// view asks and puts the response into words: code, flags, and each section as a set. What is left out is the serial,
// which each server counts for itself, and additional records that are not needed.
func view(t *testing.T, addr, network string, q dns.Question) string {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(q.Name, q.Qtype)
	req.SetEdns0(4096, false)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	resp, _, err := client.Exchange(req, addr)
	if err != nil {
		t.Fatalf("%v of %s over %s: %v", q, addr, network, err)
	}
	return fmt.Sprintf("%s aa=%v tc=%v", dns.RcodeToString[resp.Rcode], resp.Authoritative, resp.Truncated) + sectionsOf(resp)
}

// sectionsOf puts the sections of a response into words, each as a set.
func sectionsOf(resp *dns.Msg) (text string) {
	var glue []dns.RR // that a referral has to have: RFC 9471 section 3
	for _, rr := range resp.Extra {
		if len(resp.Ns) > 0 && !resp.Authoritative && dns.IsSubDomain(resp.Ns[0].Header().Name, rr.Header().Name) {
			glue = append(glue, rr)
		}
	}
	sections := [][]dns.RR{resp.Answer, resp.Ns, glue}
	for _, section := range sections {
		var lines []string
		for _, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 0
			}
			lines = append(lines, strings.Join(strings.Fields(rr.String()), " "))
		}
		slices.Sort(lines)
		text += " [" + strings.Join(lines, "; ") + "]"
	}
	return text
}

// explained says whether the peer is known to answer q otherwise.
//
// BIND gives SERVFAIL where CNAME records run in a circle, beside the records. RFC 1034 section 4.3.2 asks for no more
// than the records, which is what Knot and NSD give too.
func explained(peer string, q dns.Question) bool {
	return peer == "bind" && strings.HasPrefix(q.Name, "loop") && q.Qtype != dns.TypeCNAME
}
