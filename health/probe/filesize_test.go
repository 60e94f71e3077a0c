package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mirrorpool/health/files"
	"mirrorpool/testdata/testbed"
)

func TestFileSize(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			w.Header().Set("Content-Length", "1234567890123")
		case "/moved":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/elsewhere":
			http.Redirect(w, r, "http://evil.example/file", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/unknown":
			w.(http.Flusher).Flush()
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/no-head":
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
			} else {
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
			}
		case "/no-head-empty":
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
			} else {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
		if r.Method != http.MethodHead && r.Header.Get("Range") != "bytes=0-0" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	defer server.Close()
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	p := NewFiles(nil, func() string { return "test" })
	for path, want := range map[string]struct {
		size   int64
		ok, no bool
	}{
		"/file": {1234567890123, true, false}, "/moved": {1234567890123, true, false}, "/elsewhere": {}, "/loop": {},
		"/unknown": {}, "/error": {}, "/no-head": {10, true, false}, "/no-head-empty": {},
		"/none": {no: true}, "/gone": {no: true},
	} {
		// The name is not looked up: the address is given.
		u := &url.URL{Scheme: "http", Host: "mirror.invalid:" + server.URL[len("http://127.0.0.1:"):], Path: path}
		size, err := p.Size(t.Context(), u, addr.Addr())
		if size != want.size || (err == nil) != want.ok || errors.Is(err, fs.ErrNotExist) != want.no {
			t.Errorf("%s: %d, %v; want %+v", path, size, err, want)
		}
	}
}

// TestHeadSaysWhy: what clients would get, and whether to ask less often.
func TestHeadSaysWhy(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
	}))
	defer server.Close()
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	p := NewFiles(nil, func() string { return "test" })
	for status, want := range map[int][3]bool{ // lacks, refuses, is busy
		200: {}, 302: {}, 404: {true, false, false}, 410: {true, false, false}, 400: {false, true, false}, 401: {false, true, false},
		403: {false, true, false}, 405: {false, true, false}, 429: {false, false, true}, 500: {false, true, false},
		501: {false, true, false}, 502: {false, true, false}, 503: {false, true, true}, 504: {false, true, false},
	} {
		u := &url.URL{Scheme: "http", Host: "mirror.invalid:" + strconv.Itoa(int(addr.Port())), Path: "/" + strconv.Itoa(status)}
		_, err := p.Head(t.Context(), u, addr.Addr())
		got := [3]bool{errors.Is(err, fs.ErrNotExist), errors.Is(err, files.ErrRefused), errors.Is(err, files.ErrBusy)}
		if got != want || (err == nil) != (want == [3]bool{}) {
			t.Errorf("%d: %v, %v", status, got, err)
		}
	}
}

// TestHeadOfNginx asks an nginx for a file that it serves, one that it refuses, and ones that it refuses to HEAD.
func TestHeadOfNginx(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"file", "refused/file", "get-only/file", "get-only/empty"} {
		content := []byte("0123456789")
		if strings.HasSuffix(name, "empty") {
			content = nil
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		testbed.Put(t, filepath.Join(dir, name), content)
	}
	port := testbed.FreePort(t, "127.0.0.7")
	testbed.Nginx(t, fmt.Sprintf(`server {
		listen 127.0.0.7:%s; root %s;
		location /refused/ { deny all; }
		location /get-only/ { if ($request_method = HEAD) { return 405; } }
	}`, port, dir))
	testbed.AwaitPort(t, "127.0.0.7:"+port)
	p := NewFiles(nil, func() string { return "test" })
	for path, want := range map[string]struct {
		size int64
		err  error
	}{
		"/file": {10, nil}, "/none": {0, fs.ErrNotExist}, "/refused/file": {0, files.ErrRefused}, "/get-only/file": {10, nil},
		"/get-only/empty": {0, nil}, "/get-only/none": {0, fs.ErrNotExist},
	} {
		u := &url.URL{Scheme: "http", Host: "mirror.invalid:" + port, Path: path}
		size, err := p.Head(t.Context(), u, netip.MustParseAddr("127.0.0.7"))
		if size != want.size || !errors.Is(err, want.err) {
			t.Errorf("%s: %d, %v; want %d, %v", path, size, err, want.size, want.err)
		}
	}
}
