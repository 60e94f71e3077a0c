package probe

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"mirrorpool/health"

	"github.com/miekg/dns"
)

const (
	// Addresses are resolved again when their TTL has run out, within these bounds.
	minTTL = 30 * time.Second
	maxTTL = time.Hour
	// A host that could not be resolved, or does not exist and has no negative TTL, is resolved again after retryTTL.
	retryTTL = minTTL

	maxAddresses = 64 // of a host and family that are remembered: the lowest ones
	serverTries  = 2  // how often each name server is asked
)

// A Resolver asks the name servers that this host is configured with. It reads its files at each
// look-up, so changes take effect at once.
type Resolver struct {
	ResolvConf string // such as /etc/resolv.conf
	Hosts      string // such as /etc/hosts
	Port       string // of the name servers; empty: 53
}

// NewResolver returns a resolver that uses the usual files.
func NewResolver() *Resolver {
	return &Resolver{ResolvConf: "/etc/resolv.conf", Hosts: "/etc/hosts"}
}

// Lookup finds host's addresses in the hosts file or, if it is not there, through the name servers. Host
// names are absolute: the search list is for people who type, not for URLs.
func (r *Resolver) Lookup(ctx context.Context, host string) (v4, v6 health.Answer) {
	if v4, v6, ok := r.local(host); ok {
		return v4, v6
	}
	conf, err := dns.ClientConfigFromFile(r.ResolvConf)
	if err == nil && len(conf.Servers) == 0 {
		err = fmt.Errorf("%s names no name server", r.ResolvConf)
	}
	if err != nil {
		err = fmt.Errorf("no name server to resolve %q: %w", host, err)
		return health.Answer{Err: err, TTL: retryTTL}, health.Answer{Err: err, TTL: retryTTL}
	}
	if r.Port != "" {
		conf.Port = r.Port
	}
	done := make(chan health.Answer, 1)
	go func() { done <- ask(ctx, conf, host, dns.TypeAAAA) }()
	v4 = ask(ctx, conf, host, dns.TypeA)
	return v4, <-done
}

// ask asks the configured servers in turn until one answers for host. The second time it asks without EDNS: there are
// servers, and firewalls before them, that drop queries with it.
func ask(ctx context.Context, conf *dns.ClientConfig, host string, qtype uint16) health.Answer {
	var last error
	servers := conf.Servers[:min(maxServers, len(conf.Servers))]
	left := serverTries * len(servers)
	for try := range serverTries {
		for _, server := range servers {
			// Silent servers leave time for those after them, and for the queries without EDNS.
			wait := serverWait
			if deadline, ok := ctx.Deadline(); ok {
				wait = min(wait, time.Until(deadline)/time.Duration(left))
			}
			left--
			answer, err := askServer(ctx, wait, net.JoinHostPort(server, conf.Port), host, qtype, try == 0)
			if err == nil {
				return answer
			}
			last = err
			if ctx.Err() != nil {
				return health.Answer{Err: last, TTL: retryTTL}
			}
		}
	}
	return health.Answer{Err: last, TTL: retryTTL}
}

// readAnswer takes the addresses out of a response. The name server has followed CNAME records already, so
// the owners of the address records do not matter.
//
// An IPv4-mapped address in an AAAA record is none: the kernel would connect to it over IPv4, and the result
// would count for the wrong family.
func readAnswer(resp *dns.Msg, qtype uint16) health.Answer {
	answer := health.Answer{TTL: maxTTL}
	for _, rr := range resp.Answer {
		answer.TTL = min(answer.TTL, seconds(rr.Header().Ttl))
		if rr.Header().Rrtype != qtype {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A); ok {
				answer.Addresses = append(answer.Addresses, addr.Unmap())
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA); ok && addr.Is6() && !addr.Is4In6() {
				answer.Addresses = append(answer.Addresses, addr)
			}
		}
	}
	if len(answer.Addresses) == 0 {
		answer.TTL = min(answer.TTL, negativeTTL(resp))
	}
	answer.TTL = max(answer.TTL, minTTL)
	answer.Addresses = tidy(answer.Addresses)
	answer.Addresses = answer.Addresses[:min(len(answer.Addresses), maxAddresses)]
	return answer
}

// negativeTTL is for how long it holds that there are no addresses (RFC 2308 section 5).
func negativeTTL(resp *dns.Msg) time.Duration {
	for _, rr := range resp.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl))
		}
	}
	return retryTTL
}

// seconds reads a TTL. One with the highest bit set is 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
