package systest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// onePool is a list of one mirror, which answers nothing.
var onePool = map[string]any{"version": 1, "mirrors": []any{map[string]any{"url_prefix": "http://127.0.0.9:9/", "weight": 1, "name": "m1"}}}

// An acmeRig is a mirrorpool that gets certificates at an authority.
type acmeRig struct {
	config  *serverConfig
	where   *program
	http    string // where it answers http and https
	https   string
	options testbed.PebbleOptions
	pebble  *testbed.Pebble
	program *program
}

// newACMERig starts an authority, which finds hosts and the zone dl.example.org at the mirrorpool-to-be.
func newACMERig(t *testing.T, hosts ...string) *acmeRig {
	t.Helper()
	config, where := newServerConfig(t)
	return newACMERigAt(t, config, where, where.dns, hosts...)
}

// newACMERigAt is newACMERig where the authority asks another server for the zone.
func newACMERigAt(t *testing.T, config *serverConfig, where *program, zoneAt string, hosts ...string) *acmeRig {
	t.Helper()
	r := &acmeRig{config: config, where: where}
	r.http, r.https = r.where.web, "127.0.0.1:"+testbed.FreePort(t)
	at := map[string]string{}
	for _, host := range hosts {
		at[host] = "127.0.0.1"
	}
	_, httpPort, _ := net.SplitHostPort(r.http)
	_, httpsPort, _ := net.SplitHostPort(r.https)
	r.options = testbed.PebbleOptions{
		Resolver: testbed.StartNames(t, at, map[string]string{"dl.example.org": zoneAt}), HTTPPort: httpPort, TLSPort: httpsPort,
	}
	r.pebble, _ = testbed.StartPebble(t, r.options)
	r.config.json["state_dir"] = "state"
	r.config.set("health", "enabled", false)
	return r
}

// acme has mirrorpool get certificates for names.
func (r *acmeRig) acme(names []string, more map[string]any) {
	acme := map[string]any{"names": names, "agree": true, "directory": r.pebble.Directory, "ca_root": r.pebble.CARoot}
	for key, value := range more {
		acme[key] = value
	}
	r.config.set("http", "tls", map[string]any{"listen": []string{r.https}, "acme": acme})
}

// serve runs the program.
func (r *acmeRig) serve(t *testing.T) {
	t.Helper()
	r.program = r.config.serve(t, r.where, onePool)
}

// handshake returns the certificate that clients of a name get, if it is valid for that name.
func (r *acmeRig) handshake(roots *x509.CertPool, name string) (*x509.Certificate, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(&dialer, "tcp", r.https, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// await waits until there is a certificate for each name.
func (r *acmeRig) await(t *testing.T, names ...string) {
	t.Helper()
	roots := r.pebble.Roots(t)
	for _, name := range names {
		testbed.EventuallyNil(t, func() error {
			_, err := r.handshake(roots, name)
			return err
		})
	}
}

// TestFirstCertificate gets a certificate by each kind of challenge, and by those that are tried without one being
// named.
func TestFirstCertificate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		challenge string
		names     []string
		signed    bool // the zone
		basePath  string
	}{
		"tls-alpn-01":                 {"tls-alpn-01", []string{"download.example.net"}, false, "/"},
		"http-01":                     {"http-01", []string{"download.example.net"}, false, "/"},
		"http-01 with a base path":    {"http-01", []string{"download.example.net"}, false, "/pub/"},
		"dns-01":                      {"dns-01", []string{"www.dl.example.org"}, false, "/"},
		"dns-01 for a wildcard":       {"dns-01", []string{"dl.example.org", "*.dl.example.org"}, false, "/"},
		"dns-01 in a signed zone":     {"dns-01", []string{"www.dl.example.org", "*.dl.example.org"}, true, "/"},
		"any, in our zone or outside": {"", []string{"download.example.net", "www.dl.example.org"}, false, "/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newACMERig(t, "download.example.net")
			r.acme(test.names, map[string]any{"challenge": test.challenge})
			r.config.set("http", "base_path", test.basePath)
			if test.signed {
				r.config.set("dns", "dnssec", map[string]any{"keys": "auto"})
			}
			r.serve(t)
			began := time.Now()
			var hosts []string
			for _, name := range test.names {
				hosts = append(hosts, strings.Replace(name, "*", "any", 1))
			}
			r.await(t, hosts...)
			t.Logf("certificates after %v", time.Since(began).Round(time.Millisecond))
			r.checkState(t)
			r.checkClean(t)
			r.program.stop(t)
		})
	}
}

