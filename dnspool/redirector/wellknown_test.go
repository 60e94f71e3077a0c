package redirector

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// wellKnownSpellings returns paths that a certificate authority asks for, or that a mirror might take for one.
func wellKnownSpellings(base string) []string {
	names := []string{".well-known", ".WELL-KNOWN", ".Well-Known", "%2ewell-known", "%2Ewell-known", ".well%2dknown",
		".well%2Dknown",
		"%2e%77%65ll-known", ".%57ell-known", "%252ewell-known", ".well%252dknown", "%25252ewell-known", ".well-known;x",
		".well-known;a=b",
		".well-known%3Bx", ".well-known.", ".well-known%20", "%25%32%65well-known", ".well-%6B%6E%6F%57%4E"}
	fronts := []string{"/", "//", "///", "/./", "/.//./", "/%2e/", "/%2E//", "/%252e/", "/;/", "/;a=b/"}
	ends := []string{"/acme-challenge/T0ken_-", "/pki-validation/file.txt", "/", "", "//acme-challenge//T0ken",
		"%2facme-challenge%2FT0ken",
		"/./acme-challenge/x.meta4", "/acme-challenge/x?mirrorlist"}
	var all []string
	for _, front := range fronts {
		for _, name := range names {
			for _, end := range ends {
				all = append(all, strings.TrimSuffix(base, "/")+front+name+end)
			}
		}
	}
	return all
}

// TestWellKnown asks for /.well-known/ in many spellings over each path by which a request is answered: none is
// redirected.
func TestWellKnown(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"/", "/pub/"} {
		paths := wellKnownSpellings("/")
		if base != "/" {
			paths = append(paths, wellKnownSpellings(base)...)
		}
		if len(paths) < 200 {
			t.Fatalf("%d spellings, want 200 at least", len(paths))
		}
		t.Run("http "+base, func(t *testing.T) {
			t.Parallel()
			addr := serveWellKnown(t, config.HTTP{BasePath: base, WellKnown: wellKnownFolder(t)})
			checkWellKnown(t, addr, paths, "")                            // the front's, where it takes them
			checkWellKnown(t, addr, paths, "X-Forwarded-Proto: http\r\n") // net/http's
		})
		t.Run("http that leads to https "+base, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
				Listen: []string{"127.0.0.1:0"}, Only: true}
			writeCertificate(t, files, 1)
			addr := serveWellKnown(t, config.HTTP{BasePath: base, TLS: &files, WellKnown: wellKnownFolder(t)})
			checkWellKnown(t, addr, paths, "")
		})
		t.Run("https "+base, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
			writeCertificate(t, files, 1)
			checkWellKnownHTTP2(t, serveWellKnown(t, config.HTTP{BasePath: base, TLS: &files}), paths)
		})
	}
	h := testHandler(t, config.HTTP{BasePath: "/.Well-known/"}, "http://m1.example.org/")
	if w := get(h, "/.Well-known/acme-challenge/T", ""); w.Code != http.StatusNotFound {
		t.Errorf("as the base path: %d to %q", w.Code, w.Header().Get("Location"))
	}
	for _, path := range []string{"/a.well-known/x", "/stable/.well-known/x", "/.well-known-not/x", "/.well/known"} {
		if w := get(testHandler(t, config.HTTP{}, "http://m1.example.org/"), path, ""); w.Code != http.StatusFound {
			t.Errorf("%s, which is a file: %d", path, w.Code)
		}
	}
}

// serveWellKnown runs a server until the test ends, and returns its address.
func serveWellKnown(t *testing.T, c config.HTTP) string {
	t.Helper()
	c.Listen = []string{"127.0.0.1:0"}
	s, err := Listen(t.Context(), nil, c, testHandler(t, c, "https://m1.example.org/"), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addrs()[0].String()
}

// wellKnownFolder returns a folder that has the files which the spellings ask for.
func wellKnownFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int{"acme-challenge/T0ken_-": 5, "pki-validation/file.txt": 5, "security.txt": 5, "full": maxWellKnown,
		"long": maxWellKnown + 1} {
		path := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte("."), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "root")
}

// TestWellKnownFiles has files in http.well_known served, and nothing else.
func TestWellKnownFiles(t *testing.T) {
	t.Parallel()
	dir := wellKnownFolder(t)
	for name, target := range map[string]string{"inside": "security.txt", "outside": "../secret", "absolute": "/etc/passwd", "folder": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "../secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := testHandler(t, config.HTTP{WellKnown: dir, BasePath: "/pub/"}, "http://m1.example.org/")
	for path, want := range map[string]int{
		"/.well-known/acme-challenge/T0ken_-": 200, "/.well-known/security.txt": 200, "/.well-known/inside": 200, "/.well-known/full": 200,
		"/.well-known/long": 404, "/.well-known/outside": 404, "/.well-known/absolute": 404, "/.well-known/folder/secret": 404,
		"/.well-known/acme-challenge": 404, "/.well-known/acme-challenge/": 404, "/.well-known/": 404,
		"/.well-known": 404, "/.well-known/none": 404, "/.well-known/../secret": 404, "/.well-known/%2e%2e/secret": 404,
		"/.well-known//security.txt": 404, "/.well-known/./security.txt": 404, "/pub/.well-known/security.txt": 404,
		"/.WELL-KNOWN/security.txt": 404, "/.well-known/security%2etxt": 404, "/.well-known/acme-challenge%2fT0ken_-": 404,
	} {
		if w := get(h, path, ""); w.Code != want || w.Header().Get("Location") != "" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d to %q, want %d", path, w.Code, w.Header().Get("Location"), want)
		}
	}
	if w := get(h, "/.well-known/security.txt", ""); w.Body.String() != "....." || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%q as %s", w.Body.String(), w.Header().Get("Content-Type"))
	}
	if w := get(testHandler(t, config.HTTP{WellKnown: filepath.Join(dir, "gone")}, "http://m1.example.org/"), "/.well-known/x", ""); w.Code != 404 {
		t.Errorf("without the folder: %d", w.Code)
	}
}

func checkWellKnown(t *testing.T, addr string, paths []string, header string) {
	t.Helper()
	for _, path := range paths {
		// Each over a connection of its own: after the first request that is not plain, the front answers no more on
		// it.
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: dl.example.org\r\n%s\r\n", path, header)
		resp := readAnswer(t, bufio.NewReader(conn))
		want := http.StatusNotFound
		if path == "/.well-known/acme-challenge/T0ken_-" || path == "/.well-known/pki-validation/file.txt" {
			want = http.StatusOK
		}
		if location := resp.Header.Get("Location"); resp.StatusCode != want || location != "" {
			t.Errorf("%s: %d to %q, want %d", path, resp.StatusCode, location, want)
		}
		conn.Close()
	}
}

func checkWellKnownHTTP2(t *testing.T, addr string, paths []string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols}
	defer transport.CloseIdleConnections()
	for _, path := range paths {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		u.Scheme, u.Host = "https", addr
		resp, err := transport.RoundTrip(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if location := resp.Header.Get("Location"); resp.StatusCode != http.StatusNotFound || location != "" || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %d to %q, want 404", path, resp.Proto, resp.StatusCode, location)
		}
	}
}
