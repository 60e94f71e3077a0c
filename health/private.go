package health

import (
	"errors"
	"net/netip"
	"slices"
)

// errPrivate is why an address learnt through DNS is not probed.
var errPrivate = errors.New("is not a public address")

// checkPublic refuses addresses that are not on the public Internet. Whoever runs a mirror's DNS could
// otherwise point our probes at the inside of our own network.
func checkPublic(addr netip.Addr) error {
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Is4In6() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return errPrivate
	}
	return nil
}

// special are blocks that are not globally reachable (RFC 6890), beyond those that netip knows, and
// those that embed IPv4 addresses, which may be private ones.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}