// checkState looks for files in state_dir that others can read.
func (r *acmeRig) checkState(t *testing.T) {
	t.Helper()
	keys := 0
	err := filepath.WalkDir(filepath.Join(r.config.dir, "state"), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".key") || strings.HasSuffix(path, "ticketkeys") || strings.Contains(path, "accounts") {
			keys++
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
		}
		return nil
	})
	if err != nil || keys < 4 {
		t.Errorf("%d files of keys: %v", keys, err)
	}
}

// checkClean looks for TXT records of challenges in the zone, and for secrets in the log: each line of a private key in
// state_dir. That answers are there while the authority asks is tested in package certificates.
func (r *acmeRig) checkClean(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, "the TXT records are gone", func() bool {
		for _, name := range []string{"_acme-challenge.dl.example.org.", "_acme-challenge.www.dl.example.org."} {
			resp, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeTXT), r.where.dns)
			if err != nil || len(resp.Answer) > 0 {
				return false
			}
		}
		return true
	})
	logged := r.program.log.String()
	secrets := r.secrets(t)
	if len(secrets) < 4 { // two lines of the account's key, and two of each certificate's
		t.Errorf("%d lines of private keys in state_dir", len(secrets))
	}
	for _, secret := range append(secrets, "PRIVATE KEY", `"remote`) {
		if strings.Contains(logged, secret) {
			t.Errorf("%.8s... is in the log: %s", secret, logged)
		}
	}
}

// secrets are the lines of private keys in state_dir.
func (r *acmeRig) secrets(t *testing.T) (lines []string) {
	t.Helper()
	folder := os.DirFS(filepath.Join(r.config.dir, "state", "certificates"))
	err := fs.WalkDir(folder, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		inLines := strings.ReplaceAll(string(text), `\n`, "\n") // the account's file is JSON
		if _, key, ok := strings.Cut(inLines, "PRIVATE KEY-----\n"); ok {
			key, _, _ = strings.Cut(key, "\n-----END")
			lines = append(lines, strings.Split(key, "\n")...)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return lines
}

// TestStartWithoutAuthority: while the authority is away, the start is not held up, http answers, and the log says so.
func TestStartWithoutAuthority(t *testing.T) {
	t.Parallel()
	r := newACMERig(t, "download.example.net")
	r.acme([]string{"download.example.net"}, map[string]any{"directory": "https://127.0.0.1:9/dir"})
	r.serve(t)
	resp, err := (&http.Client{CheckRedirect: noRedirect}).Get("http://" + r.http + "/file")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Errorf("http: %s", resp.Status)
	}
	testbed.Eventually(t, "the log says that there is no certificate", func() bool {
		return strings.Contains(r.program.log.String(), "no certificate by ACME yet")
	})
	text := string(fetch(t, http.DefaultClient, "http://"+r.where.admin+"/metrics"))
	for _, want := range []string{"certificate_expiry_timestamp_seconds{name=\"download.example.net\"} 0",
		"certificate_overdue{name=\"download.example.net\"} 1"} {
		if !strings.Contains(text, "mirrorpool_"+want) {
			t.Errorf("no metric says that there is no certificate: want %s", want)
		}
	}
	testbed.Eventually(t, "the status says why", func() bool {
		_, stdout, _ := command(t, "status", "--admin", r.where.admin)
		return strings.Contains(stdout, "Warning: There is no certificate by ACME for download.example.net yet: ") &&
			strings.Contains(stdout, "connection refused")
	})
	r.program.stop(t)
}

// TestReloadNames changes the names of certificates by a reload.
func TestReloadNames(t *testing.T) {
	t.Parallel()
	r := newACMERig(t, "one.example.net", "two.example.net")
	r.acme([]string{"one.example.net"}, nil)
	r.serve(t)
	r.await(t, "one.example.net")
	for want, wrong := range map[string]map[string]any{
		"cannot read ca_root":                                {"ca_root": "none.pem"},
		"no challenge can be answered for two.example.net: ": {"challenge": "dns-01"},
	} {
		r.acme([]string{"two.example.net"}, wrong)
		r.config.write(t, "mirrorpool.json", r.config.json)
		if code, _, stderr := command(t, "reload", "--admin", r.where.admin); code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("reload with %v: %d\n%s", wrong, code, stderr)
		}
		r.await(t, "one.example.net")
	}
	r.acme([]string{"two.example.net"}, nil)
	r.config.write(t, "mirrorpool.json", r.config.json)
	if code, stdout, stderr := command(t, "reload", "--admin", r.where.admin); code != exitOK || !strings.Contains(stdout, "http.tls.acme") {
		t.Fatalf("reload: %d\n%s%s", code, stdout, stderr)
	}
	r.await(t, "two.example.net")
	if _, err := r.handshake(r.pebble.Roots(t), "one.example.net"); err == nil {
		t.Error("the name that was taken out still has its certificate")
	}
	r.program.stop(t)
}

