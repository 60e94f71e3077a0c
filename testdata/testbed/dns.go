package testbed

import (
	"net/netip"

	"github.com/miekg/dns"
)

// AddressOf is the address in a record, and the type that holds it; 0 if it has none.
func AddressOf(rr dns.RR) (netip.Addr, uint16) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), dns.TypeA
	case *dns.AAAA:
		addr, _ := netip.AddrFromSlice(rr.AAAA)
		return addr, dns.TypeAAAA
	}
	return netip.Addr{}, 0
}
