package redirector

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/geo"
	"mirrorpool/health"
)

// testMirrors are mirrors at places of the test database. Some are not eligible: they are named so.
var testMirrors = []struct {
	prefix, addr string
	state        health.State
	weight       uint32
	serveOnly    string
}{
	{"https://berlin.example.org/tails/", "198.18.1.7", health.Up, 10, ""},
	{"https://munich.example.org/tails/", "198.18.4.7", health.Up, 10, ""},
	{"http://aachen.example.org/tails/", "198.18.3.7", health.Up, 10, ""},
	{"https://paris.example.org/tails/", "198.18.6.7", health.Up, 10, ""},
	{"https://new-york.example.org/", "198.18.32.7", health.Up, 10, ""},
	{"https://sydney.example.org/tails/", "198.18.96.7", health.Up, 10, ""},
	{"https://unknown.example.org/tails/", "203.0.113.7", health.Up, 10, ""},
	{"https://down.example.org/tails/", "198.18.2.7", health.Down, 10, ""},
	{"https://disabled.example.org/tails/", "198.18.2.8", health.Up, 0, ""},
	{"https://japanese.example.org/tails/", "198.18.2.9", health.Up, 10, "JP"},
}

// placedHandler is a handler for testMirrors, who asks it from 192.0.2.1 may say who its client is.
func placedHandler(tb testing.TB, c config.HTTP) *Handler {
	tb.Helper()
	reader := geo.Open(config.GeoIP{City: "../../testdata/geo/city.mmdb", ASN: "../../testdata/geo/asn.mmdb"}, zap.NewNop())
	in := dnspool.Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 2,
			Selection: config.Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5}},
		Now: time.Unix(1_800_000_000, 0), Rand: rand.New(rand.NewPCG(1, 2)), Place: reader.Place,
	}
	for _, m := range testMirrors {
		u, err := url.Parse(m.prefix)
		if err != nil {
			tb.Fatal(err)
		}
		mirror := config.Mirror{URLPrefix: m.prefix, URL: u, Weight: m.weight, Email: "ops@example.org", Notes: "a <secret>"}
		if m.serveOnly != "" {
			mirror.ServeOnly.Countries = []string{m.serveOnly}
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, mirror)
		in.Health.Mirrors[m.prefix] = health.MirrorReport{Endpoints: []health.Endpoint{
			{Address: netip.MustParseAddr(m.addr), Role: health.HTTP, Verdict: health.Verdict{State: m.state, Reason: "a <reason>"}}}}
	}
	current := new(dnspool.Current)
	current.Publish(dnspool.Build(in))
	if c.BasePath == "" {
		c.BasePath = "/"
	}
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	h := newTestHandler(c, current)
	h.Place = reader.Place
	return h
}

// get asks from a client's address, with further headers, given as "Name: value".
func get(h http.Handler, target, client string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil) // from 192.0.2.1
	if client != "" {
		r.Header.Set("X-Forwarded-For", client)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestNearest(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{}) // not sticky
	tests := map[string]struct {
		client string
		secure bool
		want   string // the picked mirror, and its share in percent
	}{
		"in Munich: the country":      {"198.18.4.1", false, "aachen 33, berlin 33, munich 33"},
		"in Munich over https":        {"198.18.4.1", true, "berlin 48, munich 48, paris 3"},
		"in Sydney: within the limit": {"198.18.96.1", false, "sydney 50, unknown 28, new-york 22"},
		"in Tokyo: all are as far": {"198.18.80.1", true,
			"berlin 14, japanese 14, munich 14, new-york 14, paris 14, sydney 14, unknown 14"},
		"nowhere: all": {"203.0.113.99", true, "berlin 17, munich 17, new-york 17, paris 17, sydney 17, unknown 17"},
	}
	for name, test := range tests {
		const n = 6000
		got := map[string]int{}
		for range n {
			scheme := "http"
			if test.secure {
				scheme = "https"
			}
			got[locationHost(get(h, scheme+"://dl.example.org/x", test.client))]++
		}
		for part := range strings.SplitSeq(test.want, ", ") {
			var host string
			var percent float64
			fmt.Sscan(part, &host, &percent)
			if share := 100 * float64(got[host]) / n; share < percent-3 || share > percent+3 {
				t.Errorf("%s: %s gets %.1f %%, want %g %%", name, host, share, percent)
			}
			delete(got, host)
		}
		if len(got) > 0 {
			t.Errorf("%s: others are picked: %v", name, got)
		}
	}
}

