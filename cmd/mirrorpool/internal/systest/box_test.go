//go:build linux

package systest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
//	ns1, ns2     two mirrorpools, and in some tests ns3, a third one
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
	numbers := map[string]int{"parent": 2, "web": 3, "resolver": 4, "ns1": 11, "ns2": 12, "ns3": 13, "client": 250}
	for i := 1; i <= boxMirrors; i++ {
		numbers[fmt.Sprint("m", i)] = 100 + i
	}
	return numbers
}

// oneBox lets one box be at a time: their namespaces have the same names, and two would disturb what both measure.
var oneBox sync.Mutex

// newBox lays out the hosts and starts all servers. Without the right to make namespaces the test is skipped, unless
// all peers have to be there.
func newBox(t testing.TB) *box {
	t.Helper()
	if os.Getenv("MIRRORPOOL_TEST_BOX") == "loopback" {
		t.Skip("MIRRORPOOL_TEST_BOX=loopback: TestFaultsOnLoopback has what can be had without namespaces")
	}
	for program, debianPackage := range map[string]string{"ip": "iproute2", "knotd": "knot", "nft": "nftables",
		"nsenter": "util-linux"} {
		testbed.Need(t, program, debianPackage)
	}
	oneBox.Lock()
	t.Cleanup(oneBox.Unlock) // once all that is begun below has ended
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
	b.healthyAt("ns1", "ns2")
}

// healthyAt waits until mirrorpools on some hosts do.
func (b *box) healthyAt(names ...string) {
	b.t.Helper()
	for _, name := range names {
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
