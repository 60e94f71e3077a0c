package redirector

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

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
		peer, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return &limitedConn{Conn: conn, leave: func() {}}, nil
		}
		addr := peer.AddrPort().Addr().Unmap().WithZone("")
		if contains(l.exempt, addr) {
			return &limitedConn{Conn: conn, leave: func() {}}, nil
		}
		network := dnspool.ClientNetwork(addr)
		if l.enter(network) {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(network) })}, nil
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
	net.Conn
	leave   func()
	busy    atomic.Bool  // a request is expected or being answered
	writeBy atomic.Int64 // the deadline for writes, nanoseconds since 1970; 0 if there is none
}

func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// coarse is how exact the deadlines for writes are.
const coarse = time.Second

// SetWriteDeadline leaves a deadline that is only a little earlier: net/http moves it with each request, which takes
// more time than to choose a mirror.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	by, old := int64(0), c.writeBy.Load()
	if !t.IsZero() {
		by = t.UnixNano()
		if old != 0 && old <= by && by <= old+int64(coarse) {
			return nil
		}
	}
	c.writeBy.Store(by)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *limitedConn) SetDeadline(t time.Time) error {
	if err := c.Conn.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
