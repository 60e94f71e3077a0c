package probe

import (
	"bufio"
	"net/netip"
	"os"
	"slices"
	"strings"

	"mirrorpool/health"
)

// local reads the hosts file. "localhost" is known without one (RFC 6761 section 6.3).
func (r *Resolver) local(host string) (v4, v6 health.Answer, found bool) {
	v4, v6 = health.Answer{TTL: minTTL, Local: true}, health.Answer{TTL: minTTL, Local: true}
	for _, addr := range readHosts(r.Hosts, host) {
		if addr.Is4() {
			v4.Addresses = append(v4.Addresses, addr)
		} else {
			v6.Addresses = append(v6.Addresses, addr)
		}
	}
	if len(v4.Addresses)+len(v6.Addresses) == 0 {
		if host != "localhost" && !strings.HasSuffix(host, ".localhost") {
			return v4, v6, false
		}
		v4.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
		v6.Addresses = []netip.Addr{netip.IPv6Loopback()}
	}
	v4.Addresses, v6.Addresses = tidy(v4.Addresses), tidy(v6.Addresses)
	return v4, v6, true
}

// readHosts returns the addresses that a file in the format of hosts(5) gives host. A file that cannot be
// read gives none.
func readHosts(path, host string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var addrs []netip.Addr
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.Zone() != "" {
			continue
		}
		if slices.ContainsFunc(fields[1:], func(name string) bool { return strings.EqualFold(name, host) }) {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}
