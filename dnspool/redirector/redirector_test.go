package redirector

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

// testCurrent holds a snapshot of mirrors that are up, at the given prefixes, with weight 1.
func testCurrent(tb testing.TB, prefixes ...string) *dnspool.Current {
	tb.Helper()
	return testCurrentWith(tb, nil, prefixes...)
}

// testCurrentWith holds a snapshot of mirrors with numbers.
func testCurrentWith(tb testing.TB, number func(string) int, prefixes ...string) *dnspool.Current {
	tb.Helper()
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2}, Now: time.Unix(1_800_000_000, 0),
		Rand: rand.New(rand.NewPCG(1, 2)), Number: number,
	}
	for _, prefix := range prefixes {
		u, err := url.Parse(prefix)
		if err != nil {
			tb.Fatal(err)
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, config.Mirror{URLPrefix: prefix, URL: u, Weight: 1})
		var r health.MirrorReport
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			r.Endpoints = append(r.Endpoints, health.Endpoint{
				Address: netip.MustParseAddr(addr), Role: health.HTTP, Verdict: health.Verdict{State: health.Up}})
		}
		in.Health.Mirrors[prefix] = r
	}
	current := new(dnspool.Current)
	current.Publish(dnspool.Build(in))
	return current
}

// lockedSource is seeded randomness that is safe for concurrent use.
type lockedSource struct {
	mu  sync.Mutex
	src *rand.PCG
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Uint64()
}

func testHandler(tb testing.TB, c config.HTTP, prefixes ...string) *Handler {
	if c.BasePath == "" {
		c.BasePath = "/"
	}
	return newTestHandler(c, testCurrent(tb, prefixes...))
}

