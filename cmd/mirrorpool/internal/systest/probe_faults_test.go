package systest

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// A faultRig is a pool with mirrors that fail in one way each, most of them at an address of their own. All serve
// at one port, because role dns asks at one.
type faultRig struct {
	config  *serverConfig
	where   *program
	env     string            // makes a program trust the rig's authority
	prefix  map[string]string // url_prefix by name, as it is shown
	address map[string]string
	web     string // port of all
	tls     string // port of those with https
	rsync   string // port of the rsync daemon at reference's address
}

// faults are the mirrors, with what each shows: "role state reason" for each endpoint in the order of addresses
// and roles, or the problem that leaves it without one. "…" stands for anything.
var faults = map[string][]string{
	"good":     {"http up ", "dns up ", "rsync up "},
	"off":      {"http up ", "dns up "},
	"soon":     {"http up ", "dns up "},
	"refused":  {"http down connect: connection refused", "dns down connect: connection refused"},
	"halfdead": {"http up ", "dns up ", "http down connect: connection refused", "dns down connect: connection refused"},
	"hang":     {"http down request: timed out", "dns down request: timed out"},
	"missing":  {"http down status: 404 Not Found, want 200", "dns down status: 404 Not Found, want 200"},
	"parked": {"http down body: more than 64 bytes, want an epoch second",
		"dns down body: more than 64 bytes, want an epoch second"},
	"words": {`http down body: "soon", want an epoch second`, `dns down body: "soon", want an epoch second`},
	"endless": {"http down body: more than 64 bytes, want an epoch second",
		"dns down body: more than 64 bytes, want an epoch second"},
	"stale": {"http stale freshness: 240h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at …Z",
		"dns stale freshness: 240h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at …Z"},
	"future": {"http down freshness: the trace file is … ahead of our clock",
		"dns down freshness: the trace file is … ahead of our clock"},
	"expired":   {"http down tls: certificate is not valid now, but from … to …", "dns up "},
	"wrongname": {`http down tls: certificate is not for "wrongname.example.org"`, "dns up "},
	"plaintext": {"http down tls: the server does not speak TLS", "dns up "},
	"elsewhere": {"http down request: redirected to http://elsewhere.example.com/tails/project/trace: neither the same host " +
		"nor the mirror's own",
		"dns down request: redirected to http://elsewhere.example.com/…: neither the same host nor the mirror's own"},
	"downgrade": {"http down request: redirected to http://downgrade.example.org:…/tails/project/trace: from https to http",
		"dns up "},
	"loop": {"http down request: redirected to http://…/tails/project/trace: more than 5 redirects",
		"dns down request: redirected to http://dl.example.org:…/tails/project/trace: more than 5 redirects"},
	"noranges": {"http up ", "dns down status: 200 OK to a range request, want 206: the server cannot resume downloads"},
	"novhost":  {"http up ", "dns down status: 404 Not Found, want 200"},
	"norsync":  {"http up ", "dns up ", `rsync down status: opening module "nothing": the daemon has no such module…`},
	"nohost":   {"resolve: …"},
}

// faultyUp are the enabled ones that are up in all their roles.
var faultyUp = []string{"good", "soon"}

func newFaultRig(t *testing.T) *faultRig {
	t.Helper()
	testbed.Need(t, "nginx", "nginx")
	r := &faultRig{prefix: map[string]string{}, address: map[string]string{"reference": "127.0.5.250"}}
	for i, name := range slices.Sorted(maps.Keys(faults)) {
		r.address[name] = fmt.Sprintf("127.0.5.%d", i+1)
	}
	all := slices.Sorted(maps.Values(r.address))
	r.web, r.tls = testbed.FreePort(t, all...), testbed.FreePort(t, all...)
	r.startRsync(t, newTree(t, time.Now()))
	r.startNginx(t)
	r.startStrange(t)
	r.config, r.where = newServerConfig(t)
	r.config.set("health", "timeout", "3s")
	r.config.set("health", "interval", "3s")
	r.config.set("health", "dns_url", "http://{zone}:"+r.web+"/tails/project/trace")
	r.config.set("health", "reference_url", "http://"+net.JoinHostPort(r.address["reference"], r.web)+"/tails/project/trace")
	return r
}

