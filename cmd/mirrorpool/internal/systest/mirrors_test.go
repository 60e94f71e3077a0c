package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needPeer returns the path of a program that a test talks to. Without it the test is skipped, or fails where
// all peers have to be there.
func needPeer(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, ok := findPeer(t, program, debianPackage)
	if !ok {
		t.Skipf("%s is not installed: apt-get install %s", program, debianPackage)
	}
	return path
}

// findPeer is needPeer for tests that can do without.
func findPeer(t testing.TB, program, debianPackage string) (path string, ok bool) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil { // Debian keeps servers out of a user's PATH
		path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
	}
	if err != nil && os.Getenv("MIRRORPOOL_TEST_PEERS") == "all" {
		t.Fatalf("%s is not installed, and MIRRORPOOL_TEST_PEERS=all: apt-get install %s", program, debianPackage)
	}
	return path, err == nil
}

// A testMirror is a real web server at an address of its own, with a tree like those of Tails' mirrors.
type testMirror struct {
	address string
	root    string
	hosts   []string // that it serves; none: all
	tls     *testTLS // nil: none
	stop    func()
}

// testTLS makes a mirror redirect from http to https at a name of its own, as many do.
type testTLS struct {
	name      string
	port      string
	cert, key string // files
}

// newTree makes a tree like that of a mirror of Tails.
func newTree(t testing.TB, trace time.Time) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"tails/project/trace":                              fmt.Sprintln(trace.Unix()),
		"tails/stable/tails-amd64-6.0/tails-amd64-6.0.img": "the image\n",
		"tails/stable/tails-amd64-6.0/tails-amd64-6.0.iso": "the other image\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The user that nginx runs as has to get through to it.
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// start starts the mirror at port, with nginx if it is installed. It returns once the mirror accepts
// connections.
func (m *testMirror) start(t testing.TB, port string) {
	t.Helper()
	if nginx, ok := findPeer(t, "nginx", "nginx"); ok {
		m.startNginx(t, nginx, port)
	} else {
		m.startGo(t, port)
	}
	t.Cleanup(m.stop)
	eventually(t, "the mirror at "+m.address+" accepts connections", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(m.address, port))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func (m *testMirror) startNginx(t testing.TB, nginx, port string) {
	t.Helper()
	dir := t.TempDir()
	names := strings.Join(m.hosts, " ")
	server := fmt.Sprintf("server { listen %s:%s; server_name %s; root %s; }\n", m.address, port, names, m.root)
	if len(m.hosts) == 0 {
		server = fmt.Sprintf("server { listen %s:%s; root %s; }\n", m.address, port, m.root)
	} else {
		server = fmt.Sprintf("server { listen %s:%s default_server; return 404; }\n", m.address, port) + server
	}
	if m.tls != nil {
		server = fmt.Sprintf("server { listen %s:%s; return 301 https://%s:%s$request_uri; }\n", m.address, port, m.tls.name, m.tls.port) +
			fmt.Sprintf("server { listen %s:%s ssl; server_name %s; root %s; ssl_certificate %s; ssl_certificate_key %s; }\n",
				m.address, m.tls.port, m.tls.name, m.root, m.tls.cert, m.tls.key)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // the tree is in a temporary folder that only its owner may enter
	}
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("%sdaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n",
		user, dir, temporary, server)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m.stop = startProcess(t, exec.Command(nginx, "-e", "stderr", "-c", conf))
}

// startProcess starts cmd and returns what kills it and waits for its end.
func startProcess(t testing.TB, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	return func() {
		cmd.Process.Signal(syscall.SIGKILL)
		<-done
	}
}

// startGo serves the same with net/http.
func (m *testMirror) startGo(t testing.TB, port string) {
	t.Helper()
	files := http.FileServer(http.Dir(m.root))
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		switch {
		case m.tls != nil:
			http.Redirect(w, r, "https://"+net.JoinHostPort(m.tls.name, m.tls.port)+r.URL.Path, http.StatusMovedPermanently)
		case len(m.hosts) > 0 && !strings.Contains(" "+strings.Join(m.hosts, " ")+" ", " "+host+" "):
			http.NotFound(w, r)
		default:
			files.ServeHTTP(w, r)
		}
	})
	var servers []*http.Server
	listen := func(port string, h http.Handler, serve func(*http.Server, net.Listener) error) {
		l, err := net.Listen("tcp", net.JoinHostPort(m.address, port))
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: h}
		servers = append(servers, s)
		go serve(s, l)
	}
	listen(port, plain, (*http.Server).Serve)
	if m.tls != nil {
		listen(m.tls.port, files, func(s *http.Server, l net.Listener) error { return s.ServeTLS(l, m.tls.cert, m.tls.key) })
	}
	m.stop = func() {
		for _, s := range servers {
			s.Close()
		}
	}
}

// newCertificate makes a certificate for name that its own authority signed, and returns the files with the
// authority's certificate, the certificate and its key.
func newCertificate(t testing.TB, name string) (authority, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	generate := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, leafKey := generate(), generate()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mirrorpool test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	write := func(file, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	authority = write("ca.pem", "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	cert = write("cert.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(leafKey)
	key = write("key.pem", "EC PRIVATE KEY", der, err)
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return authority, cert, key
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s", what)
		case <-tick.C:
		}
	}
}
