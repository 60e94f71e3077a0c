package authority

import (
	"github.com/miekg/dns"
)

// accept decides from the header alone what becomes of a message.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	switch opcode := int(h.Bits>>11) & 0xf; {
	case h.Bits&response != 0:
		return dns.MsgIgnore // answering answers makes loops
	case opcode != dns.OpcodeQuery:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1: // RFC 9619
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// respond returns the response to a query that accept has let pass. limit is how large the transport lets a
// message be; over UDP that is 0, and what both sides offer decides.
func (z *zone) respond(req *dns.Msg, limit int) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.CheckingDisabled = false

	opt := req.IsEdns0()
	if opt != nil {
		resp.SetEdns0(z.maxSize, opt.Do())
	}
	if opt != nil && opt.Version() != 0 {
		resp.Rcode = dns.RcodeBadVers // RFC 6891 section 6.1.3
		return resp
	}
	z.answer(resp, req.Question[0])

	if limit == 0 {
		limit = dns.MinMsgSize
		if opt != nil {
			limit = max(limit, min(int(opt.UDPSize()), int(z.maxSize)))
		}
	}
	resp.Truncate(limit)
	resp.Compress = true // which Truncate takes back where the message fits without
	return resp
}

// answer fills the sections of resp, and its code.
func (z *zone) answer(resp *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	if q.Qclass != dns.ClassINET || !z.contains(name) || isTransfer(q.Qtype) {
		resp.Rcode = dns.RcodeRefused
		return
	}
	resp.Authoritative = true
	source, exists := z.find(name)
	switch {
	case !exists:
		resp.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeANY:
		resp.Answer = []dns.RR{minimalAny(q.Name)}
	default:
		resp.Answer = z.records(source, q.Name, q.Qtype)
	}
	if len(resp.Answer) == 0 {
		// The apex as the asker wrote it, at the end of the name.
		apex := q.Name[len(q.Name)-len(z.origin):]
		resp.Ns = []dns.RR{z.soaRecord(apex, z.ttl)}
	}
}

func isTransfer(qtype uint16) bool { return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR }

// minimalAny answers a query for everything with next to nothing (RFC 8482 section 4.2).
func minimalAny(owner string) dns.RR {
	return &dns.HINFO{Hdr: header(owner, dns.TypeHINFO, apexTTL), Cpu: "RFC8482"}
}
