package systest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// deployed is where the configurations are that dnspool/authority/README.md recommends. The tests run what they say, at
// other addresses.
const deployed = "../../../../config/examples/deploy"

// A site is where the servers of one test run, all of them on loopback.
type site struct {
	dir    string // with the key
	key    string // the file
	secret string // in it
	ours   string // host:port of mirrorpool

	validates bool // Knot as a secondary refuses a zone that is not valid
}

func newSite(t testing.TB, ours string) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), ours: ours}
	s.key, s.secret = writeKey(t, s.dir)
	return s
}

// writeKey makes a key named mirrorpool as README.md says.
func writeKey(t testing.TB, dir string) (file, secret string) {
	t.Helper()
	text, err := exec.Command(testbed.Need(t, "tsig-keygen", "bind9"), "mirrorpool").Output()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "mirrorpool.key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`secret "([^"]+)"`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no secret in %s", text)
	}
	return file, string(found[1])
}

// replaceAll returns a configuration with other values. Each old one has to be there, so that the tests notice when the
// configuration becomes another.
func replaceAll(t testing.TB, file string, oldNew ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deployed, file))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for pair := range slices.Chunk(oldNew, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("%s does not say %q", file, pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// A neighbour is another server, running with a configuration of deployed.
type neighbour struct {
	name string
	addr string
	stop func()
	run  func() // again
	log  *testbed.Log
	dir  string
}

// startNeighbour runs a server until the test ends. arguments come before the configuration file's name.
func startNeighbour(t testing.TB, name, dir, addr, program, conf string, wrapper []string, arguments ...string) *neighbour {
	t.Helper()
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	n := &neighbour{name: name, addr: addr, log: &testbed.Log{}, dir: dir}
	n.run = func() {
		command := append(slices.Clone(wrapper), program)
		command = append(append(command, arguments...), file)
		if name == "pdns" {
			command = command[:len(command)-1]
		}
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = n.log, n.log
		n.stop = testbed.Start(t, cmd)
	}
	n.run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, n.log)
		}
	})
	return n
}

// subdir makes a folder for one server.
func (s *site) subdir(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// secondary runs BIND, Knot or NSD as a secondary of mirrorpool, at addr. master is what it takes for mirrorpool.
func (s *site) secondary(t testing.TB, name, addr, master, secret string) *neighbour {
	t.Helper()
	dir := s.subdir(t, "secondary-"+name)
	_, port, _ := net.SplitHostPort(addr)
	_, masterPort, _ := net.SplitHostPort(master)
	switch name {
	case "bind":
		key := filepath.Join(dir, "mirrorpool.key")
		text := fmt.Sprintf("key \"mirrorpool\" { algorithm hmac-sha256; secret %q; };\n", secret)
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		conf := replaceAll(t, "secondary-bind.conf", `"/etc/bind/mirrorpool.key"`, fmt.Sprintf("%q", key),
			`directory "/var/cache/bind";`,
			fmt.Sprintf("directory %q; pid-file \"pid\"; session-keyfile \"session\"; dnssec-validation no;", dir),
			"port 53 { 192.0.2.2; }", "port "+port+" { 127.0.0.1; }", "192.0.2.1 port 53", "127.0.0.1 port "+masterPort)
		return startNeighbour(t, name, dir, addr, testbed.Need(t, "named", "bind9"), conf+"controls { };\n", nil, "-g", "-c")
	case "knot":
		conf := replaceAll(t, "secondary-knot.conf", "192.0.2.2@53", "127.0.0.1@"+port, "192.0.2.1@53", "127.0.0.1@"+masterPort,
			"/run/knot", dir, "/var/lib/knot", dir, "SECRET", secret)
		if s.validates {
			conf += "    dnssec-validation: on\n"
		}
		return startNeighbour(t, name, dir, addr, testbed.Need(t, "knotd", "knot"),
			conf+"log:\n  - target: stderr\n    any: info\n", nil, "-c")
	case "nsd":
		conf := replaceAll(t, "secondary-nsd.conf", "192.0.2.2@53", "127.0.0.1@"+port, "192.0.2.1@53", "127.0.0.1@"+masterPort,
			"allow-notify: 192.0.2.1", "allow-notify: 127.0.0.1", "/var/lib/nsd", dir, "SECRET", secret,
			"server:\n", fmt.Sprintf("server:\n  username: \"\"\n  pidfile: %[1]s/pid\n  xfrdfile: %[1]s/xfrd\n  xfrdir: %[1]s\n  "+
				"zonelistfile: %[1]s/zones\n  server-count: 1\n", dir))
		return startNeighbour(t, name, dir, addr, testbed.Need(t, "nsd", "nsd"), conf+"remote-control:\n  control-enable: no\n",
			nil, "-d", "-c")
	}
	t.Fatalf("no secondary %q", name)
	return nil
}

// primary runs BIND, Knot or PowerDNS as the primary of example.org, at addr. wrapper is a command to run it by.
func (s *site) primary(t testing.TB, name, addr string, wrapper ...string) *neighbour {
	t.Helper()
	dir := s.subdir(t, "primary-"+name)
	_, port, _ := net.SplitHostPort(addr)
	zone := replaceAll(t, "example.org.zone")
	if err := os.WriteFile(filepath.Join(dir, "example.org.zone"), []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	var n *neighbour
	switch name {
	case "bind":
		conf := replaceAll(t, "primary-bind.conf", `"/etc/bind/mirrorpool.key"`, fmt.Sprintf("%q", s.key),
			`directory "/var/lib/bind";`, fmt.Sprintf("directory %q; pid-file \"pid\"; session-keyfile \"session\"; "+
				"dnssec-validation no;", dir),
			"port 53 { 192.0.2.53; }", "port "+port+" { 127.0.0.1; }")
		n = startNeighbour(t, name, dir, addr, testbed.Need(t, "named", "bind9"), conf+"controls { };\n", wrapper, "-g", "-c")
	case "knot":
		conf := replaceAll(t, "primary-knot.conf", "192.0.2.53@53", "127.0.0.1@"+port, "/run/knot", dir, "/var/lib/knot", dir,
			"SECRET", s.secret)
		n = startNeighbour(t, name, dir, addr, testbed.Need(t, "knotd", "knot"), conf+"log:\n  - target: stderr\n    any: info\n",
			wrapper, "-c")
	case "pdns":
		n = s.powerDNS(t, dir, addr, port)
	}
	testbed.Eventually(t, name+" has its zone", func() bool { return serialAt(n.addr, "example.org.") != 0 })
	return n
}

// powerDNS does as primary-pdns.conf says in its comment.
func (s *site) powerDNS(t testing.TB, dir, addr, port string) *neighbour {
	t.Helper()
	server, util, sqlite := testbed.Need(t, "pdns_server", "pdns-server"), testbed.Need(t, "pdnsutil",
		"pdns-server"), testbed.Need(t, "sqlite3", "sqlite3")
	const schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
	if _, err := os.Stat(schema); err != nil {
		testbed.Lack(t, "pdns-backend-sqlite3 is not installed: apt-get install pdns-backend-sqlite3")
	}
	conf := replaceAll(t, "primary-pdns.conf", "/var/lib/powerdns", dir, "local-address=192.0.2.53", "local-address=127.0.0.1",
		"local-port=53", "local-port="+port, "allow-dnsupdate-from=192.0.2.1/32", "allow-dnsupdate-from=127.0.0.1/32")
	conf += fmt.Sprintf("socket-dir=%s\nsetuid=\nsetgid=\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "pdns.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	setUp := exec.Command("sh", "-ec", fmt.Sprintf(`%[1]s %[2]s/pdns.sqlite3 < %[3]s
		%[4]s --config-dir=%[2]s load-zone example.org %[2]s/example.org.zone
		%[4]s --config-dir=%[2]s import-tsig-key mirrorpool hmac-sha256 %[5]s
		%[4]s --config-dir=%[2]s set-meta example.org TSIG-ALLOW-DNSUPDATE mirrorpool`, sqlite, dir, schema, util, s.secret))
	if out, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return startNeighbour(t, "pdns", dir, addr, server, conf, nil, "--config-dir="+dir, "--daemon=no", "--guardian=no",
		"--disable-syslog", "--write-pid=no")
}

// serialAt returns the serial of a zone at a server, or 0.
func serialAt(addr, zone string) uint32 {
	req := new(dns.Msg).SetQuestion(zone, dns.TypeSOA)
	resp, _, err := (&dns.Client{Timeout: time.Second}).Exchange(req, addr)
	if err != nil || resp.Rcode != dns.RcodeSuccess || !resp.Authoritative || len(resp.Answer) != 1 {
		return 0
	}
	return resp.Answer[0].(*dns.SOA).Serial
}

// addressesAt returns the addresses that a server gives, sorted.
func addressesAt(addr, name string, qtype uint16) []string {
	req := new(dns.Msg).SetQuestion(name, qtype)
	resp, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(req, addr)
	if err != nil {
		return []string{err.Error()}
	}
	var addrs []string
	for _, rr := range resp.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			addrs = append(addrs, rr.A.String())
		case *dns.AAAA:
			addrs = append(addrs, rr.AAAA.String())
		}
	}
	slices.Sort(addrs)
	return addrs
}

// deploy runs mirrorpool with a configuration of deployed on three mirrors, a, b and c. oldNew are its changes.
func deploy(t testing.TB, file string, oldNew ...string) *deployment {
	t.Helper()
	d := &deployment{mirrors: map[string]*testMirror{}, network: fmt.Sprintf("127.%d.%d.", 16+os.Getpid()%64,
		time.Now().UnixNano()/1000%250)}
	addresses := map[string]string{"a": d.network + "1", "b": d.network + "2", "c": d.network + "3"}
	d.port = testbed.FreePort(t, addresses["a"], addresses["b"], addresses["c"])
	tree := newTree(t, time.Now().Add(-time.Hour))
	for name, addr := range addresses {
		d.mirrors[name] = &testMirror{address: addr, root: tree}
		d.mirrors[name].start(t, d.port)
	}
	if err := json.Unmarshal([]byte(replaceAll(t, file, oldNew...)), &d.json); err != nil {
		t.Fatal(err)
	}
	d.serverConfig = &serverConfig{dir: t.TempDir(), json: d.json}
	d.admin = "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	d.json["mirrors"] = "mirrors.json"
	d.json["mirrors_guard"] = 0 // they come and go as they please
	d.json["state_dir"] = "state"
	d.json["admin"] = map[string]any{"listen": d.admin}
	d.json["health"] = map[string]any{"interval": "300ms", "timeout": "1s", "fall": 2, "dns_url": "http://{zone}:" + d.port +
		"/tails/project/trace"}
	return d
}

// A deployment is mirrorpool with its mirrors, running again and again.
type deployment struct {
	*serverConfig
	json    map[string]any
	network string // of the mirrors' addresses
	port    string
	mirrors map[string]*testMirror
	dns     string
	admin   string
}

// pool is the list of the mirrors. Those named are disabled.
func (d *deployment) pool(disabled ...string) any {
	var entries []any
	for i, name := range []string{"a", "b", "c"} {
		weight := 12 - i
		if slices.Contains(disabled, name) {
			weight = 0
		}
		entries = append(entries, map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", d.mirrors[name].address, d.port),
			"weight": weight, "name": name})
	}
	return map[string]any{"version": 1, "mirrors": entries}
}

// start runs mirrorpool.
func (d *deployment) start(t testing.TB) *program {
	t.Helper()
	return d.serve(t, &program{dns: d.dns, admin: d.admin}, d.pool())
}

// addresses are those of the mirrors with the given names.
func (d *deployment) addresses(names ...string) (addrs []string) {
	for _, name := range names {
		addrs = append(addrs, d.mirrors[name].address)
	}
	return addrs
}

// TestDeployConfigurations reads all that is recommended for mirrorpool.
func TestDeployConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(deployed, "*.json"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if code, stdout, stderr := command(t, "check", "--text-only", file); code != exitOK {
			t.Errorf("check %s: exit code %d\n%s%s", file, code, stdout, stderr)
		}
	}
	readme, err := os.ReadFile(testbed.Root(t, "dnspool/authority/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(deployed)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !strings.Contains(string(readme), e.Name()) {
			t.Errorf("dnspool/authority/README.md does not name %s", e.Name())
		}
	}
}
