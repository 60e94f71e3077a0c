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

// respond returns the response to a query that accept has let pass, in wire format. limit is how large the
// transport lets a message be; over UDP that is 0, and what both sides offer decides.
func (z *zone) respond(req *dns.Msg, limit int) ([]byte, error) {
	asked := req.Question[0].Name
	lower := *req
	lower.Question = []dns.Question{req.Question[0]}
	lower.Question[0].Name = dns.CanonicalName(asked)
	wire, err := z.message(&lower, limit).Pack()
	if err != nil {
		return nil, err
	}
	// All records are compressed against the question's name, so that putting the asker's letter case back
	// there gives it to all of them (RFC 4343 section 4.1). Some resolvers check it.
	_, err = dns.PackDomainName(asked, wire, headerSize, nil, false)
	return wire, err
}

// message is respond before packing, for a query in lower case.
func (z *zone) message(req *dns.Msg, limit int) *dns.Msg {
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

	if limit == sizeOfTransport {
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
	if q.Qclass != dns.ClassINET || !z.contains(q.Name) || isTransfer(q.Qtype) {
		resp.Rcode = dns.RcodeRefused
		return
	}
	resp.Authoritative = true
	source, exists := z.find(q.Name)
	switch {
	case !exists:
		resp.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeANY:
		resp.Answer = []dns.RR{minimalAny(q.Name)}
	default:
		resp.Answer = z.records(source, q.Name, q.Qtype)
	}
	if len(resp.Answer) == 0 {
		resp.Ns = []dns.RR{z.soaRecord(z.ttl)}
	}
}

func isTransfer(qtype uint16) bool { return qtype == dns.TypeAXFR || qtype == dns.TypeIXFR }

// minimalAny answers a query for everything with next to nothing (RFC 8482 section 4.2).
func minimalAny(owner string) dns.RR {
	return &dns.HINFO{Hdr: header(owner, dns.TypeHINFO, apexTTL), Cpu: "RFC8482"}
}