// locationHost is the first label of the host that a response leads to.
func locationHost(w *httptest.ResponseRecorder) string {
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusFound {
		return fmt.Sprint(w.Code)
	}
	host, _, _ := strings.Cut(u.Host, ".")
	return host
}

func TestStickyClients(t *testing.T) {
	t.Parallel()
	c := config.HTTP{Sticky: 10 * time.Minute, StickySecret: "0123456789abcdef"}
	h, twin, later := placedHandler(t, c), placedHandler(t, c), placedHandler(t, c)
	later.Now = func() time.Time { return time.Unix(1_800_000_000, 0).Add(10 * time.Minute) }
	own := placedHandler(t, config.HTTP{Sticky: 10 * time.Minute})
	moved, differ := 0, 0
	for i := range 200 {
		// Of a /24 of IPv4, and a /48 of IPv6: all addresses of a network are one client.
		network := fmt.Sprintf("203.%d.%d.", i%7, i)
		if i%2 == 1 {
			network = fmt.Sprintf("2001:db8:%x::", 0x100+i)
		}
		first := locationHost(get(h, "/x", network+"1"))
		for _, again := range []*httptest.ResponseRecorder{get(h, "/y", network+"1"), get(h, "/x", network+"99"),
			get(twin, "/x", network+"7")} {
			if host := locationHost(again); host != first {
				t.Fatalf("%s is sent to %s, and then to %s", network, first, host)
			}
		}
		if locationHost(get(later, "/x", network+"1")) != first {
			moved++
		}
		if locationHost(get(own, "/x", network+"1")) != first {
			differ++
		}
	}
	if moved < 120 || differ < 120 {
		t.Errorf("%d of 200 networks meet another mirror later, and %d with another secret; want about 170", moved, differ)
	}
}

var linkPattern = regexp.MustCompile(`^<([^<>]+)>; rel=duplicate; pri=(\d)(?:; geo=([a-z]{2}))?$`)

