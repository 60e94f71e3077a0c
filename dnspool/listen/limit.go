package listen

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A LimitedListener accepts connections within a limit. Have an [http.Server] call State, or all connections look as
// if they had waited for their client since they were opened.
type LimitedListener struct {
	net.Listener
	Limiter *ConnLimiter
	Network func(netip.Addr) netip.Prefix // of a client; a client without an IP address has none
}

// Accept returns the next connection.
func (l *LimitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var network netip.Prefix
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		network = l.Network(peer.AddrPort().Addr().Unmap().WithZone(""))
	}
	return &limitedConn{Conn: conn, slot: l.Limiter.Admit(network, conn, time.Now())}, nil
}

// State notes whose turn it is on a connection: one on which a request is being answered makes room last.
func (l *LimitedListener) State(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*limitedConn)
	switch {
	case ok && state == http.StateActive:
		c.slot.Touch(time.Unix(0, math.MaxInt64))
	case ok && state == http.StateIdle:
		c.slot.Touch(time.Now())
	}
}

type limitedConn struct {
	net.Conn
	slot *Slot
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	c.slot.Release()
	return c.Conn.Close()
}
