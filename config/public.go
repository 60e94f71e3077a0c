package config

import (
	"net/netip"
	"slices"
)

// special are the networks that IANA's special-purpose registries (RFC 6890) mark as not globally reachable, without
// those that netip knows, and those that embed IPv4 addresses, which may be private ones.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // RFC 791
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598, between a carrier and its customers
	netip.MustParsePrefix("192.0.0.0/24"),   // RFC 6890
	netip.MustParsePrefix("198.18.0.0/15"),  // RFC 2544, for benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),    // RFC 1112
	netip.MustParsePrefix("::/96"),          // RFC 4291, embeds IPv4
	netip.MustParsePrefix("64:ff9b::/96"),   // RFC 6052, embeds IPv4
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215, embeds IPv4
	netip.MustParsePrefix("100::/64"),       // RFC 6666
	netip.MustParsePrefix("2001::/32"),      // RFC 4380, embeds IPv4
	netip.MustParsePrefix("2001:2::/48"),    // RFC 5180, for benchmarks
	netip.MustParsePrefix("2002::/16"),      // RFC 3056, embeds IPv4
	netip.MustParsePrefix("5f00::/16"),      // RFC 9602
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879
}

// IsPublic reports whether addr is one of the public Internet, so that a probe of it cannot lead into an inner network.
// Networks for documentation count as public: nothing is there.
func IsPublic(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !addr.Is4In6() && !within(special, addr)
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}
