package testbed

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A Pebble is a running certificate authority (github.com/letsencrypt/pebble), which validates as Let's Encrypt does.
type Pebble struct {
	Directory string // URL
	CARoot    string // a PEM file: what signs the certificate of Directory
	// DirectoryRoots are what signs it, for clients of the authority.
	DirectoryRoots *x509.CertPool
	client         *http.Client
	roots          string // URL
}

// PebbleOptions say how an authority is run.
type PebbleOptions struct {
	Resolver          string            // host:port of the DNS server that it asks, over TCP
	HTTPPort, TLSPort string            // where it asks for the answers to HTTP-01 and TLS-ALPN-01
	Listen            string            // host:port; empty: any
	Validity          time.Duration     // of certificates; 0: 90 days
	ExternalAccounts  map[string]string // keys in base64url, by identifier; none: accounts need no other one
	Signer            *Authority        // of Directory's certificate; nil: a new one
}

// pebbleProgram builds the authority, once.
var pebbleProgram = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "pebble")
	var told bytes.Buffer // also of modules that are downloaded
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n pebble: %w\n%s", err, told.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
})

// StartPebble runs an authority until the test ends, or stop is called.
func StartPebble(t testing.TB, o PebbleOptions) (p *Pebble, stop func()) {
	t.Helper()
	program, err := pebbleProgram()
	if err != nil {
		Lack(t, "the ACME server for tests cannot be built: %v", err)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:" + FreePort(t)
	}
	manage := "127.0.0.1:" + FreePort(t)
	authority := o.Signer
	if authority == nil {
		authority = NewAuthority(t)
	}
	cert, key := authority.IssueFiles(t, "localhost", time.Now().Add(24*time.Hour), netip.MustParseAddr("127.0.0.1"))
	port := func(text string) int { n, _ := strconv.Atoi(text); return n }
	config := map[string]any{
		"listenAddress": o.Listen, "managementListenAddress": manage, "certificate": cert, "privateKey": key,
		"httpPort": port(o.HTTPPort), "tlsPort": port(o.TLSPort), "keyAlgorithm": "ecdsa",
		"retryAfter":                     map[string]int{"authz": 1, "order": 1},
		"externalAccountBindingRequired": len(o.ExternalAccounts) > 0, "externalAccountMACKeys": o.ExternalAccounts,
	}
	if o.Validity > 0 {
		config["profiles"] = map[string]any{"default": map[string]any{"description": "short", "validityPeriod": int(o.Validity / time.Second)}}
	}
	text, err := json.Marshal(map[string]any{"pebble": config})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file, "-dnsserver", o.Resolver)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	stop = Start(t, cmd)
	p = &Pebble{
		DirectoryRoots: authority.Roots(),
		Directory:      "https://" + o.Listen + "/dir", CARoot: authority.File(t), roots: "https://" + manage + "/roots/0",
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.Roots()}}},
	}
	for _, url := range []string{p.Directory, p.roots} { // of two listeners
		EventuallyNil(t, func() error {
			_, err := p.get(url)
			return err
		})
	}
	return p, stop
}

func (p *Pebble) get(url string) ([]byte, error) {
	resp, err := p.client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// RootsFile writes to a file what a client has to trust to accept what the authority issues.
func (p *Pebble) RootsFile(t testing.TB) string {
	t.Helper()
	text, err := p.get(p.roots)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Roots are what a client has to trust to accept what the authority issues.
func (p *Pebble) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	text, err := p.get(p.roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %q", text)
	}
	return roots
}

// StartNames runs a resolver until the test ends, and returns its address. It knows the addresses of hosts; names in
// zones it looks up at the servers of these, except for the addresses of hosts.
func StartNames(t testing.TB, hosts map[string]string, zones map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		_ = w.WriteMsg(resolve(req, hosts, zones))
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func resolve(req *dns.Msg, hosts, zones map[string]string) *dns.Msg {
	resp := new(dns.Msg).SetReply(req)
	q := req.Question[0]
	name := strings.TrimSuffix(strings.ToLower(q.Name), ".")
	if addr, ok := hosts[name]; ok && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA) {
		if q.Qtype == dns.TypeA {
			resp.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(addr)}}
		}
		return resp
	}
	for zone, server := range zones {
		if name == zone || strings.HasSuffix(name, "."+zone) {
			client := dns.Client{Net: "tcp"}
			if answer, _, err := client.Exchange(req, server); err == nil {
				return answer
			}
		}
	}
	resp.Rcode = dns.RcodeNameError
	return resp
}
