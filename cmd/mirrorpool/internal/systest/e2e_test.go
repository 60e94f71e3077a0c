package systest

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

const imagePath = "/stable/tails-amd64-6.0/tails-amd64-6.0.img"

// A rig is a pool of real web servers, each at an address of its own, and mirrorpool watching it.
type rig struct {
	*program
	config  *serverConfig
	port    string // of all mirrors
	mirrors map[string]*testMirror
	entries map[string]map[string]any // of mirrors.json, by name
}

// newRig starts five mirrors: a and b have all that a mirror needs; novhost lacks the pool's virtual host; off
// is disabled; and secure sends all clients on to https, with a certificate of a test authority.
func newRig(t *testing.T) *rig {
	t.Helper()
	address := map[string]string{"a": "127.0.1.1", "b": "127.0.1.2", "novhost": "127.0.1.3", "off": "127.0.1.4",
		"secure": "127.0.1.5"}
	all := slices.Collect(maps.Values(address))
	r := &rig{port: testbed.FreePort(t, all...), mirrors: map[string]*testMirror{}, entries: map[string]map[string]any{}}
	authority := testbed.NewAuthority(t)
	cert, key := authority.IssueFiles(t, "secure.example.org", time.Now().AddDate(0, 3, 0))
	tree := newTree(t, time.Now().Add(-time.Hour))
	for name, addr := range address {
		m := &testMirror{address: addr, root: tree}
		entry := map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", addr, r.port), "weight": 10}
		switch name {
		case "b":
			entry["url_prefix"] = strings.TrimSuffix(entry["url_prefix"].(string), "/")
			entry["name"] = "25"
		case "novhost":
			m.hosts = []string{addr}
		case "off":
			entry["weight"] = 0
		case "secure":
			m.tls = &testTLS{name: "secure.example.org", port: testbed.FreePort(t, addr), cert: cert, key: key}
			entry["url_prefix"] = "https://secure.example.org:" + m.tls.port + "/tails/"
			entry["dns"] = map[string]any{"addresses": []string{addr}}
		}
		m.start(t, r.port)
		r.mirrors[name], r.entries[name] = m, entry
	}
	var where *program
	r.config, where = newServerConfig(t)
	r.config.set("health", "dns_url", "http://{zone}:"+r.port+"/tails/project/trace")
	r.program = r.config.serve(t, where, r.pool(), "SSL_CERT_FILE="+authority.File(t))
	return r
}

func (r *rig) pool() any {
	var mirrors []any
	for _, name := range slices.Sorted(maps.Keys(r.entries)) {
		mirrors = append(mirrors, r.entries[name])
	}
	return map[string]any{"version": 1, "mirrors": mirrors}
}

// prefix is the url_prefix of a mirror in its normal form, less the final slash.
func (r *rig) prefix(name string) string {
	return strings.TrimSuffix(r.entries[name]["url_prefix"].(string), "/")
}

// serving returns who is in answers and redirects now, by name.
func (r *rig) serving(t *testing.T) (inDNS, inRedirects []string) {
	t.Helper()
	addrs, prefixes := r.inDNS(t), r.inRedirects(t, imagePath)
	for _, name := range slices.Sorted(maps.Keys(r.mirrors)) {
		if addrs[r.mirrors[name].address] {
			inDNS = append(inDNS, name)
		}
		if prefixes[r.prefix(name)] {
			inRedirects = append(inRedirects, name)
		}
	}
	if len(inDNS) != len(addrs) || len(inRedirects) != len(prefixes) {
		t.Fatalf("unknown mirrors in %v or %v", addrs, prefixes)
	}
	return inDNS, inRedirects
}

// expect waits until exactly the named mirrors serve.
func (r *rig) expect(t *testing.T, inDNS, inRedirects string) {
	t.Helper()
	var dns, web []string
	wantDNS, wantWeb := strings.Fields(inDNS), strings.Fields(inRedirects)
	defer func() {
		if t.Failed() {
			t.Logf("in DNS: %v, want %v; in redirects: %v, want %v", dns, wantDNS, web, wantWeb)
		}
	}()
	testbed.Eventually(t, "these mirrors serve", func() bool {
		dns, web = r.serving(t)
		return slices.Equal(dns, wantDNS) && slices.Equal(web, wantWeb)
	})
}

