package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/listen"
)

const (
	resolvConf   = "/etc/resolv.conf"
	maxResolvers = 3 // of it, as other programs have it
)

// lookUpDS asks a resolver, or without one those of this host, for the parent's DS records.
func lookUpDS(ctx context.Context, resolver, zone string, now time.Time) (*dnssec.View, error) {
	resolvers := []string{resolver}
	if resolver == "" {
		var err error
		if resolvers, err = hostResolvers(resolvConf); err != nil {
			return nil, err
		}
	}
	return lookUpDSAt(ctx, resolvers, zone, now)
}

// hostResolvers returns the resolvers in a file such as /etc/resolv.conf.
func hostResolvers(file string) (resolvers []string, err error) {
	local, err := dns.ClientConfigFromFile(file)
	if err == nil && len(local.Servers) == 0 {
		err = errors.New("it names none")
	}
	if err != nil {
		return nil, fmt.Errorf("no dns.dnssec.resolver, and no resolver from %s: %w", file, err)
	}
	for _, server := range local.Servers[:min(len(local.Servers), maxResolvers)] {
		resolvers = append(resolvers, net.JoinHostPort(server, local.Port))
	}
	return resolvers, nil
}

// lookUpDSAt asks resolvers for the DS records of a zone, one after the other until one answers.
func lookUpDSAt(ctx context.Context, resolvers []string, zone string, now time.Time) (*dnssec.View, error) {
	var errs []error
	for _, resolver := range resolvers {
		resp, err := askForDS(ctx, resolver, zone)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		view := &dnssec.View{At: now, TTL: parentInterval}
		for _, rr := range resp.Answer {
			if ds, ok := rr.(*dns.DS); ok && dns.CanonicalName(ds.Hdr.Name) == zone {
				view.DS = append(view.DS, ds)
				view.TTL = max(view.TTL, time.Duration(ds.Hdr.Ttl)*time.Second+parentInterval)
			}
		}
		return view, nil
	}
	return nil, errors.Join(errs...)
}

// askForDS asks a resolver for the DS records of a zone.
func askForDS(ctx context.Context, resolver, zone string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, parentTime)
	defer cancel()
	req := new(dns.Msg)
	req.SetQuestion(zone, dns.TypeDS)
	req.SetEdns0(dns.DefaultMsgSize, false)
	resp, _, err := new(dns.Client).ExchangeContext(ctx, req, resolver)
	if failed := net.Error(nil); errors.As(err, &failed) && failed.Timeout() { // a lost packet, or a cold cache
		resp, _, err = new(dns.Client).ExchangeContext(ctx, req, resolver)
	}
	if err == nil && resp.Truncated {
		resp, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, req, resolver)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s for the DS records of %s: %w", resolver, zone, listen.HideAddresses(err)) // our port differs
	}
	if why := noDSAnswer(resp, zone); why != "" {
		return nil, fmt.Errorf("%s answers %s when asked for the DS records of %s", resolver, why, zone)
	}
	return resp, nil
}

// noDSAnswer says what an answer is that does not show what the parent has, or is "". A server of the zone itself has
// no DS records, whatever the parent has.
func noDSAnswer(resp *dns.Msg, zone string) string {
	if resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError {
		return dns.RcodeToString[resp.Rcode]
	}
	if !resp.RecursionAvailable {
		return "without recursion, and is no resolver (dns.dnssec.resolver),"
	}
	for _, rr := range resp.Ns {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(zone, dns.CanonicalName(soa.Hdr.Name)) {
			return "from the zone itself, and not from its parent,"
		}
	}
	return ""
}
