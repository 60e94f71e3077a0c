package authority

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/testdata/testbed"
)

// runSigned runs a server for a signed zone with a pool of six mirrors until the test ends, and returns where it
// listens and its DS records. With c.Geo, these are the mirrors of nearZone, and all clients are in Berlin.
func runSigned(t *testing.T, c config.DNS, static *StaticRecords) (addr string, ds []*dns.DS) {
	t.Helper()
	c, keys := signedConfig(t, c)
	c.Listen = []string{"127.0.0.1:0"}
	berlin := func(netip.Addr) dnspool.Place { return nearPlaces(netip.MustParseAddr("198.51.100.1")) }
	s, err := Listen(t.Context(), Options{Config: c, ZoneFile: static, Signer: newTestSigner(keys), Places: berlin, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := *testSnapshot(t, 6, 2)
	if c.Geo {
		in := nearInput(nil)
		in.Policy.MaxAnswers = c.MaxAnswers
		snapshot = *dnspool.Build(in)
	}
	snapshot.Built = time.Now()
	s.Publish(c, static, &snapshot)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addrs()[0].String(), []*dns.DS{keys.All[0].DS()}
}

// validatingResolvers start a resolver that trusts DS records of one zone, and knows of one server for it.
var validatingResolvers = map[string]func(t *testing.T, server string, trusted []*dns.DS) (addr string){
	"unbound": func(t *testing.T, server string, trusted []*dns.DS) string {
		text := "server:\n  aggressive-nsec: yes\n"
		for _, ds := range trusted {
			text += fmt.Sprintf("  trust-anchor: %q\n", strings.ReplaceAll(ds.String(), "\t", " "))
		}
		return startResolver(t, "unbound", "unbound", "-d", "-c", func(dir, port string) string {
			text += fmt.Sprintf(unboundConfig, dir, port, "dl.example.org", strings.Replace(server, ":", "@", 1))
			return strings.Replace(text, `module-config: "iterator"`, `module-config: "validator iterator"`, 1)
		})
	},
	"bind": func(t *testing.T, server string, trusted []*dns.DS) string {
		host, serverPort, _ := strings.Cut(server, ":")
		return startResolver(t, "named", "bind9", "-g", "-c", func(dir, port string) string {
			return fmt.Sprintf(`options { directory %q; pid-file "pid"; session-keyfile "key"; listen-on port %s { 127.0.0.1; };
				listen-on-v6 { none; }; recursion yes; dnssec-validation yes; minimal-responses yes; empty-zones-enable no;
				forward only; forwarders { %s port %s; }; }; controls { };
				%s`, dir, port, host, serverPort, bindAnchors(trusted))
		})
	},
	"knot resolver": func(t *testing.T, server string, trusted []*dns.DS) string {
		return startResolver(t, "kresd", "knot-resolver", "-n", "-c", func(dir, port string) string {
			anchor, text := filepath.Join(dir, "anchor"), ""
			for _, ds := range trusted {
				text += ds.String() + "\n"
			}
			testbed.Put(t, anchor, text)
			return fmt.Sprintf("net.listen('127.0.0.1', %s, { kind = 'dns' })\ntrust_anchors.remove('.')\ntrust_anchors.add_file(%q, true)\n"+
				"modules.unload('ta_update')\nmodules.unload('ta_signal_query')\nmodules.unload('priming')\n"+
				"policy.add(policy.suffix(policy.FORWARD('%s'), { todname('dl.example.org.') }))\ncache.open(10*MB, 'lmdb://%s')\n",
				port, anchor, strings.Replace(server, ":", "@", 1), dir)
		})
	},
}

// startResolver runs a program with a configuration until the test ends, and returns its address.
func startResolver(t *testing.T, program, debianPackage string, args ...any) string {
	t.Helper()
	path := testbed.Need(t, program, debianPackage)
	dir, port := t.TempDir(), testbed.FreePort(t)
	file := filepath.Join(dir, "conf")
	var flags []string
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			flags = append(flags, arg)
		case func(dir, port string) string:
			if err := os.WriteFile(file, []byte(arg(dir, port)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(path, append(flags, file)...)
	cmd.Dir = dir
	testbed.Start(t, cmd)
	addr := "127.0.0.1:" + port
	testbed.AwaitZone(t, addr, staticZone)
	return addr
}

// TestValidatingResolvers has resolvers that validate ask for each kind of answer, and wants the AD bit on all.
func TestValidatingResolvers(t *testing.T) {
	t.Parallel()
	for name, start := range validatingResolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ds := runSigned(t, testConfig(), nil)
			resolver := start(t, server, ds)
			for range 8 { // as many cards
				checkAuthentic(t, resolver, "dl.example.org.", dns.TypeA, dns.RcodeSuccess)
			}
			for _, test := range []struct {
				name  string
				qtype uint16
				rcode int
			}{
				{"dl.example.org.", dns.TypeAAAA, 0}, {"dl.example.org.", dns.TypeSOA, 0}, {"dl.example.org.", dns.TypeNS, 0},
				{"dl.example.org.", dns.TypeDNSKEY, 0}, {"dl.example.org.", dns.TypeCDS, 0}, {"dl.example.org.", dns.TypeTXT, 0},
				{"www.dl.example.org.", dns.TypeA, 0}, {"a.b.deep.dl.example.org.", dns.TypeA, 0},
				{"x.y.eu.dl.example.org.", dns.TypeA, 0}, {"x.eu.dl.example.org.", dns.TypeTXT, 0},
				{"m1.dl.example.org.", dns.TypeA, 0}, {"m1.dl.example.org.", dns.TypeMX, 0}, {"off.dl.example.org.", dns.TypeA, 0},
				{"deep.dl.example.org.", dns.TypeA, 0}, {"b.deep.dl.example.org.", dns.TypeAAAA, 0},
				{"nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError}, {"a.nothing.dl.example.org.", dns.TypeAAAA, dns.RcodeNameError},
				{"x.m1.dl.example.org.", dns.TypeA, dns.RcodeNameError},
			} {
				checkAuthentic(t, resolver, test.name, test.qtype, test.rcode)
			}
		})
	}
}

// TestValidatingResolversByPlace is TestValidatingResolvers for answers by place.
func TestValidatingResolversByPlace(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Geo = true
	for name, start := range validatingResolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ds := runSigned(t, c, nil)
			resolver := start(t, server, ds)
			for i := range 16 {
				checkAuthentic(t, resolver, fmt.Sprintf("x%d.eu.dl.example.org.", i), dns.TypeA, dns.RcodeSuccess)
			}
			checkAuthentic(t, resolver, "dl.example.org.", dns.TypeA, dns.RcodeSuccess)
			checkAuthentic(t, resolver, "www.dl.example.org.", dns.TypeAAAA, dns.RcodeSuccess)
		})
	}
}

