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

// newCrowd returns the crowd of all connections of a server, which leaves descriptors for the rest of the process.
func newCrowd() *listen.ConnLimiter {
	most := min(maxConnections, max(1, listen.MaxDescriptors()/4))
	return listen.NewConnLimiter(most, min(maxFromNetwork, max(1, most/8)))
}

// sendBuffer is how many bytes the kernel keeps for a client that reads slowly: by itself it would keep megabytes.
const sendBuffer = 64 << 10

// A crowdListener accepts connections into a crowd.
type crowdListener struct {
	net.Listener
	crowd   *listen.ConnLimiter
	proxies func() []netip.Prefix // each of which has many clients: it is not one network among others
}

// Accept returns the next connection.
func (l *crowdListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		tcp.SetWriteBuffer(sendBuffer) // if it fails, the kernel takes as much as it does otherwise
	}
	c := &crowdConn{lazyConn: lazyConn{Conn: conn}}
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		if c.peer = peer.AddrPort().Addr().Unmap().WithZone(""); !contains(l.proxies(), c.peer) {
			c.network = dnspool.ClientNetwork(c.peer)
		}
	}
	c.member = l.crowd.Admit(c.network, conn, time.Now())
	return c, nil
}

// A crowdConn is in a crowd until it is closed.
type crowdConn struct {
	lazyConn
	peer    netip.Addr           // invalid if it is not known
	network netip.Prefix         // zero: a proxy's
	tls     *tls.ConnectionState // nil without TLS
	member  *listen.Slot
	costly  *listen.Slot // nil while it takes little; see Server.costly
	busy    atomic.Bool  // a request is expected or being answered
	streams atomic.Int32 // requests of HTTP/2 that are being answered
}

// Close closes the connection.
func (c *crowdConn) Close() error {
	c.member.Release()
	c.cheapen()
	return c.Conn.Close()
}

// wait tells that it is the client's turn.
func (c *crowdConn) wait(now time.Time) {
	c.member.Touch(now)
	if c.costly != nil {
		c.costly.Touch(now)
	}
}

// enter has the connection be one of the costly ones.
func (c *crowdConn) enter(costly *listen.ConnLimiter) {
	if c.costly == nil {
		c.costly = costly.Admit(c.network, c.Conn, time.Now())
	}
}

// cheapen has it be none of them any longer.
func (c *crowdConn) cheapen() {
	if c.costly != nil {
		c.costly.Release()
		c.costly = nil
	}
}

// A passedConn is a connection of HTTP/1.1, of which something has been read before.
type passedConn struct {
	net.Conn // below, with or without TLS, is under
	under    *crowdConn
	ahead    []byte
}

// Read reads what has been read before, and then from the connection.
func (c *passedConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil // for the garbage collector
	}
	return n, nil
}

// crowdConnOf returns what is below a connection that net/http has; nil if it is not ours.
func crowdConnOf(conn net.Conn) *crowdConn {
	switch c := conn.(type) {
	case *passedConn:
		return c.under
	case *tls.Conn: // of HTTP/2
		under, _ := c.NetConn().(*crowdConn)
		return under
	}
	return nil
}
