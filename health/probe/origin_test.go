package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mirrorpool/health/files"
	"mirrorpool/testdata/testbed"
)

// newSource returns a folder with two files, and the URL of an rsync daemon that has it.
func newSource(t *testing.T, options string) (dir, url string, addr netip.AddrPort) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tree")
	for _, name := range []string{"stable/a.iso", "latest.txt"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		testbed.Put(t, filepath.Join(dir, name), "12345")
	}
	if err := os.Symlink("a.iso", filepath.Join(dir, "stable/link.iso")); err != nil {
		t.Fatal(err)
	}
	addr = netip.MustParseAddrPort("127.0.0.1:" + testbed.FreePort(t, "127.0.0.1"))
	testbed.Rsync(t, addr.String(), fmt.Sprintf("[pub]\npath = %s\n%s", dir, options))
	return dir, fmt.Sprintf("rsync://%s/pub/", addr), addr
}

// TestReadOrigin reads the same files from a folder, a daemon and a list. A list that has not changed is not read
// again.
func TestReadOrigin(t *testing.T) {
	t.Parallel()
	dir, daemon, _ := newSource(t, "")
	digest := strings.Repeat("0123abcd", 8)
	reads := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/SHA256SUMS":
			http.NotFound(w, r)
		case r.Header.Get("If-None-Match") == `"1"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			reads.Add(1)
			w.Header().Set("ETag", `"1"`)
			fmt.Fprintf(w, "%s  stable/a.iso\n%s *latest.txt\n", digest, digest)
		}
	}))
	defer server.Close()
	o := NewOrigin(nil, func() string { return "test" })
	for origin, want := range map[string]int{dir: 4, daemon: 4, server.URL + "/SHA256SUMS": 2} { // with a folder and a link
		var c files.Collector
		if err := o.Read(t.Context(), origin, &c); err != nil || c.Len() != want {
			t.Errorf("%s: %d entries, %v, want %d", origin, c.Len(), err, want)
		}
	}
	var c files.Collector
	if err := o.Read(t.Context(), server.URL+"/SHA256SUMS", &c); !errors.Is(err, files.ErrUnchanged) || reads.Load() != 1 {
		t.Errorf("%v after %d reads", err, reads.Load())
	}
	c = files.Collector{Anew: true}
	if err := o.Read(t.Context(), server.URL+"/SHA256SUMS", &c); err != nil || c.Len() != 2 {
		t.Errorf("anew: %d entries, %v", c.Len(), err)
	}
	for _, origin := range []string{dir + "/nothing", server.URL + "/nothing", "rsync://127.0.0.1:1/pub/",
		strings.Replace(daemon, "pub", "none", 1)} {
		if err := o.Read(t.Context(), origin, new(files.Collector)); err == nil {
			t.Errorf("%s is read", origin)
		}
	}
}

func TestAskOrigin(t *testing.T) {
	t.Parallel()
	dir, daemon, _ := newSource(t, "")
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	o := NewOrigin(nil, func() string { return "test" })
	for _, test := range []struct{ origin, fallback string }{{dir, ""}, {daemon, ""}, {daemon, web.URL + "/"},
		{"https://x/SUMS", web.URL + "/"}} {
		if err := o.Ask(t.Context(), test.origin, test.fallback, "stable/a.iso"); err != nil {
			t.Errorf("%v: %v", test, err)
		}
		if err := o.Ask(t.Context(), test.origin, test.fallback, "stable/none.iso"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", test, err)
		}
	}
	if err := o.Ask(t.Context(), "https://x/SUMS", "", "a"); !errors.Is(err, files.ErrCannotAsk) {
		t.Errorf("a list is asked: %v", err)
	}
	if err := o.Ask(t.Context(), "rsync://127.0.0.1:1/pub/", "", "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a daemon that is down says %v", err)
	}
}

// TestListMirror lists a mirror's files, all or those that are named; without links where the daemon refuses to follow
// them.
func TestListMirror(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]int{"": 3, "refuse options = copy-links\n": 2} {
		_, daemon, addr := newSource(t, options)
		// which is not looked up
		m := &files.Mirror{RsyncURL: strings.Replace(daemon, "127.0.0.1", "mirror.invalid", 1), Rsync: addr.Addr()}
		list := func(part *files.Part) (n int) {
			err := ListMirror(t.Context(), m, part, func(path string, size int64, _ uint32) error {
				if n++; size != 5 {
					t.Errorf("%s has %d bytes", path, size)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%q: %v", options, err)
			}
			return n
		}
		if got := list(nil); got != want {
			t.Errorf("%q: %d files, want %d", options, got, want)
		}
		if got := list(&files.Part{Files: []string{"stable/a.iso", "none"}}); got != 1 {
			t.Errorf("%q: %d of the named files", options, got)
		}
	}
	m := &files.Mirror{RsyncURL: "rsync://mirror.invalid:1/pub/", Rsync: netip.MustParseAddr("127.0.0.1")}
	if err := ListMirror(t.Context(), m, nil, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a daemon that is down: %v", err)
	}
}
