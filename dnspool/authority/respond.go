package authority

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/authority/wire"
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

// respond returns the response to a query that accept has let pass, in wire format.
func (z *zone) respond(req *dns.Msg, from client) ([]byte, error) {
	packed, _, err := z.respondWithCode(req, from)
	return packed, err
}

// respondWithCode is respond, and also returns the response's code.
func (z *zone) respondWithCode(req *dns.Msg, from client) (packed []byte, rcode int, err error) {
	asked := req.Question[0].Name
	lower := *req
	lower.Question = []dns.Question{req.Question[0]}
	lower.Question[0].Name = dns.CanonicalName(asked)
	if from.size == 0 {
		from.size = req.Len()
	}
	resp := z.message(&lower, from)
	if packed, err = resp.Pack(); err != nil {
		return nil, dns.RcodeServerFailure, err
	}
	// All records are compressed against the question's name, so that putting the client's letter case back
	// there gives it to all of them (RFC 4343 section 4.1). Some resolvers check it.
	_, err = dns.PackDomainName(asked, packed, wire.HeaderSize, nil, false)
	return packed, resp.Rcode, err
}

// message is respond before packing, for a query in lower case.
func (z *zone) message(req *dns.Msg, from client) *dns.Msg {
	resp := wire.Reply(req, dns.RcodeSuccess)
	opt := req.IsEdns0()
	if opt != nil {
		resp.SetEdns0(z.maxSize, opt.Do())
	}
	if opt != nil && opt.Version() != 0 {
		resp.Rcode = dns.RcodeBadVers // RFC 6891 section 6.1.3
		return resp
	}
	place, subnet := z.at(opt, from)
	z.answer(resp, req.Question[0], from.addr, place)
	offered, trusted := dns.MinMsgSize, false
	if opt != nil {
		offered = max(offered, int(opt.UDPSize()))
		trusted = z.answerOptions(resp, opt, from)
		if subnet != nil && isAddress(req.Question[0].Qtype) && len(resp.Answer) > 0 {
			setScope(resp, scope(place, subnet))
		}
	}
	truncate(resp, z.limit(from, offered, trusted))
	return resp
}

// truncate makes resp fit into limit bytes.
func truncate(resp *dns.Msg, limit int) {
	resp.Truncate(limit) // which takes a limit below dns.MinMsgSize for that
	resp.Compress = true // which Truncate takes back where the message fits without
	if limit >= dns.MinMsgSize || resp.Len() <= limit {
		return
	}
	resp.Truncated = true
	resp.Answer, resp.Ns = nil, nil
	if opt := resp.IsEdns0(); opt != nil {
		resp.Extra = []dns.RR{opt}
	}
}

// maxChain is how many CNAME records are followed.
const maxChain = 8

// answer fills the sections of resp, and its code, as RFC 1034 section 4.3.2 says, for a client at a place.
func (z *zone) answer(resp *dns.Msg, q dns.Question, client netip.Addr, place *dnspool.Place) {
	if q.Qclass == dns.ClassCHAOS {
		z.answerChaos(resp, q)
		return
	}
	if q.Qclass != dns.ClassINET || !z.contains(q.Name) || transfer.IsTransfer(q.Qtype) {
		resp.Rcode = dns.RcodeRefused
		return
	}
	resp.Authoritative = true
	if z.tellsStatus(q.Name, client) {
		z.answerStatus(resp, q)
		return
	}
	z.answerName(resp, q, place)
}

// answerName is answer for a name in the zone, and those that its CNAME records lead to.
func (z *zone) answerName(resp *dns.Msg, q dns.Question, place *dnspool.Place) {
	name := q.Name
	for range maxChain {
		// A DS record is on the parent's side of a delegation (RFC 4035 section 3.1.4.1).
		if cut := z.static.cut(name); cut != "" && !(cut == name && q.Qtype == dns.TypeDS) {
			z.refer(resp, cut)
			return
		}
		source, exists := z.find(name)
		var rrs []dns.RR
		switch {
		case z.blind && z.pool[source] && isAddress(q.Qtype):
			resp.Authoritative, resp.Rcode, resp.Answer = false, dns.RcodeServerFailure, nil
			return
		case !exists:
			resp.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeANY:
			rrs = []dns.RR{minimalAny(name)}
		default:
			rrs = z.records(source, name, q.Qtype, place)
		}
		if len(rrs) > 0 {
			resp.Answer = append(resp.Answer, rrs...)
			return
		}
		alias := z.static.records(source, name, dns.TypeCNAME)
		if len(alias) == 0 {
			resp.Ns = []dns.RR{z.soa(z.negativeTTL())}
			return
		}
		resp.Answer = append(resp.Answer, alias...)
		name = canonicalName(alias[0].(*dns.CNAME).Target)
		if !z.contains(name) || owns(resp.Answer, name) {
			return // the target is outside the zone, or answered already
		}
	}
}

// owns reports whether name is the owner of any of rrs.
func owns(rrs []dns.RR, name string) bool {
	return slices.ContainsFunc(rrs, func(rr dns.RR) bool { return rr.Header().Name == name })
}

// refer fills in a referral (RFC 1034 section 4.2.1). After a CNAME the response stays authoritative.
func (z *zone) refer(resp *dns.Msg, cut string) {
	resp.Authoritative = len(resp.Answer) > 0
	resp.Ns = z.static.sets[cut][dns.TypeNS]
	var glue []dns.RR
	for _, rr := range resp.Ns {
		glue = append(glue, z.static.addresses(canonicalName(rr.(*dns.NS).Ns))...)
	}
	resp.Extra = append(glue, resp.Extra...) // the OPT record stays last
}

// minimalAny answers a query for everything with next to nothing (RFC 8482 section 4.2).
func minimalAny(owner string) dns.RR {
	return &dns.HINFO{Hdr: header(owner, dns.TypeHINFO, apexTTL), Cpu: "RFC8482"}
}
