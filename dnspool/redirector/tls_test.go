package redirector

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
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
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
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
	s, err := Listen(t.Context(), c, placedHandler(t, c), zap.New(core))
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
		client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for range 50 {
			resp, err := client.Get("https://" + addr + "/x")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if location := resp.Header.Get("Location"); resp.StatusCode != 302 || !strings.HasPrefix(location, "https://") || (resp.ProtoMajor == 2) != http2 {
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

	// Whoever sends something else than TLS is not in a log.
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

func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	core, logs := observer.New(zapcore.InfoLevel)
	if _, err := loadCertificate(files, zap.New(core)); err == nil || !strings.Contains(err.Error(), "cert.pem") {
		t.Errorf("without files: %v", err)
	}
	writeCertificate(t, files, 1)
	c, err := loadCertificate(files, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, time.Millisecond) }()
	serial := func() int64 {
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	eventually := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not come to pass that %s", what)
			}
		}
	}
	writeCertificate(t, files, 2)
	eventually("the new certificate is in force", func() bool { return serial() == 2 })
	if err := os.WriteFile(files.Cert, []byte("not a certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually("a broken one is in the log", func() bool { return logs.FilterLevelExact(zapcore.ErrorLevel).Len() > 0 })
	if serial() != 2 {
		t.Error("the one before is not in force any longer")
	}
	writeCertificate(t, files, 3)
	eventually("the next one is in force", func() bool { return serial() == 3 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// acceptAll accepts connections at l, until it is closed.
func acceptAll(l net.Listener) <-chan net.Conn {
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	return accepted
}

// TestConnectionLimit: a connection more than there may be in all is not refused, but waits for the end of another.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 2, 10, nil)
	accepted := acceptAll(l)
	defer func() {
		l.Close()
		for conn := range accepted {
			conn.Close()
		}
	}()
	dial := func() net.Conn {
		conn, err := net.DialTimeout("tcp4", inner.Addr().String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	defer dial().Close()
	first := <-accepted
	defer dial().Close()
	second := <-accepted
	defer second.Close()
	defer dial().Close()
	select {
	case conn := <-accepted:
		conn.Close()
		t.Fatal("there is one connection too many")
	case <-time.After(100 * time.Millisecond): // that it does not come cannot be waited for
	}
	first.Close()
	third := <-accepted
	third.Close()
}

// TestNetworkLimit: a client network gets so many connections and no more, and others get theirs all the same.
func TestNetworkLimit(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitNetworks(inner, 3, nil)
	defer l.Close()
	accepted := acceptAll(l)
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		conn, err := d.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Skipf("cannot connect from %s: %v", from, err)
		}
		return conn
	}
	var served []net.Conn
	for i := range 3 {
		defer dial([]string{"127.7.1.1", "127.7.1.2", "127.7.1.3"}[i]).Close()
		served = append(served, <-accepted)
	}
	refused := dial("127.7.1.4")
	defer refused.Close()
	refused.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the fourth connection of a network: %v, want it closed", err)
	}
	defer dial("127.7.2.1").Close()
	other := <-accepted
	if got := other.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.7.2.1" {
		t.Errorf("accepted %s, want another network", got)
	}
	served[0].Close()
	served[0].Close() // counts once
	defer dial("127.7.1.5").Close()
	if got := (<-accepted).RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.7.1.5" {
		t.Errorf("accepted %s, want the one in the place of who left", got)
	}
	for _, conn := range append(served[1:], other) {
		conn.Close()
	}
	if open, networks := l.limit.Open(); open != 1 || networks != 1 {
		t.Errorf("%d connections of %d networks are counted, want one", open, networks)
	}
}
