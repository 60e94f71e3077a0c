package redirector

import (
	"math"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/net/netutil"

	"mirrorpool/config/listen"
	"mirrorpool/dnspool"
)

// A networkLimit is a listener that has so many connections from one client network, and closes what is more.
type networkLimit struct {
	net.Listener
	limit  *listen.Limit
	exempt []netip.Prefix
}

// limitConnections limits the connections at a listener to so many in all, where one too many waits in the kernel until
// another has ended, and to so many from one client network, unless it is exempt.
func limitConnections(l net.Listener, most, mostOfNetwork int, exempt []netip.Prefix) *networkLimit {
	return limitNetworks(netutil.LimitListener(l, most), mostOfNetwork, exempt)
}

func limitNetworks(l net.Listener, most int, exempt []netip.Prefix) *networkLimit {
	return &networkLimit{Listener: l, limit: listen.NewLimit(math.MaxInt, most), exempt: exempt}
}

// Accept returns the next connection that is within the limits.
func (l *networkLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &limitedConn{lazyConn: lazyConn{Conn: conn}, leave: func() {}}
		peer, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return c, nil
		}
		c.peer = peer.AddrPort().Addr().Unmap().WithZone("")
		if contains(l.exempt, c.peer) {
			return c, nil
		}
		if leave, ok := l.limit.Enter(dnspool.ClientNetwork(c.peer)); ok {
			c.leave = leave
			return c, nil
		}
		conn.Close()
	}
}

// A limitedConn counts until it is closed.
type limitedConn struct {
	lazyConn
	peer  netip.Addr // invalid if it is not known
	leave func()
	busy  atomic.Bool // a request is expected or being answered
	ahead []byte      // what has been read from it before
}

// Read reads what has been read before, and then from the connection.
func (c *limitedConn) Read(p []byte) (int, error) {
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
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
