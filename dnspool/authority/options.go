package authority

import (
	"encoding/hex"
	"time"

	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/authority/wire"

	"github.com/miekg/dns"
)

// answerOptions adds to resp, which has an OPT record, what the options in a request ask for. Unknown ones are
// ignored, and none is echoed (RFC 6891 section 6.1.2). trusted says that a cookie shows that the client's address is
// its own.
func (z *zone) answerOptions(resp *dns.Msg, asked *dns.OPT, from client) (trusted bool) {
	opt := resp.IsEdns0()
	given := false
	for _, option := range asked.Option {
		switch o := option.(type) {
		case *dns.EDNS0_NSID:
			if z.nsid != "" { // RFC 5001 section 2.2
				opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(z.nsid))})
			}
		case *dns.EDNS0_SUBNET:
			// The answer is the same for all (RFC 7871 section 7.2.1), unless it goes by place: see setScope.
			opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{
				Code: dns.EDNS0SUBNET, Family: o.Family, SourceNetmask: o.SourceNetmask, SourceScope: 0, Address: o.Address})
		case *dns.EDNS0_COOKIE:
			cookie, err := hex.DecodeString(o.Cookie)
			if given || err != nil || !wire.CookieShaped(cookie) {
				continue // RFC 7873 section 5.2: only the first counts
			}
			given = true
			_, trusted = z.cookies.Valid(cookie, from.addr, from.now)
			opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{
				Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(z.cookies.AppendTo(nil, cookie, from.addr, from.now))})
		case *dns.EDNS0_TCP_KEEPALIVE:
			if from.stream { // RFC 7828 section 3.3.2; in units of 100 ms
				opt.Option = append(opt.Option, &dns.EDNS0_TCP_KEEPALIVE{
					Code: dns.EDNS0TCPKEEPALIVE, Timeout: uint16(idleTime / (100 * time.Millisecond))})
			}
		}
	}
	if resp.Rcode == dns.RcodeRefused { // RFC 8914
		code := dns.ExtendedErrorCodeNotAuthoritative
		if transfer.IsTransfer(resp.Question[0].Qtype) {
			code = dns.ExtendedErrorCodeProhibited
		}
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code})
	}
	return trusted
}