func TestLinks(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour})
	w := get(h, "https://dl.example.org/a%20b/x.iso?c=d&e=%3E%22", "198.18.1.1")
	header := w.Header()
	if header.Get("Cache-Control") != "private, no-cache" || header.Values("Vary") != nil {
		t.Errorf("headers: %v", header)
	}
	seen := map[string]bool{}
	links := strings.Split(header.Get("Link"), ", ")
	if len(links) != 1+dnspool.MaxRunnersUp || !strings.HasPrefix(links[0], "<"+header.Get("Location")+">") {
		t.Errorf("%d links, want that to %s and %d more: %s", len(links), header.Get("Location"), dnspool.MaxRunnersUp,
			header.Get("Link"))
	}
	countries := map[string]string{}
	for i, link := range links {
		parts := linkPattern.FindStringSubmatch(link)
		if parts == nil || parts[2] != fmt.Sprint(i+1) {
			t.Fatalf("link %d: %s", i, link)
		}
		if !strings.HasPrefix(parts[1], "https://") || !strings.HasSuffix(parts[1], "/a%20b/x.iso?c=d&e=%3E%22") || seen[parts[1]] {
			t.Errorf("link to %s", parts[1])
		}
		seen[parts[1]] = true
		u, _ := url.Parse(parts[1])
		countries[u.Hostname()] = parts[3]
	}
	if got := countries["paris.example.org"]; got != "fr" {
		t.Errorf("Paris is in %q: %s", got, header.Get("Link"))
	}
	if got, ok := countries["unknown.example.org"]; got != "" || !ok {
		t.Errorf("the unknown place is in %q: %s", got, header.Get("Link"))
	}
	for length, want := range map[int]int{400: 6, 600: 4, 1000: 2, 1500: 0, 3000: 0} {
		header := get(h, "https://dl.example.org/"+strings.Repeat("a", length), "198.18.1.1").Header()
		if n := strings.Count(header.Get("Link"), "rel=duplicate"); n != want ||
			len(header.Get("Link"))+len(header.Get("Location")) > maxLinked && n > 0 {
			t.Errorf("%d links to a path of %d bytes, want %d", n, length, want)
		}
	}
	alone := testHandler(t, config.HTTP{}, "http://m1.example.org/")
	if links := get(alone, "/x", "").Header().Values("Link"); links != nil {
		t.Errorf("links of a mirror alone: %v", links)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw, rest string
		list      bool
	}{
		{"", "", false}, {"a=b", "?a=b", false}, {"mirrorlist", "", true}, {"mirrorlist=1", "", true},
		{"a=b&mirrorlist", "?a=b", true}, {"mirrorlist&a=b&c", "?a=b&c", true}, {"a&mirrorlist&b", "?a&b", true},
		{"mirrorlists", "?mirrorlists", false}, {"a=mirrorlist", "?a=mirrorlist", false}, {"MIRRORLIST", "?MIRRORLIST", false},
		{"a=%0d%0a&b=%", "?a=%0d%0a&b=%", false}, {`a=<>"\`, "?a=%3C%3E%22%5C", false}, {"a=\xff\u00e9", "?a=%FF%C3%A9", false},
		{"a|b{c}^`'[]", "?a|b{c}^`'[]", false}, {"&&", "?&&", false},
	}
	for _, test := range tests {
		if rest, list := splitQuery(test.raw); rest != test.rest || list != test.list {
			t.Errorf("%q: %q, %v; want %q, %v", test.raw, rest, list, test.rest, test.list)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	for _, client := range []string{"198.18.4.1", "198.18.96.1", "203.0.113.99", "2001:db8:1::1"} {
		a, e, err := h.Explain(netip.MustParseAddr(client), true, "/pub/x.iso?a=b")
		if want := get(h, "https://dl.example.org/pub/x.iso?a=b", client).Header().Get("Location"); a.Location != want ||
			err != nil || len(e.Mirrors) != len(testMirrors) {
			t.Errorf("%s: %q, %v; while a redirect leads to %s", client, a.Location, err, want)
		}
		if begin, end, ok := h.Window(netip.MustParseAddr(client)); !ok || end.Sub(begin) != time.Hour {
			t.Errorf("window %v to %v", begin, end)
		}
	}
	long := "/pub/" + strings.Repeat("a", maxTarget)
	for path, want := range map[string]error{
		"/x": errForbidden, "/pub/../x": errForbidden, "x": errMalformed, "/%": errMalformed, long: errTooLong,
		"/.well-known/x": errForbidden,
		"/pub/.meta4":    errForbidden, "/pub/x": nil, "/pub//./x": nil, "/pub/x?mirrorlist": nil, "/pub/x.meta4": nil,
		"/mirrors.json": nil,
		"//robots.txt":  nil, "/favicon.ico": nil, "/pub/robots.txt": nil,
	} {
		a, _, err := h.Explain(netip.MustParseAddr("198.18.4.1"), false, path)
		if err != want || (err == nil) != (a.Location != "" || a.What != "") {
			t.Errorf("%.20s: %+v, %v, want %v", path, a, err, want)
		}
		if !strings.HasPrefix(path, "/") || path == "/%" {
			continue // no request
		}
		if w := get(h, path, "198.18.4.1"); w.Code != a.Status || w.Header().Get("Location") != a.Location {
			t.Errorf("%.20s: %+v, while the answer is %d to %q", path, a, w.Code, w.Header().Get("Location"))
		}
	}
	none := testHandler(t, config.HTTP{})
	if a, _, err := none.Explain(netip.MustParseAddr("198.18.4.1"), false, "/"); err != errNoMirror || a.Status != 503 {
		t.Errorf("without a mirror: %+v, %v", a, err)
	}
	if _, _, ok := none.Window(netip.MustParseAddr("198.18.4.1")); ok {
		t.Error("a window without stickiness")
	}
}

// discard is a ResponseWriter that takes anything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header { return d.header }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (discard) WriteHeader(int) {}

func BenchmarkNearest(b *testing.B) {
	h := placedHandler(b, config.HTTP{Sticky: time.Hour})
	r := httptest.NewRequest("GET", "/stable/image.iso", nil)
	r.RemoteAddr = "198.18.4.1:1234"
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

// eligiblePrefixes are those of testMirrors that may be redirected to.
func eligiblePrefixes() []string {
	var prefixes []string
	for _, m := range testMirrors {
		if m.state == health.Up && m.weight > 0 {
			prefixes = append(prefixes, m.prefix)
		}
	}
	return prefixes
}

func hasEligiblePrefix(location string) bool {
	return slices.ContainsFunc(eligiblePrefixes(), func(p string) bool { return strings.HasPrefix(location, p) })
}
