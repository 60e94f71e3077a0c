package authority

import (
	"net/netip"

	"mirrorpool/dnspool/listen"
)

const (
	maxConnections        = 20_000 // over TCP, at all addresses together, and at most half of the process' descriptors
	maxNetworkConnections = 1_000  // of one client network, IPv4 /24 or IPv6 /56, and at most an eighth of all
)

// newConnLimiter limits all connections of a server. One too many takes the place of another, which RFC 7766
// section 6.2.3 leaves to the server.
func newConnLimiter() *listen.ConnLimiter {
	most := min(maxConnections, max(1, listen.MaxDescriptors()/2))
	return listen.NewConnLimiter(most, min(maxNetworkConnections, max(1, most/8)))
}

// networkOf returns the network that is taken for one client, to bound what it may do. It is smaller over IPv6 than
// [dnspool.ClientNetwork], by which a client keeps its mirror: there a provider's change of the /56 must not matter,
// and here one customer must not use up what another has.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits) // fails for no address that has so many bits
	return network
}
