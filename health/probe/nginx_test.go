package probe

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// nginxMirrors are what is served, in terms of a folder, two ports, and two certificates with their keys.
const nginxMirrors = `
  gzip on; gzip_types *; gzip_min_length 1;
  server { listen 127.0.0.7:%[2]s default_server; return 404; }
  server { listen 127.0.0.7:%[2]s; server_name dl.example.org; root %[1]s/tree; }
  server { listen 127.0.0.8:%[2]s; server_name dl.example.org; root %[1]s/tree; max_ranges 0; }
  server { listen 127.0.0.9:%[2]s; return 301 https://mirror.example.net:%[3]s$request_uri; }
  server {
    listen 127.0.0.7:%[3]s ssl; listen 127.0.0.9:%[3]s ssl;
    server_name mirror.example.net; root %[1]s/tree;
    ssl_certificate %[4]s; ssl_certificate_key %[5]s;
  }
  ssl_certificate %[6]s; ssl_certificate_key %[7]s;
  ssl_protocols TLSv1.2;
  server { listen 127.0.0.11:%[3]s ssl; root %[1]s/tree; ssl_ciphers AES256-GCM-SHA384; }
  server { listen 127.0.0.12:%[3]s ssl; root %[1]s/tree; ssl_ciphers ECDHE-RSA-AES256-SHA384; }
  server { listen 127.0.0.13:%[3]s ssl; root %[1]s/tree; ssl_ecdh_curve secp521r1; }
  server { listen 127.0.0.16:%[2]s; root %[1]s/tree; if ($http_user_agent ~* wget) { return 403; } }
  limit_req_zone $binary_remote_addr zone=one:1m rate=1r/s;
  server { listen 127.0.0.14:%[2]s; server_name dl.example.org; root %[1]s/tree; limit_req zone=one; limit_req_status 429; }
  server { listen 127.0.0.15:%[2]s; server_name dl.example.org; root %[1]s/tree; gzip_static always; gunzip off; }
`

// startNginx runs nginx until the test ends, with certificates of ca, and returns its ports.
func startNginx(t testing.TB, ca *testbed.Authority) (plain, secure string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"tree/project/trace": []byte(trace), "tree/project/trace.gz": zipped(t, trace), "tree/elsewhere/something": nil,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		testbed.Put(t, path, content)
	}
	plain, secure = testbed.FreePort(t, "0.0.0.0"), testbed.FreePort(t, "0.0.0.0")
	cert, key := ca.IssueFiles(t, mirrorHost, time.Now().Add(20*time.Hour))
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaCert, rsaKey := testbed.WriteCertificate(t, ca.Sign(t, private, mirrorHost, time.Now().Add(-time.Hour),
		time.Now().Add(999*time.Hour)))
	testbed.Nginx(t, fmt.Sprintf(nginxMirrors, dir, plain, secure, cert, key, rsaCert, rsaKey))
	testbed.AwaitPort(t, "127.0.0.7:"+plain)
	return plain, secure
}

