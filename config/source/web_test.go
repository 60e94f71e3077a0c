package source

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A site is a web server that publishes a list, and counts what it is asked for.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	text    map[string]string // by path
	asked   []*http.Request
	full    atomic.Int64     // answers with a body
	handler http.HandlerFunc // instead, if not nil
}

func newSite(t testing.TB, text string) *site {
	t.Helper()
	s := &site{text: map[string]string{"/mirrors.json": text}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	handler, text := s.handler, s.text[r.URL.Path]
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	if text == "" {
		http.NotFound(w, r)
		return
	}
	etag := fmt.Sprintf(`"%x"`, len(text))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.full.Add(1)
	io.WriteString(w, text)
}

func (s *site) set(path, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text[path] = text
}

func (s *site) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

// transport trusts the site's certificate.
func (s *site) transport() *http.Transport {
	tr := newTransport()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	tr.TLSClientConfig.RootCAs = pool
	return tr
}

func (s *site) list() string { return s.URL + "/mirrors.json" }

func TestWeb(t *testing.T) {
	t.Parallel()
	s := newSite(t, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: s.list(), Transport: s.transport()}).start(t)
	r.expect(t, "a 1", "b 1")
	for range 3 {
		if result := r.Reload(t.Context(), false); result.Applied || result.Err != nil {
			t.Fatalf("%+v", result)
		}
	}
	if n := s.full.Load(); n != 1 {
		t.Errorf("the list was sent %d times, want once and then 304s", n)
	}
	first := s.asked[0]
	if first.Header.Get("User-Agent") != userAgent || first.Header.Get("Accept-Encoding") != "identity" ||
		first.Header.Get("Cookie") != "" {
		t.Errorf("asked with %v", first.Header)
	}
	s.set("/mirrors.json", poolText("a 1", "b 10"))
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
	r.expect(t, "a 1", "b 10")
	checked := r.Status().Checked
	r.now = r.now.Add(time.Minute)
	if r.Reload(t.Context(), false); !r.Status().Checked.After(checked) {
		t.Error("a 304 does not confirm the list")
	}
}

// TestWebLastModified has a server that knows no ETag.
func TestWebLastModified(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	modified, sent := time.Unix(1_700_000_000, 0), 0
	s.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-Modified-Since") == "" {
			sent++
		}
		http.ServeContent(w, r, "", modified, strings.NewReader(poolText("a 1", "b 1")))
	})
	r := newRig(t, Options{Source: s.list(), Transport: s.transport()}).start(t)
	if result := r.Reload(t.Context(), false); result.Err != nil || sent != 1 {
		t.Errorf("sent %d times: %+v", sent, result)
	}
}

// TestWebGoesAway: while the web server is away the pool serves on, and what it says when it is back counts.
func TestWebGoesAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, poolText("a 1", "b 1"))
	source, address := s.list(), s.Listener.Addr().String()
	var dials atomic.Int64
	tr := s.transport()
	dial := tr.DialContext
	var away atomic.Bool
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		if away.Load() {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		return dial(ctx, network, address)
	}
	r := newRig(t, Options{Source: source, Transport: tr, Settings: Settings{Refresh: 50 * time.Millisecond, Guard: 0.5}}).start(t)
	away.Store(true)
	results := r.run(t)
	await(t, results, failed)
	await(t, results, failed)
	r.expect(t, "a 1", "b 1")
	if e := r.Status().Error; !strings.Contains(e, source) || !strings.Contains(e, "connection refused") {
		t.Errorf("error %q", e)
	}
	if n := r.logged("cannot use the list"); n != 1 {
		t.Errorf("%d lines in the log for one outage, want 1", n)
	}
	s.set("/mirrors.json", poolText("a 1", "b 1", "c 1"))
	away.Store(false)
	await(t, results, applied)
	r.expect(t, "a 1", "b 1", "c 1")
	if e := r.Status().Error; e != "" || r.logged("can be read again") != 1 {
		t.Errorf("error %q after it is back", e)
	}
}