// newTestHandler returns a handler for which it is always the same time.
func newTestHandler(c config.HTTP, current *dnspool.Current) *Handler {
	return NewHandler(Options{
		Config: c, Current: current, Source: &lockedSource{src: rand.NewPCG(1, 2)},
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	const prefix = "http://m1.example.org/tails/"
	tests := map[string]struct {
		method, target, base string
		status               int
		location             string
	}{
		"a file":                     {target: "/stable/image.iso", status: 302, location: prefix + "stable/image.iso"},
		"HEAD":                       {method: "HEAD", target: "/x", status: 302, location: prefix + "x"},
		"the root":                   {target: "/", status: 302, location: prefix},
		"a folder":                   {target: "/stable/", status: 302, location: prefix + "stable/"},
		"a query":                    {target: "/x?a=b&c=%2F", status: 302, location: prefix + "x?a=b&c=%2F"},
		"escapes stay as they are":   {target: "/a%20b%2fc/%C3%A9", status: 302, location: prefix + "a%20b%2fc/%C3%A9"},
		"dots that are names":        {target: "/a..b/.c/...", status: 302, location: prefix + "a..b/.c/..."},
		"a percent sign in a name":   {target: "/100%25", status: 302, location: prefix + "100%25"},
		"a base path is taken off":   {target: "/tails/x", base: "/tails/", status: 302, location: prefix + "x"},
		"a URL as the target":        {target: "http://evil.example/x", status: 302, location: prefix + "x"},
		"an at sign":                 {target: "/@evil.example/x", status: 302, location: prefix + "@evil.example/x"},
		"a colon":                    {target: "/http:80/x", status: 302, location: prefix + "http:80/x"},
		"another base path":          {target: "/other/x", base: "/tails/", status: 404},
		"POST":                       {method: "POST", target: "/x", status: 405},
		"PUT":                        {method: "PUT", target: "/x", status: 405},
		"OPTIONS":                    {method: "OPTIONS", target: "/x", status: 405},
		"an unknown method":          {method: "BREW", target: "/x", status: 405},
		"two slashes":                {target: "//a.example/x", status: 302, location: prefix + "a.example/x"},
		"slashes everywhere":         {target: "///a//b///", status: 302, location: prefix + "a/b/"},
		"a slash behind the base":    {target: "//tails//x", base: "/tails/", status: 302, location: prefix + "x"},
		"here":                       {target: "/./a/./x/.", status: 302, location: prefix + "a/x/"},
		"here, escaped":              {target: "/%2e/a/%2E/x", status: 302, location: prefix + "a/x"},
		"here, escaped twice":        {target: "/%252e/x", status: 302, location: prefix + "%252e/x"},
		"only here":                  {target: "/.", status: 302, location: prefix},
		"a raw byte by an escape":    {target: "/\u00fcni%2Fa", status: 302, location: prefix + "%C3%BCni%2Fa"},
		"up, by a lone percent sign": {target: "/%252e%252e/x%25", status: 404},
		"an escaped slash in front":  {target: "/%2fevil.example", status: 404},
		"the same escaped twice":     {target: "/%252fevil.example", status: 404},
		"up":                         {target: "/../x", status: 404},
		"up, at the end":             {target: "/x/..", status: 404},
		"up, escaped":                {target: "/%2e%2e/x", status: 404},
		"up, half escaped":           {target: "/.%2E/x", status: 404},
		"up, escaped twice":          {target: "/%252e%252e/x", status: 404},
		"up, escaped three times":    {target: "/%25252e%25252e/x", status: 404},
		"up, the slash escaped":      {target: "/a/..%2fx", status: 404},
		"up, with a parameter":       {target: "/..;a=b/x", status: 404},
		"a backslash":                {target: "/%5cevil.example", status: 404},
		"a backslash, escaped twice": {target: "/%255cevil.example", status: 404},
		"NUL":                        {target: "/x%00", status: 404},
		"CR LF":                      {target: "/x%0d%0aSet-Cookie:a=b", status: 404},
		"CR LF, escaped twice":       {target: "/x%250d%250a", status: 404},
		"DEL":                        {target: "/%7f", status: 404},
		"a tab":                      {target: "/a%09b", status: 404},
		"endless escaping":           {target: "/%2525252525252525252e", status: 404},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			r := httptest.NewRequest(method, test.target, nil)
			w := httptest.NewRecorder()
			testHandler(t, config.HTTP{BasePath: test.base}, prefix).ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("Location") != test.location {
				t.Errorf("%d to %q, want %d to %q", w.Code, w.Header().Get("Location"), test.status, test.location)
			}
			if allow := w.Header().Get("Allow"); (w.Code == 405) != (allow == "GET, HEAD") {
				t.Errorf("Allow: %q", allow)
			}
			if w.Header().Get("Cache-Control") == "" {
				t.Error("no Cache-Control")
			}
		})
	}
}

func TestNoMirror(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*Handler{
		"no mirror is enabled":      testHandler(t, config.HTTP{}),
		"before the first snapshot": newTestHandler(config.HTTP{BasePath: "/"}, new(dnspool.Current)),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", name, w.Code, w.Header().Get("Retry-After"))
		}
	}
}

