package redirector

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A client is who asks, as far as it matters for whom they are sent to.
type client struct {
	addr   netip.Addr // invalid if unknown
	secure bool       // asks over https
}

// clientOf finds out who asks. Only trusted proxies are believed what they say of their clients: the
// rightmost address in X-Forwarded-For that is not such a proxy's, and X-Forwarded-Proto. Where a header
// is malformed, the peer is the client.
func clientOf(r *http.Request, trusted []netip.Prefix) client {
	c := client{secure: r.TLS != nil}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return c
	}
	c.addr = peer.Addr().Unmap().WithZone("")
	if !contains(trusted, c.addr) {
		return c
	}
	for _, proto := range list(r, "X-Forwarded-Proto") {
		// Behind several proxies, the last part of the way may be plain. What the client sees is not.
		c.secure = c.secure || strings.EqualFold(proto, "https")
	}
	hops := list(r, "X-Forwarded-For")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(hop)
		if err != nil {
			break
		}
		addr = addr.Unmap().WithZone("")
		if !contains(trusted, addr) {
			c.addr = addr
			break
		}
	}
	return c
}

// list returns the elements of a header that is a list (RFC 9110 section 5.6.1).
func list(r *http.Request, header string) []string {
	elements := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return elements
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