// TestPool is the main job from end to end.
func TestPool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.expect(t, "a b secure", "a b novhost secure")
	t.Run("dig", r.testDig)
	t.Run("curl", r.testCurl)
	t.Run("status", r.testStatus)

	r.mirrors["a"].stop()
	r.expect(t, "b secure", "b novhost secure")
	if !strings.Contains(r.log.String(), "connect: connection refused") {
		t.Error("the log does not tell why the mirror left")
	}
	r.mirrors["a"].start(t, r.port)
	r.expect(t, "a b secure", "a b novhost secure")

	t.Run("reload", r.testReload)
	r.stop(t)
	for _, client := range []string{digClient, curlClient} {
		if strings.Contains(r.log.String(), client) {
			t.Errorf("the client address %s is in the log", client)
		}
	}
	if strings.Contains(r.log.String(), "panic: too few mirrors are up") {
		t.Error("the pool was in panic, with three of four mirrors up")
	}
}

// Addresses that nothing else uses, to look for in the log.
const digClient, curlClient = "127.0.9.53", "127.0.9.80"

func (r *rig) testDig(t *testing.T) {
	dig := testbed.Need(t, "dig", "bind9-dnsutils")
	host, port, _ := net.SplitHostPort(r.dns)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(dig, append([]string{"-b", digClient, "@" + host, "-p", port}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dig %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, test := range []struct {
		args string
		want []string
	}{
		{"dl.example.org A", []string{"status: NOERROR", "flags: qr aa rd;", "ANSWER: 2", "60\tIN\tA\t127.0.1."}},
		{"dl.example.org A +tcp", []string{"status: NOERROR", "ANSWER: 2", "(TCP)"}},
		{"dl.example.org AAAA", []string{"status: NOERROR", "ANSWER: 0", "AUTHORITY: 1", "SOA\tns1.example.org."}},
		{"dl.example.org NS +short", []string{"ns1.example.org.\nns2.example.org.\n"}},
		{"dl.example.org SOA +short", []string{"ns1.example.org. hostmaster.dl.example.org. "}},
		{"25.dl.example.org A +short", []string{"127.0.1.2\n"}},
		{"nothing.dl.example.org A", []string{"status: NXDOMAIN", "SOA"}},
		{"example.org A", []string{"status: REFUSED"}},
		{"dl.example.org A +dnssec +bufsize=4096", []string{"flags: do; udp: 1232"}},
		{"dl.example.org A +edns=1 +noednsneg", []string{"status: BADVERS"}},
	} {
		out := run(strings.Fields(test.args)...)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("dig %s does not show %q:\n%s", test.args, want, out)
			}
		}
	}
}