// TestNoDowngrade asserts that clients over https are sent to https, whether the redirector or a proxy
// before it speaks TLS.
func TestNoDowngrade(t *testing.T) {
	t.Parallel()
	trusted := config.HTTP{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tests := map[string]struct {
		config config.HTTP
		url    string
		proto  string
		http   bool // whether http mirrors may be picked too
	}{
		"http":                           {config.HTTP{}, "http://dl.example.org/x", "", true},
		"https":                          {config.HTTP{}, "https://dl.example.org/x", "", false},
		"https before a trusted proxy":   {trusted, "http://dl.example.org/x", "https", false},
		"https before several proxies":   {trusted, "http://dl.example.org/x", "https, http", false},
		"https before an untrusted peer": {config.HTTP{}, "http://dl.example.org/x", "https", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := testHandler(t, test.config, "http://m1.example.org/", "https://m2.example.org/")
			schemes := map[string]bool{}
			for range 100 {
				r := httptest.NewRequest("GET", test.url, nil) // from 192.0.2.1
				r.Header.Set("X-Forwarded-Proto", test.proto)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				scheme, _, _ := strings.Cut(w.Header().Get("Location"), ":")
				schemes[scheme] = true
			}
			if !schemes["https"] || schemes["http"] != test.http {
				t.Errorf("sent to %v", schemes)
			}
		})
	}
	w := httptest.NewRecorder()
	testHandler(t, config.HTTP{}, "http://m1.example.org/").ServeHTTP(w, httptest.NewRequest("GET", "https://dl.example.org/x", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("without an https mirror: %d to %q, want 503", w.Code, w.Header().Get("Location"))
	}
}

func TestClientOf(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	tests := map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no proxy":                     {"192.0.2.1:1234", nil, "192.0.2.1"},
		"an untrusted peer may say":    {"192.0.2.1:1234", []string{"198.51.100.1"}, "192.0.2.1"},
		"a trusted proxy":              {"127.0.0.1:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		"the rightmost untrusted":      {"127.0.0.1:1234", []string{"203.0.113.9, 198.51.100.1, 10.1.2.3"}, "198.51.100.1"},
		"several headers":              {"127.0.0.1:1234", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		"only proxies":                 {"127.0.0.1:1234", []string{"10.1.2.3"}, "127.0.0.1"},
		"malformed":                    {"127.0.0.1:1234", []string{"198.51.100.1, nonsense"}, "127.0.0.1"},
		"empty":                        {"127.0.0.1:1234", []string{""}, "127.0.0.1"},
		"IPv6":                         {"[2001:db8::1]:1234", nil, "2001:db8::1"},
		"IPv4 in IPv6":                 {"[::ffff:192.0.2.1]:1234", nil, "192.0.2.1"},
		"IPv6 with a zone":             {"[fe80::1%eth0]:1234", nil, "fe80::1"},
		"a trusted proxy names a zone": {"127.0.0.1:1234", []string{"fe80::2%eth0"}, "fe80::2"},
	}
	for name, test := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.peer
		r.Header["X-Forwarded-For"] = test.forwarded
		if got := clientOf(r, trusted).addr.String(); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	h := testHandler(t, config.HTTP{}, "http://m1.example.org/")
	s, err := Listen(t.Context(), nil, config.HTTP{Listen: []string{"127.0.0.1:0", "127.0.0.1:0"}}, h, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, addr := range s.Addrs() {
		resp, err := client.Get("http://" + addr.String() + "/x")
		if err != nil || resp.StatusCode != 302 {
			t.Fatalf("%v, %v; want 302", resp, err)
		}
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestListenFailure(t *testing.T) {
	t.Parallel()
	if _, err := Listen(t.Context(), nil, config.HTTP{Listen: []string{"192.0.2.1:0"}}, nil, zap.NewNop()); err == nil {
		t.Error("no error at an address that is not ours")
	}
}

// FuzzRedirect: wherever a request leads to, it is below an eligible mirror's url_prefix.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{"/", "/x", "//evil.example", "/%2e%2e/", "/\\evil.example", "/a?b", "http://evil.example/",
		"/x\r\nA: b", "*", "/%",
		"/x?>;rel=x,<http://evil.example/>", "/x?mirrorlist", "/x.meta4"} {
		f.Add("GET", seed, "198.18.1.1", "for=198.18.96.1;proto=https")
	}
	h := placedHandler(f, config.HTTP{})
	f.Fuzz(func(t *testing.T, method, target, xForwardedFor, forwarded string) {
		u, err := url.ParseRequestURI(target) // as net/http does
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, RemoteAddr: "192.0.2.1:1", Header: http.Header{}}
		if xForwardedFor != "" {
			r.Header.Set("X-Forwarded-For", xForwardedFor)
		}
		if forwarded != "" {
			r.Header.Set("Forwarded", forwarded)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if err := checkLocation(w.Code, w.Header()); err != nil {
			t.Fatalf("%q: %v", target, err)
		}
	})
}

func BenchmarkRedirect(b *testing.B) {
	h := testHandler(b, config.HTTP{}, "http://m1.example.org/", "http://m2.example.org/")
	r := httptest.NewRequest("GET", "/stable/image.iso", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
