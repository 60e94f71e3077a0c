package daemon

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// A modelEntry is a mirror in the model's list.
type modelEntry struct {
	host      int
	weight    uint32
	dnsWeight int // -1: as weight; -2: false
	given     int // bit 0: an IPv4 address is given, bit 1: an IPv6 address
	named     bool
	rsync     bool
}

// A modelPool is a list of mirrors, by host.
type modelPool map[int]modelEntry

func (e *modelEntry) scheme() string {
	if e.host%2 == 0 {
		return "https"
	}
	return "http"
}

func (e *modelEntry) prefix() string {
	return fmt.Sprintf("%s://%s/tails/", e.scheme(), hostName(e.host))
}

func (e *modelEntry) addresses() []netip.Addr {
	var addrs []netip.Addr
	for i, addr := range hostAddresses(e.host, false) {
		if e.given&(1<<i) != 0 {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// inDNS is the weight in DNS answers.
func (e *modelEntry) inDNS() uint32 {
	switch {
	case e.weight == 0 || e.dnsWeight == -2:
		return 0
	case e.dnsWeight == -1:
		return e.weight
	default:
		return uint32(e.dnsWeight)
	}
}

// json is the pool as a file has it.
func (p modelPool) json() any {
	mirrors := []any{}
	for _, host := range slices.Sorted(maps.Keys(p)) {
		e := p[host]
		m := map[string]any{"url_prefix": e.prefix(), "weight": e.weight}
		dns := map[string]any{}
		if addrs := e.addresses(); len(addrs) > 0 {
			dns["addresses"] = addrs
		}
		switch {
		case e.dnsWeight == -2:
			m["dns"] = false
		case e.dnsWeight >= 0:
			dns["weight"] = e.dnsWeight
			fallthrough
		case len(dns) > 0:
			m["dns"] = dns
		}
		if e.named {
			m["name"] = fmt.Sprint("m", host)
		}
		if e.rsync {
			m["rsync_url"] = "rsync://" + hostName(host) + "/tails/"
		}
		mirrors = append(mirrors, m)
	}
	return map[string]any{"version": 1, "mirrors": mirrors}
}

func (p modelPool) String() string {
	var b strings.Builder
	for _, host := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, " %+v", p[host])
	}
	return b.String()
}

// hosts are the names of the hosts in p.
func (p modelPool) hosts() map[string]bool {
	names := map[string]bool{}
	for host := range p {
		names[hostName(host)] = true
	}
	return names
}

// randomEntry makes an entry for a host.
func randomEntry(r *rand.Rand, host int) modelEntry {
	e := modelEntry{host: host, weight: []uint32{0, 1, 10, 10, 50}[r.IntN(5)], dnsWeight: -1,
		given: []int{0, 0, 1, 2, 3, 3}[r.IntN(6)],
		named: r.IntN(2) == 0, rsync: r.IntN(3) == 0}
	if r.IntN(3) == 0 {
		e.dnsWeight = []int{-2, 0, 5, 20}[r.IntN(4)]
	}
	if e.dnsWeight == -2 {
		e.given = 0
	}
	return e
}

// edit returns p with a few of its entries changed.
func (p modelPool) edit(r *rand.Rand) modelPool {
	next := maps.Clone(p)
	for range 1 + r.IntN(3) {
		host := r.IntN(modelHosts)
		e, there := next[host]
		switch {
		case !there || r.IntN(4) == 0:
			next[host] = randomEntry(r, host)
		case r.IntN(3) == 0:
			delete(next, host)
		case r.IntN(2) == 0:
			e.weight = 0
			next[host] = e
		default:
			e.weight = uint32(1 + r.IntN(50))
			next[host] = e
		}
	}
	return next
}