// pool is mirrors.json.
func (r *faultRig) pool() any {
	var list []any
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		m := map[string]any{"weight": 10}
		host, scheme, port := r.address[name], "http", r.web
		switch name {
		case "expired", "wrongname", "plaintext", "downgrade", "soon":
			host, scheme, port = name+".example.org", "https", r.tls
			m["dns"] = map[string]any{"addresses": []string{r.address[name]}}
		case "nohost":
			host = "nohost.invalid" // RFC 6761 section 6.4
		case "off":
			m["weight"] = 0
		case "halfdead":
			m["dns"] = map[string]any{"addresses": []string{r.address[name], "127.0.5.251"}}
			m["name"] = "h1"
		case "good":
			m["rsync_url"] = "rsync://" + net.JoinHostPort(r.address["reference"], r.rsync) + "/tails/"
		case "norsync":
			m["rsync_url"] = "rsync://" + net.JoinHostPort(r.address["reference"], r.rsync) + "/nothing/"
		}
		r.prefix[name] = scheme + "://" + net.JoinHostPort(host, port) + "/tails/"
		m["url_prefix"] = r.prefix[name]
		list = append(list, m)
	}
	return map[string]any{"version": 1, "mirrors": list}
}

// startNginx runs one nginx with most of the mirrors.
func (r *faultRig) startNginx(t *testing.T) {
	t.Helper()
	published := time.Now().Add(-5 * time.Hour)
	tree, stale, future := newTree(t, published), newTree(t, published.Add(-240*time.Hour)), newTree(t, time.Now().Add(time.Hour))
	authority := testbed.NewAuthority(t)
	r.env = "SSL_CERT_FILE=" + authority.File(t)
	const day = 24 * time.Hour
	var conf strings.Builder
	server := func(name, port, rules string) {
		fmt.Fprintf(&conf, "server { listen %s:%s; %s }\n", r.address[name], port, rules)
	}
	secure := func(name, certificateName string, lasts time.Duration, rules string) {
		cert, key := authority.IssueFiles(t, certificateName, time.Now().Add(lasts))
		server(name, r.tls+" ssl", "ssl_certificate "+cert+"; ssl_certificate_key "+key+"; "+rules)
	}
	works := "root " + tree + ";"
	for _, name := range []string{"reference", "good", "off", "soon", "halfdead", "expired", "wrongname", "plaintext",
		"downgrade", "norsync", "noranges"} {
		server(name, r.web, works)
	}
	server("missing", r.web, "return 404;")
	server("parked", r.web, "return 200 '<html>"+strings.Repeat("This domain is for sale. ", 10)+"</html>';")
	server("words", r.web, "return 200 'soon\n';")
	server("stale", r.web, "root "+stale+";")
	server("future", r.web, "root "+future+";")
	server("elsewhere", r.web, "return 302 http://elsewhere.example.com$request_uri;")
	server("loop", r.web, "return 302 http://$host:"+r.web+"$request_uri;")
	server("noranges", r.web, "server_name dl.example.org; max_ranges 0; "+works)
	server("novhost", r.web+" default_server", "return 404;")
	server("novhost", r.web, "server_name "+r.address["novhost"]+"; "+works)
	server("plaintext", r.tls, works)
	secure("soon", "soon.example.org", 5*day+time.Hour, works)
	secure("expired", "expired.example.org", -2*day+time.Hour, works)
	secure("wrongname", "other.example.org", 30*day, works)
	secure("downgrade", "downgrade.example.org", 30*day, "return 301 http://$host:"+r.web+"$request_uri;")

	testbed.Nginx(t, conf.String())
	testbed.AwaitPort(t, net.JoinHostPort(r.address["reference"], r.web))
}

// startRsync runs an rsync daemon with one module.
func (r *faultRig) startRsync(t *testing.T, tree string) {
	t.Helper()
	address := r.address["reference"]
	r.rsync = testbed.FreePort(t, address)
	testbed.Rsync(t, net.JoinHostPort(address, r.rsync), "log file = /dev/null\n[tails]\npath = "+tree+"/tails\n")
}

// startStrange serves what no ordinary web server would. It accepts at hang too, and says nothing there.
func (r *faultRig) startStrange(t *testing.T) {
	t.Helper()
	hang := listenStrange(t, net.JoinHostPort(r.address["hang"], r.web))
	t.Cleanup(func() { hang.Close() }) // the kernel completes handshakes although no connection is accepted
	endless := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for digits := bytes.Repeat([]byte("1"), 64<<10); ; {
			if _, err := w.Write(digits); err != nil {
				return
			}
		}
	})}
	l := listenStrange(t, net.JoinHostPort(r.address["endless"], r.web))
	go endless.Serve(l)
	t.Cleanup(func() { endless.Close() })
}

func listenStrange(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
