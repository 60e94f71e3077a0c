package health

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"

	"mirrorpool/config"
)

// A voter is an enabled mirror with its vote on the reference, where there is no reference_url.
type voter struct {
	host     string
	weight   uint64
	trace    time.Time      // the newest that the mirror carries; zero if none could be read
	networks []netip.Prefix // of the addresses where a trace was read
	down     bool           // at all of its addresses: it has no vote on a new reference
}

// majorityTrace returns the newest trace that mirrors with more than half of the weight that is not down carry, or have
// carried, which a mirror with a newer one has. It is zero if there is none.
//
// A minority must not be able to make all others stale. So it takes at least two mirrors, and those at one host or in
// one network count once, with the most weight of them. In the weight of all, only mirrors at one host count as one: a
// mirror's DNS could give the addresses of others.
func majorityTrace(all []voter) time.Time {
	voters := slices.DeleteFunc(slices.Clone(all), func(v voter) bool { return v.down })
	hosts := make(map[string]uint64, len(voters))
	carriers, traces := make([]*voter, len(voters)), make([]time.Time, len(voters))
	for i := range voters {
		v := &voters[i]
		hosts[v.host] = max(hosts[v.host], v.weight)
		carriers[i], traces[i] = v, v.trace // zero comes last, and stands for none
	}
	var enabled uint64
	for _, weight := range hosts {
		enabled += weight
	}

	// Heavy ones first, so that a light mirror beside a heavy one cannot keep it from counting.
	slices.SortFunc(carriers, func(a, b *voter) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.host, b.host), b.trace.Compare(a.trace))
	})
	slices.SortFunc(traces, func(a, b time.Time) int { return b.Compare(a) })
	newest, found := sort.Find(len(traces), func(i int) int {
		if mirrors, weight := independent(carriers, traces[i]); mirrors >= 2 && 2*weight > enabled {
			return 0
		}
		return 1
	})
	if !found {
		return time.Time{}
	}
	return traces[newest]
}

// independent counts the carriers of a trace, or of a newer one, of which no two share a host or a network.
func independent(carriers []*voter, trace time.Time) (mirrors int, weight uint64) {
	hosts, networks := map[string]bool{}, map[netip.Prefix]bool{}
	for _, v := range carriers {
		if v.trace.Before(trace) || hosts[v.host] || slices.ContainsFunc(v.networks, func(n netip.Prefix) bool { return networks[n] }) {
			continue
		}
		mirrors++
		weight += v.weight
		hosts[v.host] = true
		for _, n := range v.networks {
			networks[n] = true
		}
	}
	return mirrors, weight
}

// goesBack reports whether a reference gives way to an older one: only when no enabled mirror carries it any more, as
// after the project has withdrawn a release. That fewer than half carry it, because a mirror left or is down, is no
// reason.
func goesBack(voters []voter, reference, older time.Time) bool {
	return older.Before(reference) && !slices.ContainsFunc(voters, func(v voter) bool { return !v.trace.Before(reference) })
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
