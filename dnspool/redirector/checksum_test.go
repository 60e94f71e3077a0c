package redirector

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

const (
	sumText  = "the image"
	fallback = "https://origin.example.org/pub/"
)

// newSumWorld returns a handler for three mirrors and a file whose checksum is known.
func newSumWorld(tb testing.TB, c config.Files) (w *fileWorld, digest [sha256.Size]byte) {
	tb.Helper()
	digest = sha256.Sum256([]byte(sumText))
	c.Origin = "/o"
	if c.FromOrigin == nil {
		c.FromOrigin = []string{"*.sig", "SHA256SUMS*", "silent"}
	}
	origin := map[string]int64{
		"stable/x.img": int64(len(sumText)), "stable/x.img.sig": 100, "stable/SHA256SUMS": 80, "stable/y.txt": 3,
		"stable/z.img": 5, "stable/z.img.meta4": 50, "stable/z.img.sha256": 70,
	}
	texts := map[string]string{
		"stable/SHA256SUMS":   fmt.Sprintf("%x  x.img\n", digest),
		"stable/z.img.sha256": fmt.Sprintf("%x  z.img\n", digest),
	}
	w = startFileWorldWith(tb, c, 3, origin, texts, func(int, string) bool { return false })
	for _, path := range []string{"stable/x.img", "stable/z.img"} {
		testbed.Eventually(tb, "the checksum of "+path+" is known", func() bool {
			f := w.catalog.Sums.FindPath(path)
			return f != nil && f.Sum() != nil
		})
	}
	return w, digest
}

