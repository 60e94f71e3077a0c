package authority

import (
	"net/netip"
	"slices"
	"time"

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
	attested := opt != nil && opt.Do() && z.signed != nil
	z.answer(resp, req.Question[0], from.addr, question{place: place, attested: attested, now: from.now})
	offered, trusted := dns.MinMsgSize, false
	if opt != nil {
		offered = max(offered, int(opt.UDPSize()))
		trusted = z.answerOptions(resp, opt, from)
		if subnet != nil && isAddress(req.Question[0].Qtype) && len(resp.Answer) > 0 {
			setScope(resp, scope(place, subnet))
		}
	}
	truncate(resp, z.limit(&from, offered, trusted, attested))
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

// A question is what an answer depends on besides name and type.
type question struct {
	place    *dnspool.Place // of the client; nil where places do not count
	attested bool           // the answer is to have signatures and proofs
	now      time.Time
	withheld *withholding // the answer is to be without that; nil: nothing
}

// answer fills the sections of resp, and its code, as RFC 1034 section 4.3.2 says.
func (z *zone) answer(resp *dns.Msg, q dns.Question, client netip.Addr, how question) {
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
	version := z.versionFor(q.Qtype, how)
	if version == nil {
		resp.Authoritative, resp.Rcode = false, dns.RcodeServerFailure // which is what validators would make of it
		return
	}
	if version != z {
		how.withheld = z.withheld
	}
	version.answerName(resp, q, how)
}

// answerName is answer for a name in the zone, and those that its CNAME records lead to.
func (z *zone) answerName(resp *dns.Msg, q dns.Question, how question) {
	name := q.Name
	for range maxChain {
		// A DS record is on the parent's side of a delegation (RFC 4035 section 3.1.4.1).
		if cut := z.static.cut(name); cut != "" && !(cut == name && q.Qtype == dns.TypeDS) {
			z.refer(resp, cut, how.attested)
			return
		}
		source, exists := z.find(name)
		var rrs []dns.RR
		switch {
		case z.blind && z.pool[source] && isAddress(q.Qtype), how.withheld.leavesNone(z, source, q.Qtype):
			resp.Authoritative, resp.Rcode, resp.Answer, resp.Ns = false, dns.RcodeServerFailure, nil, nil
			return
		case !exists:
			resp.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeANY && how.attested:
			rrs = z.anySet(source, name, how)
		case q.Qtype == dns.TypeANY:
			rrs = []dns.RR{minimalAny(name)}
		case q.Qtype == dns.TypeRRSIG && z.signing != nil:
			rrs = z.someSignatures(source, name)
		default:
			rrs = z.records(source, name, q.Qtype, how)
		}
		if len(rrs) > 0 {
			z.addAnswer(resp, rrs, source, how.attested)
			return
		}
		alias := z.static.records(source, name, dns.TypeCNAME)
		if len(alias) == 0 {
			z.deny(resp, source, name, exists, how.attested)
			return
		}
		z.addAnswer(resp, alias, source, how.attested)
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

// addAnswer adds a set of source to the answer, with its signatures if attested.
func (z *zone) addAnswer(resp *dns.Msg, rrs []dns.RR, source string, attested bool) {
	resp.Answer = append(resp.Answer, rrs...)
	if !attested {
		return
	}
	resp.Answer = append(resp.Answer, z.signatures(source, rrs)...)
	if name := rrs[0].Header().Name; name != source {
		z.proveNoCloser(resp, name)
	}
}

// deny says that there is no name, or no record of a type at the source of its records, with proof if attested.
func (z *zone) deny(resp *dns.Msg, source, name string, exists, attested bool) {
	soa := []dns.RR{z.soa(z.negativeTTL())}
	resp.Ns = append(resp.Ns, soa...)
	switch {
	case !attested:
		return
	case exists:
		resp.Ns = append(resp.Ns, z.signatures(z.origin, soa)...)
		z.proveNoData(resp, source, name)
	default:
		resp.Ns = append(resp.Ns, z.signatures(z.origin, soa)...)
		z.proveNoName(resp, name)
	}
}

// refer fills in a referral (RFC 1034 section 4.2.1). After a CNAME the response stays authoritative.
func (z *zone) refer(resp *dns.Msg, cut string, attested bool) {
	resp.Authoritative = len(resp.Answer) > 0
	delegation := z.static.sets[cut][dns.TypeNS]
	resp.Ns = append(resp.Ns, delegation...)
	if attested {
		z.proveDelegation(resp, cut)
	}
	var glue []dns.RR
	for _, rr := range delegation {
		glue = append(glue, z.static.addresses(canonicalName(rr.(*dns.NS).Ns))...)
	}
	resp.Extra = append(glue, resp.Extra...) // the OPT record stays last
}

// minimalAny answers a query for everything with next to nothing (RFC 8482 section 4.2).
func minimalAny(owner string) dns.RR {
	return &dns.HINFO{Hdr: header(owner, dns.TypeHINFO, apexTTL), Cpu: "RFC8482"}
}
