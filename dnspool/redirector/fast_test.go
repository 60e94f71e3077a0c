package redirector

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

const plainText = "GET /pub/stable/image.iso HTTP/1.1\r\nHost: dl.example.org\r\n\r\n"

// browser is what Chromium sends, shortened.
const browser = "GET /pub/x HTTP/1.1\r\nHost: dl.example.org:80\r\nConnection: keep-alive\r\nsec-ch-ua-mobile: ?0\r\n" +
	"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: " +
	"text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\nCookie: a=b\r\n\r\n"

func TestReadPlain(t *testing.T) {
	t.Parallel()
	head := func(lines ...string) string {
		return "GET /pub/x HTTP/1.1\r\nHost: dl.example.org\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
	}
	tests := map[string]struct {
		text string
		want completeness
	}{
		"the least there is":         {plainText, plain},
		"a browser":                  {browser, plain},
		"an address as the host":     {"GET / HTTP/1.1\r\nhOST:[2001:db8::1]:80\r\n\r\n", plain},
		"with another behind it":     {plainText + "POST ", plain},
		"an empty line before it":    {"\r\n" + plainText, plain},
		"nothing":                    {"", partial},
		"a part of an empty line":    {"\r", partial},
		"an empty line":              {"\r\n", partial},
		"two empty lines":            {"\r\n\r\n", other},
		"half an empty line":         {"\rGET", other},
		"an empty line as in Unix":   {"\n", other},
		"a part of the method":       {"GE", partial},
		"a part of the path":         {"GET /pub/x%", partial},
		"a part of a header":         {"GET /x HTTP/1.1\r\nHost: a\r\nAcc", partial},
		"all but the end":            {plainText[:len(plainText)-1], partial},
		"another method":             {"HEAD /pub/x HTTP/1.1\r\n", other},
		"the beginning of another":   {"P", other},
		"TLS":                        {"\x16\x03\x01", other},
		"a URL":                      {"GET http://dl.example.org/pub/x HTTP/1.1\r\n", other},
		"a query":                    {"GET /pub/x?a HTTP/1.1\r\n", other},
		"an escape":                  {"GET /pub/%78 HTTP/1.1\r\n", other},
		"a semicolon":                {"GET /pub/..;/x HTTP/1.1\r\n", other},
		"a space":                    {"GET /pub/x  HTTP/1.1\r\n", other},
		"another version":            {"GET /pub/x HTTP/1.0\r\n", other},
		"no version":                 {"GET /pub/x\r\n", other},
		"lines that end as in Unix":  {"GET /pub/x HTTP/1.1\n", other},
		"a header that does":         {"GET /pub/x HTTP/1.1\r\nHost: a\n", other},
		"CR in a line":               {head("Accept: a\rb"), other},
		"no host":                    {"GET /pub/x HTTP/1.1\r\nAccept: a\r\n\r\n", other},
		"two hosts":                  {head("Host: dl.example.org"), other},
		"an empty host":              {"GET /pub/x HTTP/1.1\r\nHost:\r\n\r\n", other},
		"a host with a path":         {"GET /pub/x HTTP/1.1\r\nHost: a/b\r\n\r\n", other},
		"a body":                     {head("Content-Length: 5"), other},
		"chunks":                     {head("Transfer-Encoding: chunked"), other},
		"the last":                   {head("Connection: close"), other},
		"an upgrade":                 {head("Connection: Upgrade, HTTP2-Settings"), other},
		"an expectation":             {head("Expect: 100-continue"), other},
		"a proxy's":                  {head("X-Forwarded-For: 198.18.1.1"), other},
		"a proxy's, by the standard": {head("Forwarded: for=198.18.1.1"), other},
		"a space before the colon":   {head("Accept : a"), other},
		"a folded line":              {head("Accept: a", " b"), other},
		"no colon":                   {head("Accept"), other},
		"no name":                    {head(": a"), other},
		"a control character":        {head("Accept: a\x00"), other},
		"another alphabet":           {head("User-Agent: \xc3\xa4"), other},
		"a long name":                {head(strings.Repeat("Accept", 10) + ": a"), other},
	}
	for name, test := range tests {
		r, got := readPlain([]byte(test.text))
		if got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
		if got == plain && (!strings.HasPrefix(strings.TrimPrefix(test.text, "\r\n"), "GET "+string(r.path)+" ") ||
			!strings.HasSuffix(test.text[:r.size], "\r\n\r\n")) {
			t.Errorf("%s: the path is %q, and %q the request", name, r.path, test.text[:r.size])
		}
		if got == plain {
			for i := range r.size {
				if _, early := readPlain([]byte(test.text[:i])); early != partial {
					t.Errorf("%s: %q is %v", name, test.text[:i], early)
				}
			}
		}
	}
}

// pipeListener accepts one connection, from an address in the world.
type pipeListener struct {
	conns chan net.Conn
	net.Listener
}

// newPipe returns a listener that accepts the other end of a connection.
func newPipe() (l pipeListener, client net.Conn) {
	client, server := net.Pipe()
	l = pipeListener{conns: make(chan net.Conn, 1)}
	l.conns <- fromBerlin{server}
	return l, client
}

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error { close(l.conns); return nil }

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

type fromBerlin struct{ net.Conn }

func (fromBerlin) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(198, 18, 1, 1), Port: 1234} }

