package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"mirrorpool/health"

	"github.com/miekg/dns"
)

const (
	serverWait   = 3 * time.Second // for the response of a name server, at most
	maxServers   = 3               // that are asked, as by the C library (resolv.conf(5))
	ednsSize     = 1232            // bytes of a response over UDP, as dnsflagday.net/2020 recommends
	maxResponses = 100             // read while waiting for the one that answers the query
)

// askServer asks one name server once, and waits so long. With EDNS, a server that says that it does not understand is
// asked again without (RFC 6891 section 7).
func askServer(ctx context.Context, wait time.Duration, server, host string, qtype uint16, edns bool) (health.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(host), qtype)
	if edns {
		query.SetEdns0(ednsSize, false)
	}
	resp, err := exchange(ctx, "udp", server, query)
	if err == nil && edns && (resp.Rcode == dns.RcodeFormatError || resp.Rcode == dns.RcodeNotImplemented) {
		query.Extra = nil
		resp, err = exchange(ctx, "udp", server, query)
	}
	if err == nil && resp.Truncated {
		resp, err = exchange(ctx, "tcp", server, query)
	}
	switch {
	case err != nil:
		return health.Answer{}, fmt.Errorf("asking %s for %s %s: %s", server, host, dns.TypeToString[qtype], describe(err))
	case resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError:
		rcode := dns.RcodeToString[resp.Rcode]
		return health.Answer{}, fmt.Errorf("asking %s for %s %s: %s", server, host, dns.TypeToString[qtype], rcode)
	}
	return readAnswer(resp, qtype), nil
}

// exchange sends a query and waits for its response until ctx ends. It ignores other messages, which may be late or
// forged.
func exchange(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	c := &dns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := c.WriteMsg(query); err != nil {
		return nil, err
	}
	for range maxResponses {
		wire, err := c.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, dns.ErrShortRead) {
			return nil, err
		}
		resp := new(dns.Msg)
		if err := resp.Unpack(wire); err == nil && isResponseTo(resp, query) {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("%d responses to other queries", maxResponses)
}

// isResponseTo reports whether a message is the response to a query. A server that cannot read the query may leave the
// question out.
func isResponseTo(resp, query *dns.Msg) bool {
	if resp.Id != query.Id || !resp.Response || resp.Opcode != query.Opcode {
		return false
	}
	if len(resp.Question) == 0 {
		return resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError
	}
	got, asked := resp.Question[0], query.Question[0]
	return len(resp.Question) == 1 && got.Qtype == asked.Qtype && got.Qclass == asked.Qclass &&
		strings.EqualFold(got.Name, asked.Name)
}