// TestValidatingResolversStatic is TestValidatingResolvers for names of a zone file, among them delegations.
func TestValidatingResolversStatic(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Names, c.ZoneFile = []string{"pool"}, staticFile
	static, err := LoadZoneFile(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, start := range validatingResolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, ds := runSigned(t, c, static)
			resolver := start(t, server, ds)
			for _, test := range []struct {
				name  string
				qtype uint16
				rcode int
			}{
				{"pool.dl.example.org.", dns.TypeA, 0}, {"dl.example.org.", dns.TypeMX, 0}, {"two.dl.example.org.", dns.TypeTXT, 0},
				{"alias.dl.example.org.", dns.TypeA, 0}, {"chain.dl.example.org.", dns.TypeTXT, 0},
				{"dangling.dl.example.org.", dns.TypeA, dns.RcodeNameError}, {"x.wild.dl.example.org.", dns.TypeTXT, 0},
				{"x.wild.dl.example.org.", dns.TypeMX, 0}, {"x.alias.dl.example.org.", dns.TypeA, 0}, {"ent.wild.dl.example.org.", dns.TypeA, 0},
				{"sub.dl.example.org.", dns.TypeDS, 0}, {"unknown.dl.example.org.", 65280, 0}, {"empty.dl.example.org.", 65280, 0},
				{`sp\032ace.dl.example.org.`, dns.TypeA, 0}, {"x.real.wild.dl.example.org.", dns.TypeA, dns.RcodeNameError},
			} {
				checkAuthentic(t, resolver, test.name, test.qtype, test.rcode)
			}
		})
	}
}

// checkAuthentic asks a resolver, and wants the code and the AD bit.
func checkAuthentic(t *testing.T, resolver, name string, qtype uint16, rcode int) {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	req.SetEdns0(1232, true)
	client := dns.Client{Timeout: 20 * time.Second}
	resp, _, err := client.Exchange(req, resolver)
	if err == nil && resp.Truncated {
		client.Net = "tcp"
		resp, _, err = client.Exchange(req, resolver)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.Type(qtype), err)
	}
	if resp.Rcode != rcode || !resp.AuthenticatedData {
		t.Errorf("%s %s: want %s and the AD bit, got %v", name, dns.Type(qtype), dns.RcodeToString[rcode], resp)
	}
}