// TestUpgradeWithCertificate replaces a server under TLS load: no handshake fails, and no other certificate is ordered.
func TestUpgradeWithCertificate(t *testing.T) {
	t.Parallel()
	const name = "download.example.net"
	r := newACMERig(t, name)
	r.acme([]string{name}, nil)
	r.serve(t)
	r.await(t, name)
	roots := r.pebble.Roots(t)
	first, err := r.handshake(roots, name)
	if err != nil {
		t.Fatal(err)
	}
	var load sync.WaitGroup
	var handshakes, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 2 {
		load.Go(func() {
			for ctx.Err() == nil {
				if cert, err := r.handshake(roots, name); err != nil || !cert.Equal(first) {
					if failed.Add(1) == 1 {
						t.Errorf("a handshake: %v", err)
					}
				}
				handshakes.Add(1)
			}
		})
	}
	more := func(what string) {
		since := handshakes.Load()
		testbed.Eventually(t, what, func() bool { return handshakes.Load() > since+50 })
	}
	more("the load is on")
	next := r.config.start(t, r.where)
	testbed.Eventually(t, "the next copy answers", func() bool { return strings.Contains(next.log.String(), `"msg":"answering"`) })
	more("both answer")
	r.program.stop(t)
	more("the next copy answers alone")
	stop()
	load.Wait()
	t.Logf("%d handshakes, %d failed", handshakes.Load(), failed.Load())
	next.stop(t)
}

// TestCertificateInFilesBeside serves names by ACME, and another one with the certificate in files.
func TestCertificateInFilesBeside(t *testing.T) {
	t.Parallel()
	authority := testbed.NewAuthority(t)
	cert, key := authority.IssueFiles(t, "other.example.net", time.Now().Add(time.Hour))
	r := newACMERig(t, "download.example.net")
	r.acme([]string{"download.example.net"}, nil)
	tls := r.config.json["http"].(map[string]any)["tls"].(map[string]any)
	tls["cert"], tls["key"] = cert, key
	r.serve(t)
	if _, err := r.handshake(authority.Roots(), "other.example.net"); err != nil {
		t.Errorf("with the certificate in files: %v", err)
	}
	r.await(t, "download.example.net")
	r.program.stop(t)
}
