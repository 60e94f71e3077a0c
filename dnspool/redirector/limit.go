package redirector

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"mirrorpool/dnspool"
)

// A networkLimit is a listener that has so many connections from one client network, and closes what is more.
type networkLimit struct {
	net.Listener
	most   int
	exempt []netip.Prefix

	mu   sync.Mutex
	open map[netip.Prefix]int // never 0
}

func limitNetworks(l net.Listener, most int, exempt []netip.Prefix) *networkLimit {
	return &networkLimit{Listener: l, most: most, exempt: exempt, open: map[netip.Prefix]int{}}
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
		network := dnspool.ClientNetwork(c.peer)
		if l.enter(network) {
			c.leave = sync.OnceFunc(func() { l.leave(network) })
			return c, nil
		}
		conn.Close()
	}
}

func (l *networkLimit) enter(network netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[network] >= l.most {
		return false
	}
	l.open[network]++
	return true
}

func (l *networkLimit) leave(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[network]--; l.open[network] == 0 {
		delete(l.open, network)
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
