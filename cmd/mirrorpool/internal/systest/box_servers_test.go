//go:build linux

package systest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mirrorpool/testdata/testbed"
)

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

// startResolver starts unbound, which knows of the parent only; on loopback, where a delegation cannot say at which
// port servers are, of the mirrorpools.
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

// site is the web site's nginx. Below /legacy/ it passes on what the mirrorpools have, and while they are away what it
// had from them, as README.md has it.
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