// TestWebHostile: whatever a server does, the pool stays, soon, and for little memory.
func TestWebHostile(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, poolText("evil 1"))
	}))
	t.Cleanup(plain.Close)
	const chunk = 64 << 10
	var sent atomic.Int64
	for name, tt := range map[string]struct {
		want    string
		refused bool
		handler http.HandlerFunc
	}{
		"100 MB": {"want at most 8388608 bytes, the server sends more", true, func(w http.ResponseWriter, r *http.Request) {
			junk := make([]byte, chunk)
			for range 100 << 20 / chunk {
				n, err := w.Write(junk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}},
		"100 MB, announced": {"the server announces 104857600", true, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "104857600")
			w.WriteHeader(200)
		}},
		"a slow drip": {"not all was there in time", false, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}},
		"silence": {"not all was there in time", false, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"a loop": {"more than 3 redirects", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}},
		"https to http": {"from https to", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, plain.URL+"/mirrors.json", http.StatusFound)
		}},
		"to another scheme": {"want an https URL", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://127.0.0.1/mirrors.json", http.StatusFound)
		}},
		"to a URL with a user": {"no user and no password", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://u:p@"+r.Host+"/x", http.StatusFound)
		}},
		"an error page": {"mirrors.json:1:1", true, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "<html>please log in</html>")
		}},
		"500": {"want 200, got 500 Internal Server Error", false, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
		}},
		"204": {"want 200, got 204 No Content", false, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(204)
		}},
		"304 to no condition": {"want 200, got 304 Not Modified", false, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(304)
		}},
		"cut": {"broke before all was sent", false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "{")
		}},
		"compressed": {"Content-Encoding \"gzip\"", false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, poolText("a 1"))
			z.Close()
		}},
		"huge headers": {"", false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeaderBytes))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, poolText("a 1", "b 1"))
			r := newRig(t, Options{Source: s.list(), Transport: s.transport()}).start(t)
			if strings.Contains(tt.want, "in time") {
				r.reader.(*web).limit = 300 * time.Millisecond
			}
			r.fetched = nil // no conditional requests
			s.handle(tt.handler)
			start := time.Now()
			result := r.Reload(t.Context(), false)
			var refused *RefusedError
			if result.Err == nil || !strings.Contains(result.Err.Error(), tt.want) || errors.As(result.Err, &refused) != tt.refused {
				t.Errorf("%v, want %q", result.Err, tt.want)
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("it took %v", d)
			}
			r.expect(t, "a 1", "b 1")
			if name == "100 MB" {
				if n := sent.Load(); n > 20<<20 {
					t.Errorf("%d bytes of it were taken", n)
				}
			}
		})
	}
}

// TestWebRedirects follows what is harmless.
func TestWebRedirects(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.handle(func(w http.ResponseWriter, r *http.Request) {
		if next, ok := map[string]string{"/mirrors.json": "/1", "/1": "/2", "/2": "/3"}[r.URL.Path]; ok {
			http.Redirect(w, r, next, http.StatusFound)
			return
		}
		io.WriteString(w, poolText("a 1", "b 1"))
	})
	newRig(t, Options{Source: s.list(), Transport: s.transport()}).start(t).expect(t, "a 1", "b 1")
}

// TestWebCertificate: who cannot show a certificate is not believed.
func TestWebCertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t, poolText("a 1"))
	r := newRig(t, Options{Source: s.list()})
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "the certificate is not valid") {
		t.Errorf("%v", err)
	}
	if tr := newTransport(); tr.TLSClientConfig.InsecureSkipVerify || tr.TLSClientConfig.MinVersion < tls.VersionTLS12 ||
		!tr.DisableCompression {
		t.Errorf("transport %+v", tr)
	}
}

func TestCheckHop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url    string
		secure bool
		ok     bool
	}{
		{"https://example.org/", false, true}, {"https://example.org/", true, true},
		{"http://example.org/", false, false}, {"http://127.0.0.1:80/", false, true}, {"http://[::1]/", false, true},
		{"http://localhost/", false, true}, {"http://127.0.0.1/", true, false}, {"http://localhost.example.org/", false, false},
		{"http://127.0.0.1.example.org/", false, false}, {"ftp://example.org/", false, false},
		{"https://u@example.org/", false, false}, {"https:///x", false, false},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkHop(u, tt.secure); (err == nil) != tt.ok {
			t.Errorf("%s, secure %v: %v", tt.url, tt.secure, err)
		}
	}
	if _, err := New(Options{Source: "http://example.org/mirrors.json"}); err == nil {
		t.Error("http from elsewhere is taken")
	}
	if _, err := New(Options{Source: "http://127.0.0.1:1/mirrors.json"}); err != nil {
		t.Error(err)
	}
}