// TestDigests come with a redirect to a file whose checksum is known, by both ways to answer.
func TestDigests(t *testing.T) {
	t.Parallel()
	w, digest := newSumWorld(t, config.Files{})
	w.handler.SetConfig(config.HTTP{BasePath: "/pub/", Sticky: 1}) // each client gets the same mirror in this test
	text := base64.StdEncoding.EncodeToString(digest[:])
	for path, want := range map[string]http.Header{
		"/pub/stable/x.img": {
			"Digest": {"SHA-256=" + text}, "Repr-Digest": {"sha-256=:" + text + ":"},
			"Link": {`<http://example.com/pub/stable/x.img.meta4>; rel=describedby; type="application/metalink4+xml"`},
		},
		"/pub/stable/y.txt": {"Link": {"rel=duplicate"}},
	} {
		slow := get(w.handler, path, "198.51.100.1").Header()
		var out bytes.Buffer
		answered, err := w.handler.answerPlain(&out, &plainRequest{path: []byte(path), asker: asker{host: []byte("example.com")}},
			client{addr: netip.MustParseAddr("198.51.100.1")})
		if !answered || err != nil {
			t.Fatalf("%s is answered by net/http alone: %v", path, err)
		}
		fast := readAnswer(t, bufio.NewReader(&out)).Header
		for _, got := range []http.Header{slow, fast} {
			if got.Get("Digest") != want.Get("Digest") || got.Get("Repr-Digest") != want.Get("Repr-Digest") ||
				!strings.HasSuffix(got.Get("Link"), want.Get("Link")) && !strings.Contains(got.Get("Link"), "rel=duplicate") {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
			if has := strings.Contains(got.Get("Link"), "rel=describedby"); has != (want.Get("Digest") != "") {
				t.Errorf("%s: Link: %s", path, got.Get("Link"))
			}
		}
		if len(slow.Get("Link")) != len(fast.Get("Link")) {
			t.Errorf("%s: Link differs: %s, and %s", path, slow.Get("Link"), fast.Get("Link"))
		}
	}
}

// TestWget2WithoutPort is not sent to a Metalink at a port that is not this server's, which GNU Wget2 leaves out of the
// header Host. It would take no other link then, and get no file.
func TestWget2WithoutPort(t *testing.T) {
	t.Parallel()
	w, _ := newSumWorld(t, config.Files{})
	w.catalog.Withhold(map[uint64][]int{xxhash.Sum64String("stable/x.img"): {w.catalog.Number(worldMirror(0)), w.catalog.Number(worldMirror(1))}})
	for _, test := range []struct {
		agent, host, listen string
		tls                 *config.TLS
		want                bool
	}{
		{"Wget2/1.99.1", "example.com", "127.0.0.1:8080", nil, false},
		{"wget2/2.1", "[2001:db8::1]", "127.0.0.1:8080", nil, false},
		{"wget2", "example.com", "127.0.0.1:8080", &config.TLS{Listen: []string{"127.0.0.1:8443"}}, false},
		{"wget2/2.1", "[2001:db8::1]:8080", "127.0.0.1:8080", nil, true},
		{"wget2/1.99.1", "example.com", "0.0.0.0:80", nil, true},
		{"wget2/1.99.1", "example.com", "127.0.0.1:8080", &config.TLS{Listen: []string{"[::]:443"}}, true},
		{"Wget/1.21.3", "example.com", "127.0.0.1:8080", nil, true},
		{"a browser with a long name, not wget2", "example.com", "127.0.0.1:8080", nil, true},
	} {
		w.handler.SetConfig(config.HTTP{BasePath: "/", Listen: []string{test.listen}, TLS: test.tls})
		text := "GET /stable/x.img HTTP/1.1\r\nHost: " + test.host + "\r\nUser-Agent: " + test.agent + "\r\n\r\n"
		request, _ := readPlain([]byte(text))
		var out bytes.Buffer
		if answered, err := w.handler.answerPlain(&out, &request, client{addr: netip.MustParseAddr("198.51.100.1")}); !answered || err != nil {
			t.Fatal("it is answered by net/http alone", err)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		slow := httptest.NewRecorder()
		w.handler.ServeHTTP(slow, r)
		fast := readAnswer(t, bufio.NewReader(&out)).Header
		for _, got := range []http.Header{slow.Header(), fast} {
			if got.Get("Digest") == "" || strings.Contains(got.Get("Link"), "rel=describedby") != test.want {
				t.Errorf("%+v: %v", test, got)
			}
		}
	}
}

// TestSumFile answers a path such as x.img.sha256, unless the origin has such a file.
func TestSumFile(t *testing.T) {
	t.Parallel()
	w, digest := newSumWorld(t, config.Files{Fallback: fallback})
	resp := get(w.handler, "/stable/x.img.sha256", "198.51.100.1")
	if want := fmt.Sprintf("%x  x.img\n", digest); resp.Code != http.StatusOK || resp.Body.String() != want {
		t.Errorf("%d %q, want %q", resp.Code, resp.Body, want)
	}
	if answered, _ := w.handler.answerPlain(io.Discard, &plainRequest{path: []byte("/stable/x.img.sha256")},
		client{addr: netip.MustParseAddr("198.51.100.1")}); answered {
		t.Error("the request for a checksum is redirected")
	}
	for path, want := range map[string]int{"/stable/x.img.sha512": 404, "/stable/y.txt.sha256": 404, "/stable/z.img.sha256": 302} {
		if resp := get(w.handler, path, "198.51.100.1"); resp.Code != want {
			t.Errorf("%s: %d, want %d", path, resp.Code, want)
		}
	}
}

// TestFromOrigin has no mirror serve what its files are verified by.
func TestFromOrigin(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fallback, unpublished string
		secure                bool
		want                  map[string]string // by path: where it leads, or the status
	}{
		"with a fallback": {fallback, "404", false, map[string]string{
			"stable/x.img.sig": fallback, "stable/SHA256SUMS": fallback, "stable/SHA256SUMS.asc": "404", "just-published.sig": fallback,
			"silent": fallback,
		}},
		"unpublished paths lead to mirrors": {fallback, "redirect", false, map[string]string{"stable/none.sig": fallback}},
		"https, and a fallback without":     {"http://origin.example.org/", "404", true, map[string]string{"stable/x.img.sig": "503"}},
		"without a fallback":                {"", "404", false, map[string]string{"stable/x.img.sig": "mirror"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newSumWorld(t, config.Files{Fallback: test.fallback, Unpublished: test.unpublished})
			for path, want := range test.want {
				s := w.handler.scratch.Get().(*scratch)
				w.handler.ask(&s.request, client{addr: netip.MustParseAddr("198.51.100.1"), secure: test.secure})
				snapshot := w.current.Load()
				to, ok := w.handler.known(snapshot, s, path, false)
				if !ok {
					to = w.handler.find(t.Context(), snapshot, s, path, false)
				}
				got := to.prefix
				switch {
				case to.mirror != nil:
					got = "mirror"
				case to.status != 0:
					got = fmt.Sprint(to.status)
				}
				if got != want {
					t.Errorf("%s leads to %s, want %s", path, got, want)
				}
			}
		})
	}
}

// TestMetalinkOfKnownFile has size, checksum and time; one that the origin publishes is redirected to.
func TestMetalinkOfKnownFile(t *testing.T) {
	t.Parallel()
	w, digest := newSumWorld(t, config.Files{Fallback: fallback})
	for agent, name := range map[string]string{"aria2/1.36.0": "x.img", "Wget2/2.0": "x.img"} {
		resp := get(w.handler, "/stable/x.img.meta4", "198.51.100.1", "User-Agent: "+agent)
		var doc metalink
		if err := xml.Unmarshal(resp.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.File.Name != name || doc.File.Size == nil || *doc.File.Size != int64(len(sumText)) || doc.File.Hash == nil ||
			doc.File.Hash.Type != "sha-256" || doc.File.Hash.Text != fmt.Sprintf("%x", digest) || len(doc.File.URLs) != 3 ||
			doc.Published != "1970-01-01T00:16:40Z" {
			t.Errorf("%s: %s", agent, resp.Body)
		}
	}
	if resp := get(w.handler, "/stable/z.img.meta4", "198.51.100.1"); !strings.HasSuffix(resp.Header().Get("Location"), "/stable/z.img.meta4") {
		t.Errorf("a Metalink of the project's own: %d %v", resp.Code, resp.Header())
	}
	resp := get(w.handler, "/stable/x.img.sig.meta4", "198.51.100.1")
	if text := resp.Body.String(); strings.Contains(text, "http://") || !strings.Contains(text, fallback+"stable/x.img.sig<") {
		t.Errorf("the Metalink of a signature: %d %s", resp.Code, text)
	}
	w.catalog.Withhold(map[uint64][]int{xxhash.Sum64String("stable/x.img"): {0, 1, 2}}) // no mirror carries it
	resp = get(w.handler, "/stable/x.img.meta4", "198.51.100.1")
	if text := resp.Body.String(); strings.Contains(text, "http://m") || !strings.Contains(text, fallback+"stable/x.img<") ||
		!strings.Contains(text, "<size>9</size>") {
		t.Errorf("the Metalink of a file that no mirror carries: %d %s", resp.Code, text)
	}
	if a, _, err := w.handler.Explain(netip.MustParseAddr("198.51.100.1"), false, "/stable/x.img.meta4"); a.Status != http.StatusOK {
		t.Errorf("it is explained as %+v: %v", a, err)
	}
	list := get(w.handler, "/stable/x.img.sig?mirrorlist", "198.51.100.1")
	if text := list.Body.String(); strings.Contains(text, `href="http://m`) {
		t.Errorf("the list of mirrors of a signature links to mirrors: %s", text)
	}
}

// TestMetalinkOfNothing is not made: clients get 404, as for the file itself, unless they are redirected for that.
func TestMetalinkOfNothing(t *testing.T) {
	t.Parallel()
	for unpublished, want := range map[string]int{"404": http.StatusNotFound, "redirect": http.StatusOK} {
		w, _ := newSumWorld(t, config.Files{Unpublished: unpublished})
		for _, path := range []string{"/stable/none.img.meta4", "/stable/none.img.metalink"} {
			if resp := get(w.handler, path, "198.51.100.1"); resp.Code != want {
				t.Errorf("%s, with %q: %d, want %d", path, unpublished, resp.Code, want)
			}
			if a, _, _ := w.handler.Explain(netip.MustParseAddr("198.51.100.1"), false, path); a.Status != want {
				t.Errorf("%s, with %q, is explained by %d, want %d", path, unpublished, a.Status, want)
			}
		}
		if resp := get(w.handler, "/stable/y.txt.meta4", "198.51.100.1"); resp.Code != http.StatusOK {
			t.Errorf("of a file without a checksum, with %q: %d", unpublished, resp.Code)
		}
	}
}

// BenchmarkPlainDigest redirects to a file with a checksum and to one without.
func BenchmarkPlainDigest(b *testing.B) {
	w, _ := newSumWorld(b, config.Files{Fallback: fallback, FromOrigin: []string{
		"*.sig", "*.asc", "*.sha256", "*.sha512", "*.sha256sum", "*.sha512sum", "SHA256SUMS*", "SHA512SUMS*",
	}})
	for _, path := range []string{"/stable/x.img", "/stable/y.txt"} {
		b.Run(path[len("/stable/"):], func(b *testing.B) {
			b.ReportAllocs()
			request := &plainRequest{path: []byte(path), asker: asker{host: []byte("dl.example.org")}}
			for b.Loop() {
				if answered, err := w.handler.answerPlain(io.Discard, request, client{addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}); !answered || err != nil {
					b.Fatal(answered, err)
				}
			}
		})
	}
}
