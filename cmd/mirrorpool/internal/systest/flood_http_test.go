//go:build linux

package systest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"mirrorpool/dnspool/listen"
	"mirrorpool/testdata/testbed"
)

// memoryFloods make a server hold as much as one client can have it hold, over as many connections as there may be.
var memoryFloods = []flood{
	{"slow readers of large answers", "answers", func(ctx context.Context, f *flooded) int64 {
		return f.everywhere(ctx, f.readSlowly)
	}},
	{"half-sent requests", "requests", func(ctx context.Context, f *flooded) int64 { return f.everywhere(ctx, f.sendHalf) }},
}

// tlsMemoryFloods are those for a server that speaks https.
var tlsMemoryFloods = []flood{
	{"half-sent requests over TLS", "requests", func(ctx context.Context, f *flooded) int64 {
		return f.everywhere(ctx, f.sendHalf)
	}},
	{"HTTP/2 streams that cannot be answered", "requests", func(ctx context.Context, f *flooded) int64 {
		return f.everywhere(ctx, f.openStreams)
	}},
}

// largePool returns a list of 1,000 mirrors.
func largePool() string {
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"url_prefix": "https://mirror-%d.example.org/pub/tails/", "weight": 10, "dns": `+
			`{"addresses": ["127.0.%d.%d"]}}`, i, 10+i/250, 1+i%250))
	}
	return `{"version": 1, "mirrors": [` + strings.Join(list, ",\n") + "]}"
}

// reconnectPause is how long a client waits that has been cut off. It leaves the machine some time for the server and
// the guest: a handshake takes a client as long as a server.
const reconnectPause = 3 * time.Second

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// everywhere has clients in 12 networks act, each over one connection after the other. For a long test they are 4,800,
// where a server has fewer places. A short one would end before they are all there.
func (f *flooded) everywhere(ctx context.Context, act func(ctx context.Context, conn net.Conn) int64) int64 {
	clients := 1000
	if testbed.Long() {
		clients = min(4800, listen.MaxDescriptors()/3)
	}
	perNetwork := clients/12 + 1
	var acts atomic.Int64
	var crowd sync.WaitGroup
	for i := range clients {
		crowd.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(66+i/perNetwork), byte(1+i%200))}, Timeout: 5 * time.Second}
			for ctx.Err() == nil {
				conn, err := d.DialContext(ctx, "tcp", f.web)
				if err != nil {
					continue
				}
				end := context.AfterFunc(ctx, func() { conn.Close() })
				if f.secure {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{http2.NextProtoTLS, "http/1.1"}})
				}
				acts.Add(act(ctx, conn))
				end()
				conn.Close()
				sleep(ctx, reconnectPause)
			}
		})
	}
	crowd.Wait()
	return acts.Load()
}

// readSlowly asks for a large answer, and reads no more than its beginning.
func (f *flooded) readSlowly(ctx context.Context, conn net.Conn) int64 {
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	io.WriteString(conn, "GET /x?mirrorlist HTTP/1.1\r\nHost: dl.example.org\r\n\r\n")
	begin := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, begin); err != nil || !strings.HasSuffix(string(begin), "200") {
		return 0
	}
	<-ctx.Done()
	return 1
}

// sendHalf sends nearly as many headers as a request may have, and never their end.
func (f *flooded) sendHalf(_ context.Context, conn net.Conn) int64 {
	if c, ok := conn.(*tls.Conn); ok { // which is to speak HTTP/1.1
		conn = tls.Client(c.NetConn(), &tls.Config{InsecureSkipVerify: true})
	}
	io.WriteString(conn, "GET /x?a HTTP/1.1\r\nHost: dl.example.org\r\n")
	for range 7 {
		if _, err := io.WriteString(conn, strings.Repeat("a:\r\n", 375)); err != nil {
			break
		}
	}
	io.Copy(io.Discard, conn)
	return 1
}

// openStreams sends as many requests as the server takes at once, and has no room for any answer.
func (f *flooded) openStreams(_ context.Context, conn net.Conn) int64 {
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	var opened int64
	most, open, next := 250, 0, uint32(1)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return opened
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if n, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
				most = min(most, int(n))
			}
			if !frame.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			framer.WritePing(true, frame.Data)
		case *http2.RSTStreamFrame:
			open--
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				open--
			}
		case *http2.GoAwayFrame:
			return opened
		}
		for ; open < most; open++ {
			if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: next, EndStream: true, EndHeaders: true,
				BlockFragment: streamRequest(next)}) != nil {
				return opened
			}
			next += 2
			opened++
		}
	}
}

// streamRequest is a request that is answered with more than headers.
func streamRequest(id uint32) []byte {
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range [...]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "dl.example.org"},
		{Name: ":path", Value: [...]string{"/x?mirrorlist", "/../x", "/mirrors.json", "/x.meta4"}[id/2%4]},
	} {
		encoder.WriteField(field) // to memory
	}
	return []byte(block.String())
}
