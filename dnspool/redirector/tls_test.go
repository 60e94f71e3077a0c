package redirector

import (
	"bufio"
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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/testdata/testbed"
)

// writeCertificate writes a new certificate with a serial number, and its key.
func writeCertificate(t *testing.T, files config.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "dl.example.org"}, DNSNames: []string{"dl.example.org"},
		IPAddresses: []net.IP{net.ParseIP("192.0.2.80"), net.ParseIP("2001:db8::80")},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der},
		files.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeCertificate(t, files, 1)
	core, logs := observer.New(zapcore.DebugLevel)
	c := config.HTTP{Listen: []string{"127.0.0.1:0"}, TLS: &files}
	s, err := Listen(t.Context(), nil, c, placedHandler(t, c), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addrs()[0].String()
	for _, http2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}
		client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
		for range 50 {
			resp, err := client.Get("https://" + addr + "/x")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if location := resp.Header.Get("Location"); resp.StatusCode != 302 || !strings.HasPrefix(location, "https://") ||
				(resp.ProtoMajor == 2) != http2 {
				t.Fatalf("%s %d to %q", resp.Proto, resp.StatusCode, location)
			}
		}
		transport.CloseIdleConnections()
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	serial := func() int64 {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d, want 1", got)
	}

	// A client that sends something else than TLS is not in a log.
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		conn.Read(make([]byte, 100))
		conn.Close()
	}
	if logs.Len() > 0 {
		t.Errorf("in the log: %v", logs.All())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBothAtOnce has http and https side by side, with and without http that leads to https.
func TestBothAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Listen: []string{"127.0.0.1:0"}}
	writeCertificate(t, files, 1)
	for _, only := range []bool{false, true} {
		files := files
		files.Only, files.HSTS = only, 365*24*time.Hour
		c := config.HTTP{Listen: []string{"127.0.0.1:0"}, TLS: &files}
		s, err := Listen(t.Context(), nil, c, placedHandler(t, c), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		http1, https := s.Addrs()[0].String(), s.Addrs()[1].String()
		_, port, _ := net.SplitHostPort(https)
		for name, test := range map[string]struct {
			url, host, method string
			status            int
			location          string // begins with this, or "none"; where http leads to https, it is this
			hsts              bool
		}{
			"http":                {"http://" + http1 + "/x?a=b", "dl.example.org", "GET", 301, "https://dl.example.org/x?a=b", false},
			"http, HEAD":          {"http://" + http1 + "/x", "dl.example.org:80", "HEAD", 301, "https://dl.example.org/x", false},
			"http, with a port":   {"http://" + http1 + "/x", "dl.example.org:8080", "GET", 301, "https://dl.example.org:" + port + "/x", false},
			"http, IPv4":          {"http://" + http1 + "/x", "192.0.2.80", "GET", 301, "https://192.0.2.80/x", false},
			"http, IPv6":          {"http://" + http1 + "/x", "[2001:db8::80]", "GET", 301, "https://[2001:db8::80]/x", false},
			"http, IPv6 and port": {"http://" + http1 + "/x", "[2001:db8::80]:8080", "GET", 301, "https://[2001:db8::80]:" + port + "/x", false},
			"http, another name":  {"http://" + http1 + "/x", "example.org", "GET", 302, "http", false},
			"http, POST":          {"http://" + http1 + "/x", "dl.example.org", "POST", 405, "none", false},
			"https":               {"https://" + https + "/x", "dl.example.org", "GET", 302, "https://", true},
			"https, an odd query": {"https://" + https + "/x?a=b", "dl.example.org", "GET", 302, "https://", true},
			"https, HTTP/2":       {"https://" + https + "/x", "dl.example.org", "GET", 302, "https://", true},
		} {
			protocols := new(http.Protocols)
			protocols.SetHTTP1(name != "https, HTTP/2")
			protocols.SetHTTP2(name == "https, HTTP/2")
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}
			req, err := http.NewRequest(test.method, test.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = test.host
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			resp.Body.Close()
			transport.CloseIdleConnections()
			status, location, caching := test.status, test.location, "private, no-cache"
			switch {
			case status == http.StatusMovedPermanently && only:
				caching = "max-age=3600"
			case status == http.StatusMovedPermanently:
				status, location = http.StatusFound, "http"
			case location == "none":
				location, caching = "", "no-store"
			}
			got := resp.Header.Get("Location")
			exact := status == http.StatusMovedPermanently || location == ""
			if resp.StatusCode != status || exact && got != location || !strings.HasPrefix(got, location) {
				t.Errorf("only %v, %s: %s to %q, want %d to %s", only, name, resp.Status, got, status, location)
			}
			if got := resp.Header.Get("Cache-Control"); got != caching {
				t.Errorf("only %v, %s: Cache-Control %q, want %q", only, name, got, caching)
			}
			want := ""
			if test.hsts {
				want = "max-age=31536000"
			}
			if got := resp.Header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("only %v, %s: Strict-Transport-Security %q, want %q", only, name, got, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestOnlyLeadsToItself sends targets that, written behind the host, would be another host.
func TestOnlyLeadsToItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Listen: []string{"127.0.0.1:0"}, Only: true}
	writeCertificate(t, files, 1)
	addr := serveWellKnown(t, config.HTTP{Listen: []string{"127.0.0.1:0"}, TLS: &files})
	for target, want := range map[string]int{
		"/pub": 301, "//evil.example/pub": 301, "x:@evil.example/pub": 400, "x:.evil.example/pub": 400, "http:.evil.example": 400, "*": 400,
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: dl.example.org\r\nConnection: close\r\n\r\n", target)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		conn.Close()
		location := resp.Header.Get("Location")
		if resp.StatusCode != want || location != "" && !strings.HasPrefix(location, "https://dl.example.org/") {
			t.Errorf("%s: %s to %q, want %d", target, resp.Status, location, want)
		}
	}
}

// TestOnlyBehindProxy has a proxy pass on, over http, what clients asked over https, with http.tls.only: they are not
// led to https again. What others say of themselves does not count.
func TestOnlyBehindProxy(t *testing.T) {
	t.Parallel()
	cert := testbed.NewAuthority(t).Issue(t, "dl.example.org", time.Now().Add(time.Hour))
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	cert.Leaf = leaf
	s, handler := &Server{certificates: certificates.Fixed{Cert: &cert}, httpsPort: "443"}, placedHandler(t, config.HTTP{})
	const proxy, other = "192.0.2.1:1234", "198.51.100.1:1234"
	for _, test := range []struct {
		peer, header, value string
		leads               bool
	}{
		{proxy, "X-Forwarded-Proto", "https", false},
		{proxy, "X-Forwarded-Proto", "http", true},
		{proxy, "Forwarded", "for=203.0.113.1;proto=https", false},
		{proxy, "", "", true},
		{other, "X-Forwarded-Proto", "https", true},
		{other, "Forwarded", "for=203.0.113.1;proto=https", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Host, r.RemoteAddr = "dl.example.org", test.peer
		if test.header != "" {
			r.Header.Set(test.header, test.value)
		}
		want := ""
		if test.leads {
			want = "https://dl.example.org/x"
		}
		if got := s.toHTTPS(r, handler); got != want {
			t.Errorf("%s with %s: %s: led to %q, want %q", test.peer, test.header, test.value, got, want)
		}
	}
}

// TestTLSVersions has clients offer one version, curve or cipher suite only.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeCertificate(t, files, 1)
	addr := serveWellKnown(t, config.HTTP{TLS: &files})
	for name, test := range map[string]struct {
		client *tls.Config
		ok     bool
	}{
		"TLS 1.1":            {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"TLS 1.2":            {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.3":            {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"X25519MLKEM768":     {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, true},
		"X25519":             {&tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, true},
		"P-256":              {&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}, true},
		"CBC":                {tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), false},
		"no forward secrecy": {tls12(tls.TLS_RSA_WITH_AES_128_GCM_SHA256), false},
		"GCM":                {tls12(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), true},
		"ChaCha20":           {tls12(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), true},
	} {
		client := test.client
		client.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", addr, client)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// tls12 offers one cipher suite of TLS 1.2.
func tls12(suite uint16) *tls.Config {
	return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
}
