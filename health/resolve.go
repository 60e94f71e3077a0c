package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// Addresses are resolved again when their TTL has run out, within these bounds.
	minTTL = 30 * time.Second
	maxTTL = time.Hour
	// What could not be resolved is tried again after retryTTL.
	retryTTL = minTTL

	maxAddresses = 64 // of a host and family; further ones are ignored
	serverTries  = 2  // how often each name server is asked
	serverWait   = 3 * time.Second
)

// An Answer is what a Resolver found for one host and address family.
type Answer struct {
	Addresses []netip.Addr  // sorted, without duplicates; empty if the host has none
	TTL       time.Duration // for how long that holds
	Local     bool          // from this host's own files, which are trusted like the configuration
	Err       error         // why nothing is known
}

// A Resolver finds the addresses of a host, which is not an address itself.
type Resolver interface {
	Lookup(ctx context.Context, host string) (v4, v6 Answer)
}

// A SystemResolver asks the name servers that this host is configured with. It reads its files at each
// look-up, so that changes are heeded.
type SystemResolver struct {
	ResolvConf string // such as /etc/resolv.conf
	Hosts      string // such as /etc/hosts
}

// NewSystemResolver returns a resolver that uses the usual files.
func NewSystemResolver() *SystemResolver {
	return &SystemResolver{ResolvConf: "/etc/resolv.conf", Hosts: "/etc/hosts"}
}

// Lookup finds host's addresses in the hosts file or, if it is not there, through the name servers. Host
// names are taken as absolute: the search list is for people who type, not for URLs.
func (r *SystemResolver) Lookup(ctx context.Context, host string) (v4, v6 Answer) {
	if v4, v6, ok := r.local(host); ok {
		return v4, v6
	}
	conf, err := dns.ClientConfigFromFile(r.ResolvConf)
	if err == nil && len(conf.Servers) == 0 {
		err = fmt.Errorf("%s names no name server", r.ResolvConf)
	}
	if err != nil {
		err = fmt.Errorf("cannot find out whom to ask for %q: %w", host, err)
		return Answer{Err: err, TTL: retryTTL}, Answer{Err: err, TTL: retryTTL}
	}
	done := make(chan Answer, 1)
	go func() { done <- ask(ctx, conf, host, dns.TypeAAAA) }()
	v4 = ask(ctx, conf, host, dns.TypeA)
	return v4, <-done
}

// local looks into the hosts file. "localhost" is known without one (RFC 6761 section 6.3).
func (r *SystemResolver) local(host string) (v4, v6 Answer, found bool) {
	v4, v6 = Answer{TTL: minTTL, Local: true}, Answer{TTL: minTTL, Local: true}
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

// ask asks the configured servers in turn until one answers for host.
func ask(ctx context.Context, conf *dns.ClientConfig, host string, qtype uint16) Answer {
	var last error
	for range serverTries {
		for _, server := range conf.Servers {
			answer, err := askServer(ctx, net.JoinHostPort(server, conf.Port), host, qtype)
			if err == nil {
				return answer
			}
			last = err
			if ctx.Err() != nil {
				return Answer{Err: last, TTL: retryTTL}
			}
		}
	}
	return Answer{Err: last, TTL: retryTTL}
}

func askServer(ctx context.Context, server, host string, qtype uint16) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(host), qtype)
	query.SetEdns0(1232, false)
	client := dns.Client{Net: "udp"}
	resp, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && resp.Truncated {
		client.Net = "tcp"
		resp, _, err = client.ExchangeContext(ctx, query, server)
	}
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("asking %s for %s %s: %s", server, host, dns.TypeToString[qtype], describe(err))
	case resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError:
		return Answer{}, fmt.Errorf("asking %s for %s %s: %s", server, host, dns.TypeToString[qtype], dns.RcodeToString[resp.Rcode])
	}
	return readAnswer(resp), nil
}

// readAnswer takes the addresses out of a response. The name server has followed CNAME records already, so
// that the owners of the address records do not matter.
func readAnswer(resp *dns.Msg) Answer {
	answer := Answer{TTL: maxTTL}
	for _, rr := range resp.Answer {
		answer.TTL = min(answer.TTL, time.Duration(rr.Header().Ttl)*time.Second)
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok && len(answer.Addresses) < maxAddresses {
			answer.Addresses = append(answer.Addresses, addr.Unmap())
		}
	}
	answer.TTL = max(answer.TTL, minTTL)
	if len(answer.Addresses) == 0 {
		answer.TTL = retryTTL
	}
	answer.Addresses = tidy(answer.Addresses)
	return answer
}

func tidy(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// errPrivate is why an address learnt through DNS is not probed.
var errPrivate = errors.New("is not a public address")

// checkPublic refuses addresses that are not on the public Internet. Whoever runs a mirror's DNS could
// otherwise point our probes at the inside of our own network.
func checkPublic(addr netip.Addr) error {
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) }) {
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
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}
