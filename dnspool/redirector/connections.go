package redirector

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/listen"
)

// newConnLimiter returns the limiter of all connections of a server. It leaves descriptors for the rest of the process.
func newConnLimiter() *listen.ConnLimiter {
	most := min(maxConnections, max(1, listen.MaxDescriptors()/4))
	return listen.NewConnLimiter(most, min(maxFromNetwork, max(1, most/8)))
}

// sendBuffer is how many bytes the kernel buffers for a client that reads slowly. The default would be megabytes.
const sendBuffer = 64 << 10

// A limitedListener puts the connections that it accepts under a limiter.
type limitedListener struct {
	net.Listener
	limiter *listen.ConnLimiter
	proxies func() []netip.Prefix // a proxy speaks for many clients: it does not count as a network
}

// Accept returns the next connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		tcp.SetWriteBuffer(sendBuffer) // on failure, the default stays
	}
	c := &clientConn{coarseDeadlineConn: coarseDeadlineConn{Conn: conn}}
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		if c.peer = peer.AddrPort().Addr().Unmap().WithZone(""); !contains(l.proxies(), c.peer) {
			c.network = dnspool.ClientNetwork(c.peer)
		}
	}
	c.slot = l.limiter.Admit(c.network, conn, time.Now())
	return c, nil
}

// A clientConn is the connection of a client. It holds a slot of its limiter until it is closed.
type clientConn struct {
	coarseDeadlineConn
	peer    netip.Addr           // invalid if it is not known
	network netip.Prefix         // zero for a proxy
	tls     *tls.ConnectionState // nil without TLS
	slot    *listen.Slot
	heavy   atomic.Pointer[listen.Slot] // nil while it takes little memory; see Server.heavy
	busy    atomic.Bool                 // a request is expected or being answered
	streams atomic.Int32                // requests of HTTP/2 that are being answered
}

// Close closes the connection.
func (c *clientConn) Close() error {
	c.slot.Release()
	c.unmarkHeavy()
	return c.Conn.Close()
}

// touch notes that the connection waits for its client from now on.
func (c *clientConn) touch(now time.Time) {
	c.slot.Touch(now)
	if slot := c.heavy.Load(); slot != nil {
		slot.Touch(now)
	}
}

// markHeavy counts the connection as one that takes much memory.
func (c *clientConn) markHeavy(limiter *listen.ConnLimiter) {
	if c.heavy.Load() != nil {
		return
	}
	slot := limiter.Admit(c.network, c.Conn, time.Now())
	if !c.heavy.CompareAndSwap(nil, slot) {
		slot.Release()
	}
}

// unmarkHeavy ends that.
func (c *clientConn) unmarkHeavy() {
	if slot := c.heavy.Swap(nil); slot != nil {
		slot.Release()
	}
}

// A handedOverConn is an HTTP/1.1 connection that net/http goes on with. What was read from it before is read first.
type handedOverConn struct {
	net.Conn // with or without TLS, on top of under
	under    *clientConn
	ahead    []byte
}

// Read returns what was read before, and then reads from the connection.
func (c *handedOverConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil // for the garbage collector
	}
	return n, nil
}

// clientConnOf returns the client's connection below one of net/http's, or nil if it is not from our listeners.
func clientConnOf(conn net.Conn) *clientConn {
	switch c := conn.(type) {
	case *handedOverConn:
		return c.under
	case *tls.Conn: // of HTTP/2
		under, _ := c.NetConn().(*clientConn)
		return under
	}
	return nil
}
