package redirector

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"mirrorpool/config/listen"
	"mirrorpool/dnspool"
)

// newCrowd returns the crowd of all connections of a server, which leaves descriptors for the rest of the process.
func newCrowd() *listen.Crowd {
	most := min(maxConnections, max(1, listen.MaxDescriptors()/4))
	return listen.NewCrowd(most, min(maxFromNetwork, max(1, most/8)))
}

// A crowdListener accepts connections into a crowd.
type crowdListener struct {
	net.Listener
	crowd   *listen.Crowd
	proxies []netip.Prefix // each of which has many clients: it is not one network among others
}

// Accept returns the next connection.
func (l *crowdListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &crowdConn{lazyConn: lazyConn{Conn: conn}}
	var network netip.Prefix
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		if c.peer = peer.AddrPort().Addr().Unmap().WithZone(""); !contains(l.proxies, c.peer) {
			network = dnspool.ClientNetwork(c.peer)
		}
	}
	c.member = l.crowd.Enter(network, conn, time.Now())
	return c, nil
}

// A crowdConn is in a crowd until it is closed.
type crowdConn struct {
	lazyConn
	peer   netip.Addr // invalid if it is not known
	member *listen.Member
	busy   atomic.Bool // a request is expected or being answered
	ahead  []byte      // what has been read from it before
}

// Read reads what has been read before, and then from the connection.
func (c *crowdConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.lazyConn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil // for the garbage collector
	}
	return n, nil
}

// Close closes the connection.
func (c *crowdConn) Close() error {
	c.member.Leave()
	return c.Conn.Close()
}