func (r *rig) testCurl(t *testing.T) {
	curl := testbed.Need(t, "curl", "curl")
	run := func(args ...string) string {
		t.Helper()
		args = append([]string{"-s", "-S", "--interface", curlClient, "--path-as-is"}, args...)
		out, err := exec.Command(curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("-I", "http://"+r.web+imagePath); !strings.HasPrefix(out, "HTTP/1.1 302 Found") ||
		!strings.Contains(out, "/tails"+imagePath+"\r\n") {
		t.Errorf("HEAD:\n%s", out)
	}
	secure := r.mirrors["secure"]
	for range 20 {
		out := run("-L", "--insecure", "--resolve", secure.tls.name+":"+secure.tls.port+":"+secure.address, "http://"+r.web+imagePath)
		if out != "the image\n" {
			t.Fatalf("a download gave %q", out)
		}
	}
	for path, want := range map[string]string{"/../etc/passwd": "404", "/%2e%2e/x": "404", "/%zz": "400"} {
		if got := run("-o", os.DevNull, "-w", "%{http_code}", "http://"+r.web+path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if out := run("-I", "http://"+r.web+"//evil.example/"); !strings.Contains(out, "/tails/evil.example/\r\n") {
		t.Errorf("a path of two slashes leads elsewhere than below a mirror's prefix:\n%s", out)
	}
	if got := run("-o", os.DevNull, "-w", "%{http_code}", "-X", "POST", "http://"+r.web+"/x"); got != "405" {
		t.Errorf("POST: %s, want 405", got)
	}
}

func (r *rig) testStatus(t *testing.T) {
	status := r.status(t)
	if status.Zone != "dl.example.org" || status.Serial == 0 || status.Panic || !status.Ready || len(status.Mirrors) != 5 {
		t.Errorf("status %+v", status)
	}
	eligible := map[string][]string{}
	for _, m := range status.Mirrors {
		eligible[m.URLPrefix] = m.Eligible
		for _, e := range m.Endpoints {
			wantUp := e.Role == health.HTTP || m.URLPrefix != r.prefix("novhost")+"/"
			if (e.State == health.Up) != wantUp || e.Checked == nil || e.Since == nil {
				t.Errorf("%s: %+v", m.URLPrefix, e)
			}
			if !wantUp && e.Reason != "status: 404 Not Found, want 200" {
				t.Errorf("%s: reason %q", m.URLPrefix, e.Reason)
			}
		}
	}
	want := map[string][]string{
		r.prefix("a") + "/": {"dns", "http"}, r.prefix("b") + "/": {"dns", "http"}, r.prefix("secure") + "/": {"dns", "http"},
		r.prefix("novhost") + "/": {"http"}, r.prefix("off") + "/": {},
	}
	if diff := cmp.Diff(want, eligible); diff != "" {
		t.Errorf("eligible (-want +got):\n%s", diff)
	}
	before := status.Mirrors[0].Endpoints[0].Checked
	testbed.Eventually(t, "the checks go on", func() bool { return r.status(t).Mirrors[0].Endpoints[0].Checked.After(*before) })
}

// testReload edits the pool while the server runs.
func (r *rig) testReload(t *testing.T) {
	hangup := func(pool any) {
		t.Helper()
		r.config.write(t, "mirrors.json", pool)
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	// A mirror is disabled, and another one taken out.
	serial := r.status(t).Serial
	a := r.entries["a"]
	delete(r.entries, "a")
	r.entries["b"]["weight"] = 0
	r.entries["off"]["weight"] = 5
	hangup(r.pool())
	r.entries["a"] = a // for its name only: it is not in the file
	r.expect(t, "off secure", "novhost off secure")
	status := r.status(t)
	if len(status.Mirrors) != 4 || int32(status.Serial-serial) <= 0 {
		t.Errorf("%d mirrors and serial %d, want 4 and more than %d", len(status.Mirrors), status.Serial, serial)
	}
	// A bad file changes nothing, and says where it is bad.
	for name, bad := range map[string]string{
		"cut":          `{"version": 1, "mirrors": [`,
		"wrong type":   `{"version": 1, "mirrors": [{"url_prefix": "http://m1.example.org/", "weight": "1"}]}`,
		"all disabled": `{"version": 1, "mirrors": [{"url_prefix": "http://m1.example.org/", "weight": 0}]}`,
	} {
		before := r.status(t).Pool.Error
		hangup(bad)
		testbed.Eventually(t, "the bad file is reported: "+name, func() bool {
			e := r.status(t).Pool.Error
			return e != "" && e != before
		})
		if e := r.status(t).Pool.Error; !strings.Contains(e, "mirrors.json:") {
			t.Errorf("%s: the error does not say where: %s", name, e)
		}
		r.expect(t, "off secure", "novhost off secure")
	}
	// And back.
	r.entries["b"]["weight"], r.entries["off"]["weight"] = 10, 0
	hangup(r.pool())
	r.expect(t, "a b secure", "a b novhost secure")
	if e := r.status(t).Pool.Error; e != "" {
		t.Errorf("the error stays: %s", e)
	}
}

// TestDemoFollowsWeights asks the demo 10,000 times. Its weights are 30, 20 and 10.
func TestDemoFollowsWeights(t *testing.T) {
	t.Parallel()
	p := startProgram(t, nil, "demo", "--mirror-port", "0", "--mirror-tls-port", "0", "--dns", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--https", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	testbed.Eventually(t, "the demo says what to try", func() bool { return strings.Contains(p.log.String(), "Ctrl-C") })
	var port int
	_, hint, _ := strings.Cut(p.log.String(), "dig @127.0.0.1 -p ")
	if _, err := fmt.Sscan(hint, &port); err != nil {
		t.Fatal(err)
	}
	p.dns = fmt.Sprintf("127.0.0.1:%d", port)
	checkDemoHTTPS(t, p.log.String())
	const queries = 10_000
	first := map[string]float64{}
	for range queries {
		first[p.ask(t, "dl.example.org.", dns.TypeA)[0]]++
	}
	chi := 0.0
	for addr, share := range map[string]float64{"127.0.0.11": 3.0 / 6, "127.0.0.12": 2.0 / 6, "127.0.0.13": 1.0 / 6} {
		want := queries * share
		chi += (first[addr] - want) * (first[addr] - want) / want
	}
	if chi > 13.8 { // the 0.999 quantile of chi-squared with two degrees of freedom
		t.Errorf("first places %v do not follow the weights 30, 20, 10: chi-squared %.1f", first, chi)
	}
	p.stop(t)
}

// checkDemoHTTPS follows a redirect over https, as the demo says how.
func checkDemoHTTPS(t *testing.T, hints string) {
	t.Helper()
	curl := testbed.Need(t, "curl", "curl")
	_, hint, ok := strings.Cut(hints, "curl -skL ")
	url, _, _ := strings.Cut(hint, "\n")
	if !ok || !strings.HasPrefix(url, "https://") {
		t.Fatalf("no hint on https in:\n%s", hints)
	}
	testbed.EventuallyNil(t, func() error {
		out, err := exec.Command(curl, "-skL", url).CombinedOutput()
		if err == nil && !strings.HasPrefix(string(out), "This is /tails/stable/") {
			err = fmt.Errorf("curl -skL %s: %s", url, out)
		}
		return err
	})
}

// TestTailsPool serves a pool as Tails' own tests write it: only the two keys, with and without a final slash.
func TestTailsPool(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.7/tails", "weight": 1}, {"url_prefix": `+
		`"http://127.0.1.8/tails/", "weight": 1}]}`)
	if got, want := p.inRedirects(t, "/x"), map[string]bool{"http://127.0.1.7/tails": true,
		"http://127.0.1.8/tails": true}; !maps.Equal(got, want) {
		t.Errorf("redirects to %v, want %v", got, want)
	}
	if got, want := p.inDNS(t), map[string]bool{"127.0.1.7": true, "127.0.1.8": true}; !maps.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	p.stop(t)
}

// TestZoneFile serves records of a zone file beside the pool, and reloads it.
func TestZoneFile(t *testing.T) {
	t.Parallel()
	const apex = "@ 3600 SOA ns1 hostmaster.example.org. 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n"
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	c.json["dns"] = map[string]any{"listen": []string{where.dns}, "zone": "dl.example.org", "zone_file": "zone"}
	c.write(t, "zone", apex+"static A 192.0.2.1\n")
	p := c.serve(t, where, `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.1.7/tails/", "weight": 1}]}`)
	for name, want := range map[string]string{"dl.example.org.": "127.0.1.7", "static.dl.example.org.": "192.0.2.1",
		"ns1.dl.example.org.": "192.0.2.53"} {
		if got := p.ask(t, name, dns.TypeA); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	serial := p.status(t).Serial
	c.write(t, "zone", apex+"static A 192.0.2.2\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "the new record is served", func() bool {
		return slices.Equal(p.ask(t, "static.dl.example.org.", dns.TypeA), []string{"192.0.2.2"})
	})
	if now := p.status(t).Serial; int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d", now, serial)
	}
	c.write(t, "zone", apex+"dl.example.org. A 192.0.2.3\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "the bad zone file is reported", func() bool {
		return strings.Contains(p.log.String(), "zone:4: dl.example.org. A: is the pool's")
	})
	if got := p.ask(t, "static.dl.example.org.", dns.TypeA); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("after a bad zone file: %v, want the old record", got)
	}
	p.stop(t)
}
