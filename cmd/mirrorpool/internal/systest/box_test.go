//go:build linux

package systest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// A box is a pool with everything around it, each on a host of its own: a network namespace, joined to the others by a
// bridge. So hosts can be cut off, lose packets and change addresses as real ones do. Nothing in it reaches the world.
//
//	m1 ... m12   mirrors: nginx, and rsync; m12 is disabled. m1 to m4 speak https; m1 to m8 have IPv6
//	web          the project's web site: mirrors.json and the trace, over https
//	parent       Knot, with the zone example.org, which delegates dl.example.org
//	ns1, ns2     two mirrorpools
//	resolver     unbound
//	client       who asks
//
// Where namespaces are not permitted, hosts are addresses on loopback instead: see newLoopbackBox.
type box struct {
	t      testing.TB
	dir    string
	id     string
	hosts  map[string]*host
	ports  ports
	local  bool // on loopback
	ca     *testbed.Authority
	caFile string // with its certificate
	serve  []byte // what a good mirror serves as the image

	mu     sync.Mutex
	zone   map[string][]netip.Addr // names in example.org that mirrors have
	serial int
}

// A host is a machine in the box.
type host struct {
	*box
	name   string
	ns     string
	v4, v6 netip.Addr
	web    *process // nginx, or what stands in for it
	rsync  *process
	conf   string // nginx's, to start it again
}

// ports are those that all hosts use for a service.
type ports struct{ http, https, dns, rsync, admin string }

const (
	boxMirrors = 12
	boxOff     = "m12" // is disabled
	boxHTTPS   = 4     // how many speak https: the first ones
	boxIPv6    = 8     // how many have IPv6: the first ones
	boxImage   = "stable/tails-amd64-6.0/tails-amd64-6.0.img"
)

// boxNumbers are the last bytes of the hosts' addresses.
func boxNumbers() map[string]int {
	numbers := map[string]int{"parent": 2, "web": 3, "resolver": 4, "ns1": 11, "ns2": 12, "client": 250}
	for i := 1; i <= boxMirrors; i++ {
		numbers[fmt.Sprint("m", i)] = 100 + i
	}
	return numbers
}

// newBox lays out the hosts and starts all servers. Without the right to make namespaces the test is skipped, unless all
// peers have to be there.
func newBox(t testing.TB) *box {
	t.Helper()
	if os.Getenv("MIRRORPOOL_TEST_BOX") == "loopback" {
		t.Skip("MIRRORPOOL_TEST_BOX=loopback: TestFaultsOnLoopback has what can be had without namespaces")
	}
	for program, debianPackage := range map[string]string{"ip": "iproute2", "knotd": "knot", "nft": "nftables",
		"nsenter": "util-linux"} {
		testbed.Need(t, program, debianPackage)
	}
	b := emptyBox(t)
	b.ports = ports{http: "80", https: "443", dns: "53", rsync: "873", admin: "8053"}
	b.layOut()
	b.startParent()
	b.startServers()
	return b
}

// emptyBox is a box without hosts.
func emptyBox(t testing.TB) *box {
	t.Helper()
	for program, debianPackage := range map[string]string{"nginx": "nginx", "rsync": "rsync", "unbound": "unbound",
		"curl": "curl", "wget": "wget", "dig": "bind9-dnsutils"} {
		testbed.Need(t, program, debianPackage)
	}
	b := &box{t: t, dir: t.TempDir(), id: fmt.Sprintf("mp%d", os.Getpid()), hosts: map[string]*host{},
		zone:  map[string][]netip.Addr{},
		serve: bytes.Repeat([]byte("the image\n"), 2000)}
	for dir := b.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	b.ca = testbed.NewAuthority(t)
	b.caFile = b.ca.File(t)
	return b
}

