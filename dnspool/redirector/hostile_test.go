package redirector

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// TestHostileRequests sends requests over a socket, byte for byte, as no client library would. What is not refused must
// lead to a file below an eligible mirror's url_prefix.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	s, err := Listen(t.Context(), nil, config.HTTP{Listen: []string{"127.0.0.1:0"}},
		placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"}), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	const ok = 302
	long := strings.Repeat("a", 5000)
	targets := []struct {
		target string
		status int
	}{
		// up and out, in all encodings
		{"/pub/../x", 404}, {"/pub/..", 404}, {"/pub/a/../../x", 404}, {"/../pub/x", 404}, {"/pub/%2e%2e/x", 404},
		{"/pub/%2E%2e", 404}, {"/pub/.%2e/x", 404}, {"/pub/%2e./x", 404}, {"/pub/%252e%252e/x", 404},
		{"/pub/%25%32%65%25%32%65/x", 404},
		{"/pub/%25252e%25252e/x", 404}, {"/pub/a/..%2fx", 404}, {"/pub/a%2f..%2fx", 404}, {"/pub/a%2f%2e%2e%2fx", 404},
		{"/pub/..;/x", 404},
		{"/pub/..;a=b/x", 404}, {"/pub/%2e%2e;/x", 404}, {"/pub/./x", ok}, {"/pub/.", ok}, {"/pub/%2e/x", ok}, {"/pub/x/.;a", ok},
		{"/pub/%252e%252e/x%25", 404}, {"/pub/%25/%252e%252e/x", 404}, {"/pub/%25%2532e%252e/x", 404},
		{"/pub/..#/x", 404}, {"/pub/..%23/x", 404}, {"/pub/..%3f/x", 404}, {"/.well-known#/x", 404}, {"/pub/a#b", ok},
		{"/pub/..%5cx", 404}, {"/pub/..%255cx", 404}, {"/pub/%c0%ae%c0%ae/x", ok}, {"/pub/%uff0e%uff0e/x", 400}, {"/pub/...", ok},
		{"/pub/..a/x", ok},
		// another host
		{"//evil.example/x", 404}, {"///evil.example/x", 404}, {"/pub//evil.example/x", ok}, {"/pub/%2fevil.example", 404},
		{"/pub/./%2fevil.example", 404}, {"/pub/%2e%2f%2fevil.example", 404},
		{"/pub/%2f%2fevil.example", 404}, {"/pub/%252fevil.example", 404}, {"/pub///x", ok}, {"//pub//x", ok},
		{"/pub/\\evil.example", 404}, {"/pub\\evil", 404},
		{"/\\evil.example", 404}, {"\\\\evil.example\\x", 400}, {"/pub/%5cevil.example", 404}, {"/pub/%5c%5cevil.example", 404},
		{"/pub/%255cevil", 404}, {"http://evil.example/pub/x", ok}, {"http://evil.example//x", 404}, {"http:///pub/x", ok},
		{"https://evil.example/pub/x", ok},
		{"evil.example:80", 400}, {"evil.example/x", 400}, {"/pub/@evil.example", ok}, {"/pub/:80/x", ok}, {"/pub/.evil.example", ok},
		{"@evil.example/", 400}, {"javascript:alert(1)", 400}, {"/pub/http://evil.example/", ok}, {"/pub/https:/evil.example", ok},
		// another header, or another request
		{"/pub/x%0d%0aSet-Cookie:%20a=b", 404}, {"/pub/x%0d", 404}, {"/pub/x%0a", 404}, {"/pub/x%250d%250a", 404},
		{"/pub/x\rLocation:a", 400},
		{"/pub/x%00", 404}, {"/pub/%00", 404}, {"/pub/x%2500.iso", 404}, {"/pub/x\x00", 400}, {"/pub/x\x7f", 400}, {"/pub/%7f", 404},
		{"/pub/%01", 404}, {"/pub/a%09b", 404}, {"/pub/a%1fb", 404}, {"/pub/x\ty", 400}, {"/pub/%e2%80%a8", ok},
		{"/pub/x%0a.meta4", 404}, {"/pub/%0d?mirrorlist", 404},
		// broken encoding
		{"/pub/%", 400}, {"/pub/%2", 400}, {"/pub/%zz", 400}, {"/pub/%%30%30", 400}, {"/pub/100%25", ok}, {"/pub/%25zz", ok},
		{"/pub/%ff%fe", ok}, {"/pub/\xff\xfe", ok},
		// too much of it
		{"/pub/" + long + long, 414}, {"/pub/x?" + long + long, 414}, {"/pub/" + long, ok},
		{"/pub/" + strings.Repeat("%2525", 1000), ok},
		{"/pub/%25252525252525252e", 404}, {"/pub/" + strings.Repeat("a/", 3000), ok}, {"/pub/x?" + long + long + long + long, 431},
		// elsewhere
		{"/", 404}, {"/x", 404}, {"/pub", 404}, {"/pubx/", 404}, {"/PUB/x", 404}, {"/%70ub/x", 404}, {"/pub%2fx", 404}, {"*", 400},
		{"", 400},
		// queries
		{"/pub/x?a=%0d%0aX:y", ok}, {"/pub/x?\"><script>", ok}, {"/pub/x?>;rel=x,<http://evil.example/>", ok}, {"/pub/x?\\", ok},
		{"/pub/x?%", ok},
		{"/pub/x?\xff", ok}, {"/pub/x?/../..", ok}, {"/pub/x?a\x01", 400}, {"/pub/x#y", ok}, {"/pub/x?mirrorlist&<script>", 200},
		{"/pub/x.meta4?<script>", 200},
	}
	for _, test := range targets {
		checkHostile(t, s.Addrs()[0].String(), "GET "+test.target+" HTTP/1.1\r\nHost: dl.example.org\r\n", test.target, test.status)
	}
	headers := map[string]int{
		"Host: evil.example":                       400, // a second one
		"X-Forwarded-For: \r\n 198.18.1.1\r\nX: y": ok, "X-Forwarded-For: ::::": ok, "X-Forwarded-For: " +
			strings.Repeat("1.2.3.4,", 1000): ok,
		"Forwarded: for=\"": ok, "Forwarded: ;;;,,,===": ok, "Forwarded: for=\"[::1": ok, "X-Forwarded-Host: evil.example": ok,
		"X-Original-URL: /../x":         ok,
		"X-Rewrite-Url: //evil.example": ok, "X-HTTP-Method-Override: DELETE": ok, "Content-Length: 5\r\nContent-Length: 6": 400,
		"Content-Length: -1":            400,
		"Transfer-Encoding: chunked, x": 501, "No-Colon": 400, "X: \x00": 400, " : x": 400, "Range: bytes=-1": ok,
		"Expect: 200-ok":                    417,
		"X: " + strings.Repeat("a", 30_000): 431, "Referer: javascript:alert(1)": ok, "Upgrade: h2c\r\nConnection: upgrade": ok,
	}
	for header, status := range headers {
		checkHostile(t, s.Addrs()[0].String(), "GET /pub/x HTTP/1.1\r\nHost: dl.example.org\r\n"+header+"\r\n", header, status)
	}
	requests := map[string]int{
		"GET /pub/x\r\n": 400, "GET /pub/x HTTP/3.0\r\nHost: x\r\n": 505, "GET /pub/x HTTP/1.1\r\n": 400,
		"get /pub/x HTTP/1.1\r\nHost: x\r\n": 405, "\x16\x03\x01\x02\x00\x01": 400,
		"POST /pub/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n":        405,
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n": 405,
		"TRACE /pub/x HTTP/1.1\r\nHost: x\r\n":                            405, "GET /pub/x HTTP/1.0\r\n": ok,
		"GET  /pub/x HTTP/1.1\r\nHost: x\r\n":       400,
		"G\xc3\x84T /pub/x HTTP/1.1\r\nHost: x\r\n": 400, "GET /pub/x HTTP/1.1\r\nHost: a b\r\n": 400,
	}
	for request, status := range requests {
		checkHostile(t, s.Addrs()[0].String(), request, request, status)
	}
	const preface = "PRI * HTTP/2.0\r\n"
	checkHostileRequest(t, s.Addrs()[0].String(), preface+"Connection: close\r\n\r\n", preface, 400)
	checkHostileRequest(t, s.Addrs()[0].String(), preface+"\r\n", preface, 405)
	if n := len(targets) + len(headers) + len(requests); n < 80 {
		t.Errorf("%d cases, want 80 at least", n)
	}
}