func TestProbeNginx(t *testing.T) {
	ca := testbed.NewAuthority(t)
	plain, secure := startNginx(t, ca)
	p := New(ca.Roots(), time.Now)
	for _, test := range []struct {
		name    string
		target  health.Target
		want    string
		warning string
	}{
		{"the pool's virtual host", target(t, health.DNS, "http", poolHost, plain, "127.0.0.7"), "", ""},
		{"another virtual host", target(t, health.DNS, "http", "dl.example.com", plain, "127.0.0.7"),
			"status: 404 Not Found, want 200", ""},
		{"no ranges", target(t, health.DNS, "http", poolHost, plain, "127.0.0.8"),
			"status: 200 OK to a range request, want 206: the server cannot resume downloads", ""},
		{"redirect to https", target(t, health.DNS, "http", poolHost, plain, "127.0.0.9"), "", ""},
		{"https", target(t, health.HTTP, "https", mirrorHost, secure, "127.0.0.7"), "", ""},
		{"https by another name", target(t, health.HTTP, "https", poolHost, secure, "127.0.0.7"),
			`tls: certificate is not for "dl.example.org"`, ""},
		{"https on the plain port", target(t, health.HTTP, "https", mirrorHost, plain, "127.0.0.7"),
			"tls: the server does not speak TLS", ""},
		{"plain text on the https port", target(t, health.HTTP, "http", mirrorHost, secure, "127.0.0.7"),
			"status: 400 Bad Request, want 200", ""},
		{name: "RSA key exchange", target: target(t, health.HTTP, "https", mirrorHost, secure, "127.0.0.11"),
			warning: "TLS with RSA key exchange only, which some clients refuse: offer ECDHE ciphers"},
		{name: "P-521", target: target(t, health.HTTP, "https", mirrorHost, secure, "127.0.0.13"),
			warning: "TLS with the curve P-521 only, which some clients refuse: offer X25519 and P-256"},
		{name: "CBC with SHA-384", target: target(t, health.HTTP, "https", mirrorHost, secure, "127.0.0.12"),
			want: "tls: the server refused " +
				"the handshake: it may offer no cipher and key exchange that browsers accept, but CBC with SHA-384 or finite-field DH alone"},
		{name: "a request a second", target: target(t, health.DNS, "http", poolHost, plain, "127.0.0.14"),
			want: "status: 429 Too Many " +
				"Requests, want 206: the server limits how often one client may ask; exempt this host from that"},
		{name: "gzip", target: target(t, health.DNS, "http", poolHost, plain, "127.0.0.15"),
			want: `body: the server encodes the file ("gzip"), which was not asked for`},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := p.Probe(within(t, 5*time.Second), test.target)
			if o.Reason != test.want || (o.Result == health.Up) != (test.want == "") || o.TLSWarning != test.warning {
				t.Errorf("saw %v, %q, warning %q, want %q, %q", o.Result, o.Reason, o.TLSWarning, test.want, test.warning)
			}
		})
	}
}

// TestGuestOfNginx has a mirror whose nginx allows a request a second, checked in both roles every two seconds: it is
// up, and stays so.
func TestGuestOfNginx(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	plain, _ := startNginx(t, testbed.NewAuthority(t))
	core, logs := observer.New(zap.InfoLevel)
	m := mirrorAt(t, "http", net.JoinHostPort(poolHost, plain), netip.MustParseAddr("127.0.0.14"))
	m.URLPrefix = "http://" + net.JoinHostPort(poolHost, plain) + "/"
	m.URL = m.URL.JoinPath("..")
	c, err := health.NewChecker(health.Options{
		Settings: config.Health{Enabled: true, Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 2, Path: "project/trace",
			MaxLag: time.Hour, DNSURL: "http://" + net.JoinHostPort(poolHost, plain) + "/project/trace"},
		CheckDNS: true, Prober: New(nil, time.Now), Resolver: NewResolver(), Log: zap.New(core), Now: time.Now,
		Rand: mathrand.New(mathrand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetPool(&config.Pool{Mirrors: []config.Mirror{m}})
	defer start(t, c)()
	checked := func(role health.Role, since time.Time) bool {
		for _, e := range c.Report().Mirrors[m.URLPrefix].Endpoints {
			if e.Role == role {
				return e.State == health.Up && e.Checked.After(since)
			}
		}
		return false
	}
	began := time.Now()
	both := func(since time.Time) func() bool {
		return func() bool { return checked(health.HTTP, since) && checked(health.DNS, since) }
	}
	testbed.Eventually(t, "both roles are up", both(began))
	settled := len(logs.All())
	for range 4 {
		testbed.Eventually(t, "both roles are checked again", both(time.Now()))
	}
	if later := logs.All()[settled:]; len(later) > 0 {
		t.Errorf("once it was up: %v", later)
	}
}
