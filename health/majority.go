package health

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/config"
)

// A voter is an enabled mirror with its vote on the reference, where there is no reference_url.
type voter struct {
	host     string
	weight   uint64
	trace    time.Time      // the newest that the mirror carries; zero if none could be read
	networks []netip.Prefix // of the addresses where a trace was read
}

// majorityTrace returns the newest trace that mirrors with more than half of the enabled weight carry, or have
// carried, which a mirror with a newer one has. It is zero if there is none.
//
// A minority must not be able to make all others stale. So it takes at least two mirrors, and those at one host or in
// one network count once. In the enabled weight, only mirrors at one host count as one: a mirror's DNS could give the
// addresses of others.
func majorityTrace(voters []voter) time.Time {
	hosts := make(map[string]uint64, len(voters))
	for i := range voters {
		hosts[voters[i].host] = max(hosts[voters[i].host], voters[i].weight)
	}
	var enabled uint64
	for _, weight := range hosts {
		enabled += weight
	}

	carriers := slices.Clone(voters)
	slices.SortFunc(carriers, func(a, b voter) int {
		return cmp.Or(b.trace.Compare(a.trace), cmp.Compare(b.weight, a.weight), cmp.Compare(a.host, b.host))
	})
	counted := independent{hosts: map[string]bool{}, networks: map[netip.Prefix]bool{}}
	for i := range carriers {
		v := &carriers[i]
		if v.trace.IsZero() {
			break
		}
		counted.add(v)
		if len(counted.hosts) >= 2 && 2*counted.weight > enabled {
			return v.trace
		}
	}
	return time.Time{}
}

// independent are voters of which no two share a host or a network.
type independent struct {
	weight   uint64
	hosts    map[string]bool
	networks map[netip.Prefix]bool
}

// add counts v unless it shares a host or a network with one that counts.
func (in *independent) add(v *voter) {
	if in.hosts[v.host] || slices.ContainsFunc(v.networks, func(n netip.Prefix) bool { return in.networks[n] }) {
		return
	}
	in.weight += v.weight
	in.hosts[v.host] = true
	for _, n := range v.networks {
		in.networks[n] = true
	}
}

// networkOf returns the network that is taken for one operator's: /24 over IPv4, /48 over IPv6. Private addresses are
// the administrator's own, and each counts for itself.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	switch {
	case !config.IsPublic(addr):
	case addr.Is4():
		bits = 24
	default:
		bits = 48
	}
	network, _ := addr.Prefix(bits) // the zero Prefix of the zero Addr
	return network
}
