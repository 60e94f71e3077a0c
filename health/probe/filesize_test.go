package probe

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
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
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
		if r.Method != http.MethodHead {
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
		"/unknown": {}, "/error": {},
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
