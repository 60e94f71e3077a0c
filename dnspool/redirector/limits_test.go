package redirector

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"mirrorpool/config"
	"mirrorpool/dnspool/listen"
	"mirrorpool/testdata/testbed"
)

// TestPagesAreFew has pages be read slowly: others are not made, redirects go on.
func TestPagesAreFew(t *testing.T) {
	t.Parallel()
	h := placedHandler(t, config.HTTP{})
	var leave []func()
	take := func(network string, n int) {
		for range n {
			l, ok := h.pages.enter(netip.MustParsePrefix(network))
			if !ok {
				t.Fatalf("no place for page %d", len(leave))
			}
			leave = append(leave, l)
		}
	}
	want := func(target, client string, status int) {
		t.Helper()
		w := get(h, target, client)
		if w.Code != status || (status == http.StatusServiceUnavailable) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s for %s: %d, Retry-After %q; want %d", target, client, w.Code, w.Header().Get("Retry-After"), status)
		}
	}
	take("198.18.4.0/24", maxPagesOfNetwork)
	want("/x?mirrorlist", "198.18.4.1", 503)
	want("/x.meta4", "198.18.4.1", 503)
	want("/x", "198.18.4.1", 302)
	want("/mirrors.json", "198.18.4.1", 200)
	want("/x?mirrorlist", "198.18.6.1", 200)
	for i := range maxPages/maxPagesOfNetwork - 1 {
		take(fmt.Sprintf("198.18.%d.0/24", 100+i), maxPagesOfNetwork)
	}
	want("/x.metalink", "198.18.6.1", 503)
	leave[0]()
	want("/x.metalink", "198.18.6.1", 200)
	want("/x.metalink", "198.18.4.1", 200)
	for _, l := range leave[1:] {
		l()
	}
	if h.pages.pages != 0 || len(h.pages.byNetwork) != 0 {
		t.Errorf("%d pages of %d networks are left", h.pages.pages, len(h.pages.byNetwork))
	}
}

// TestPagesAreShort: a long path does not make a page too long.
func TestPagesAreShort(t *testing.T) {
	t.Parallel()
	var prefixes []string
	for i := range 1500 {
		prefixes = append(prefixes, fmt.Sprintf("http://mirror-%d.example.org/", i))
	}
	h := testHandler(t, config.HTTP{}, prefixes...)
	for _, path := range []string{"/x", "/" + strings.Repeat("a", 7000)} {
		for _, target := range []string{path + "?mirrorlist", path + ".meta4"} {
			if w := get(h, target, ""); w.Code != 200 || w.Body.Len() > 2<<20 || w.Body.Len() < 50<<10 {
				t.Errorf("%.10s: %d with %d bytes", target, w.Code, w.Body.Len())
			}
		}
	}
}

// TestHalfSentRequests sends more than one client may half-send at a time: the oldest is cut off, and what is complete
// is answered.
func TestHalfSentRequests(t *testing.T) {
	t.Parallel()
	s, stop := runServer(t, func(s *Server) { *s.heavy = *listen.NewConnLimiter(4, 2) })
	defer stop()
	long := "GET /pub/x?a HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("a", 2*minHeadBuffer) + "\r\n"
	var readers []*bufio.Reader
	var conns []net.Conn
	for i := range 3 {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, long)
		testbed.EventuallyNil(t, func() error {
			if stats := s.heavy.Stats(); stats.Connections < min(i+1, 2) || i == 2 && stats.Evicted == 0 {
				return fmt.Errorf("request %d is not counted: %+v", i, stats)
			}
			return nil
		})
		conns, readers = append(conns, conn), append(readers, bufio.NewReader(conn))
	}
	if _, err := readers[0].ReadByte(); err == nil {
		t.Error("the first of them is answered")
	}
	for i := 1; i < 3; i++ {
		io.WriteString(conns[i], "\r\n")
		if resp := readAnswer(t, readers[i]); resp.StatusCode != http.StatusFound {
			t.Errorf("request %d: %s", i, resp.Status)
		}
	}
}

// TestHTTP2Limits has a client of HTTP/2 that leaves no room for answers. It may not ask for much at once, nor send
// long frames, and where there are too many requests beside others its connection is cut off.
func TestHTTP2Limits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	writeCertificate(t, files, 1)
	s, stop := runServerWith(t, config.HTTP{TLS: &files}, func(s *Server) { *s.heavy = *listen.NewConnLimiter(4, 4) })
	defer stop()
	conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true,
		NextProtos: []string{http2.NextProtoTLS}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	frame, err := framer.ReadFrame()
	settings, ok := frame.(*http2.SettingsFrame)
	if err != nil || !ok {
		t.Fatalf("the first frame is %v, %v, want settings", frame, err)
	}
	for id, most := range map[http2.SettingID]uint32{
		http2.SettingMaxConcurrentStreams: maxStreams, http2.SettingMaxFrameSize: 16 << 10, http2.SettingInitialWindowSize: 1 << 10,
		http2.SettingMaxHeaderListSize: maxHeaderBytes + 1<<10,
	} {
		if n, ok := settings.Value(id); !ok && id != http2.SettingMaxFrameSize || n > most {
			t.Errorf("%v is %d, want %d at most", id, n, most)
		}
	}
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for name, value := range map[string]string{":method": "GET", ":scheme": "https", ":authority": "a", ":path": "/pub/../x"} {
		encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	for i := range uint32(maxStreams) {
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, EndStream: true, EndHeaders: true,
			BlockFragment: []byte(block.String())})
	}
	for err == nil { // until it is cut off
		_, err = framer.ReadFrame()
	}
	if size := s.heavy.Stats(); size.Evicted == 0 {
		t.Errorf("nothing made room: %+v", size)
	}
}
