package authority

import (
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/authority/wire"
	"mirrorpool/dnspool/tsig"
)

// refuseSignature says what is wrong with the signature of a request.
func refuseSignature(w dns.ResponseWriter, req *dns.Msg) (rcode int, err error) {
	resp := wire.Reply(req, dns.RcodeSuccess)
	code := tsig.ErrorCode(w.TsigStatus())
	tsig.Refuse(resp, req.IsTsig(), code, time.Now())
	if code == dns.RcodeBadTime { // which is signed, by w
		return resp.Rcode, w.WriteMsg(resp)
	}
	packed, err := resp.Pack() // w would set its time to 0, for which BIND blames the clocks
	if err == nil {
		_, err = w.Write(packed)
	}
	return resp.Rcode, err
}

// serveSigned answers as if the request were not signed, and signs the response.
func (s *Server) serveSigned(w dns.ResponseWriter, req *dns.Msg, from client) (rcode int, err error) {
	packed, rcode, err := s.respond(req, from)
	if err != nil {
		return rcode, err
	}
	resp := new(dns.Msg)
	if err := resp.Unpack(packed); err != nil {
		return rcode, err
	}
	limit := maxTCPMessage
	if !from.stream {
		limit = dns.MinMsgSize
		if asked, given := req.IsEdns0(), resp.IsEdns0(); asked != nil && given != nil {
			limit = max(limit, min(int(asked.UDPSize()), int(given.UDPSize())))
		}
	}
	resp.Truncate(max(limit-wire.MaxSignature, wire.HeaderSize+wire.MaxNameSize))
	resp.Compress = true
	signature := req.IsTsig()
	resp.SetTsig(signature.Hdr.Name, signature.Algorithm, tsig.Fudge, time.Now().Unix())
	return rcode, w.WriteMsg(resp)
}