// A sameSource gives the same number each time.
type sameSource struct{}

func (sameSource) Uint64() uint64 { return 42 }

// FuzzPlain asserts that what is answered without net/http is answered as net/http would have it, and leads where it
// may.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{plainText, browser, "GET /pub/a.meta4 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET //pub/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /pub/../x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /pub/ HTTP/1.1\r\nHost: " +
			"[\r\nRange: bytes=0-\r\n\r\nX"} {
		f.Add([]byte(seed))
	}
	h := placedHandler(f, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	h.Source = sameSource{} // as requests that resume a download are drawn at random
	f.Fuzz(func(t *testing.T, text []byte) {
		request, how := readPlain(text)
		if how != plain {
			return
		}
		var fast bytes.Buffer
		answered, err := h.answerPlain(&fast, &request,
			client{addr: fromBerlin{}.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()})
		if err != nil || !answered {
			return
		}
		l, client := newPipe()
		server := http.Server{Handler: h}
		served := make(chan error)
		go func() { served <- server.Serve(l) }()
		go client.Write(bytes.TrimPrefix(text[:request.size], emptyLine)) // with which net/http would not have it
		want, got := readAnswer(t, bufio.NewReader(client)), readAnswer(t, bufio.NewReader(&fast))
		server.Close()
		client.Close()
		<-served
		want.Header.Del("Date")
		if got.Header.Get("Date") == "" {
			t.Error("no Date")
		}
		got.Header.Del("Date")
		if got.Status != want.Status || got.Proto != want.Proto || got.ContentLength != want.ContentLength || got.Close != want.Close ||
			!maps.EqualFunc(got.Header, want.Header, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
			t.Errorf("%q:\n%v, want\n%v", text, got, want)
		}
		if err := checkLocation(got.StatusCode, got.Header); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func readAnswer(t *testing.T, from *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp
}

// runServer runs a server at a loopback address until stop is called.
func runServer(t *testing.T, with ...func(*Server)) (s *Server, stop func()) {
	t.Helper()
	return runServerWith(t, config.HTTP{}, with...)
}

func runServerWith(t *testing.T, c config.HTTP, with ...func(*Server)) (s *Server, stop func()) {
	t.Helper()
	c.Listen = []string{"127.0.0.1:0"}
	s, err := Listen(context.Background(), nil, c, placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"}), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range with {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.busy.Load(); n != 0 {
			t.Errorf("%d connections are said to be busy in the end", n)
		}
	}
}

// TestMixedRequests sends requests of all kinds over one connection, in one go and in pieces. All are answered in
// order, by the plainServer or by net/http.
func TestMixedRequests(t *testing.T) {
	t.Parallel()
	s, stop := runServer(t)
	t.Cleanup(stop)
	long := "GET /pub/x HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("a", 2*maxPlain) + "\r\n\r\n"
	medium := "GET /pub/x HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("a", 2*minHeadBuffer) + "\r\n\r\n"
	requests := []struct {
		text   string
		status int
	}{
		{plainText, 302}, {browser, 302}, {medium, 302}, {plainText, 302}, {"\r\nGET /pub/x?a HTTP/1.1\r\nHost: a\r\n\r\n", 302},
		{plainText, 302},
		{"POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405}, {long, 302},
		{"GET /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n", 200},
		{strings.Replace(plainText, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1), 302},
	}
	var stream string
	for _, r := range requests {
		stream += r.text
	}
	for name, piece := range map[string]int{"at once": len(stream), "in pieces of 100": 100, "byte by byte": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				for rest := stream; rest != ""; {
					n := min(piece, len(rest))
					if _, err := io.WriteString(conn, rest[:n]); err != nil {
						return // the reader tells
					}
					rest = rest[n:]
				}
			}()
			in := bufio.NewReader(conn)
			for i, r := range requests {
				if resp := readAnswer(t, in); resp.StatusCode != r.status {
					t.Errorf("request %d is answered with %s, want %d", i, resp.Status, r.status)
				}
			}
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("then there is %q, %v", rest, err)
			}
		})
	}
}

// TestPlainWithoutMirrors leaves to net/http what is no redirect.
func TestPlainWithoutMirrors(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{BasePath: "/pub/"})
	h.Current = new(dnspool.Current)
	for range 2 { // before the first snapshot, and with one that is empty
		var out bytes.Buffer
		if answered, err := h.answerPlain(&out, &plainRequest{path: []byte("/pub/x")},
			client{addr: netip.MustParseAddr("198.18.1.1")}); answered || err != nil || out.Len() > 0 {
			t.Errorf("answered is %v, %v, with %q", answered, err, out.String())
		}
		h.Current.Publish(dnspool.Build(dnspool.Input{Pool: &config.Pool{}, Health: &health.Report{},
			Now: time.Unix(1_800_000_000, 0), Rand: rand.New(rand.NewPCG(1, 2))}))
	}
}

func BenchmarkPlain(b *testing.B) {
	h := placedHandler(b, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	c := client{addr: fromBerlin{}.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()}
	text := []byte(plainText)
	b.ReportAllocs()
	for b.Loop() {
		request, _ := readPlain(text)
		if answered, err := h.answerPlain(io.Discard, &request, c); !answered || err != nil {
			b.Fatal(answered, err)
		}
	}
}

func noProxies() []netip.Prefix { return nil }