// checkHostile sends the beginning of a request, as the last one of its connection and as any other, and checks what
// comes back.
func checkHostile(t *testing.T, addr, request, what string, status int) {
	t.Helper()
	for _, end := range []string{"Connection: close\r\n\r\n", "\r\n"} {
		checkHostileRequest(t, addr, request+end, what, status)
	}
}

func checkHostileRequest(t *testing.T, addr, request, what string, status int) {
	t.Helper()
	what = what[:min(len(what), 80)]
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(conn, request) // the server may not read all of it
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%q: %v", what, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		t.Errorf("%q: %d, want %d", what, resp.StatusCode, status)
	}
	if resp.StatusCode == 405 && resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%q: Allow: %q", what, resp.Header.Get("Allow"))
	}
	if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X") != "" {
		t.Errorf("%q made its own header: %v", what, resp.Header)
	}
	if err := checkLocation(resp.StatusCode, resp.Header); err != nil {
		t.Errorf("%q: %v", what, err)
	}
}

// checkLocation checks where a response leads: to a file below the url_prefix of an eligible mirror, or nowhere.
func checkLocation(status int, header http.Header) error {
	location := header.Get("Location")
	if status != http.StatusFound {
		if location != "" {
			return fmt.Errorf("%d with Location %q", status, location)
		}
		return nil
	}
	locations := []string{location}
	for link := range strings.SplitSeq(header.Get("Link"), ">; rel=duplicate; pri=") {
		if _, to, ok := strings.Cut(link, "<"); ok {
			locations = append(locations, to)
		}
	}
	for _, location := range locations {
		to, err := url.Parse(location)
		if err != nil || !hasEligiblePrefix(location) || strings.ContainsAny(location, "\r\n\t\x00\\<>\" ") {
			return fmt.Errorf("it leads to %q (%v)", location, err)
		}
		resolved := to.JoinPath()
		if !slices.ContainsFunc(eligiblePrefixes(), func(p string) bool {
			u, _ := url.Parse(p)
			return u.Host == resolved.Host && u.Scheme == resolved.Scheme && strings.HasPrefix(resolved.Path+"/", u.Path)
		}) {
			return fmt.Errorf("it leads out of the mirror's tree: %q", location)
		}
	}
	return nil
}

