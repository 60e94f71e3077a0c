package redirector

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A client is what is known of the sender of a request.
type client struct {
	addr   netip.Addr // invalid if unknown
	secure bool       // over https
}

// clientOf identifies the client of a request. X-Forwarded-For and X-Forwarded-Proto, or Forwarded (RFC 7239), are used
// only if they come from a trusted proxy: the client is then the rightmost address that is not a trusted proxy's. The
// peer counts as the client if the header is malformed or hides that address, and if both headers are present and
// disagree: a proxy that writes one may pass on what a client has put into the other.
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
		// Behind several proxies, the last hop may be plain http although the client uses https.
		c.secure = c.secure || strings.EqualFold(proto, "https")
	}
	var hops, others []netip.Addr
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		for _, element := range list(r, "X-Forwarded-For") {
			addr, _ := parseNode(element)
			hops = append(hops, addr)
		}
	}
	told, ok := parseForwarded(r.Header.Values("Forwarded"))
	for _, h := range told {
		c.secure = c.secure || strings.EqualFold(h.proto, "https")
		others = append(others, h.addr)
	}
	a, b := rightmostUntrusted(hops, trusted), rightmostUntrusted(others, trusted)
	switch {
	case !ok || len(hops) > 0 && len(others) > 0 && a != b:
	case a.IsValid():
		c.addr = a
	case b.IsValid():
		c.addr = b
	}
	return c
}

// rightmostUntrusted returns the rightmost address that is not a trusted proxy's. It is invalid if there is none, or if
// that address is not given: everything left of it may be forged.
func rightmostUntrusted(hops []netip.Addr, trusted []netip.Prefix) netip.Addr {
	for _, addr := range slices.Backward(hops) {
		if !contains(trusted, addr) {
			return addr
		}
	}
	return netip.Addr{}
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
