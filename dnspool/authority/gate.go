package authority

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"syscall"
)

const (
	maxConnections        = 20_000 // over TCP, at all addresses together, and at most half of the process' descriptors
	maxNetworkConnections = 1_000  // of one client network, IPv4 /24 or IPv6 /56
	acceptPause           = 20 * time.Millisecond
)

// A gate counts the connections of all listeners, so that neither all clients together nor one network of them can take
// what the process has of descriptors and memory. One too many is closed at once, and the others go on.
type gate struct {
	most     int
	mu       sync.Mutex
	all      int
	networks map[netip.Prefix]int
}

func newGate() *gate {
	return &gate{most: min(maxConnections, maxDescriptors()/2), networks: map[netip.Prefix]int{}}
}

// enter counts a connection of addr's network, which has to leave again, or reports that there are too many.
func (g *gate) enter(addr netip.Addr) (netip.Prefix, bool) {
	network := networkOf(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.networks[network] >= maxNetworkConnections {
		return network, false
	}
	g.all++
	g.networks[network]++
	return network, true
}

func (g *gate) leave(network netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.networks[network]--; g.networks[network] == 0 {
		delete(g.networks, network)
	}
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

// accept waits for a connection that may enter. It reports the network to leave as.
func (g *gate) accept(l net.Listener) (net.Conn, netip.Prefix, error) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			time.Sleep(acceptPause) // the client waits in the kernel; another connection will end
			continue
		}
		if err != nil {
			return nil, netip.Prefix{}, err
		}
		if network, ok := g.enter(askerOf(conn.RemoteAddr(), time.Time{}).addr); ok {
			return conn, network, nil
		}
		conn.Close()
	}
}