func TestForwarded(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("2001:db8:10::/48")}
	tests := map[string]struct {
		forwarded, xff []string
		want           string
		secure         bool
	}{
		"an address": {forwarded: []string{"for=198.51.100.1"}, want: "198.51.100.1"},
		"of several": {forwarded: []string{"for=203.0.113.9, for=198.51.100.1;by=10.0.0.1, for=10.1.2.3"},
			want: "198.51.100.1"},
		"in several headers":    {forwarded: []string{"for=203.0.113.9", "for=198.51.100.1"}, want: "198.51.100.1"},
		"IPv6 with a port":      {forwarded: []string{`For="[2001:db8:cafe::17]:4711"`}, want: "2001:db8:cafe::17"},
		"IPv6 without":          {forwarded: []string{`for="[2001:db8:cafe::17]"`}, want: "2001:db8:cafe::17"},
		"a port, quoted or not": {forwarded: []string{`for="198.51.100.1:80", for=10.0.0.1:80`}, want: "198.51.100.1"},
		"with more about it": {forwarded: []string{`for=198.51.100.1;proto=https;host="a,b;c\"d"`},
			want: "198.51.100.1", secure: true},
		"proto before it":          {forwarded: []string{`proto=HTTPS ; for=198.51.100.1`}, want: "198.51.100.1", secure: true},
		"hidden":                   {forwarded: []string{"for=203.0.113.9, for=_hidden"}, want: "127.0.0.1"},
		"unknown":                  {forwarded: []string{"for=unknown"}, want: "127.0.0.1"},
		"hidden behind the client": {forwarded: []string{"for=_x, for=198.51.100.1"}, want: "198.51.100.1"},
		"none":                     {forwarded: []string{"by=10.0.0.1"}, want: "127.0.0.1"},
		"only proxies":             {forwarded: []string{`for=10.0.0.1, for="[2001:db8:10::1]"`}, want: "127.0.0.1"},
		"malformed":                {forwarded: []string{"for=198.51.100.1, nonsense"}, want: "127.0.0.1"},
		"a quote without an end":   {forwarded: []string{`for=198.51.100.1;host="`}, want: "127.0.0.1"},
		"an escape without an end": {forwarded: []string{`for=198.51.100.1;host="\`}, want: "127.0.0.1"},
		"text behind a quote":      {forwarded: []string{`for="198.51.100.1"x`}, want: "127.0.0.1"},
		"not an address":           {forwarded: []string{"for=1.2.3"}, want: "127.0.0.1"},
		"empty":                    {forwarded: []string{""}, want: "127.0.0.1"},
		"both, of one mind": {forwarded: []string{"for=198.51.100.1"}, xff: []string{"203.0.113.9, 198.51.100.1"},
			want: "198.51.100.1"},
		"both, and one is the client's":   {forwarded: []string{"for=203.0.113.9"}, xff: []string{"198.51.100.1"}, want: "127.0.0.1"},
		"both, and one is broken":         {forwarded: []string{"nonsense"}, xff: []string{"198.51.100.1"}, want: "127.0.0.1"},
		"X-Forwarded-For with a port":     {xff: []string{"198.51.100.1:1234"}, want: "198.51.100.1"},
		"and IPv6":                        {xff: []string{"[2001:db8::1]:1234"}, want: "2001:db8::1"},
		"and in brackets":                 {xff: []string{"[2001:db8::1]"}, want: "2001:db8::1"},
		"garbage left of the client":      {xff: []string{"<script>, 198.51.100.1"}, want: "198.51.100.1"},
		"garbage is the client":           {xff: []string{"198.51.100.1, <script>, 10.0.0.1"}, want: "127.0.0.1"},
		"IPv4 in IPv6 of a trusted proxy": {xff: []string{"198.51.100.1, ::ffff:10.0.0.1"}, want: "198.51.100.1"},
	}
	for name, test := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		if test.forwarded != nil {
			r.Header["Forwarded"] = test.forwarded
		}
		if test.xff != nil {
			r.Header["X-Forwarded-For"] = test.xff
		}
		c := clientOf(r, trusted)
		if c.addr.String() != test.want || c.secure != test.secure {
			t.Errorf("%s: got %s, secure %v; want %s, %v", name, c.addr, c.secure, test.want, test.secure)
		}
		r.RemoteAddr = "192.0.2.1:1234"
		if c := clientOf(r, trusted); c.addr.String() != "192.0.2.1" || c.secure {
			t.Errorf("%s, from who is not trusted: got %s, secure %v", name, c.addr, c.secure)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"for=192.0.2.1", `for="[2001:db8::1]:80";proto=https, for=_x`, `host="\"`, ";=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		hops, ok := parseForwarded([]string{value})
		if !ok && hops != nil || ok && len(hops) == 0 {
			t.Errorf("%v, %v", hops, ok)
		}
		if len(hops) > strings.Count(value, ",")+1 {
			t.Errorf("%d hops in %q", len(hops), value)
		}
	})
}