// startServers starts all but the parent and the mirrorpools.
func (b *box) startServers() {
	b.t.Helper()
	b.startResolver()
	b.write("tree/tails/project/trace", fmt.Sprintln(boxTrace.Unix()))
	b.write("tree/tails/"+boxImage, string(b.serve))
	b.write("old/tails/project/trace", fmt.Sprintln(boxTrace.Add(-24*time.Hour).Unix()))
	b.write("old/tails/"+boxImage, strings.Repeat("an older image\n", 1000))
	for i := 1; i <= boxMirrors; i++ {
		m := b.hosts[fmt.Sprint("m", i)]
		m.serveNginx(m.normal())
		m.startRsync()
	}
	b.publish(b.pool())
	b.write("site/trace", fmt.Sprintln(boxTrace.Unix()))
	b.hosts["web"].serveNginx(b.hosts["web"].site())
}

// boxTrace is when the project last published.
var boxTrace = time.Now().Add(-time.Hour).Truncate(time.Second)

// ip runs ip, which is not to fail.
func (b *box) ip(args ...string) {
	b.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		b.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// layOut makes the namespaces and joins them.
func (b *box) layOut() {
	b.t.Helper()
	lan := b.id + "-lan"
	if out, err := exec.Command("ip", "netns", "add", lan).CombinedOutput(); err != nil {
		testbed.Lack(b.t, "network namespaces cannot be made, as root they can (TestFaultsOnLoopback does without): %s", out)
	}
	b.t.Cleanup(func() { exec.Command("ip", "netns", "del", lan).Run() })
	b.ip("-n", lan, "link", "add", "br0", "type", "bridge")
	b.ip("-n", lan, "link", "set", "br0", "up")
	for name, number := range boxNumbers() {
		h := &host{box: b, name: name, ns: b.id + "-" + name,
			v4: netip.AddrFrom4([4]byte{10, 77, 0, byte(number)}), v6: netip.MustParseAddr(fmt.Sprintf("fd00:77::%d", number))}
		b.hosts[name] = h
		b.ip("netns", "add", h.ns)
		b.t.Cleanup(func() { exec.Command("ip", "netns", "del", h.ns).Run() })
		b.ip("-n", lan, "link", "add", "v-"+name, "type", "veth", "peer", "name", "eth0", "netns", h.ns)
		b.ip("-n", lan, "link", "set", "v-"+name, "master", "br0", "up")
		b.ip("-n", h.ns, "link", "set", "lo", "up")
		b.ip("-n", h.ns, "addr", "add", h.v4.String()+"/24", "dev", "eth0")
		var m int
		if _, err := fmt.Sscanf(name, "m%d", &m); err != nil || m <= boxIPv6 {
			b.ip("-n", h.ns, "addr", "add", h.v6.String()+"/64", "dev", "eth0", "nodad")
		} else {
			h.v6 = netip.Addr{}
		}
		b.ip("-n", h.ns, "link", "set", "eth0", "up")
		b.zone[name+".example.org"] = h.addresses()
	}
	b.write("resolv.conf", fmt.Sprintf("nameserver %s\noptions timeout:1\n", b.hosts["resolver"].v4))
}

// addresses are those of both families.
func (h *host) addresses() []netip.Addr {
	if !h.v6.IsValid() {
		return []netip.Addr{h.v4}
	}
	return []netip.Addr{h.v4, h.v6}
}

// at is where a service of the host is found: by name and at the usual port, or on loopback, where only addresses lead
// somewhere, by address.
func (h *host) at(port string) string {
	if h.local {
		return net.JoinHostPort(h.v4.String(), port)
	}
	return h.name + ".example.org"
}

// self is where the host finds itself.
func (h *host) self(port string) string {
	if h.local {
		return net.JoinHostPort(h.v4.String(), port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// everywhere is all of the host's addresses, to listen there.
func (h *host) everywhere(port string) []string {
	if h.local {
		return []string{h.self(port)}
	}
	return []string{"0.0.0.0:" + port, "[::]:" + port}
}

// write writes a file in the box's folder, all at once, and returns its path.
func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// A process runs on a host.
type process struct {
	cmd  *exec.Cmd
	log  *testbed.Log
	done chan struct{}
	stop func() // kills it
}

// command runs a program on the host. Its resolver is the box's, but on loopback, where nothing there resolves names.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	if !h.local {
		script := fmt.Sprintf(`mount --bind %s/resolv.conf /etc/resolv.conf && exec "$0" "$@"`, h.dir)
		args = append([]string{"ip", "netns", "exec", h.ns, "sh", "-c", script}, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// start runs a program on the host until the test ends.
func (h *host) start(env []string, args ...string) *process {
	h.t.Helper()
	p := &process{log: &testbed.Log{}, done: make(chan struct{})}
	p.cmd = h.command(context.Background(), args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	p.stop = func() {
		p.cmd.Process.Kill()
		<-p.done
	}
	h.t.Cleanup(func() {
		p.stop()
		if h.t.Failed() && !strings.HasPrefix(h.name, "m") {
			h.t.Logf("%s on %s:\n%s", args[0], h.name, tail(p.log.String(), 6000))
		}
	})
	return p
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// inside runs f in the host's namespace: sockets that it opens belong there.
func (h *host) inside(f func() error) error {
	if h.local {
		return f()
	}
	return inNetwork("/run/netns/"+h.ns, f)
}

// inNetwork runs f in the network namespace that a file stands for.
func inNetwork(file string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(file)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return back // the thread stays locked, and so ends with this goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects to an address from the host.
func (h *host) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.inside(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// listen listens on all of the host's addresses.
func (h *host) listen(port string) net.Listener {
	h.t.Helper()
	address := ":" + port
	if h.local {
		address = h.self(port)
	}
	var l net.Listener
	err := h.inside(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// startParent starts Knot with the zone above ours.
func (b *box) startParent() {
	b.t.Helper()
	dir := filepath.Join(b.dir, "parent")
	b.writeZone()
	b.write("parent/knot.conf", fmt.Sprintf(`server:
  listen: [ 0.0.0.0, "::" ]
  rundir: %[1]s
database:
  storage: %[1]s
log:
  - target: stderr
    any: warning
zone:
  - domain: example.org
    file: %[1]s/example.org.zone
    zonefile-sync: -1
`, dir))
	p := b.hosts["parent"]
	p.web = p.start(nil, testbed.Need(b.t, "knotd", "knot"), "-c", filepath.Join(dir, "knot.conf"))
}

// writeZone writes the parent zone as it is to be.
func (b *box) writeZone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	text := fmt.Sprintf("$ORIGIN example.org.\n$TTL 5\n@ SOA parent hostmaster %d 3600 600 86400 2\n@ NS parent\ndl NS "+
		"ns1\ndl NS ns2\n", b.serial)
	for name, addrs := range b.zone {
		for _, addr := range addrs {
			rrtype := "A"
			if addr.Is6() {
				rrtype = "AAAA"
			}
			text += fmt.Sprintf("%s. %s %s\n", name, rrtype, addr)
		}
	}
	b.write("parent/example.org.zone", text)
}

// rename makes DNS give other addresses for a host, or none.
func (b *box) rename(name string, addrs ...netip.Addr) {
	b.mu.Lock()
	b.zone[name+".example.org"] = addrs
	b.mu.Unlock()
	b.writeZone()
	b.hosts["parent"].web.cmd.Process.Signal(syscall.SIGHUP)
}

// lookup is what a name in the box resolves to, in a family.
func (b *box) lookup(name string, v6 bool) (netip.Addr, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addrs := b.zone[name]
	i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is6() == v6 })
	if i < 0 {
		return netip.Addr{}, false
	}
	return addrs[i], true
}

// startResolver starts unbound, which knows of the parent only; on loopback, where a delegation cannot say at which port
// servers are, of the mirrorpools.
func (b *box) startResolver() {
	b.t.Helper()
	r := b.hosts["resolver"]
	listen := "  interface: 0.0.0.0\n  interface: ::0\n"
	stub := fmt.Sprintf("  name: example.org\n  stub-addr: %s\n", b.hosts["parent"].v4)
	if b.local {
		listen = fmt.Sprintf("  interface: %s\n  port: %s\n  do-not-query-localhost: no\n", r.v4, b.ports.dns)
		stub = fmt.Sprintf("  name: dl.example.org\n  stub-addr: %[1]s@%[3]s\n  stub-addr: %[2]s@%[3]s\n", b.hosts["ns1"].v4,
			b.hosts["ns2"].v4, b.ports.dns)
	}
	conf := b.write("resolver/unbound.conf", fmt.Sprintf(`server:
  directory: %q
  pidfile: ""
  username: ""
  chroot: ""
  use-syslog: no
  do-daemonize: no
%s  access-control: 10.77.0.0/16 allow
  access-control: fd00:77::/64 allow
  module-config: "iterator"
  local-zone: "example.org." nodefault
stub-zone:
%sremote-control:
  control-enable: no
`, filepath.Join(b.dir, "resolver"), listen, stub))
	r.web = r.start(nil, testbed.Need(b.t, "unbound", "unbound"), "-d", "-c", conf)
}

// serveNginx puts nginx with the given servers in place of what serves the host's web now.
func (h *host) serveNginx(servers string) {
	h.t.Helper()
	if h.web != nil {
		h.web.stop()
	}
	h.conf = servers
	dir := filepath.Join(h.dir, "nginx", h.name)
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	conf := h.write("nginx/"+h.name+"/nginx.conf",
		fmt.Sprintf("user root;\ndaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr crit;\nevents {}\nhttp "+
			"{\naccess_log off;\n%s%s}\n",
			dir, temporary, servers))
	h.web = h.start(nil, testbed.Need(h.t, "nginx", "nginx"), "-e", "stderr", "-c", conf)
	h.await(h.ports.http)
}

// await waits until a port of the host is open.
func (h *host) await(port string) {
	h.t.Helper()
	testbed.Eventually(h.t, h.name+" accepts connections", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := h.dial(ctx, "tcp", h.self(port))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// secure reports whether a mirror speaks https.
func (h *host) secure() bool {
	var m int
	_, err := fmt.Sscanf(h.name, "m%d", &m)
	return err == nil && m <= boxHTTPS
}

// prefix is a mirror's url_prefix.
func (h *host) prefix() string {
	if h.secure() {
		return "https://" + h.at(h.ports.https) + "/tails/"
	}
	return "http://" + h.at(h.ports.http) + "/tails/"
}

// plain is an http server that does what is said.
func (h *host) plain(does string) string {
	return fmt.Sprintf("server { listen %s; %s }\n", strings.Join(h.everywhere(h.ports.http), "; listen "), does)
}

// tls is an https server with a certificate until a time, which does what is said.
func (h *host) tls(until time.Time, does string) string {
	cert, key := h.ca.IssueFiles(h.t, h.name+".example.org", until, h.v4)
	return fmt.Sprintf("server { listen %s ssl; ssl_certificate %s; ssl_certificate_key %s; %s }\n",
		strings.Join(h.everywhere(h.ports.https), " ssl; listen "), cert, key, does)
}

// normal is what a mirror's nginx does when all is well. One that speaks https sends all on to that.
func (h *host) normal() string { return h.serving("tree", time.Now().Add(60*24*time.Hour)) }

// serving is a mirror with a tree, and a certificate until a time.
func (h *host) serving(tree string, until time.Time) string {
	root := fmt.Sprintf("root %s;", filepath.Join(h.dir, tree))
	if !h.secure() {
		return h.plain(root)
	}
	return h.plain("return 301 https://"+h.at(h.ports.https)+"$request_uri;") + h.tls(until, root)
}

// downgrading is a mirror that sends who comes over https to http.
func (h *host) downgrading() string {
	return h.plain(fmt.Sprintf("root %s/tree;", h.dir)) + h.tls(time.Now().Add(60*24*time.Hour),
		"return 301 http://"+h.at(h.ports.http)+"$request_uri;")
}

// always is a mirror that answers everything alike.
func (h *host) always(does string) string {
	does = fmt.Sprintf("location / { default_type text/html; %s }", does)
	if h.secure() {
		return h.plain(does) + h.tls(time.Now().Add(60*24*time.Hour), does)
	}
	return h.plain(does)
}

// site is the web site's nginx. Below /legacy/ it passes on what the mirrorpools have, and while they are away what it had from
// them, as README.md has it.
func (h *host) site() string {
	pools := ""
	for _, name := range []string{"ns1", "ns2"} {
		pools += fmt.Sprintf("server %s;", net.JoinHostPort(h.hosts[name].v4.String(), h.ports.http))
	}
	return fmt.Sprintf("proxy_cache_path %s/legacy keys_zone=legacy:1m; upstream pools { %s }\n", h.dir, pools) +
		h.plain("return 404;") +
		h.tls(time.Now().Add(60*24*time.Hour), fmt.Sprintf(`root %s; add_header Cache-Control no-cache;
			location /legacy/ { proxy_pass http://pools/; proxy_cache legacy; proxy_cache_valid 200 1s; proxy_ignore_headers Cache-Control;
				proxy_connect_timeout 1s; proxy_read_timeout 1s;
				proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504; }`, filepath.Join(h.dir, "site")))
}

// serveGo puts a handler in place of what serves the host's web, over http.
func (h *host) serveGo(handler http.HandlerFunc) {
	h.t.Helper()
	h.web.stop()
	l := h.listen(h.ports.http)
	s := &http.Server{Handler: handler}
	go s.Serve(l)
	h.web = &process{log: &testbed.Log{}, stop: func() { s.Close() }}
	h.t.Cleanup(func() { s.Close() })
}

// startRsync starts the host's rsync daemon.
func (h *host) startRsync() {
	h.t.Helper()
	conf := h.write("rsync/"+h.name+".conf",
		fmt.Sprintf("use chroot = no\nlock file = %s/rsync/%s.lock\nlog file = /dev/null\n[tails]\npath = %s/tree/tails\nread "+
			"only = yes\n", h.dir, h.name, h.dir))
	args := []string{testbed.Need(h.t, "rsync", "rsync"), "--daemon", "--no-detach", "--config", conf, "--port", h.ports.rsync}
	if h.local {
		args = append(args, "--address", h.v4.String())
	}
	h.rsync = h.start(nil, args...)
}

// filter puts rules of nftables in force on what the host takes in, or none.
func (h *host) filter(rules ...string) {
	h.t.Helper()
	text := "flush ruleset\n"
	if len(rules) > 0 {
		text += "table inet box {\n chain in {\n  type filter hook input priority 0;\n  " + strings.Join(rules, "\n  ") + "\n }\n}\n"
	}
	file := h.write("nft/"+h.name, text)
	if out, err := exec.Command("ip", "netns", "exec", h.ns, testbed.Need(h.t, "nft", "nftables"), "-f",
		file).CombinedOutput(); err != nil {
		h.t.Errorf("nft: %v\n%s", err, out)
	}
}

// pool is the list of mirrors, less those that are named.
func (b *box) pool(without ...string) any {
	var mirrors []any
	for i := 1; i <= boxMirrors; i++ {
		m := b.hosts[fmt.Sprint("m", i)]
		if slices.Contains(without, m.name) {
			continue
		}
		entry := map[string]any{"url_prefix": m.prefix(), "weight": 10, "rsync_url": "rsync://" + m.at(b.ports.rsync) + "/tails/",
			"name": m.name}
		if m.name == boxOff {
			entry["weight"] = 0
		}
		mirrors = append(mirrors, entry)
	}
	return map[string]any{"version": 1, "mirrors": mirrors}
}

// publish puts a list on the web site: a value as JSON, or a string as it is.
func (b *box) publish(list any) {
	b.t.Helper()
	text, ok := list.(string)
	if !ok {
		data, err := json.MarshalIndent(list, "", " ")
		if err != nil {
			b.t.Fatal(err)
		}
		text = string(data)
	}
	b.write("site/mirrors.json", text)
}

// boxTTL is the TTL of addresses, boxInterval how often is checked.
const boxTTL, boxInterval = 2 * time.Second, 2 * time.Second

// startPool starts mirrorpool on a host. Its state is on a small disk of its own.
func (b *box) startPool(name string, change func(config map[string]any), env ...string) *process {
	b.t.Helper()
	program, err := buildProgram()
	if err != nil {
		b.t.Fatal(err)
	}
	h := b.hosts[name]
	state := filepath.Join(b.dir, name, "state")
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err == nil && !b.local {
		if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=256k,mode=700"); err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { unix.Unmount(state, unix.MNT_DETACH) })
	}
	site := "https://" + b.hosts["web"].at(b.ports.https)
	checks := map[string]any{"interval": boxInterval.String(), "timeout": "1500ms", "allow_private": true, "max_lag": "3s",
		"reference_url": site + "/trace"}
	if b.local {
		checks["dns_url"] = "http://{zone}:" + b.ports.http + "/tails/project/trace"
	}
	config := map[string]any{
		"mirrors": site + "/mirrors.json", "mirrors_refresh": "1s", "state_dir": "state",
		"dns": map[string]any{"listen": h.everywhere(b.ports.dns), "zone": "dl.example.org",
			"nameservers": []string{"ns1.example.org", "ns2.example.org"},
			"ttl":         boxTTL.String(), "ttl_min": "1s"},
		"http":   map[string]any{"listen": h.everywhere(b.ports.http), "sticky": "0s"},
		"admin":  map[string]any{"listen": h.self(b.ports.admin)},
		"health": checks,
	}
	if change != nil {
		change(config)
	}
	text, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		b.t.Fatal(err)
	}
	file := b.write(name+"/mirrorpool.json", string(text))
	p := h.start(append([]string{"SSL_CERT_FILE=" + b.caFile}, env...), program, "serve", "--config", file)
	h.web = p
	b.ready(name)
	return p
}

// admin asks the administrator's listener on a host.
func (h *host) admin(path string) (*http.Response, error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.dial}}
	return client.Get("http://" + h.self(h.ports.admin) + path)
}

// ready waits for mirrorpool on a host to answer.
func (b *box) ready(name string) {
	b.t.Helper()
	testbed.Eventually(b.t, name+" is ready", func() bool {
		resp, err := b.hosts[name].admin("/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// status asks mirrorpool on a host.
func (b *box) status(name string) (status admin.Status, err error) {
	resp, err := b.hosts[name].admin("/api/v1/status")
	if err != nil {
		return status, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&status)
	return status, err
}

// healthy waits until both mirrorpools serve every mirror but the disabled one, in both ways.
func (b *box) healthy() {
	b.t.Helper()
	for _, name := range []string{"ns1", "ns2"} {
		missing := ""
		ok := func() bool {
			status, err := b.status(name)
			if err != nil {
				missing = err.Error()
				return false
			}
			missing = ""
			for _, m := range status.Mirrors {
				for _, e := range m.Endpoints {
					if m.Weight > 0 && e.State.String() != "up" {
						missing += fmt.Sprintf("%s %s %s %s; ", m.URLPrefix, e.Address, e.Role, e.Reason)
					}
				}
			}
			return missing == "" && len(status.Mirrors) == boxMirrors
		}
		deadline := time.Now().Add(60 * time.Second)
		tick := time.NewTicker(200 * time.Millisecond)
		for !ok() && time.Now().Before(deadline) {
			<-tick.C
		}
		tick.Stop()
		if missing != "" {
			b.t.Fatalf("%s does not find all healthy: %s", name, missing)
		}
	}
}
