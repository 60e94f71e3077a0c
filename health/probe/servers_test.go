package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"mirrorpool/health"
)

// The hosts of these tests. No resolver knows them: only a pinned address leads anywhere.
const (
	mirrorHost = "mirror.example.net"
	poolHost   = "dl.example.org"
)

// trace is a trace file, and what it says.
var (
	traceTime = time.Unix(1772366400, 0).UTC()
	trace     = strconv.FormatInt(traceTime.Unix(), 10) + "\n"
)

// zipped is text, compressed by gzip.
func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// listen opens a port of its own at addr.
func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

// serve runs handler at addr until the test ends, over TLS if certs has any.
func serve(t testing.TB, addr string, handler http.Handler, certs ...tls.Certificate) *httptest.Server {
	t.Helper()
	if len(certs) > 0 {
		return serveTLS(t, addr, handler, &tls.Config{Certificates: certs})
	}
	return serveTLS(t, addr, handler, nil)
}

// serveTLS is serve with a TLS configuration, or without TLS if that is nil.
func serveTLS(t testing.TB, addr string, handler http.Handler, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Listener.Close()
	s.Listener = listen(t, addr)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if config != nil {
		s.TLS = config
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// serveRaw runs handler with each connection at addr until the test ends. handler returns when the connection is
// closed, at the latest when the test ends.
func serveRaw(t testing.TB, addr string, handler func(conn net.Conn)) net.Listener {
	t.Helper()
	l := listen(t, addr)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				handler(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		stop()
		running.Wait()
	})
	return l
}

// readRequest reads a request from conn, and reports whether there was one.
func readRequest(conn net.Conn) bool {
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	return err == nil && n > 0
}

// linger waits until the other end of conn closes it.
func linger(conn net.Conn) { io.Copy(io.Discard, conn) }

// tracer serves a trace file, with ranges, and remembers the hosts that were requested.
type tracer struct {
	mu    sync.Mutex
	hosts []string
	names []string // by SNI
}

func (h *tracer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.hosts = append(h.hosts, r.Host)
	if r.TLS != nil {
		h.names = append(h.names, r.TLS.ServerName)
	}
	h.mu.Unlock()
	serveTrace(w, r)
}

// target is what a probe in the given role looks at: scheme://host:port/project/trace at addr.
func target(t testing.TB, role health.Role, scheme, host, port, addr string) health.Target {
	t.Helper()
	u, err := url.Parse(scheme + "://" + net.JoinHostPort(host, port) + "/project/trace")
	if err != nil {
		t.Fatal(err)
	}
	return health.Target{Role: role, URL: u, Address: netip.MustParseAddr(addr), OwnHost: mirrorHost}
}

// within returns a context that ends after d or with the test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
