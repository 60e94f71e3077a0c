package probe

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
)

// TestProbeHostileServers meets servers that break the protocol or stall. Each gets a second.
func TestProbeHostileServers(t *testing.T) {
	answer := func(conn net.Conn, text string) bool {
		_, err := conn.Write([]byte(text))
		return err == nil
	}
	for _, test := range []struct {
		name, scheme string
		handler      func(conn net.Conn)
		want         string
	}{
		{"hang at accept", "http", linger, "request: timed out"},
		{"hang at the handshake", "https", linger, "tls: timed out"},
		{"hang within the handshake", "https", func(conn net.Conn) {
			answer(conn, "\x16\x03\x03\x00\x7a\x02\x00\x00")
			linger(conn)
		}, "tls: timed out"},
		{"hang within the header", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nContent-")
			linger(conn)
		}, "request: timed out"},
		{"hang before the body", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
			linger(conn)
		}, "body: timed out"},
		{"one byte a moment", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
			for answer(conn, "1") {
				time.Sleep(50 * time.Millisecond) // what is tested is that this is too slow
			}
		}, "body: timed out"},
		{"plain text on the TLS port", "https", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			linger(conn)
		}, "tls: the server does not speak TLS"},
		{"another protocol on the TLS port", "https", func(conn net.Conn) {
			answer(conn, "220 mail.example.net ESMTP\r\n")
			linger(conn)
		}, "tls: the server does not speak TLS"},
		{"garbage within TLS", "https", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "\x16\x03\x03\x00\x08garbage!")
			linger(conn)
		}, "tls: handshake message of length 6386274 bytes exceeds maximum of 65536 bytes"},
		{"a TLS record that is too large", "https", func(conn net.Conn) {
			answer(conn, "\x16\x03\x03\xff\xff"+strings.Repeat("x", 70000))
			linger(conn)
		}, "tls: the server does not speak TLS"},
		{"a huge TLS handshake message", "https", func(conn net.Conn) {
			record := "\x16\x03\x03\x40\x00\x02\xff\xff\xff" + strings.Repeat("x", 0x4000-4)
			for answer(conn, record) {
				record = "\x16\x03\x03\x40\x00" + strings.Repeat("x", 0x4000)
			}
		}, "tls: handshake message of length 16777215 bytes exceeds maximum of 65536 bytes"},
		{"closes at once", "http", func(conn net.Conn) {
			conn.(*net.TCPConn).CloseWrite()
			linger(conn)
		}, "request: the server closed the connection|request: the server hung up or spoke before it was asked"},
		{"closes after the request", "http", func(conn net.Conn) { readRequest(conn) }, "request: the server closed the connection"},
		{"resets", "http", func(conn net.Conn) {
			readRequest(conn)
			conn.(*net.TCPConn).SetLinger(0)
		}, "request: connection reset by the server"},
		{"closes within the handshake", "https", func(conn net.Conn) { readRequest(conn) }, "tls: the server closed the connection"},
		{"not HTTP", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "SSH-2.0-OpenSSH_9.9\r\n")
			linger(conn)
		}, `request: malformed HTTP response "SSH-2.0-OpenSSH_9.9"`},
		{"ten gigabytes", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
			for part := strings.Repeat("1", 1<<16); answer(conn, part); {
			}
		}, "body: more than 64 bytes, want an epoch second"},
		{"a million headers", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\n")
			for range 1000000 {
				if !answer(conn, "A: b\r\n") {
					return
				}
			}
		}, "request: server response headers exceeded 65536 bytes; aborted"},
		{"a huge header", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nA: ")
			for part := strings.Repeat("a", 1<<16); answer(conn, part); {
			}
		}, "request: server response headers exceeded 65536 bytes; aborted"},
		{"endless informational responses", "http", func(conn net.Conn) {
			readRequest(conn)
			for answer(conn, "HTTP/1.1 103 Early Hints\r\n\r\n") {
			}
		}, "request: server response headers exceeded 65536 bytes; aborted"},
		{"a trailer without end", "http", func(conn net.Conn) {
			readRequest(conn)
			answer(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n"+trace+"\r\n0\r\n")
			for answer(conn, "A: b\r\n") {
			}
		}, "body: suspiciously long trailer after chunked body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := serveRaw(t, "127.0.0.7", test.handler)
			start := time.Now()
			o := New(nil, time.Now).Probe(within(t, time.Second), target(t, health.HTTP, test.scheme, mirrorHost, portOf(l), "127.0.0.7"))
			if o.Result != health.Down || !slices.Contains(strings.Split(test.want, "|"), o.Reason) {
				t.Errorf("saw %v, %q, want %q", o.Result, o.Reason, test.want)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v of 1s", took)
			}
		})
	}
}
