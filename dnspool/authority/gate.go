package authority

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"mirrorpool/config/listen"
)

const (
	maxConnections        = 20_000 // over TCP, at all addresses together, and at most half of the process' descriptors
	maxNetworkConnections = 1_000  // of one client network, IPv4 /24 or IPv6 /56
	acceptPause           = 20 * time.Millisecond
)

// A gate lets in as many connections of all listeners as there may be. One too many is closed at once, and the others go
// on.
type gate struct{ limit *listen.Limit }

func newGate() gate {
	return gate{listen.NewLimit(min(maxConnections, maxDescriptors()/2), maxNetworkConnections)}
}

// networkOf returns the network that is taken for one client.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits) // fails for no address that has so many bits
	return network
}

// accept waits for a connection that may enter. leave is to be called at its end.
func (g gate) accept(l net.Listener) (conn net.Conn, leave func(), err error) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			time.Sleep(acceptPause) // the client waits in the kernel; another connection will end
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if leave, ok := g.limit.Enter(networkOf(askerOf(conn.RemoteAddr(), time.Time{}).addr)); ok {
			return conn, leave, nil
		}
		conn.Close()
	}
}
